//! Whether two captures are of the same computation. Different models or prompts make a comparison meaningless; the
//! same prompt cut into other tokens is a divergence, and the first there can be.

use std::fmt;

use serde::Serialize;

use super::super::capture::Manifest;

/// A field that must be equal, and is not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mismatch {
    pub field: &'static str,
    pub expected: String,
    pub found: String,
}

pub(super) fn mismatches(reference: &Manifest, found: &Manifest, other_weights: bool) -> Vec<Mismatch> {
    let sizes = |name: &'static str, size: fn(&Manifest) -> usize| {
        // A capture without a manifest has no sizes.
        let known = size(reference) > 0 && size(found) > 0;
        (name, if known { size(reference).to_string() } else { String::new() }, size(found).to_string())
    };
    let prompt = if reference.prompt_sha256.is_empty() || found.prompt_sha256.is_empty() {
        ("token_ids", ids(&reference.token_ids), ids(&found.token_ids))
    } else {
        ("prompt_sha256", reference.prompt_sha256.clone(), found.prompt_sha256.clone())
    };
    let digest = |manifest: &Manifest| if other_weights { String::new() } else { manifest.model_digest.clone() };
    let fields = [
        ("architecture", reference.architecture.clone(), found.architecture.clone()),
        sizes("sizes.n_layer", |manifest| manifest.sizes.n_layer),
        sizes("sizes.n_head", |manifest| manifest.sizes.n_head),
        sizes("sizes.n_embd", |manifest| manifest.sizes.n_embd),
        sizes("sizes.n_ctx", |manifest| manifest.sizes.n_ctx),
        sizes("sizes.vocab_size", |manifest| manifest.sizes.vocab_size),
        ("model_digest", digest(reference), digest(found)),
        prompt,
        ("start_pos", reference.start_pos.to_string(), found.start_pos.to_string()),
    ];
    fields
        .into_iter()
        .filter(|(_, expected, found)| !expected.is_empty() && !found.is_empty() && expected != found)
        .map(|(field, expected, found)| Mismatch { field, expected, found })
        .collect()
}

type IsEmpty = fn(&Manifest) -> bool;

/// Fields that one side leaves empty, so that nobody can say whether they are equal.
pub(super) fn unknown(reference: &Manifest, found: &Manifest) -> Vec<&'static str> {
    let is_empty: [(&str, IsEmpty); 4] = [
        ("model_digest", |manifest| manifest.model_digest.is_empty()),
        ("sizes", |manifest| manifest.sizes.n_layer == 0),
        ("prompt_sha256", |manifest| manifest.prompt_sha256.is_empty()),
        ("token_ids", |manifest| manifest.token_ids.is_empty()),
    ];
    is_empty.into_iter().filter(|(_, is_empty)| is_empty(reference) || is_empty(found)).map(|(name, _)| name).collect()
}

/// `[15496, 13]`, or empty where there are none.
fn ids(ids: &[u32]) -> String {
    if ids.is_empty() { String::new() } else { format!("{ids:?}") }
}

/// The same text, other tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TokenDivergence {
    pub expected: Vec<u32>,
    pub found: Vec<u32>,
    /// The first index at which they differ, or at which one ends.
    pub at: usize,
    pub kind: TokenFault,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TokenFault {
    /// A token, likely a BOS, stands before the prompt's own.
    Prepended(u32),
    /// A token, likely an EOS, stands after them.
    Appended(u32),
    PromptTwice,
    /// The first tokens are missing.
    StartMissing(usize),
    /// The last tokens are missing.
    EndMissing(usize),
    Other,
}

pub(super) fn token_divergence(reference: &Manifest, found: &Manifest) -> Option<TokenDivergence> {
    let (expected, found) = (&reference.token_ids, &found.token_ids);
    if expected == found || expected.is_empty() || found.is_empty() {
        return None;
    }
    let at = expected.iter().zip(found).take_while(|(expected, found)| expected == found).count();
    let kind = match found.as_slice() {
        [first, rest @ ..] if rest == expected.as_slice() => TokenFault::Prepended(*first),
        [rest @ .., last] if rest == expected.as_slice() => TokenFault::Appended(*last),
        twice if *twice == [expected.as_slice(), expected].concat() => TokenFault::PromptTwice,
        short if expected.ends_with(short) => TokenFault::StartMissing(expected.len() - short.len()),
        short if expected.starts_with(short) => TokenFault::EndMissing(expected.len() - short.len()),
        _ => TokenFault::Other,
    };
    Some(TokenDivergence { expected: expected.clone(), found: found.clone(), at, kind })
}

impl fmt::Display for TokenDivergence {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.at;
        match self.kind {
            TokenFault::Prepended(id) => write!(out, "token {id} stands before the prompt's own: a BOS was prepended"),
            TokenFault::Appended(id) => write!(out, "token {id} was appended to the prompt's own"),
            TokenFault::PromptTwice => write!(out, "the prompt was fed twice"),
            TokenFault::StartMissing(count) => write!(out, "the first {count} of the prompt's tokens are missing"),
            TokenFault::EndMissing(count) => write!(out, "the last {count} of the prompt's tokens are missing"),
            TokenFault::Other => match (self.expected.get(at), self.found.get(at)) {
                (Some(expected), Some(found)) => write!(out, "token {at} is {found}, expected {expected}"),
                (None, Some(found)) => write!(out, "token {at} is {found}, and the prompt has only {at} tokens"),
                _ => write!(out, "there are {} tokens, expected {}", self.found.len(), self.expected.len()),
            },
        }
    }
}
