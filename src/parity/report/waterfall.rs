//! Streams over time: when each event of a run arrived, and the gaps between tokens.

use std::fmt::Write as _;

use super::html::{Html, escape};

/// One stream.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Run {
    pub label: String,
    pub events: Vec<Moment>,
}

/// An event's arrival, in milliseconds since the request was sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Moment {
    pub ms: f64,
    /// `started`, `token`, `end`, `error`, …
    pub kind: String,
}

const WIDTH: f64 = 600.0;
const HEIGHT: f64 = 22.0;
/// More streams than a person looks at; the longest are shown.
const MOST: usize = 60;

pub fn section(parent: &mut Html, runs: &[Run]) {
    let end = runs.iter().flat_map(|run| &run.events).map(|event| event.ms).fold(0.0, f64::max).max(1e-3);
    parent.inside("section", "", |section| {
        section.say("h2", "", "Streams");
        let told = "Each line is one stream from the request to its last event; a stroke is an event, and below it is the gap \
                    between tokens. All lines have the same scale.";
        section.say("p", "class=quiet", told);
        section.inside("ul", "class=legend", |list| {
            for (class, word) in [("started", "started"), ("token", "token"), ("end", "end"), ("error", "error"), ("other", "other")] {
                list.inside("li", "", |item| {
                    item.raw(&format!("<svg width=14 height=14 aria-hidden=true><rect class=\"event {class}\" width=14 height=14 /></svg> "));
                    item.text(word);
                });
            }
        });
        let mut shown: Vec<&Run> = runs.iter().collect();
        if shown.len() > MOST {
            shown.sort_by_key(|run| std::cmp::Reverse(run.events.len()));
            shown.truncate(MOST);
            section.say("p", "class=quiet", &format!("The {MOST} with the most events of {} are shown.", runs.len()));
        }
        section.inside("div", "class=scroll", |scroll| {
            scroll.inside("table", "class=waterfall", |table| shown.iter().for_each(|run| line(table, run, end)));
        });
        section.say("p", "class=quiet", &format!("The right edge is {}.", milliseconds(end)));
    });
}

fn line(table: &mut Html, run: &Run, end: f64) {
    let tokens: Vec<f64> = run.events.iter().filter(|event| event.kind == "token").map(|event| event.ms).collect();
    let mut gaps: Vec<f64> = tokens.windows(2).map(|pair| pair[1] - pair[0]).collect();
    gaps.sort_by(f64::total_cmp);
    let (median, longest) = (gaps.get(gaps.len() / 2).copied(), gaps.last().copied());
    table.inside("tr", "", |tr| {
        tr.say("th", "scope=row", &run.label);
        tr.inside("td", "", |td| td.raw(&strokes(run, &tokens, end)));
        let told = match (tokens.first(), median, longest) {
            (Some(first), Some(median), Some(longest)) => format!(
                "{} tokens · first after {} · gap {} (median), {} (longest)",
                tokens.len(),
                milliseconds(*first),
                milliseconds(median),
                milliseconds(longest)
            ),
            (Some(first), ..) => format!("1 token after {}", milliseconds(*first)),
            _ => format!("{} events, no token", run.events.len()),
        };
        tr.say("td", "class=quiet", &told);
    });
}

fn strokes(run: &Run, tokens: &[f64], end: f64) -> String {
    let x = |ms: f64| ms / end * WIDTH;
    let last = run.events.iter().map(|event| event.ms).fold(0.0, f64::max);
    let summary = format!("{}: {} events in {}", run.label, run.events.len(), milliseconds(last));
    let mut svg = format!(
        "<svg role=img viewBox=\"0 0 {WIDTH} {HEIGHT}\" width={WIDTH} height={HEIGHT}><title>{}</title><rect class=lane width={:.1} \
         height=14 />",
        escape(&summary),
        x(last).max(1.0)
    );
    for event in &run.events {
        let class = match event.kind.as_str() {
            "started" => "started",
            "token" => "token",
            "end" => "end",
            "error" => "error",
            _ => "other",
        };
        let at = x(event.ms).min(WIDTH - 2.0);
        let told = format!("{} at {}", event.kind, milliseconds(event.ms));
        let _ = write!(
            svg,
            "<rect class=\"event {class}\" x={at:.1} width=1.6 height=14><title>{}</title></rect>",
            escape(&told)
        );
    }
    // Gaps as a line of bars under the lane: the taller, the longer.
    let longest = tokens.windows(2).map(|pair| pair[1] - pair[0]).fold(0.0, f64::max).max(1e-9);
    for pair in tokens.windows(2) {
        let tall = (pair[1] - pair[0]) / longest * 6.0;
        let (from, to) = (x(pair[0]), x(pair[1]));
        let _ = write!(
            svg,
            "<rect class=gap x={from:.1} y={:.1} width={:.1} height={tall:.1} />",
            HEIGHT - tall,
            (to - from).max(0.6)
        );
    }
    svg.push_str("</svg>");
    svg
}

fn milliseconds(ms: f64) -> String {
    match ms {
        ms if ms >= 10_000.0 => format!("{:.1} s", ms / 1e3),
        ms if ms >= 10.0 => format!("{ms:.0} ms"),
        ms => format!("{ms:.2} ms"),
    }
}
