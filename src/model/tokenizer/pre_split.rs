//! GPT-2's pre-split: text is cut into words before pairs are merged, and no merge crosses a cut.
//!
//! The rule is the regular expression that GPT-2 was trained with,
//! `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`, written out by hand: at each position
//! the first alternative that matches wins, and every one of them needs at most one character of looking ahead. The
//! words cover the text without a gap. `\p{L}` and `\p{N}` come from the tables of `regex-syntax`, which are also those
//! that the `tokenizers` crate matches with, so that both kinds of tokenizer know the same letters.

use std::sync::LazyLock;

use regex_syntax::hir::{Class, HirKind};

/// Which rule a vocabulary was trained with, by the name that GGUF's `tokenizer.ggml.pre` gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PreSplit {
    Gpt2,
}

impl PreSplit {
    pub fn by_name(name: &str) -> Option<PreSplit> {
        (name == "gpt-2").then_some(PreSplit::Gpt2)
    }

    pub fn words(self, text: &str) -> Words<'_> {
        match self {
            PreSplit::Gpt2 => Words { rest: text },
        }
    }
}

/// The words of a text, in order.
#[derive(Clone, Debug)]
pub struct Words<'text> {
    rest: &'text str,
}

impl<'text> Iterator for Words<'text> {
    type Item = &'text str;

    fn next(&mut self) -> Option<&'text str> {
        if self.rest.is_empty() {
            return None;
        }
        let (word, rest) = self.rest.split_at(first_word(self.rest));
        self.rest = rest;
        Some(word)
    }
}

/// The length in bytes of the first word of a text that is not empty.
fn first_word(text: &str) -> usize {
    if let Some(length) = contraction(text) {
        return length;
    }
    // ` ?\p{L}+`, ` ?\p{N}+`, ` ?[^\s\p{L}\p{N}]+`: one optional space, then characters of one class.
    let space = usize::from(text.starts_with(' '));
    let body = &text[space..];
    match body.chars().next().map(class_of) {
        Some(Kind::Space) | None => spaces(text),
        Some(class) => space + body.find(|character| class_of(character) != class).unwrap_or(body.len()),
    }
}

/// `'s|'t|'re|'ve|'m|'ll|'d`, in lower case only.
fn contraction(text: &str) -> Option<usize> {
    match text.as_bytes() {
        [b'\'', b's' | b't' | b'm' | b'd', ..] => Some(2),
        [b'\'', b'r' | b'v', b'e', ..] | [b'\'', b'l', b'l', ..] => Some(3),
        _ => None,
    }
}

/// `\s+(?!\S)|\s+`: a run of white space without its last character, which belongs to the word that follows; whole at
/// the end of the text, and where it is only one character.
fn spaces(text: &str) -> usize {
    let run = text.find(|character| class_of(character) != Kind::Space).unwrap_or(text.len());
    if run == text.len() {
        return run;
    }
    let last = text[..run].chars().next_back().map_or(0, char::len_utf8);
    if run > last { run - last } else { run }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Letter,
    Number,
    Space,
    Other,
}

fn class_of(character: char) -> Kind {
    match character {
        'a'..='z' | 'A'..='Z' => Kind::Letter,
        '0'..='9' => Kind::Number,
        '\t'..='\r' | ' ' => Kind::Space,
        '\0'..='\x7F' => Kind::Other,
        _ if character.is_whitespace() => Kind::Space,
        _ if holds(&LETTERS, character) => Kind::Letter,
        _ if holds(&NUMBERS, character) => Kind::Number,
        _ => Kind::Other,
    }
}

/// Ranges of code points, ascending, both ends included.
type Ranges = Vec<(char, char)>;

static LETTERS: LazyLock<Ranges> = LazyLock::new(|| ranges_of(r"\p{L}"));
static NUMBERS: LazyLock<Ranges> = LazyLock::new(|| ranges_of(r"\p{N}"));

/// The code points of a Unicode class; the two patterns above are constant, so parsing cannot fail.
fn ranges_of(class: &str) -> Ranges {
    let parsed = regex_syntax::parse(class).expect("a constant pattern");
    match parsed.kind() {
        HirKind::Class(Class::Unicode(class)) => class.iter().map(|range| (range.start(), range.end())).collect(),
        _ => unreachable!("a Unicode class parses to a Unicode class"),
    }
}

fn holds(ranges: &Ranges, character: char) -> bool {
    let after = ranges.partition_point(|(start, _)| *start <= character);
    after > 0 && character <= ranges[after - 1].1
}
