//! What must hold for a stream: one named rule each, in a table. A rule judges one thing and leaves the rest to others,
//! so that a stream with one mistake breaks one rule.

use serde_json::Value;

use super::{End, Transcript, field, is_terminal};
use crate::harness::contract::{Message, violations};
use crate::harness::http::media_type;
use crate::harness::sse::{Frame, ProblemKind, Severity};
use crate::harness::{Finding, Verdict};

/// Which streams a rule can judge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Any stream, also one that the harness left.
    Beginning,
    /// Streams that were read to their end.
    Whole,
    /// Only where a case knows that it applies: it calls the rule by name.
    OnRequest,
}

#[derive(Debug)]
pub struct Rule {
    pub name: &'static str,
    /// The requirement's id.
    pub requirement: &'static str,
    /// What holds, as a sentence.
    pub holds: &'static str,
    pub scope: Scope,
    check: fn(&Transcript) -> Result<(), Finding>,
}

macro_rules! rules {
    ($($scope:ident $requirement:literal $name:literal $check:expr, $holds:literal;)*) => {
        /// Every rule.
        pub const RULES: &[Rule] = &[$(
            Rule { name: $name, requirement: $requirement, holds: $holds, scope: Scope::$scope, check: $check },
        )*];
    };
}

rules! {
    // The bytes
    Beginning "M0-W-1310" "content-type" content_type, "the content type is text/event-stream";
    Beginning "M0-W-1310" "content-encoding" content_encoding, "the stream is not compressed";
    Beginning "M0-W-1310" "correlation-id" correlation_id, "X-Correlation-Id is echoed, or a fresh UUIDv4";
    Beginning "M0-W-1310" "utf8" utf8, "all bytes are UTF-8";
    Beginning "M0-W-1310" "event-line" event_line, "each frame has an event line";
    Beginning "M0-W-1310" "line-length" line_length, "no line is longer than a reader can hold";
    Beginning "M0-W-1310" "one-line-data" one_line_data, "each frame has one data line";
    Beginning "M0-W-1310" "json-data" json_data, "the data of each event is a JSON object";
    Whole "M0-W-1310" "frame-complete" frame_complete, "a blank line ends the last frame";
    Whole "M0-W-1310" "clean-end" clean_end, "the worker closes the stream";
    Whole "M0-W-1310" "tidy-fields" tidy_fields, "no field is there that clients ignore";
    // The order
    Beginning "M0-W-1311" "started-first" started_first, "started comes first, or error alone";
    Beginning "M0-W-1311" "started-once" started_once, "started comes once";
    Beginning "M0-W-1311" "no-token-after-terminal" no_token_after_terminal, "no token follows end or error";
    Beginning "M0-W-1311" "terminal-last" terminal_last, "nothing follows end or error";
    Whole "M0-W-1311" "terminal-once" terminal_once, "exactly one end or error comes";
    // The fields
    Beginning "M0-W-1312" "started-fields" |t| fields(t, "started", |f| f != "started_at"), "started has its fields";
    Beginning "M0-W-1312" "started-at" |t| fields(t, "started", |f| f == "started_at"), "started_at is RFC 3339, UTC";
    Beginning "M0-W-1312" "job-id" job_id, "started echoes the job_id";
    Beginning "M0-W-1312" "seed-asked" seed_asked, "started reports the seed that was asked for";
    Beginning "M0-W-1312" "token-text" |t| fields(t, "token", |f| f == "t"), "t is a string that is not empty";
    Beginning "M0-W-1312" "token-fields" |t| fields(t, "token", |f| f != "t"), "token has its fields";
    Beginning "M0-W-1312" "token-index" token_index, "i counts token events: 0, 1, 2, …";
    Beginning "M0-W-1312" "own-text" own_text, "t is the token's own text, not the text so far";
    Beginning "M0-W-1312" "metrics-fields" |t| fields(t, "metrics", |_| true), "metrics has its fields";
    Beginning "M0-W-1312" "error-code" |t| fields(t, "error", |f| f == "code"), "the error's code is a known one";
    Beginning "M0-W-1312" "error-fields" |t| fields(t, "error", |f| f != "code"), "error has its fields";
    Beginning "M0-W-1312" "stop-reason" |t| fields(t, "end", |f| f == "stop_reason"), "stop_reason is a known one";
    Beginning "M0-W-1312" "end-fields" |t| fields(t, "end", |f| f != "stop_reason"), "end has its fields";
    Beginning "M0-W-1312" "seed-equal" seed_equal, "started and end report the same seed";
    // The numbers and the text
    Beginning "M0-W-1312" "tokens-out-limit" tokens_out_limit, "tokens_out is at most max_tokens";
    Beginning "M0-W-1312" "tokens-out-count" tokens_out_count, "tokens_out is at least the number of token events";
    Beginning "M0-W-1422" "stop-sequence" stop_sequence, "a matched stop is one of the request's, and told";
    Beginning "M0-W-1422" "stop-not-emitted" stop_not_emitted, "the text holds no stop sequence";
    OnRequest "M0-W-1312" "max-tokens-exact" max_tokens_exact, "with MAX_TOKENS and room, tokens_out equals max_tokens";
    OnRequest "M0-W-1312" "no-replacement-character" no_replacement, "the text holds no U+FFFD";
    OnRequest "M0-W-1310" "arrival-spread" arrival_spread, "tokens arrive as they are computed";
}

