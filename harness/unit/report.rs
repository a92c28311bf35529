//! The page: whole HTML whatever is in it, nothing from elsewhere, every part where its data is.

use std::time::Duration;

use llorch::harness::http::{Headers, Request};
use llorch::harness::transcript::{Transcript, album};
use llorch::parity::diff::{Options, diff};
use llorch::parity::report::{Case, Cases, Climb, Kill, KillMatrix, Moment, Note, Page, Run, Rung, Standing, captures};

use super::diff::{toy, with};

pub const TESTS: &[(&str, fn())] = &[
    ("report/whole", whole),
    ("report/hostile_text", hostile_text),
    ("report/diff", pictures_of_a_diff),
    ("report/kills", kills_missed_are_told),
    ("report/streams", streams),
    ("report/ladder", ladder),
    ("report/gallery", gallery),
];

fn page() -> Page {
    let (reference, found) = (toy(), with("cp04.scores", |_, value| value * 2.0));
    let result = diff(&reference, &found, Options::default());
    let case = |verdict: &str, class, notes| Case {
        address: "worker/execute/1".to_owned(),
        name: "A prompt".to_owned(),
        feature: "Execute".to_owned(),
        level: "MUST".to_owned(),
        requirements: vec!["M0-W-1".to_owned()],
        verdict: verdict.to_owned(),
        class,
        seconds: 0.1,
        notes,
    };
    let note = Note { title: "Found".to_owned(), text: "<script>alert(1)</script> & \"quotes\"\u{1b}[0m".to_owned() };
    Page {
        title: "llorch <diff>".to_owned(),
        subtitle: "a page".to_owned(),
        diffs: vec![captures(&result, &reference, &found)],
        cases: Some(Cases {
            target: "the built-in worker".to_owned(),
            warning: Some("a stub".to_owned()),
            seconds: 1.5,
            list: vec![case("PASS", "pass", Vec::new()), case("FAIL", "fail", vec![note])],
        }),
        runs: vec![Run {
            label: "worker/execute/1".to_owned(),
            events: [(5.0, "started"), (9.0, "token"), (21.0, "token"), (22.0, "end")]
                .map(|(ms, kind)| Moment { ms, kind: kind.to_owned() })
                .to_vec(),
        }],
        kills: Some(kill_matrix()),
        ladder: vec![
            Rung { number: 1, name: "echo".to_owned(), cases: vec![case("PASS", "pass", Vec::new())] },
            Rung { number: 2, name: "known answer".to_owned(), cases: vec![case("FAIL", "fail", Vec::new())] },
            Rung { number: 3, name: "random probe".to_owned(), cases: Vec::new() },
        ],
        ..Page::default()
    }
}

fn kill_matrix() -> KillMatrix {
    let kill = |fault: &str, caught: Option<&str>| Kill {
        fault: fault.to_owned(),
        shows: "cp04.scores".to_owned(),
        caught: caught.map(str::to_owned),
        named: caught.map(|_| fault.to_owned()),
        equivalent: None,
        errors: vec![Some(0.1), Some(50.0)],
    };
    let stations = ["cp02.q", "cp04.scores"].map(str::to_owned).to_vec();
    KillMatrix { stations, faults: vec![kill("scale missing", Some("cp04.scores")), kill("mask missing", None)] }
}

/// Elements that have no end tag.
const VOID: [&str; 1] = ["meta"];

/// Every element that is opened is closed, in order.
fn assert_whole(html: &str) {
    let mut open: Vec<String> = Vec::new();
    let mut rest = html.strip_prefix("<!doctype html>").expect("a doctype");
    while let Some(start) = rest.find('<') {
        let end = rest[start..].find('>').map(|end| start + end).expect("a tag ends");
        let tag = &rest[start + 1..end];
        rest = &rest[end + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name), "closed in order, near {:?}", &rest[..rest.len().min(80)]);
        } else {
            let name = tag.split([' ', '\n']).next().unwrap_or_default();
            if !tag.ends_with('/') && !VOID.contains(&name) {
                open.push(name.to_owned());
            }
        }
    }
    assert!(open.is_empty(), "{open:?}");
}

