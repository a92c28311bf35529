//! Stop sequences, matched on the decoded text as it grows.

/// Holds back the end of the text for as long as it may be the beginning of a stop sequence, so that a matched sequence is
/// never emitted. When one push completes several, the first in the request's order wins, at its first place.
#[derive(Clone, Debug)]
pub struct StopMatcher {
    stops: Vec<String>,
    /// Text that was pushed and not yet released: a proper prefix of a stop sequence, between pushes.
    held: String,
}

impl StopMatcher {
    pub fn new(stops: &[String]) -> StopMatcher {
        StopMatcher { stops: stops.iter().filter(|stop| !stop.is_empty()).cloned().collect(), held: String::new() }
    }

    /// Appends to `released` the text that no stop sequence can claim any more. On a match that is everything before it,
    /// the sequence is returned, and what follows it is dropped.
    pub fn push(&mut self, text: &str, released: &mut String) -> Option<&str> {
        self.held.push_str(text);
        for stop in &self.stops {
            if let Some(start) = self.held.find(stop.as_str()) {
                released.push_str(&self.held[..start]);
                self.held.clear();
                return Some(stop);
            }
        }
        let possible = self.stops.iter().map(|stop| longest_beginning(stop, &self.held)).max().unwrap_or(0);
        released.extend(self.held.drain(..self.held.len() - possible));
        None
    }

    /// The text ends here: what was held back is no stop sequence after all.
    pub fn finish(&mut self, released: &mut String) {
        released.push_str(&self.held);
        self.held.clear();
    }
}

/// The length of the longest proper prefix of `stop` that `text` ends with. Both are valid UTF-8, so it begins at a
/// character of `text`.
fn longest_beginning(stop: &str, text: &str) -> usize {
    let most = (stop.len() - 1).min(text.len());
    (1..=most).rev().find(|length| text.as_bytes().ends_with(&stop.as_bytes()[..*length])).unwrap_or(0)
}
