//! A vocabulary as a file lists it, and the rules that it must keep before anything is encoded with it.

use std::collections::{HashMap, HashSet};

use super::super::file::GgufTokenizer;
use super::alphabet;
use super::{TokenTable, TokenizerError};

/// Tokens by id, and merges by rank: what GGUF metadata holds, and what a `tokenizer.json` comes down to.
#[derive(Clone, Debug, Default)]
pub struct Vocabulary {
    pub tokens: Vec<String>,
    /// One for each token; empty where the file has none, and then every token but `bos` and `eos` is normal.
    pub kinds: Vec<TokenKind>,
    /// Two tokens with a space between, the first merged first.
    pub merges: Vec<String>,
    pub bos: Option<u32>,
    /// The ids that end a text.
    pub eos: Vec<u32>,
}

/// GGUF's token types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// Spelled in the byte-level alphabet.
    Normal,
    Unknown,
    /// Matched in text as written, and adds no text when sampled.
    Control,
    /// Matched in text as written, and adds that text when sampled.
    UserDefined,
    /// A place without a meaning: never encoded, adds no text.
    Unused,
    /// One byte of a character that is no token, in a vocabulary of SentencePiece.
    Byte,
}

impl TokenKind {
    /// GGUF's numbers 1 to 6.
    pub fn from_gguf(number: i32) -> Option<TokenKind> {
        Some(match number {
            1 => TokenKind::Normal,
            2 => TokenKind::Unknown,
            3 => TokenKind::Control,
            4 => TokenKind::UserDefined,
            5 => TokenKind::Unused,
            6 => TokenKind::Byte,
            _ => return None,
        })
    }

    pub fn is_literal(self) -> bool {
        matches!(self, TokenKind::Control | TokenKind::UserDefined)
    }
}

/// One merge: two tokens and the token that they become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Merge {
    pub left: u32,
    pub right: u32,
    pub merged: u32,
}

/// Without those whose two tokens become none: llama.cpp, which wants a list of merges, reads files with such stand-ins.
fn usable_merges(metadata: &GgufTokenizer) -> Vec<String> {
    let tokens: HashSet<&str> = metadata.tokens.iter().map(String::as_str).collect();
    let is_usable = |merge: &&String| match merge.split_once(' ') {
        Some((left, right)) if tokens.contains(left) && tokens.contains(right) => {
            tokens.contains(format!("{left}{right}").as_str())
        }
        _ => true, // refused with its reason
    };
    let usable: Vec<String> = metadata.merges.iter().filter(is_usable).cloned().collect();
    let dropped = metadata.merges.len() - usable.len();
    if dropped > 0 {
        tracing::warn!(dropped, "The file has merges that make no token: they are not used");
    }
    usable
}

/// A vocabulary that has passed every check.
pub struct Checked {
    pub table: TokenTable,
    /// The token of each single byte.
    pub byte_tokens: [u32; 256],
    /// By rank.
    pub merges: Vec<Merge>,
}

impl Vocabulary {
    pub fn from_gguf(metadata: &GgufTokenizer) -> Result<Vocabulary, TokenizerError> {
        let plain = Vocabulary {
            tokens: metadata.tokens.clone(),
            merges: usable_merges(metadata),
            bos: metadata.bos_token_id,
            eos: metadata.eos_token_id.into_iter().collect(),
            kinds: Vec::new(),
        };
        if metadata.token_types.is_empty() {
            return Ok(plain);
        }
        let mut vocabulary = plain.with_gguf_kinds(&metadata.token_types)?;
        // A chat's turn ends a text as well as the end of all texts does; a file names one of them.
        const ENDS: [&str; 7] =
            ["<|eot_id|>", "<|eom_id|>", "<|im_end|>", "<|end|>", "<|endoftext|>", "<|end_of_text|>", "<end_of_turn>"];
        let is_end = |id: &u32| {
            let ends = ENDS.contains(&vocabulary.tokens[*id as usize].as_str());
            ends && vocabulary.kind(*id) == TokenKind::Control && !vocabulary.eos.contains(id)
        };
        let further: Vec<u32> = (0..vocabulary.tokens.len() as u32).filter(is_end).collect();
        vocabulary.eos.extend(further);
        Ok(vocabulary)
    }

    /// Token types as GGUF numbers them.
    pub fn with_gguf_kinds(mut self, numbers: &[i32]) -> Result<Vocabulary, TokenizerError> {
        if numbers.len() != self.tokens.len() {
            return Err(TokenizerError::KindCount { tokens: self.tokens.len(), kinds: numbers.len() });
        }
        let kind = |(id, number): (usize, &i32)| {
            TokenKind::from_gguf(*number).ok_or_else(|| TokenizerError::UnknownKind {
                id,
                token: self.tokens[id].clone(),
                kind: *number,
            })
        };
        self.kinds = numbers.iter().enumerate().map(kind).collect::<Result<_, _>>()?;
        Ok(self)
    }

