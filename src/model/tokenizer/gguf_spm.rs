//! `gguf-spm`: the vocabulary of a SentencePiece model in GGUF metadata, as Llama 2 has it, in plain Rust.
//!
//! A text is cut into characters, with `▁` for the blank, and the two neighbours whose joined token has the highest score
//! become one, the leftmost first, until none is left. A character that is no token is spelled in its bytes, `<0x0A>`.

use std::collections::{BinaryHeap, HashMap};

use super::super::file::GgufTokenizer;
use super::fallback::{self, BLANK};
use super::literal::Literals;
use super::vocabulary::TokenKind;
use super::{TokenTable, Tokenizer, TokenizerError, Vocabulary};

#[derive(Clone, Debug)]
pub struct GgufSpm {
    table: TokenTable,
    literals: Literals,
    ids: HashMap<String, u32>,
    scores: Vec<f32>,
    byte_tokens: [u32; 256],
    /// In bytes: what is longer is no token.
    longest: usize,
    bos: Option<u32>,
    /// A blank is put before a text, and before what follows a special token.
    blank_before: bool,
}

impl GgufSpm {
    /// `vocabulary` has its kinds; the rest is as `metadata` says.
    pub fn new(vocabulary: &Vocabulary, metadata: &GgufTokenizer) -> Result<GgufSpm, TokenizerError> {
        let (table, byte_tokens) = fallback::table(vocabulary)?;
        let tokens = vocabulary.tokens.len();
        if metadata.scores.len() != tokens {
            return Err(TokenizerError::ScoreCount { tokens, scores: metadata.scores.len() });
        }
        if let Some(id) = metadata.scores.iter().position(|score| !score.is_finite()) {
            return Err(TokenizerError::Score { id, token: vocabulary.tokens[id].clone(), score: metadata.scores[id] });
        }
        let is_literal = |kind: TokenKind| kind.is_literal() || kind == TokenKind::Unknown;
        let literals = (0..).zip(&vocabulary.tokens).filter(|(id, _)| is_literal(vocabulary.kind(*id)));
        let literals = literals.map(|(id, token)| (token.as_str(), id));
        let ids = vocabulary.ids()?;
        Ok(GgufSpm {
            literals: Literals::new(literals),
            longest: ids.keys().map(|token| token.len()).max().unwrap_or(0),
            ids: ids.into_iter().map(|(token, id)| (token.to_owned(), id)).collect(),
            table,
            scores: metadata.scores.clone(),
            byte_tokens,
            bos: vocabulary.bos.filter(|_| metadata.add_bos_token.unwrap_or(true)),
            blank_before: metadata.add_space_prefix.unwrap_or(true),
        })
    }

    /// A text without special tokens, that begins the prompt or follows a special token.
    fn encode_plain(&self, text: &str, ids: &mut Vec<u32>) {
        if text.is_empty() {
            return;
        }
        let blank = if self.blank_before { BLANK } else { "" };
        let text = format!("{blank}{}", text.replace(' ', BLANK));
        let mut symbols: Vec<Symbol> = Vec::new();
        for (start, character) in text.char_indices() {
            let index = symbols.len();
            let end = start + character.len_utf8();
            symbols.push(Symbol { start, end, before: index.wrapping_sub(1), after: index + 1 });
        }
        let mut pairs = BinaryHeap::new();
        for left in 0..symbols.len() - 1 {
            self.propose(&text, &symbols, left, &mut pairs);
        }
        while let Some(Pair { left, end, .. }) = pairs.pop() {
            let right = symbols[left].after;
            // One of the two was merged with another in the meantime.
            if symbols[left].is_gone() || right >= symbols.len() || symbols[right].end != end {
                continue;
            }
            let after = symbols[right].after;
            symbols[right].end = symbols[right].start;
            (symbols[left].end, symbols[left].after) = (end, after);
            if after < symbols.len() {
                symbols[after].before = left;
                self.propose(&text, &symbols, left, &mut pairs);
            }
            let before = symbols[left].before;
            if before < symbols.len() {
                self.propose(&text, &symbols, before, &mut pairs);
            }
        }
        for symbol in symbols.iter().filter(|symbol| !symbol.is_gone()) {
            let spelled = &text[symbol.start..symbol.end];
            match self.ids.get(spelled) {
                Some(id) => ids.push(*id),
                None => ids.extend(spelled.bytes().map(|byte| self.byte_tokens[usize::from(byte)])),
            }
        }
    }

    /// What the symbol at `left` and the one after it would become, if that is a token.
    fn propose(&self, text: &str, symbols: &[Symbol], left: usize, pairs: &mut BinaryHeap<Pair>) {
        let (start, end) = (symbols[left].start, symbols[symbols[left].after].end);
        if end - start > self.longest {
            return;
        }
        if let Some(id) = self.ids.get(&text[start..end]) {
            pairs.push(Pair { score: self.scores[*id as usize], left, end });
        }
    }
}

/// A piece of the text, in a list of neighbours; empty once it was merged into the one before.
struct Symbol {
    start: usize,
    end: usize,
    /// `usize::MAX` at the start of the text.
    before: usize,
    /// The number of symbols at the end.
    after: usize,
}

impl Symbol {
    fn is_gone(&self) -> bool {
        self.start == self.end
    }
}

/// Two neighbours that may become one token, which ends at `end`.
struct Pair {
    score: f32,
    left: usize,
    end: usize,
}

impl Ord for Pair {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.score.total_cmp(&other.score).then(other.left.cmp(&self.left)).then(other.end.cmp(&self.end))
    }
}

impl PartialOrd for Pair {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Pair {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Pair {}

impl Tokenizer for GgufSpm {
    fn kind(&self) -> &'static str {
        "gguf-spm"
    }

    fn encode(&self, text: &str) -> Vec<u32> {
        let mut ids: Vec<u32> = self.bos.into_iter().collect();
        let mut rest = text;
        while let Some((start, end, id)) = self.literals.find(rest) {
            self.encode_plain(&rest[..start], &mut ids);
            ids.push(id);
            rest = &rest[end..];
        }
        self.encode_plain(rest, &mut ids);
        ids
    }

    fn table(&self) -> &TokenTable {
        &self.table
    }

    fn first_token(&self) -> Option<u32> {
        self.bos
    }
}
