//! Why a vocabulary is refused. Each message finishes "the tokenizer cannot be used: ".

use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    #[error("{path}: {source}", path = path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{path}: {reason}", path = path.display())]
    Malformed { path: PathBuf, reason: String },
    #[error(
        "there is none: neither in the model's metadata, nor tokenizer.json or vocab.json with merges.txt beside it"
    )]
    Absent,
    #[error("{what} {found:?} is not supported (supported: {supported})")]
    Unsupported { what: &'static str, found: String, supported: &'static str },
    #[error("the vocabulary is empty")]
    Empty,
    #[error("the vocabulary has {tokens} tokens and {kinds} token types")]
    KindCount { tokens: usize, kinds: usize },
    #[error("token {id} ({token:?}) has the unknown type {kind}")]
    UnknownKind { id: usize, token: String, kind: i32 },
    #[error("token {token:?} has two ids, {first} and {second}")]
    DuplicateToken { token: String, first: u32, second: u32 },
    #[error("id {id} belongs to two tokens, {first:?} and {second:?}")]
    DuplicateId { id: u32, first: String, second: String },
    #[error("the ids reach up to {highest}, and there are only {tokens} tokens")]
    SparseIds { highest: u64, tokens: usize },
    #[error("token {id} ({token:?}) holds {character:?}, which stands for no byte")]
    NotBytes { id: u32, token: String, character: char },
    #[error("the vocabulary has {tokens} tokens and {scores} scores")]
    ScoreCount { tokens: usize, scores: usize },
    #[error("token {id} ({token:?}) has the score {score}, which is no number")]
    Score { id: usize, token: String, score: f32 },
    #[error("token {id} ({token:?}) is said to be a byte, and is not spelled <0x00> to <0xFF>")]
    NotAByte { id: u32, token: String },
    #[error("no token stands for the single byte 0x{byte:02X}: text that is no token could not be spelled")]
    NoByteToken { byte: u8 },
    #[error("no token stands for the single byte 0x{byte:02X} (spelled {spelled:?})")]
    MissingByte { byte: u8, spelled: char },
    #[error("merge {rank} ({merge:?}) is not two tokens with one space between")]
    MalformedMerge { rank: usize, merge: String },
    #[error("merge {rank} ({merge:?}) names {token:?}, which is no token")]
    UnknownInMerge { rank: usize, merge: String, token: String },
    #[error("merges {first} and {second} are the same pair {merge:?}")]
    DuplicateMerge { first: usize, second: usize, merge: String },
    #[error("the {which} token has id {id}, and the vocabulary has {tokens} tokens")]
    IdOutOfRange { which: &'static str, id: u64, tokens: usize },
    #[error("the vocabulary has {0} tokens: more than ids can count")]
    TooLarge(usize),
}
