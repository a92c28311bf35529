//! Who may ask for work: bearer tokens, compared in constant time.

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

/// The tokens that open a group of routes: none (everybody may), one, or two while they are rotated.
/// Only digests are kept: all of one length, so that comparing them tells nothing about a token's, and none to leak.
#[derive(Clone, Debug, Default)]
pub struct Tokens {
    digests: Vec<[u8; 32]>,
}

impl Tokens {
    /// One token, or two with a comma between.
    pub fn parse(text: &str) -> Option<Self> {
        let tokens: Vec<&str> = text.split(',').map(str::trim).collect();
        let sound = |token: &&str| !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
        (tokens.len() <= 2 && tokens.iter().all(sound))
            .then(|| Self { digests: tokens.into_iter().map(|token| digest(token.as_bytes())).collect() })
    }

    /// Six characters for each token, to tell in a log which ones are in use; nobody gets back to a token from them.
    pub fn fingerprints(&self) -> Vec<String> {
        let six = |digest: &[u8; 32]| digest[..3].iter().map(|byte| format!("{byte:02x}")).collect();
        self.digests.iter().map(six).collect()
    }

    pub fn is_empty(&self) -> bool {
        self.digests.is_empty()
    }

    /// Whether these headers may ask for work. Every token is compared, whichever one fits.
    pub fn admit(&self, headers: &HeaderMap) -> bool {
        if self.is_empty() {
            return true;
        }
        let Some(presented) = headers.get(AUTHORIZATION).and_then(|value| bearer(value.as_bytes())) else {
            return false;
        };
        let presented = digest(presented);
        self.digests.iter().fold(Choice::from(0), |any, known| any | known.ct_eq(&presented)).into()
    }
}

/// The token of `Bearer TOKEN`; the scheme's name is not case-sensitive.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| token.trim_ascii())
}

fn digest(token: &[u8]) -> [u8; 32] {
    Sha256::digest(token).into()
}
