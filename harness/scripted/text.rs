//! From tokens to text: characters are held back until their bytes are complete, and text is held back while a stop
//! sequence may begin in it.

use super::mistakes::Slip;
use super::options::Script;

/// What a token adds to the text that the client sees.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    Text(String),
    /// A stop sequence matched; `text` is what stood before it.
    Stopped {
        text: String,
        matched: String,
    },
}

pub struct TextOut {
    script: Script,
    stops: Vec<String>,
    /// The bytes of a character that is not complete.
    bytes: Vec<u8>,
    /// Text in which a stop sequence may have begun.
    held: String,
}

impl TextOut {
    pub fn new(stops: Vec<String>, script: Script) -> Self {
        let stops = if script.plays(Slip::StopIgnored) { Vec::new() } else { stops };
        Self { script, stops, bytes: Vec::new(), held: String::new() }
    }

    pub fn push(&mut self, token: &[u8]) -> Step {
        if self.script.plays(Slip::ReplacementCharacters) {
            self.held += &String::from_utf8_lossy(token);
        } else {
            self.bytes.extend_from_slice(token);
            self.held += &take_complete(&mut self.bytes);
        }
        let in_request_order: Vec<&String> = match self.script.plays(Slip::StopLastWins) {
            true => self.stops.iter().rev().collect(),
            false => self.stops.iter().collect(),
        };
        for stop in in_request_order {
            if let Some(start) = self.held.find(stop.as_str()) {
                let end = if self.script.plays(Slip::StopEmitted) { start + stop.len() } else { start };
                return Step::Stopped { text: self.held[..end].to_string(), matched: stop.clone() };
            }
        }
        let kept = if self.script.plays(Slip::StopPerToken) { 0 } else { self.possible_beginning() };
        let rest = self.held.split_off(self.held.len() - kept);
        Step::Text(std::mem::replace(&mut self.held, rest))
    }

    /// What is left when no token follows. Bytes that never became a character are dropped.
    pub fn finish(&mut self) -> String {
        match self.script.plays(Slip::StopTailLost) {
            true => String::new(),
            false => std::mem::take(&mut self.held),
        }
    }

    /// The length of the longest end of the text with which a stop sequence begins.
    fn possible_beginning(&self) -> usize {
        let beginnings = self.stops.iter().flat_map(|stop| stop.char_indices().skip(1).map(|(end, _)| &stop[..end]));
        beginnings.filter(|beginning| self.held.ends_with(*beginning)).map(str::len).max().unwrap_or(0)
    }
}

/// Takes what is complete; drops what no further byte can complete.
fn take_complete(bytes: &mut Vec<u8>) -> String {
    let mut text = String::new();
    loop {
        match std::str::from_utf8(bytes) {
            Ok(valid) => {
                text += valid;
                bytes.clear();
                return text;
            }
            Err(error) => {
                text += &String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
                let Some(wrong) = error.error_len() else {
                    bytes.drain(..error.valid_up_to());
                    return text;
                };
                bytes.drain(..error.valid_up_to() + wrong);
            }
        }
    }
}
