//! Stop sequences taken from a text that the worker has written: the worker must find them there when it writes it again.

use serde_json::{Value, json};

use super::Scene;
use crate::harness::Finding;
use crate::harness::transcript::{Transcript, field};

/// Where in the text the stop sequences are from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Stops {
    Middle,
    /// Half in one token event, half in the next.
    Borders,
    /// The text's last characters and then something that does not follow: held back, and never matched.
    Unfinished,
    /// Two that end at the same character, in both orders.
    Together,
}

impl Stops {
    pub fn of(words: &str) -> Stops {
        match words {
            "stop sequences across the borders of its tokens" => Stops::Borders,
            "a stop sequence that its end only begins" => Stops::Unfinished,
            "two stop sequences that match together, in both orders" => Stops::Together,
            _ => Stops::Middle,
        }
    }
}

impl Scene {
    pub fn run_with_stops(&mut self, stops: Stops) -> Result<(), Finding> {
        let text = self.run(json!({ "temperature": 0.0 }))?;
        let whole = &self.runs.last().ok_or_else(|| Finding::error("a run", "none was made"))?.transcript;
        let lists = match stops {
            Stops::Middle => piece(&text, 4).into_iter().map(|stop| vec![stop]).collect(),
            Stops::Borders => borders(whole).into_iter().map(|stop| vec![stop]).collect(),
            Stops::Unfinished => vec![vec![unfinished(&text)]],
            Stops::Together => together(&text),
        };
        if lists.is_empty() {
            return Err(Finding::unimplemented("a text to take stop sequences from", format!("the text {text:?}")));
        }
        lists.into_iter().try_for_each(|stops| self.run(json!({ "temperature": 0.0, "stop": stops })).map(drop))
    }

    /// The first text is whole; each that follows is the first up to the first stop sequence of its request.
    pub fn texts_end_before_their_stops(&mut self) -> Result<(), Finding> {
        let [whole, stopped @ ..] = &self.runs[..] else {
            return Err(Finding::error("a whole text and stopped ones", "nothing was run"));
        };
        let whole = whole.transcript.text();
        for run in stopped {
            let Some(stop) = run.asked.get("stop").and_then(|stops| stops[0].as_str()) else { continue };
            let last = &run.transcript;
            let wanted = whole.split(stop).next().unwrap_or_default();
            let (text, reason) = (last.text(), last.stop_reason().unwrap_or_default());
            let told = |what: &str| format!("{what} (without a stop sequence the text is {whole:?})");
            let (expected, found) = if text != wanted {
                (format!("the text up to the stop sequence {stop:?}: {wanted:?}"), told(&format!("{text:?}")))
            } else if reason != "STOP_SEQUENCE" {
                (format!("stop_reason \"STOP_SEQUENCE\", since {stop:?} was reached"), told(&format!("{reason:?}")))
            } else {
                match last.need("end", "stop_sequence_matched")? {
                    Value::String(named) if named == stop => continue,
                    other => (format!("stop_sequence_matched {stop:?}, the first in the request"), other.to_string()),
                }
            };
            return Err(last.evidence(Finding::fail(expected, found)));
        }
        Ok(())
    }
}

/// Some characters from the middle, more than blanks.
fn piece(text: &str, length: usize) -> Option<String> {
    let characters: Vec<char> = text.chars().collect();
    let middle: String = characters.iter().skip(characters.len() / 2).take(length).collect();
    (middle.trim().chars().count() > 1).then_some(middle)
}

/// The end of one token event with the beginning of the next, from three places.
fn borders(whole: &Transcript) -> Vec<String> {
    let texts: Vec<String> = whole.tokens().filter_map(|frame| Some(field(frame, "t")?.as_str()?.to_owned())).collect();
    let across = |pair: &[String]| -> Option<String> {
        let end: String = pair[0].chars().rev().take(2).collect::<Vec<_>>().into_iter().rev().collect();
        let stop: String = end.chars().chain(pair[1].chars().take(2)).collect();
        (stop.trim().chars().count() > 1).then_some(stop)
    };
    texts.windows(2).skip(texts.len() / 3).filter_map(across).take(3).collect()
}

fn unfinished(text: &str) -> String {
    let end: String = text.chars().rev().take(3).collect::<Vec<_>>().into_iter().rev().collect();
    format!("{end}§§")
}

/// `one` and its end `ne`, from the first place where neither stands before.
fn together(text: &str) -> Vec<Vec<String>> {
    let characters: Vec<(usize, char)> = text.char_indices().collect();
    for at in characters.len() / 3..characters.len().saturating_sub(3) {
        let (start, inner) = (characters[at].0, characters[at + 1].0);
        let end = characters.get(at + 3).map_or(text.len(), |(index, _)| *index);
        let (long, short) = (&text[start..end], &text[inner..end]);
        let is_first = text.find(long) == Some(start) && text.find(short) == Some(inner);
        if is_first && long.chars().all(char::is_alphanumeric) {
            let (long, short) = (long.to_owned(), short.to_owned());
            return vec![vec![long.clone(), short.clone()], vec![short, long]];
        }
    }
    Vec::new()
}
