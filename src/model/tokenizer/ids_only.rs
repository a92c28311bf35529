//! What stands in for the tokenizer of a model that has none: prompts are ids, and a sampled token's text is its id in
//! digits with a space after it. Random models of any vocabulary can so be served and compared.

use super::{TokenTable, Tokenizer};

pub struct IdsOnly {
    table: TokenTable,
}

impl IdsOnly {
    pub fn new(vocab_size: usize, end_of_text: Vec<u32>) -> IdsOnly {
        let mut table = TokenTable::ending_with(end_of_text);
        (0..vocab_size).for_each(|id| table.push(format!("{id} ").as_bytes(), false));
        IdsOnly { table }
    }
}

impl Tokenizer for IdsOnly {
    fn kind(&self) -> &'static str {
        "none"
    }

    /// No text has ids here: see [`Tokenizer::reads_text`].
    fn encode(&self, _text: &str) -> Vec<u32> {
        Vec::new()
    }

    fn reads_text(&self) -> bool {
        false
    }

    fn table(&self) -> &TokenTable {
        &self.table
    }
}
