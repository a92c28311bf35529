//! The pre-split: text is cut into words before pairs are merged, and no merge crosses a cut.
//!
//! Each rule is the regular expression that a family of vocabularies was trained with ([`PreSplit::expression`]), written
//! out by hand: at each position the first alternative that matches wins, and every one of them needs at most one character
//! of looking ahead. The words cover the text without a gap. `\p{L}` and `\p{N}` come from the tables of `regex-syntax`,
//! which are also those that the `tokenizers` crate matches with, so that both kinds of tokenizer know the same letters.

use std::sync::LazyLock;

use regex_syntax::hir::{Class, HirKind};

/// Which rule a vocabulary was trained with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PreSplit {
    Gpt2,
    /// GPT-2's, after every digit was set apart.
    SmolLm,
    Llama3,
    Qwen2,
}

impl PreSplit {
    pub const ALL: [PreSplit; 4] = [PreSplit::Gpt2, PreSplit::SmolLm, PreSplit::Llama3, PreSplit::Qwen2];
    pub const NAMES: &str = "gpt-2, smollm, llama-bpe, qwen2";

    /// By GGUF's `tokenizer.ggml.pre`.
    pub fn by_name(name: &str) -> Option<PreSplit> {
        Some(match name {
            "gpt-2" => PreSplit::Gpt2,
            "smollm" => PreSplit::SmolLm,
            "llama-bpe" | "llama3" | "llama-v3" => PreSplit::Llama3,
            "qwen2" => PreSplit::Qwen2,
            _ => return None,
        })
    }

    /// What the hand-written rule is held against.
    pub fn expression(self) -> &'static str {
        match self {
            PreSplit::Gpt2 => r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
            PreSplit::SmolLm => r"\p{N}|'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?[^\s\p{L}\p{N}]+|\s+(?![^\s\p{N}])|\s+",
            PreSplit::Llama3 => {
                r"'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
            }
            PreSplit::Qwen2 => {
                r"'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
            }
        }
    }

    pub fn words(self, text: &str) -> Words<'_> {
        Words { rule: self, rest: text }
    }

    /// The length in bytes of the first word of a text that is not empty.
    fn first_word(self, text: &str) -> usize {
        match self {
            PreSplit::Gpt2 => first_word(text),
            PreSplit::SmolLm => match text.find(|character| class_of(character) == Kind::Number) {
                Some(0) => numbers(text, 1).unwrap_or(1),
                digit => first_word(&text[..digit.unwrap_or(text.len())]),
            },
            PreSplit::Llama3 => first_word_with_lines(text, 3),
            PreSplit::Qwen2 => first_word_with_lines(text, 1),
        }
    }
}

/// The words of a text, in order.
#[derive(Clone, Debug)]
pub struct Words<'text> {
    rule: PreSplit,
    rest: &'text str,
}

impl<'text> Iterator for Words<'text> {
    type Item = &'text str;

    fn next(&mut self) -> Option<&'text str> {
        if self.rest.is_empty() {
            return None;
        }
        let (word, rest) = self.rest.split_at(self.rule.first_word(self.rest));
        self.rest = rest;
        Some(word)
    }
}

/// GPT-2's rule.
fn first_word(text: &str) -> usize {
    if let Some(length) = contraction(text.as_bytes()) {
        return length;
    }
    // ` ?\p{L}+`, ` ?\p{N}+`, ` ?[^\s\p{L}\p{N}]+`: one optional space, then characters of one class.
    let space = usize::from(text.starts_with(' '));
    let body = &text[space..];
    match body.chars().next().map(class_of) {
        Some(Kind::Space) | None => spaces(text),
        Some(class) => space + run(body, class),
    }
}

/// The rule of Llama 3 and Qwen2: words take any one character before them, numbers have so many digits at most, and ends
/// of lines belong to what comes before.
fn first_word_with_lines(text: &str, digits: usize) -> usize {
    let start = text.as_bytes();
    if let Some(length) = contraction(&start[..start.len().min(3)].to_ascii_lowercase()) {
        return length;
    }
    let mut characters = text.chars();
    let first = characters.next().unwrap_or_default();
    let class = class_of(first);
    // `[^\r\n\p{L}\p{N}]?\p{L}+`
    if class == Kind::Letter {
        return run(text, Kind::Letter);
    }
    let next = characters.next().map(class_of);
    if !is_end_of_line(first) && class != Kind::Number && next == Some(Kind::Letter) {
        return first.len_utf8() + run(&text[first.len_utf8()..], Kind::Letter);
    }
    if let Some(length) = numbers(text, digits) {
        return length;
    }
    // ` ?[^\s\p{L}\p{N}]+[\r\n]*`
    let space = usize::from(first == ' ' && next == Some(Kind::Other));
    if class == Kind::Other || space == 1 {
        let length = space + run(&text[space..], Kind::Other);
        let lines = text[length..].find(|character| !is_end_of_line(character));
        return lines.map_or(text.len(), |lines| length + lines);
    }
    // `\s*[\r\n]+`: up to the last end of line in the white space
    let blank = run(text, Kind::Space);
    match text[..blank].rfind(is_end_of_line) {
        Some(last) => last + 1,
        None => spaces(text),
    }
}

fn is_end_of_line(character: char) -> bool {
    matches!(character, '\r' | '\n')
}

/// How far a text goes on in one class.
fn run(text: &str, class: Kind) -> usize {
    text.find(|character| class_of(character) != class).unwrap_or(text.len())
}

/// `\p{N}{1,most}`
fn numbers(text: &str, most: usize) -> Option<usize> {
    let length = text.chars().take(most).take_while(|character| class_of(*character) == Kind::Number);
    Some(length.map(char::len_utf8).sum()).filter(|length| *length > 0)
}

/// `'s|'t|'re|'ve|'m|'ll|'d`, in lower case only.
fn contraction(text: &[u8]) -> Option<usize> {
    match text {
        [b'\'', b's' | b't' | b'm' | b'd', ..] => Some(2),
        [b'\'', b'r' | b'v', b'e', ..] | [b'\'', b'l', b'l', ..] => Some(3),
        _ => None,
    }
}

/// `\s+(?!\S)|\s+`: a run of white space without its last character, which belongs to the word that follows; whole at
/// the end of the text, and where it is only one character.
fn spaces(text: &str) -> usize {
    let run = run(text, Kind::Space);
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
