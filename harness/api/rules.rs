//! What must hold of an engine's stream in its own words, rule by rule.

use serde_json::Value;

use super::{Api, reply};
use crate::harness::Finding;
use crate::harness::http::media_type;
use crate::harness::sse::ProblemKind;
use crate::harness::transcript::{End, Transcript};

/// A stream, with its messages read as far as they can be.
pub struct Reading<'a> {
    api: Api,
    transcript: &'a Transcript,
    /// Each with the number of its frame; `[DONE]` is none.
    messages: Vec<(usize, Value)>,
}

type Rule = fn(&Reading<'_>) -> Result<(), Finding>;

pub const RULES: [(&str, Rule); 4] = [("form", form), ("order", order), ("counts", counts), ("identity", identity)];

/// One rule by its name.
pub fn judge(api: Api, transcript: &Transcript, rule: &str) -> Result<(), Finding> {
    let (_, judge) = RULES
        .iter()
        .find(|(name, _)| *name == rule)
        .ok_or_else(|| Finding::error("a rule of engines' streams", rule))?;
    let parsed = transcript.frames.iter().enumerate().filter(|(_, frame)| frame.data != reply::DONE);
    let messages = parsed.filter_map(|(at, frame)| Some((at, frame.json().ok()?))).collect();
    judge(&Reading { api, transcript, messages })
}

impl Reading<'_> {
    fn broken(&self, expected: impl Into<String>, found: impl Into<String>, at: Option<usize>) -> Result<(), Finding> {
        Err(self.transcript.evidence_around(Finding::fail(expected, found), at))
    }

    fn done(&self) -> Vec<usize> {
        let frames = self.transcript.frames.iter().enumerate();
        frames.filter(|(_, frame)| frame.data == reply::DONE).map(|(at, _)| at).collect()
    }

    /// The messages that say why the text ended.
    fn ends(&self) -> impl Iterator<Item = (usize, &str)> {
        self.messages.iter().filter_map(|(at, data)| Some((*at, reply::reason(self.api, data)?)))
    }

    fn last_count(&self) -> Option<reply::Count> {
        self.messages.iter().rev().find_map(|(_, data)| reply::counted(self.api, data))
    }

    fn asked(&self, name: &str) -> Value {
        self.transcript.request.body_json().map(|body| body[name].clone()).unwrap_or_default()
    }
}

/// Whole server-sent events without names, each with one JSON object, to the regular end of the body.
fn form(reading: &Reading<'_>) -> Result<(), Finding> {
    let transcript = reading.transcript;
    let kind = media_type(&transcript.headers);
    if kind != "text/event-stream" {
        return reading.broken("content type text/event-stream", kind, None);
    }
    // Without a name is how they are meant to be.
    if let Some(problem) = transcript.problems.iter().find(|problem| problem.kind != ProblemKind::NoEvent) {
        return reading.broken("server-sent events, to the letter", problem.detail.clone(), None);
    }
    if transcript.end != End::Closed {
        return reading.broken("a body that comes to its end", transcript.end.to_string(), None);
    }
    for (at, frame) in transcript.frames.iter().enumerate() {
        let is_done = reading.api == Api::Openai && frame.data == reply::DONE;
        let is_message = frame.json().is_ok_and(|data| data.is_object());
        if frame.event.is_some() || frame.data_lines != 1 || !(is_done || is_message) {
            return reading.broken(
                "unnamed events, each with one JSON object on one line",
                frame.data.clone(),
                Some(at),
            );
        }
    }
    if reading.messages.iter().any(|(_, data)| !reply::text(reading.api, data).is_empty()) {
        return Ok(());
    }
    reading.broken("a message with text", transcript.summary(), None)
}

/// Texts, then one message with the reason of the end, then nothing but what counts, and for OpenAI `[DONE]`, last and once.
fn order(reading: &Reading<'_>) -> Result<(), Finding> {
    let last = reading.transcript.frames.len().saturating_sub(1);
    let ends: Vec<usize> = reading.ends().map(|(at, _)| at).collect();
    let [end] = ends[..] else {
        return reading.broken("one message that says why the text ended", format!("{} of them", ends.len()), None);
    };
    let done = reading.done();
    match reading.api {
        Api::Openai if done != [last] => {
            return reading.broken(
                "[DONE] as the last message, once",
                format!("it stands at {done:?} of 0 to {last}"),
                done.first().copied(),
            );
        }
        Api::Openai => {}
        _ if end != last || !done.is_empty() => {
            return reading.broken(
                "the message with stop: true as the last, and no [DONE]",
                reading.transcript.summary(),
                Some(end),
            );
        }
        _ => {}
    }
    let late = reading.messages.iter().find(|(at, data)| *at > end && !reply::text(reading.api, data).is_empty());
    match late {
        Some((at, _)) => reading.broken("no text after the reason of the end", "text", Some(*at)),
        None => Ok(()),
    }
}

