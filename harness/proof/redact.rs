//! What never goes into a bundle: bearer tokens, keys, JWTs, passwords.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::Regex;

const REDACTED: &str = "[REDACTED]";

/// Variables whose values are secrets wherever they occur.
const VARIABLES: [&str; 4] = ["LLORCH_API_TOKEN", "LLORCH_NODE_TOKEN", "LLORCH_SPAWN_TOKEN", "HF_TOKEN"];
/// Shorter values would take ordinary words out of a text.
const SHORTEST: usize = 8;

/// Each expression, and what stands in its place.
static PATTERNS: LazyLock<Vec<(Regex, &'static str)>> = LazyLock::new(|| {
    let patterns = [
        (r"(?i)\b(bearer)(\s+|%20)[A-Za-z0-9._~+/=-]{6,}", "$1 [REDACTED]"),
        (r"\beyJ[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]*", REDACTED),
        (r"://([^/\s:@\x22]*):[^/\s@\x22]+@", "://$1:[REDACTED]@"),
        (r"\b(?:sk|hf|ghp|gho|xox[bp])[-_][A-Za-z0-9_-]{10,}", REDACTED),
        (
            r"(?i)(\x22(?:[a-z_]*(?:api_?key|password|passwd|secret|authorization|_token))\x22\s*:\s*\x22)[^\x22]+",
            "$1[REDACTED]",
        ),
        (r"(?i)([?&](?:api_?key|password|secret|[a-z_]*token)=)[^&\s\x22]+", "$1[REDACTED]"),
    ];
    patterns.map(|(pattern, with)| (Regex::new(pattern).expect("a fixed expression"), with)).to_vec()
});

/// Replaces secrets in a text, JSON or not.
#[derive(Clone, Debug, Default)]
pub struct Redactor {
    known: Vec<String>,
}

impl Redactor {
    /// Knows the tokens of this process's environment, and these.
    pub fn new(secrets: impl IntoIterator<Item = String>) -> Redactor {
        let lists = VARIABLES.iter().filter_map(|name| std::env::var(name).ok()).chain(secrets);
        // a variable may list two, so that they can be rotated
        let each: Vec<String> =
            lists.flat_map(|list| list.split(',').map(|one| one.trim().to_owned()).collect::<Vec<_>>()).collect();
        Redactor { known: each.into_iter().filter(|secret| secret.len() >= SHORTEST).collect() }
    }

    pub fn clean(&self, text: &str) -> String {
        let mut text = Cow::Borrowed(text);
        for secret in &self.known {
            if text.contains(secret.as_str()) {
                text = Cow::Owned(text.replace(secret.as_str(), REDACTED));
            }
        }
        for (pattern, with) in PATTERNS.iter() {
            if pattern.is_match(&text) {
                text = Cow::Owned(pattern.replace_all(&text, *with).into_owned());
            }
        }
        text.into_owned()
    }
}