impl Rule {
    pub fn by_name(name: &str) -> Option<&'static Rule> {
        RULES.iter().find(|rule| rule.name == name)
    }

    /// A stream that was not read to its end can't show what only its end shows.
    fn judge(&self, transcript: &Transcript) -> Result<(), Finding> {
        if self.scope == Scope::Whole && !transcript.is_whole() {
            let finding =
                Finding::error(format!("a stream read to its end ({})", self.holds), transcript.end.to_string());
            return Err(transcript.evidence(finding));
        }
        (self.check)(transcript)
    }
}

impl Transcript {
    /// Whether it was the worker that ended the stream.
    pub fn is_whole(&self) -> bool {
        !matches!(self.end, End::Open | End::Disconnected)
    }

    /// Judges by one rule.
    pub fn judge(&self, rule: &str) -> Result<(), Finding> {
        let unknown = || Finding::error("a rule for streams", format!("there is none named {rule:?}"));
        Rule::by_name(rule).ok_or_else(unknown)?.judge(self)
    }

    /// Every rule of these scopes that is broken.
    pub fn broken(&self, scopes: &[Scope]) -> Vec<(&'static Rule, Finding)> {
        let rules = RULES.iter().filter(|rule| scopes.contains(&rule.scope));
        rules.filter_map(|rule| Some((rule, rule.judge(self).err()?))).collect()
    }

    /// Judges a whole stream by all rules that hold for every stream.
    pub fn judge_all(&self) -> Result<(), Finding> {
        self.gathered(self.broken(&[Scope::Beginning, Scope::Whole]))
    }

    /// Judges a stream that the harness left before its end.
    pub fn judge_beginning(&self) -> Result<(), Finding> {
        self.gathered(self.broken(&[Scope::Beginning]))
    }

    /// One finding for several: each rule with what was found, the worst verdict, the evidence of the first.
    fn gathered(&self, broken: Vec<(&'static Rule, Finding)>) -> Result<(), Finding> {
        let gravest = |finding: &Finding| match finding.verdict {
            Verdict::Error => 3,
            Verdict::Fail => 2,
            _ => 1,
        };
        let Some(verdict) = broken.iter().map(|(_, finding)| finding).max_by_key(|f| gravest(f)).map(|f| f.verdict)
        else {
            return Ok(());
        };
        let expected: Vec<&str> = broken.iter().map(|(rule, _)| rule.holds).collect();
        let told = |rule: &Rule, finding: &Finding| {
            format!("[{}] {}, expected {}", rule.name, finding.found, finding.expected)
        };
        let found = broken.iter().map(|(rule, finding)| told(rule, finding));
        let mut finding = Finding::new(verdict, expected.join("; "), found.collect::<Vec<_>>().join("; "));
        finding.evidence = broken.into_iter().next().map(|(_, first)| first.evidence).unwrap_or_default();
        Err(finding)
    }

    fn wrong(
        &self,
        expected: impl Into<String>,
        found: impl Into<String>,
        frame: Option<usize>,
    ) -> Result<(), Finding> {
        Err(self.evidence_around(Finding::fail(expected, found), frame))
    }

    /// The request's `max_tokens`, or the default.
    fn max_tokens(&self) -> u64 {
        let asked = self.request.body_json().and_then(|body| integer(body.get("max_tokens")?));
        asked.unwrap_or(2048)
    }

    fn index_of(&self, wanted: impl Fn(&Frame) -> bool) -> Option<usize> {
        self.frames.iter().position(wanted)
    }
}

/// JSON has one kind of number: 2.0 is an integer too.
fn integer(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_f64().filter(|number| number.fract() == 0.0 && *number >= 0.0).map(|n| n as u64))
}