    pub fn kind(&self, id: u32) -> TokenKind {
        match self.kinds.get(id as usize) {
            Some(kind) => *kind,
            None if self.bos == Some(id) || self.eos.contains(&id) => TokenKind::Control,
            None => TokenKind::Normal,
        }
    }

    pub fn check(&self) -> Result<Checked, TokenizerError> {
        self.check_sizes()?;
        let ids = self.ids()?;
        Ok(Checked { table: self.table()?, byte_tokens: byte_tokens(&ids)?, merges: self.merge_list(&ids)? })
    }

    /// Every merge joins two tokens to a third.
    pub fn check_merges(&self) -> Result<(), TokenizerError> {
        self.merge_list(&self.ids()?).map(drop)
    }

    /// What holds of a vocabulary of any kind.
    pub fn check_sizes(&self) -> Result<(), TokenizerError> {
        let count = self.tokens.len();
        if count == 0 {
            return Err(TokenizerError::Empty);
        }
        if u32::try_from(count).is_err() {
            return Err(TokenizerError::TooLarge(count));
        }
        if !self.kinds.is_empty() && self.kinds.len() != count {
            return Err(TokenizerError::KindCount { tokens: count, kinds: self.kinds.len() });
        }
        for (which, id) in self.bos.iter().map(|id| ("bos", *id)).chain(self.eos.iter().map(|id| ("eos", *id))) {
            if id as usize >= count {
                return Err(TokenizerError::IdOutOfRange { which, id: id.into(), tokens: count });
            }
        }
        Ok(())
    }

    pub fn ids(&self) -> Result<HashMap<&str, u32>, TokenizerError> {
        let mut ids = HashMap::with_capacity(self.tokens.len());
        let meant = |(id, _): &(usize, &String)| self.kind(*id as u32) != TokenKind::Unused;
        for (id, token) in self.tokens.iter().enumerate().filter(meant) {
            if let Some(first) = ids.insert(token.as_str(), id as u32) {
                return Err(TokenizerError::DuplicateToken { token: token.clone(), first, second: id as u32 });
            }
        }
        Ok(ids)
    }

    fn table(&self) -> Result<TokenTable, TokenizerError> {
        let mut table = TokenTable::ending_with(self.eos.clone());
        for (id, token) in self.tokens.iter().enumerate() {
            let id = id as u32;
            match self.kind(id) {
                TokenKind::Normal => table.push(&token_bytes(id, token)?, false),
                TokenKind::Byte => {
                    return Err(TokenizerError::UnknownKind { id: id as usize, token: token.clone(), kind: 6 });
                }
                TokenKind::UserDefined => table.push(token.as_bytes(), false),
                TokenKind::Control => table.push(token.as_bytes(), true),
                TokenKind::Unknown | TokenKind::Unused => table.push(b"", true),
            }
        }
        Ok(table)
    }

    fn merge_list(&self, ids: &HashMap<&str, u32>) -> Result<Vec<Merge>, TokenizerError> {
        let mut ranks = HashMap::with_capacity(self.merges.len());
        let mut merges = Vec::with_capacity(self.merges.len());
        for (rank, merge) in self.merges.iter().enumerate() {
            let (left, right) = merge
                .split_once(' ')
                .filter(|(left, right)| !left.is_empty() && !right.is_empty() && !right.contains(' '))
                .ok_or_else(|| TokenizerError::MalformedMerge { rank, merge: merge.clone() })?;
            let id = |token: &str| {
                ids.get(token).copied().ok_or_else(|| TokenizerError::UnknownInMerge {
                    rank,
                    merge: merge.clone(),
                    token: token.to_owned(),
                })
            };
            if let Some(first) = ranks.insert((left, right), rank) {
                return Err(TokenizerError::DuplicateMerge { first, second: rank, merge: merge.clone() });
            }
            merges.push(Merge { left: id(left)?, right: id(right)?, merged: id(&format!("{left}{right}"))? });
        }
        Ok(merges)
    }
}

/// The bytes that a token of the byte-level alphabet spells.
fn token_bytes(id: u32, token: &str) -> Result<Vec<u8>, TokenizerError> {
    token
        .chars()
        .map(|character| {
            alphabet::byte_of(character).ok_or_else(|| TokenizerError::NotBytes {
                id,
                token: token.to_owned(),
                character,
            })
        })
        .collect()
}

fn byte_tokens(ids: &HashMap<&str, u32>) -> Result<[u32; 256], TokenizerError> {
    let mut tokens = [0; 256];
    for (byte, token) in tokens.iter_mut().enumerate() {
        let spelled = alphabet::CHARACTERS[byte];
        *token = *ids
            .get(spelled.encode_utf8(&mut [0; 4]) as &str)
            .ok_or(TokenizerError::MissingByte { byte: byte as u8, spelled })?;
    }
    Ok(tokens)
}
