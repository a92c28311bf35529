//! Tokens that are matched in the text as they are written, before the text is cut into words: special tokens and
//! those that a user added.

use std::collections::HashMap;

/// A trie over the spellings. The leftmost match wins, and of those that begin there the longest.
#[derive(Clone, Debug, Default)]
pub struct Literals {
    /// From a node (0 is the root) over a byte to the next.
    edges: HashMap<(u32, u8), u32>,
    /// The token that ends at a node.
    tokens: HashMap<u32, u32>,
    /// The bytes that a spelling may begin with, so that ordinary text is passed over quickly.
    first: Vec<u8>,
}

impl Literals {
    pub fn new<'a>(spellings: impl Iterator<Item = (&'a str, u32)>) -> Literals {
        let mut literals = Literals::default();
        for (spelling, id) in spellings.filter(|(spelling, _)| !spelling.is_empty()) {
            let mut node = 0;
            for byte in spelling.bytes() {
                let next = literals.edges.len() as u32 + 1;
                node = *literals.edges.entry((node, byte)).or_insert(next);
            }
            literals.tokens.insert(node, id);
            if !literals.first.contains(&spelling.as_bytes()[0]) {
                literals.first.push(spelling.as_bytes()[0]);
            }
        }
        literals
    }

    /// The first match in `text`: where it begins, where it ends, and its token.
    pub fn find(&self, text: &str) -> Option<(usize, usize, u32)> {
        let bytes = text.as_bytes();
        let mut from = 0;
        while let Some(ahead) = bytes[from..].iter().position(|byte| self.first.contains(byte)) {
            let start = from + ahead;
            if let Some((length, id)) = self.longest_at(&bytes[start..]) {
                return Some((start, start + length, id));
            }
            from = start + 1;
        }
        None
    }

    /// The longest spelling that `bytes` begin with.
    fn longest_at(&self, bytes: &[u8]) -> Option<(usize, u32)> {
        let mut node = 0;
        let mut longest = None;
        for (index, byte) in bytes.iter().enumerate() {
            match self.edges.get(&(node, *byte)) {
                Some(next) => node = *next,
                None => break,
            }
            if let Some(id) = self.tokens.get(&node) {
                longest = Some((index + 1, *id));
            }
        }
        longest
    }
}