/// What is counted is what was asked for and what was sent.
fn counts(reading: &Reading<'_>) -> Result<(), Finding> {
    let Some(count) = reading.last_count() else {
        return reading.broken("counts of the prompt's tokens and of those that were made", "none", None);
    };
    let Some((_, reason)) = reading.ends().next() else {
        return reading.broken("a reason of the end", "none", None);
    };
    let name = if reading.api == Api::Openai { "max_tokens" } else { "n_predict" };
    let asked = reading.asked(name).as_u64().unwrap_or(u64::MAX);
    let by_limit = matches!(reason, "limit" | "length");
    if count.made > asked || (by_limit && count.made != asked) {
        let expected = format!("at most {asked} tokens, and all of them where the limit ends the text ({reason})");
        return reading.broken(expected, format!("{} counted", count.made), None);
    }
    let texts = reading.messages.iter().filter(|(_, data)| !reply::text(reading.api, data).is_empty()).count() as u64;
    if texts > count.made || count.made == 0 {
        return reading.broken(
            format!("at least one token for each of {texts} messages with text"),
            format!("{} counted", count.made),
            None,
        );
    }
    match reading.api {
        Api::Openai => {
            let usage = reading.messages.iter().rev().find(|(_, data)| data["usage"].is_object());
            let total = usage.and_then(|(_, data)| data["usage"]["total_tokens"].as_u64());
            if total != Some(count.prompt + count.made) {
                let expected = format!("total_tokens {} + {}", count.prompt, count.made);
                return reading.broken(expected, format!("{total:?}"), usage.map(|(at, _)| *at));
            }
        }
        _ => {
            // The token that ends a text has no text of its own, and no message.
            let ids: usize = reading.messages.iter().map(|(_, data)| reply::ids(data).len()).sum();
            let ended = u64::from(reason == "eos");
            if !(ids as u64..=ids as u64 + ended).contains(&count.made) {
                let expected = format!("tokens_predicted as many as there were ids, {ids}");
                return reading.broken(expected, count.made.to_string(), None);
            }
        }
    }
    Ok(())
}

/// Every message is of one answer, and says what was asked for.
fn identity(reading: &Reading<'_>) -> Result<(), Finding> {
    match reading.api {
        Api::Openai => {
            for name in ["id", "object", "model"] {
                let values: Vec<(usize, &Value)> =
                    reading.messages.iter().map(|(at, data)| (*at, &data[name])).collect();
                let first = values.first().map(|(_, value)| (*value).clone()).unwrap_or_default();
                if let Some((at, other)) = values.iter().find(|(_, value)| value.is_null() || **value != first) {
                    let expected = format!("{name}, the same in every message ({first})");
                    return reading.broken(expected, other.to_string(), Some(*at));
                }
            }
            let object = reading.messages.first().map(|(_, data)| data["object"].clone()).unwrap_or_default();
            let path = reading.transcript.request.path.as_str();
            let wanted = if path.contains("chat") { "chat.completion.chunk" } else { "text_completion" };
            if object != wanted {
                return reading.broken(format!("object {wanted:?}"), object.to_string(), Some(0));
            }
        }
        _ => {
            let told = reading.messages.last().map(|(_, data)| data["generation_settings"].clone()).unwrap_or_default();
            for name in ["n_predict", "seed", "temperature"] {
                let (asked, told) = (reading.asked(name), &told[name]);
                let same = match (asked.as_f64(), told.as_f64()) {
                    (Some(asked), Some(told)) => (asked - told).abs() < 1e-6,
                    _ => false,
                };
                if !same {
                    return reading.broken(format!("generation_settings.{name}: {asked}"), told.to_string(), None);
                }
            }
        }
    }
    Ok(())
}
