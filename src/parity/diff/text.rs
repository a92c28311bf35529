//! The text of a generation: no tensor, and wrong by itself where the ids are right.

use serde::Serialize;

use super::super::capture::{Capture, Manifest};
use crate::layers::Station;

/// Its name among the tensors'.
pub const TEXT: &str = "cp12.text";

/// A text as a manifest has it: in characters, in bytes, or both.
#[derive(Clone, Debug, PartialEq)]
pub struct Spelled {
    forms: Vec<Vec<u8>>,
}

impl Spelled {
    pub fn of(manifest: &Manifest) -> Spelled {
        let bytes = from_hex(&manifest.generated_bytes).unwrap_or_default();
        let forms = [bytes, manifest.generated_text.clone().into_bytes()];
        Spelled { forms: forms.into_iter().filter(|form| !form.is_empty()).collect() }
    }

    pub fn is_empty(&self) -> bool {
        self.forms.is_empty()
    }

    /// The bytes where there are any, which are never cut inside a character.
    pub fn bytes(&self) -> Vec<u8> {
        self.forms.first().cloned().unwrap_or_default()
    }

    pub fn told(&self) -> String {
        self.forms.last().map(|form| String::from_utf8_lossy(form).into_owned()).unwrap_or_default()
    }

    /// Whether all that it says is this text.
    pub fn is(&self, text: &[u8]) -> bool {
        self.forms.iter().all(|form| same(form, text))
    }

    /// Whether something that it says is this text.
    pub fn is_partly(&self, text: &[u8]) -> bool {
        self.forms.iter().any(|form| same(form, text))
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let byte = |at: usize| u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok();
    (0..text.len() / 2).map(byte).collect()
}

/// Bytes that form no character are dropped by some engines and replaced by others; special tokens are spelled or left out.
fn same(one: &[u8], other: &[u8]) -> bool {
    let plain = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes).replace(char::REPLACEMENT_CHARACTER, "");
        let mut parts = text.split("<|");
        let first = parts.next().unwrap_or_default().to_owned();
        let text = parts.fold(first, |text, part| match part.split_once("|>") {
            Some((_, after)) => text + after,
            None => text + "<|" + part,
        });
        text.replace("</s>", "").replace("<s>", "")
    };
    one == other || plain(one) == plain(other)
}

/// Other words for the same ids, or symbols of a vocabulary among them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TextDivergence {
    pub expected: String,
    pub found: String,
    /// What it looks like, where that is plain without a model.
    pub pattern: Option<&'static str>,
    /// The cause by name, where a model was there to find it with and no tensor diverges before it.
    pub diagnosis: Option<String>,
}

const SYMBOLS: &str = "the symbols of the vocabulary as they are written there, Ġ for a blank: no byte table";

/// Where the ids agree, or where no tensor differs and one side does not show them. Symbols that no text of this model has
/// are told whatever the ids.
pub(super) fn divergence(reference: &Capture, found: &Capture, tensors_agree: bool) -> Option<TextDivergence> {
    let name = Station::GeneratedIds.name(0, 0);
    let same_ids = match (reference.tensors.get(&name), found.tensors.get(&name)) {
        (Some(expected), Some(found)) => expected.to_f64() == found.to_f64(),
        _ => tensors_agree,
    };
    let (expected, shown) = (Spelled::of(&reference.manifest), Spelled::of(&found.manifest));
    // SentencePiece drops the blank before the first word of a text, though not of its continuation.
    let drops_a_blank = reference.manifest.architecture == "llama";
    let agrees = expected.forms.iter().any(|form| {
        shown.is(form)
            || (drops_a_blank && shown.forms.iter().all(|own| same(own.trim_ascii_start(), form.trim_ascii_start())))
    });
    let known = !expected.is_empty() && !shown.is_empty();
    let is_written = |text: &Spelled| text.forms.iter().any(|form| String::from_utf8_lossy(form).contains('Ġ'));
    let pattern = (is_written(&shown) && !is_written(&expected)).then_some(SYMBOLS);
    let diverges = known && !agrees && (same_ids || pattern.is_some());
    let (expected, found) = (expected.told(), shown.told());
    diverges.then_some(TextDivergence { expected, found, pattern, diagnosis: None })
}
