//! The haiku and its rule: which word a minute is, what a worker is asked, and what is wrong with its answer.
//!
//! The rule reads *numbers*, not letters: text is case-folded, and a hyphen, its Unicode relatives and a blank all join
//! `forty` and `two` into one number. So `one` is not found in `twenty one`, nor in `stone`.

pub mod run;

use std::fmt;
use std::sync::LazyLock;

use regex::Regex;

const UNITS: [&str; 9] = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine"];
const TEENS: [&str; 10] =
    ["ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"];
const TENS: [&str; 4] = ["twenty", "thirty", "forty", "fifty"];

/// What a haiku is asked for with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    pub subject: String,
    /// 0 to 59.
    pub minute: u8,
    /// Eight alphanumerics that no text has seen before.
    pub nonce: String,
}

impl Asked {
    pub fn new(subject: &str, minute: u8) -> Asked {
        let nonce = uuid::Uuid::new_v4().simple().to_string()[..8].to_owned();
        Asked { subject: subject.into(), minute, nonce }
    }

    pub fn prompt(&self) -> String {
        let Asked { subject, minute, nonce } = self;
        format!("Write a haiku about {subject} that includes the word \"{}\" (nonce: {nonce})", spell(*minute))
    }

    /// Everything that is wrong with the text; nothing where it is as asked.
    pub fn judge(&self, text: &str) -> Vec<Violation> {
        let mut violations = Vec::new();
        let lines = lines(text);
        if lines != 3 {
            violations.push(Violation::Lines(lines));
        }
        let word = spell(self.minute);
        let times = numbers(text).iter().filter(|number| **number == word).count();
        if times != 1 {
            violations.push(Violation::Word { word, times });
        }
        if text.to_lowercase().contains(&self.nonce.to_lowercase()) {
            violations.push(Violation::Nonce);
        }
        violations
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// Not three of them.
    Lines(usize),
    /// Not exactly once.
    Word { word: String, times: usize },
    /// The nonce stands in the text.
    Nonce,
}

impl fmt::Display for Violation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Violation::Lines(lines) => write!(out, "{lines} lines"),
            Violation::Word { word, times } => write!(out, "the word {word:?} {times} times"),
            Violation::Nonce => out.write_str("the nonce is echoed"),
        }
    }
}

/// A minute in English: `zero` … `nineteen`, `twenty`, `twenty-one` … `fifty-nine`.
pub fn spell(minute: u8) -> String {
    let minute = usize::from(minute);
    match minute {
        0 => "zero".into(),
        1..10 => UNITS[minute - 1].into(),
        10..20 => TEENS[minute - 10].into(),
        _ => {
            let tens = TENS[(minute / 10 - 2).min(TENS.len() - 1)];
            if minute.is_multiple_of(10) { tens.into() } else { format!("{tens}-{}", UNITS[minute % 10 - 1]) }
        }
    }
}

/// Lines with something on them; an empty line between them is one too many.
pub fn lines(text: &str) -> usize {
    text.trim_matches(['\n', '\r']).split('\n').count()
}

/// Every whole number word of the text, spelled as [`spell`] does: `Twenty One stones` has `twenty-one`, and no `one`.
pub fn numbers(text: &str) -> Vec<String> {
    static SEPARATORS: LazyLock<Regex> =
        LazyLock::new(|| Regex::new("[-\u{2010}\u{2011} ]+").expect("a fixed expression"));
    static NUMBER: LazyLock<Regex> = LazyLock::new(|| {
        let (units, teens, tens) = (UNITS.join("|"), TEENS.join("|"), TENS.join("|"));
        Regex::new(&format!(r"\b(?:(?:{tens})(?:-(?:{units}))?|{teens}|{units}|zero)\b")).expect("a fixed expression")
    });
    let joined = SEPARATORS.replace_all(&text.to_lowercase(), "-").into_owned();
    NUMBER.find_iter(&joined).map(|found| found.as_str().to_owned()).collect()
}
