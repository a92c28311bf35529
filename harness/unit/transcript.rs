//! The rules of a stream: for each, streams that break it and nothing else.

use std::collections::BTreeSet;
use std::time::Duration;

use super::oddities::oddities;
use llorch::harness::Verdict;
use llorch::harness::http::{Headers, Request};
use llorch::harness::transcript::{End, RULES, Scope, Transcript};
use serde_json::{Value, json};

use super::serve::{execute, stream_headers};

pub const TESTS: &[(&str, fn())] = &[
    ("transcript/each_rule_catches_its_own", each_rule_catches_its_own),
    ("transcript/every_rule_has_a_violation", every_rule_has_a_violation),
    ("transcript/what_is_allowed", what_is_allowed),
    ("transcript/unread_ends_are_not_passed", unread_ends_are_not_passed),
    ("transcript/bursts", bursts),
    ("transcript/evidence", evidence),
    ("transcript/unknown_rule", unknown_rule),
    ("transcript/texts_and_ids", texts_and_ids),
];

fn ordinary() -> String {
    String::from_utf8(oddities()[0].body("j-1", 7)).unwrap()
}

fn replay(body: &[u8]) -> Transcript {
    Transcript::replay(execute(), stream_headers(), body)
}

/// The ordinary stream with one text replaced, which must be in it.
fn with(from: &str, to: &str) -> Transcript {
    let body = ordinary();
    assert!(body.contains(from), "{from} is not in the stream");
    replay(body.replacen(from, to, 1).as_bytes())
}

fn bytes(from: &str, to: &[u8]) -> Transcript {
    let body = ordinary();
    let at = body.find(from).unwrap();
    replay(&[&body.as_bytes()[..at], to, &body.as_bytes()[at + from.len()..]].concat())
}

/// The ordinary stream with frames put in before the frame at this place; frame 8 is one past the end.
fn inserted(at: usize, frames: &str) -> Transcript {
    let body = ordinary();
    let mut parts: Vec<String> = body.split_inclusive("\n\n").map(str::to_string).collect();
    parts.insert(at, frames.to_string());
    replay(parts.concat().as_bytes())
}

fn without(at: usize) -> Transcript {
    let mut parts: Vec<String> = ordinary().split_inclusive("\n\n").map(str::to_string).collect();
    parts.remove(at);
    replay(parts.concat().as_bytes())
}

fn answering(body: Value, from: &str, to: &str) -> Transcript {
    Transcript { request: execute().json(&body), ..with(from, to) }
}

fn headed(name: &str, value: Option<&str>) -> Transcript {
    let mut headers = stream_headers();
    headers.0.retain(|(own, _)| own != name);
    headers.0.extend(value.map(|value| (name.to_string(), value.to_string())));
    Transcript { headers, ..replay(ordinary().as_bytes()) }
}

fn asked(extra: Value) -> Value {
    let mut body = json!({ "job_id": "j-1", "prompt": "Hello.", "seed": 7 });
    body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    body
}

const TOKEN: &str = "event: token\ndata: {\"t\":\"x\",\"i\":5}\n\n";
const ERROR: &str = "event: error\ndata: {\"code\":\"CANCELLED\",\"message\":\"cancelled\",\"retriable\":false}\n\n";