fn content_type(t: &Transcript) -> Result<(), Finding> {
    let found = media_type(&t.headers);
    if found == "text/event-stream" {
        return Ok(());
    }
    t.wrong("content type text/event-stream", if found.is_empty() { "none".into() } else { found }, None)
}

fn content_encoding(t: &Transcript) -> Result<(), Finding> {
    match t.headers.get("content-encoding").filter(|coding| !coding.eq_ignore_ascii_case("identity")) {
        None => Ok(()),
        Some(coding) => t.wrong("a stream without content encoding", format!("content encoding {coding:?}"), None),
    }
}

fn correlation_id(t: &Transcript) -> Result<(), Finding> {
    let is_valid =
        |id: &&str| (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let asked = t.request.headers.get("x-correlation-id").filter(is_valid);
    let shown =
        |id: Option<&str>| id.map_or("no X-Correlation-Id".to_string(), |id| format!("X-Correlation-Id {id:?}"));
    match (asked, t.headers.get("x-correlation-id")) {
        (Some(asked), answered) if answered != Some(asked) => {
            t.wrong(format!("X-Correlation-Id {asked:?} echoed"), shown(answered), None)
        }
        (None, answered) if !answered.is_some_and(is_uuid_v4) => {
            t.wrong("a fresh UUIDv4 as X-Correlation-Id", shown(answered), None)
        }
        _ => Ok(()),
    }
}

fn is_uuid_v4(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            14 => byte == b'4',
            19 => matches!(byte, b'8' | b'9' | b'a' | b'b' | b'A' | b'B'),
            _ => byte.is_ascii_hexdigit(),
        })
}

/// The first problem of this kind that the parser recorded.
fn free_of(t: &Transcript, kind: ProblemKind, expected: &str) -> Result<(), Finding> {
    match t.problems.iter().find(|problem| problem.kind == kind) {
        None => Ok(()),
        Some(problem) => {
            let frame =
                t.index_of(|frame| (frame.offset..frame.offset + frame.raw.len() as u64).contains(&problem.offset));
            t.wrong(expected, format!("at byte {}: {}", problem.offset, problem.detail), frame)
        }
    }
}

fn utf8(t: &Transcript) -> Result<(), Finding> {
    free_of(t, ProblemKind::InvalidUtf8, "UTF-8")
}

fn event_line(t: &Transcript) -> Result<(), Finding> {
    free_of(t, ProblemKind::NoEvent, "an event line in each frame")
}

fn line_length(t: &Transcript) -> Result<(), Finding> {
    free_of(t, ProblemKind::LineTooLong, "lines that a reader can hold")
}

fn frame_complete(t: &Transcript) -> Result<(), Finding> {
    free_of(t, ProblemKind::Incomplete, "a blank line after the last frame")
}

fn tidy_fields(t: &Transcript) -> Result<(), Finding> {
    match t.problems.iter().find(|problem| problem.severity() == Severity::Should) {
        None => Ok(()),
        Some(problem) => {
            let found = format!("at byte {}: {}", problem.offset, problem.detail);
            Err(t.evidence(Finding::new(Verdict::NonStrict, "only fields that clients read", found)))
        }
    }
}

fn one_line_data(t: &Transcript) -> Result<(), Finding> {
    match t.index_of(|frame| frame.data_lines > 1) {
        None => Ok(()),
        Some(at) => t.wrong("one data line in each frame", format!("{} data lines", t.frames[at].data_lines), Some(at)),
    }
}

fn json_data(t: &Transcript) -> Result<(), Finding> {
    for (at, frame) in t.frames.iter().enumerate() {
        if Message::of_event(frame.name()).is_none() {
            continue; // unknown events are legal, and their data is their own
        }
        let found = match frame.json() {
            Ok(Value::Object(_)) => continue,
            Ok(other) => format!("{}: {other}", frame.name()),
            Err(error) => format!("{}: {error}", frame.name()),
        };
        return t.wrong("a JSON object as data", found, Some(at));
    }
    Ok(())
}

fn clean_end(t: &Transcript) -> Result<(), Finding> {
    if t.end == End::Closed { Ok(()) } else { t.wrong("the stream closed by the worker", t.end.to_string(), None) }
}

fn started_first(t: &Transcript) -> Result<(), Finding> {
    match t.frames.first() {
        None => Ok(()), // an empty stream lacks its terminal event
        Some(first) if first.is("started") => Ok(()),
        // A job that was refused or cancelled while it waited: error stands alone.
        Some(first) if first.is("error") => Ok(()),
        Some(first) => t.wrong("started as the first event, or error alone", first.name(), Some(0)),
    }
}

