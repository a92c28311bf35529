//! What each id spells.

/// The bytes of all tokens in one allocation, and which tokens are special.
#[derive(Clone, Debug, Default)]
pub struct TokenTable {
    bytes: Vec<u8>,
    /// Where each token's bytes end; they begin where the former's end.
    ends: Vec<usize>,
    special: Vec<bool>,
    /// The ids that end a text when they are sampled.
    end_of_text: Vec<u32>,
}

impl TokenTable {
    pub(super) fn ending_with(end_of_text: Vec<u32>) -> TokenTable {
        TokenTable { end_of_text, ..TokenTable::default() }
    }

    /// Further ids that end a text, though nothing spells them.
    pub(super) fn also_end_with(&mut self, ids: &[u32]) {
        self.end_of_text.extend(ids);
    }

    /// The next id's entry.
    pub(super) fn push(&mut self, spelling: &[u8], special: bool) {
        self.bytes.extend_from_slice(spelling);
        self.ends.push(self.bytes.len());
        self.special.push(special);
    }

    pub fn len(&self) -> u32 {
        self.ends.len() as u32
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    pub fn end_of_text(&self) -> &[u32] {
        &self.end_of_text
    }

    pub fn is_special(&self, id: u32) -> bool {
        self.special.get(id as usize).copied().unwrap_or(false)
    }

    /// As `decode` writes it, special tokens spelled out; empty outside the vocabulary.
    pub fn spelling(&self, id: u32) -> &[u8] {
        let index = id as usize;
        match self.ends.get(index) {
            Some(&end) => &self.bytes[if index == 0 { 0 } else { self.ends[index - 1] }..end],
            None => &[],
        }
    }

    /// What a sampled token adds to the text.
    pub fn token_bytes(&self, id: u32) -> &[u8] {
        if self.is_special(id) { &[] } else { self.spelling(id) }
    }
}