/// Each stream, and the one rule that it breaks.
fn violations() -> Vec<(&'static str, Transcript)> {
    let ended = |end| Transcript { end, ..replay(ordinary().as_bytes()) };
    let error = |from: &str, to: &str| {
        let mut parts: Vec<String> = ordinary().split_inclusive("\n\n").map(str::to_string).collect();
        parts.pop();
        replay((parts.concat() + &ERROR.replacen(from, to, 1)).as_bytes())
    };
    let so_far = || {
        let body = ordinary();
        let parts: Vec<&str> = body.split_inclusive("\n\n").collect();
        let token = |i: usize| format!("event: token\ndata: {{\"t\":{:?},\"i\":{i}}}\n\n", &"abcd"[..=i]);
        replay([parts[0], &(0..4).map(token).collect::<String>(), parts[parts.len() - 1]].concat().as_bytes())
    };
    vec![
        ("own-text", so_far()),
        ("content-type", headed("content-type", Some("text/plain"))),
        ("content-type", headed("content-type", None)),
        ("content-encoding", headed("content-encoding", Some("gzip"))),
        ("correlation-id", headed("x-correlation-id", None)),
        ("correlation-id", headed("x-correlation-id", Some("another"))),
        (
            "correlation-id",
            Transcript { request: request_without_id(), ..headed("x-correlation-id", Some("not-a-uuid")) },
        ),
        ("utf8", bytes("üße", b"\xFCe")),
        ("event-line", with("event: metrics\n", "")),
        ("line-length", inserted(1, &format!(": {}\n\n", "x".repeat(2 << 20)))),
        ("one-line-data", with(",\"i\":1}", "\ndata: ,\"i\":1}")),
        ("json-data", with("\"decode_time_ms\":400}", "\"decode_time_ms\":400")),
        ("json-data", inserted(2, "event: metrics\ndata: [1]\n\n")),
        ("json-data", with("\"t\":\"Gr\"", "\"t\":\"\\ud800\"")),
        ("frame-complete", replay(&[ordinary().as_bytes(), b"data: {}\n"].concat())),
        ("clean-end", ended(End::Reset { bytes: 10 })),
        ("clean-end", ended(End::CutShort { bytes: 10 })),
        ("clean-end", ended(End::DeadlinePassed)),
        ("clean-end", ended(End::CapReached("1 bytes".into()))),
        ("tidy-fields", with("event: metrics\n", "retry: soon\nevent: metrics\n")),
        (
            "started-first",
            inserted(
                0,
                "event: metrics\ndata: {\"tokens_per_sec\":1,\"tokens_out\":0,\"memory_bytes\":1,\"vram_bytes\":0,\"decode_time_ms\":0}\n\n",
            ),
        ),
        ("started-first", without(0)),
        ("started-once", inserted(1, &ordinary()[..ordinary().find("\n\n").unwrap() + 2])),
        ("no-token-after-terminal", inserted(8, TOKEN)),
        ("terminal-last", inserted(8, "event: trace\ndata: 1\n\n")),
        ("terminal-once", without(7)),
        ("terminal-once", inserted(8, ERROR)),
        ("terminal-once", replay(b"")),
        ("started-fields", with("\"model\":\"odd\",", "")),
        ("started-fields", with("\"seed\":7}", "\"seed\":\"7\"}")),
        ("started-at", with("03:04:05.678Z", "03:04:05.678+01:00")),
        ("started-at", with("2026-01-02T", "2026-13-02T")),
        ("job-id", with("\"job_id\":\"j-1\"", "\"job_id\":\"j-2\"")),
        ("seed-asked", replay(ordinary().replace("\"seed\":7", "\"seed\":8").as_bytes())),
        ("token-text", with("\"t\":\"Gr\"", "\"t\":\"\"")),
        ("token-text", with("\"t\":\"Gr\"", "\"t\":3")),
        ("token-text", with("\"t\":\"Gr\",", "")),
        ("token-fields", with("\"i\":1}", "\"i\":\"1\"}")),
        ("token-fields", with(",\"i\":1}", "}")),
        ("token-index", with("\"i\":1}", "\"i\":2}")),
        ("token-index", with("\"i\":0}", "\"i\":1}")),
        ("metrics-fields", with("\"vram_bytes\":0,", "")),
        ("error-code", error("CANCELLED", "OOPS")),
        ("error-fields", error("\"retriable\":false", "\"retriable\":\"no\"")),
        ("stop-reason", with("\"EOS\"", "\"LENGTH\"")),
        ("end-fields", with("\"tokens_out\":6", "\"tokens_out\":\"6\"")),
        ("end-fields", with("\"decode_time_ms\":480,", "")),
        ("seed-equal", with("null,\"seed\":7", "null,\"seed\":8")),
        ("tokens-out-limit", answering(asked(json!({ "max_tokens": 5 })), "", "")),
        ("tokens-out-count", with("\"tokens_out\":6", "\"tokens_out\":4")),
        ("stop-sequence", with("\"stop_sequence_matched\":null", "\"stop_sequence_matched\":\"x\"")),
        ("stop-sequence", with("\"EOS\"", "\"STOP_SEQUENCE\"")),
        ("stop-not-emitted", answering(asked(json!({ "stop": ["界"] })), "", "")),
        ("max-tokens-exact", answering(asked(json!({ "max_tokens": 9 })), "\"EOS\"", "\"MAX_TOKENS\"")),
        ("no-replacement-character", with("世", "\u{fffd}")),
        ("arrival-spread", spread(&[0, 900, 910, 915, 920, 925, 930, 935, 940, 945], 1000)),
    ]
}

fn request_without_id() -> Request {
    let mut request = execute();
    request.headers = Headers(request.headers.0.into_iter().filter(|(name, _)| name != "X-Correlation-Id").collect());
    request
}

/// A stream whose tokens came at these milliseconds.
fn spread(times: &[u64], decode_time_ms: u64) -> Transcript {
    let mut body = String::from("event: started\ndata: {}\n\n");
    body.push_str(&"event: token\ndata: {\"t\":\"x\",\"i\":0}\n\n".repeat(times.len()));
    body.push_str(&format!("event: end\ndata: {{\"decode_time_ms\":{decode_time_ms}}}\n\n"));
    let mut transcript = replay(body.as_bytes());
    for (frame, at) in transcript.frames[1..].iter_mut().zip(times) {
        frame.at = Duration::from_millis(*at);
    }
    transcript
}