fn started_once(t: &Transcript) -> Result<(), Finding> {
    match t.frames.iter().enumerate().filter(|(_, frame)| frame.is("started")).nth(1) {
        None => Ok(()),
        Some((at, _)) => t.wrong("started once", format!("again as event {at}"), Some(at)),
    }
}

/// The first frame behind the first terminal one that is of this kind.
fn after_terminal(t: &Transcript, wanted: impl Fn(&Frame) -> bool) -> Option<usize> {
    let terminal = t.index_of(is_terminal)?;
    t.frames[terminal + 1..].iter().position(wanted).map(|at| terminal + 1 + at)
}

fn no_token_after_terminal(t: &Transcript) -> Result<(), Finding> {
    match after_terminal(t, |frame| frame.is("token")) {
        None => Ok(()),
        Some(at) => t.wrong("no token after end or error", format!("a token as event {at}"), Some(at)),
    }
}

fn terminal_last(t: &Transcript) -> Result<(), Finding> {
    // Tokens, a second start and a second end have rules of their own.
    match after_terminal(t, |frame| !frame.is("token") && !frame.is("started") && !is_terminal(frame)) {
        None => Ok(()),
        Some(at) => t.wrong("nothing after end or error", format!("{} as event {at}", t.frames[at].name()), Some(at)),
    }
}

fn terminal_once(t: &Transcript) -> Result<(), Finding> {
    let terminals: Vec<usize> = (0..t.frames.len()).filter(|at| is_terminal(&t.frames[*at])).collect();
    match terminals[..] {
        [_] => Ok(()),
        [] => t.wrong("exactly one end or error", format!("none ({})", t.summary()), t.frames.len().checked_sub(1)),
        [_, second, ..] => {
            t.wrong("exactly one end or error", format!("{} of them: {}", terminals.len(), t.summary()), Some(second))
        }
    }
}

/// The events of this name against their schema, as far as these fields are concerned.
fn fields(t: &Transcript, event: &str, concerned: fn(&str) -> bool) -> Result<(), Finding> {
    let Some(message) = Message::of_event(event) else { return Ok(()) };
    for (at, frame) in t.frames.iter().enumerate().filter(|(_, frame)| frame.is(event)) {
        let Ok(data @ Value::Object(_)) = frame.json() else { continue };
        let found = violations(message, &data)?;
        if let Some(violation) = found.iter().find(|violation| concerned(violation.field())) {
            let expected = format!("{event}.{}: {}", violation.path, violation.expected);
            return t.wrong(expected, &violation.found, Some(at));
        }
    }
    Ok(())
}

fn job_id(t: &Transcript) -> Result<(), Finding> {
    let asked = t.request.body_json().and_then(|body| body.get("job_id").cloned());
    equal(t, "started", "job_id", asked)
}

fn seed_asked(t: &Transcript) -> Result<(), Finding> {
    let asked = t.request.body_json().and_then(|body| body.get("seed").filter(|seed| seed.is_u64()).cloned());
    equal(t, "started", "seed", asked)
}

fn seed_equal(t: &Transcript) -> Result<(), Finding> {
    equal(t, "end", "seed", t.field("started", "seed").filter(Value::is_u64))
}

/// A field that must have a value that is known; nothing to compare where either is absent or of another type (that is
/// another rule).
fn equal(t: &Transcript, event: &str, name: &str, wanted: Option<Value>) -> Result<(), Finding> {
    let (Some(wanted), Some(at)) = (wanted, t.index_of(|frame| frame.is(event))) else { return Ok(()) };
    let same = |found: &Value| match (integer(found), integer(&wanted)) {
        (Some(found), Some(wanted)) => found == wanted,
        _ => *found == wanted || std::mem::discriminant(found) != std::mem::discriminant(&wanted),
    };
    match field(&t.frames[at], name) {
        Some(found) if !same(&found) => t.wrong(format!("{event}.{name} {wanted}"), found.to_string(), Some(at)),
        _ => Ok(()),
    }
}

fn token_index(t: &Transcript) -> Result<(), Finding> {
    let tokens = t.frames.iter().enumerate().filter(|(_, frame)| frame.is("token"));
    for (wanted, (at, frame)) in tokens.enumerate() {
        let Some(found) = field(frame, "i") else { continue };
        if integer(&found).is_some_and(|index| index != wanted as u64) {
            return t.wrong(format!("token.i {wanted}, counting token events from 0"), found.to_string(), Some(at));
        }
    }
    Ok(())
}

