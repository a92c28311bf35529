//! The vocabulary of recipe models, which have weights by rule and no training text.
//!
//! Ids 0 to 255 are the bytes, 256 is `<|endoftext|>`, and from 257 on come the words ` w0`, ` w1`, … up to the asked
//! size. There are no merges: a word is matched in the text as it is written, the longest where several begin.

use super::vocabulary::{TokenKind, Vocabulary};
use super::{TokenizerError, alphabet};

/// The id of `<|endoftext|>`.
pub const END_OF_TEXT: u32 = 256;

pub fn vocabulary(size: u32) -> Result<Vocabulary, TokenizerError> {
    let least = END_OF_TEXT as usize + 1;
    if (size as usize) < least {
        return Err(TokenizerError::RecipeTooSmall { least, asked: size });
    }
    let words = size - END_OF_TEXT - 1;
    let mut tokens: Vec<String> = (0..=255).map(|byte| alphabet::spell(&[byte])).collect();
    tokens.push("<|endoftext|>".to_owned());
    tokens.extend((0..words).map(|word| format!(" w{word}")));
    let mut kinds = vec![TokenKind::Normal; 256];
    kinds.push(TokenKind::Control);
    kinds.resize(size as usize, TokenKind::UserDefined);
    Ok(Vocabulary { tokens, kinds, merges: Vec::new(), bos: None, eos: vec![END_OF_TEXT] })
}