fn whole() {
    let html = page().html();
    assert_whole(&html);
    assert_whole(&Page::default().html());
    for foreign in ["<script", "http://", "https://", "@import", "url(", "<link", "<img"] {
        assert!(!html.contains(foreign), "{foreign} in a page that stands by itself");
    }
    for part in
        ["At a glance", "They diverge", "What does not hold", "The ladder", "Every case", "Streams", "Kill matrix"]
    {
        assert!(html.contains(part), "{part}");
    }
    for rule in ["prefers-color-scheme: dark", "@media print", "lang=\"en\""] {
        assert!(html.contains(rule), "{rule}");
    }
    assert_eq!(
        html.matches("role=img").count(),
        html.matches("<title>").count() - 1 - strokes(&html) - rungs(&html),
        "pictures have words"
    );
}

/// Strokes of the waterfall have titles of their own.
fn strokes(html: &str) -> usize {
    html.matches("<rect class=\"event ").count() - 5
}

fn hostile_text() {
    let html = page().html();
    assert!(html.contains("&lt;script&gt;alert(1)&lt;/script&gt; &amp; &quot;quotes&quot;\u{fffd}[0m"));
    assert!(html.contains("<title>llorch &lt;diff&gt;</title>"));
}

fn pictures_of_a_diff() {
    let html = page().html();
    assert!(
        html.contains("href=\"#cp04-scores\"") && html.contains("id=\"cp04-scores\""),
        "the matrix leads to the station"
    );
    assert!(html.contains(
        "cp04.scores: map of the error, 5 × 10 (position by head × attended position): differences are more"
    ));
    assert!(html.contains("found = 2 (= √D) × reference"));
    let (reference, same) = (toy(), toy());
    let result = diff(&reference, &same, Options::default());
    let pair = captures(&result, &reference, &same);
    let picture = &pair.pictures["cp06.gelu"];
    assert_eq!((picture.map.rows, picture.map.columns), (5, 32));
    assert!(picture.map.levels.iter().all(|level| *level == 0), "equal is level 0");
    assert_eq!(picture.histogram.counts[0], 160);
    let html = Page { diffs: vec![pair], ..Page::default() }.html();
    assert!(html.contains("Parity") && !html.contains("They diverge"));
}

fn kills_missed_are_told() {
    let html = Page { kills: Some(kill_matrix()), ..Page::default() }.html();
    assert!(html.contains("1 faults caught where they first show and named; 1 not; 0 equivalent"));
    assert!(html.contains("not caught; it shows at cp04.scores"));
}

fn streams() {
    let bytes = b"event: started\ndata: {}\n\nevent: token\ndata: {\"t\":\"a\"}\n\nevent: end\ndata: {}\n\n";
    let mut transcript = Transcript::replay(Request::get("/execute"), Headers::default(), bytes);
    for (at, frame) in transcript.frames.iter_mut().enumerate() {
        frame.at = Duration::from_millis(10 * at as u64);
    }
    let run = album::run(&transcript, "one");
    let told: Vec<(f64, &str)> = run.events.iter().map(|event| (event.ms, event.kind.as_str())).collect();
    assert_eq!(told, [(0.0, "started"), (10.0, "token"), (20.0, "end")]);
    let html = Page { runs: vec![run], ..Page::default() }.html();
    assert!(html.contains("one: 3 events in 20 ms") && html.contains("1 token after 10 ms"), "{html}");
}

/// Caught by another rung than its own is not caught.
fn gallery() {
    let climb = |caught_by| Climb {
        cheat: "canned <haiku>".to_owned(),
        does: "one haiku".to_owned(),
        caught_by,
        rungs: vec![Standing::Passes, Standing::Caught, Standing::Unknown, Standing::NotApplicable],
    };
    let html = |climbs| Page { gallery: climbs, ..Page::default() }.html();
    assert!(html(vec![climb(2)]).contains("1 of 1 caught by the rung that is named for them."));
    for missed in [0, 1, 3, 4, 5] {
        let html = html(vec![climb(2), climb(missed)]);
        assert!(html.contains("lead bad") && html.contains("1 of 2 caught"), "{missed}");
        assert!(
            html.contains("canned &lt;haiku&gt;") && (missed == 0 || missed == 5 || html.contains("fail named")),
            "{html}"
        );
    }
}

/// So have the rungs of the ladder.
fn rungs(html: &str) -> usize {
    html.matches("<rect class=\"rung ").count()
}

/// A rung is as good as the gravest of its cases; one that was not asked is not green.
fn ladder() {
    let html = page().html();
    for (class, told) in [("rung pass", "1 passed"), ("rung fail", "1 failed"), ("rung none", "not asked")] {
        assert!(html.contains(class) && html.contains(told), "{class}, {told}");
    }
}