fn each_rule_catches_its_own() {
    for (rule, transcript) in violations() {
        let finding = transcript.judge(rule).expect_err(rule);
        assert!(finding.verdict == Verdict::Fail || rule == "tidy-fields", "{rule}: {finding:?}");
        let broken: Vec<_> = transcript.broken(&[Scope::Beginning, Scope::Whole]);
        let names: Vec<_> = broken.iter().map(|(rule, finding)| format!("{}: {}", rule.name, finding.found)).collect();
        let on_request = RULES.iter().any(|known| known.name == rule && known.scope == Scope::OnRequest);
        if !on_request {
            assert_eq!(broken.len(), 1, "{rule} alone: {names:#?}");
            assert_eq!(broken[0].0.name, rule);
            assert!(transcript.judge_all().is_err());
        } else if rule != "arrival-spread" {
            assert!(broken.is_empty(), "{rule} alone: {names:#?}");
        }
    }
}

fn every_rule_has_a_violation() {
    let shown: BTreeSet<_> = violations().iter().map(|(rule, _)| *rule).collect();
    let all: BTreeSet<_> = RULES.iter().map(|rule| rule.name).collect();
    assert_eq!(shown, all);
    assert_eq!(all.len(), RULES.len(), "names are unique");
}

fn what_is_allowed() {
    let uuid = "0b0a2c3e-6f1d-4a5b-9c8d-7e6f5a4b3c2d";
    let allowed = [
        replay(ordinary().as_bytes()),
        replay(ERROR.as_bytes()), // a job that was cancelled while it waited
        with("03:04:05.678Z", "03:04:05+00:00"),
        Transcript { request: request_without_id(), ..headed("x-correlation-id", Some(uuid)) },
        headed("content-encoding", Some("identity")),
        with("\"i\":1}", "\"i\":1,\"id\":17}"),
        with("\"tokens_out\":6", "\"tokens_out\":6.0"),
        answering(
            asked(json!({ "stop": ["STOP"] })),
            "\"EOS\",\"stop_sequence_matched\":null",
            "\"STOP_SEQUENCE\",\"stop_sequence_matched\":\"STOP\"",
        ),
    ];
    for transcript in allowed {
        assert_eq!(transcript.judge_all(), Ok(()));
    }
    let exact = answering(asked(json!({ "max_tokens": 6 })), "\"EOS\"", "\"MAX_TOKENS\"");
    assert_eq!(exact.judge("max-tokens-exact"), Ok(()));
}

fn unread_ends_are_not_passed() {
    let left = Transcript { end: End::Disconnected, ..without(7) };
    assert_eq!(left.judge_beginning(), Ok(()));
    assert_eq!(left.judge("terminal-once").unwrap_err().verdict, Verdict::Error);
    assert_eq!(left.judge_all().unwrap_err().verdict, Verdict::Error);
    assert!(left.completed().is_err());
}

fn bursts() {
    let even: Vec<u64> = (1..=20).map(|i| i * 50).collect();
    assert_eq!(spread(&even, 1000).judge("arrival-spread"), Ok(()));
    assert_eq!(spread(&even, 0).judge("arrival-spread"), Ok(()), "also where the worker tells no time");
    let pairs: Vec<u64> = (1..=20).map(|i| i / 2 * 100).collect();
    assert_eq!(spread(&pairs, 1000).judge("arrival-spread"), Ok(()));
    let at_the_end = [1000; 20];
    assert!(spread(&at_the_end, 1000).judge("arrival-spread").unwrap_err().found.contains("100 %"));
    let short = spread(&[1, 2, 3, 4, 5, 6, 7, 8], 10).judge("arrival-spread").unwrap_err();
    assert_eq!(short.verdict, Verdict::Unimplemented, "too short to tell is not passed");
}

fn evidence() {
    let transcript = with("\"i\":1}", "\"i\":2}");
    let finding = transcript.judge("token-index").unwrap_err();
    assert_eq!((finding.expected.as_str(), finding.found.as_str()), ("token.i 1, counting token events from 0", "2"));
    assert!(finding.evidence[0].text.starts_with("curl -sSN -X POST"), "{finding:?}");
    let marked: Vec<_> = finding.evidence[1].text.lines().filter(|line| line.starts_with('>')).collect();
    assert_eq!(marked.len(), 1);
    assert!(marked[0].contains("[2]") && marked[0].contains("üße"), "{marked:?}");
    let long = spread(&[1; 40], 0);
    assert!(long.evidence(finding).evidence[3].text.contains("… 30 frames"));
}

fn unknown_rule() {
    assert_eq!(replay(b"").judge("no such rule").unwrap_err().verdict, Verdict::Error);
}

fn texts_and_ids() {
    let transcript = replay(ordinary().as_bytes());
    assert_eq!(transcript.tokens_out(), Some(6));
    assert_eq!(transcript.stop_reason().as_deref(), Some("EOS"));
    assert_eq!((transcript.seed(), transcript.error_code()), (Some(7), None));
    assert_eq!(transcript.token_ids(), None);
    let named = replay(b"event: token\ndata: {\"t\":\"a\",\"i\":0,\"id\":5}\n\nevent: token\ndata: {\"t\":\"b\",\"i\":1,\"ids\":[6,7]}\n\n");
    assert_eq!(named.token_ids(), Some(vec![5, 6, 7]));
    assert!(named.need("end", "tokens_out").unwrap_err().found.contains("no end event"));
}
