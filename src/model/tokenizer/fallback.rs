//! Vocabularies of SentencePiece's kind: tokens are text with `▁` for the blank, and what is no token is spelled in its
//! bytes, `<0x00>` to `<0xFF>`.

use super::vocabulary::TokenKind;
use super::{TokenTable, TokenizerError, Vocabulary};

/// A blank, as the tokens spell it.
pub const BLANK: &str = "▁";

/// What each id spells, and the token of each single byte.
pub fn table(vocabulary: &Vocabulary) -> Result<(TokenTable, [u32; 256]), TokenizerError> {
    vocabulary.check_sizes()?;
    let mut table = TokenTable::ending_with(vocabulary.eos.clone());
    let mut byte_tokens = [None; 256];
    for (id, token) in (0..).zip(&vocabulary.tokens) {
        match vocabulary.kind(id) {
            TokenKind::Normal | TokenKind::UserDefined => table.push(token.replace(BLANK, " ").as_bytes(), false),
            TokenKind::Control => table.push(token.as_bytes(), true),
            TokenKind::Unknown | TokenKind::Unused => table.push(b"", true),
            TokenKind::Byte => {
                let byte = byte_of(token).ok_or_else(|| TokenizerError::NotAByte { id, token: token.clone() })?;
                byte_tokens[usize::from(byte)] = Some(id);
                table.push(&[byte], false);
            }
        }
    }
    let mut bytes = [0; 256];
    for (byte, found) in byte_tokens.into_iter().enumerate() {
        bytes[byte] = found.ok_or(TokenizerError::NoByteToken { byte: byte as u8 })?;
    }
    Ok((table, bytes))
}

/// `<0x0A>` is the byte 10.
pub fn byte_of(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    (digits.len() == 2).then(|| u8::from_str_radix(digits, 16).ok()).flatten()
}