/// Text so far grows with each event and begins as the last one did; four such events in a row are no accident.
fn own_text(t: &Transcript) -> Result<(), Finding> {
    let tokens = t.frames.iter().enumerate().filter(|(_, frame)| frame.is("token"));
    let texts: Vec<(usize, String)> =
        tokens.filter_map(|(at, frame)| Some((at, field(frame, "t")?.as_str()?.to_owned()))).collect();
    let grows = |pair: &[(usize, String)]| pair[1].1.len() > pair[0].1.len() && pair[1].1.starts_with(&pair[0].1);
    match texts.get(3) {
        Some((at, text)) if texts.windows(2).all(grows) => {
            t.wrong("the text of one token in each event", format!("all the text so far, again: {text:?}"), Some(*at))
        }
        _ => Ok(()),
    }
}

fn tokens_out(t: &Transcript) -> Option<(u64, usize)> {
    let at = t.index_of(|frame| frame.is("end"))?;
    Some((integer(&field(&t.frames[at], "tokens_out")?)?, at))
}

fn tokens_out_limit(t: &Transcript) -> Result<(), Finding> {
    let most = t.max_tokens();
    match tokens_out(t) {
        Some((count, at)) if count > most => t.wrong(format!("tokens_out {most} at most"), count.to_string(), Some(at)),
        _ => Ok(()),
    }
}

fn tokens_out_count(t: &Transcript) -> Result<(), Finding> {
    // Tokens after the end have a rule of their own.
    let events = t.frames.iter().take_while(|frame| !is_terminal(frame)).filter(|frame| frame.is("token")).count();
    match tokens_out(t) {
        Some((count, at)) if count < events as u64 => {
            t.wrong(format!("tokens_out {events} at least, the number of token events"), count.to_string(), Some(at))
        }
        _ => Ok(()),
    }
}

fn max_tokens_exact(t: &Transcript) -> Result<(), Finding> {
    let wanted = t.max_tokens();
    match tokens_out(t) {
        Some((count, at)) if t.stop_reason().as_deref() == Some("MAX_TOKENS") && count != wanted => {
            t.wrong(format!("tokens_out {wanted}, since it stopped with MAX_TOKENS"), count.to_string(), Some(at))
        }
        Some(_) => Ok(()),
        None => t.wrong("an end event with tokens_out", t.summary(), None),
    }
}

fn asked_stops(t: &Transcript) -> Vec<String> {
    let body = t.request.body_json().unwrap_or_default();
    let stops = body.get("stop").and_then(Value::as_array).cloned().unwrap_or_default();
    stops.iter().filter_map(|stop| Some(stop.as_str()?.to_string())).collect()
}

fn stop_sequence(t: &Transcript) -> Result<(), Finding> {
    let Some(at) = t.index_of(|frame| frame.is("end")) else { return Ok(()) };
    let (Some(reason), Some(matched)) = (t.stop_reason(), field(&t.frames[at], "stop_sequence_matched")) else {
        return Ok(());
    };
    let stops = asked_stops(t);
    match (reason.as_str(), matched) {
        ("STOP_SEQUENCE", Value::String(matched)) if stops.contains(&matched) => Ok(()),
        ("STOP_SEQUENCE", other) => {
            t.wrong(format!("one of the request's stop sequences {stops:?}"), other.to_string(), Some(at))
        }
        ("MAX_TOKENS" | "EOS", Value::String(matched)) => {
            t.wrong(format!("stop_sequence_matched null with {reason}"), format!("{matched:?}"), Some(at))
        }
        _ => Ok(()),
    }
}

fn stop_not_emitted(t: &Transcript) -> Result<(), Finding> {
    let text = t.text();
    match asked_stops(t).into_iter().find(|stop| !stop.is_empty() && text.contains(stop.as_str())) {
        None => Ok(()),
        Some(stop) => t.wrong(format!("a text without {stop:?}"), format!("{text:?}"), None),
    }
}

fn no_replacement(t: &Transcript) -> Result<(), Finding> {
    let holds =
        |frame: &Frame| field(frame, "t").is_some_and(|text| text.as_str().is_some_and(|t| t.contains('\u{fffd}')));
    match t.index_of(|frame| frame.is("token") && holds(frame)) {
        None => Ok(()),
        Some(at) => t.wrong("text without U+FFFD", "a replacement character", Some(at)),
    }
}

fn arrival_spread(t: &Transcript) -> Result<(), Finding> {
    let arrivals = t.burst()?;
    if arrivals.largest_share <= super::arrivals::BURST_SHARE {
        return Ok(());
    }
    t.wrong("token events spread over the time of the computation", arrivals.to_string(), None)
}
