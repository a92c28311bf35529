//! The text: a chain of words, each drawn from scores that depend on the prompt, the model's bytes and the words so
//! far. It is no language model and it is computed: another prompt, seed, temperature or cut gives another text.

use std::hash::{BuildHasher, Hasher};

use super::mistakes::Slip;
use super::options::Script;

const WORDS: &[&str] = &[
    " river", " stone", " light", " winter", " silent", " garden", " moon", " over", " under", " falling", " leaves",
    " frost", " bird", " and", " the", " a", " slow", " cloud", " rain", " upon", " old", " pond", " pine", " field",
    " distant", " bell", " evening", " dew", " grass", " moth", " lantern", " harbour", " snow", " path", " door",
    " thin", " smoke", ".", ",", " still",
];

/// Words of two tokens, whose boundary lies inside a character: some begin with whole characters, some with none.
const SPLIT: &[(&[u8], &[u8])] = &[
    (b" caf\xc3", b"\xa9"),
    (b" na\xc3", b"\xafve"),
    (b"\xe9\x9b", b"\xaa"),
    (b"\xf0\x9f\x8c", b"\x8a"),
    (b"\xf0\x9f", b"\x90\xa6"),
    (b"\xe3\x81", b"\x84"),
];

pub const CONTEXT_LENGTH: u64 = 8192;

/// The number of token ids: words, both halves of the split ones, and the end-of-text token.
pub fn vocab_size() -> usize {
    WORDS.len() + 2 * SPLIT.len() + 1
}

pub fn end_of_text() -> usize {
    vocab_size() - 1
}

/// The bytes of a token; none for the end-of-text token.
pub fn bytes_of(token: usize) -> &'static [u8] {
    match token.checked_sub(WORDS.len()) {
        None => WORDS[token].as_bytes(),
        Some(half) => SPLIT.get(half / 2).map_or(b"", |(first, second)| if half % 2 == 0 { first } else { second }),
    }
}

/// The token that must follow, where this one ended inside a character.
fn second_half(token: usize) -> Option<usize> {
    let half = token.checked_sub(WORDS.len())?;
    (half % 2 == 0 && token != end_of_text()).then_some(token + 1)
}

/// How many tokens a text takes: a word costs one for each eight of its characters.
pub fn count_tokens(text: &str) -> u64 {
    text.split_whitespace().map(|word| word.chars().count().div_ceil(8) as u64).sum::<u64>().max(1)
}

/// The bytes that the vocabulary takes in memory.
pub fn vocabulary_bytes() -> u64 {
    (0..vocab_size()).map(|token| bytes_of(token).len() as u64 + size_of::<&[u8]>() as u64).sum()
}

/// A seed that nobody chose: the standard library keys its hashers from the system.
pub fn drawn_seed() -> u64 {
    std::hash::RandomState::new().build_hasher().finish()
}

#[derive(Clone, Debug)]
pub struct Sampling {
    pub temperature: f64,
    pub top_p: f64,
    pub top_k: usize,
    pub min_p: f64,
    pub repetition_penalty: f64,
    pub seed: u64,
}

/// One job's generator of tokens.
pub struct Chain {
    sampling: Sampling,
    /// Prompt and model, as a number.
    origin: u64,
    random: u64,
    last: usize,
    produced: u64,
    /// The end-of-text token comes when this many tokens have.
    length: u64,
    /// Tokens of the prompt and of the text so far: what the repetition penalty looks at.
    seen: Vec<bool>,
}

impl Chain {
    pub fn new(prompt: &str, model_digest: u64, length: u64, mut sampling: Sampling, script: Script) -> Self {
        let greedy = sampling.temperature < 1e-6;
        if script.plays(Slip::TemperatureIgnored) {
            sampling.temperature = 0.0;
        }
        if script.plays(Slip::TopKIgnored) {
            sampling.top_k = 0;
        }
        if script.plays(Slip::TopPIgnored) {
            sampling.top_p = 1.0;
        }
        if script.plays(Slip::MinPIgnored) {
            sampling.min_p = 0.0;
        }
        if script.plays(Slip::PenaltyIgnored) {
            sampling.repetition_penalty = 1.0;
        }
        if greedy && script.plays(Slip::GreedyRandom) {
            (sampling.temperature, sampling.seed) = (1.0, drawn_seed());
        }
        if greedy && script.plays(Slip::GreedyUsesSeed) {
            sampling.temperature = 1.0;
        }
        if script.plays(Slip::SeedIgnored) {
            sampling.seed = drawn_seed();
        }
        if script.plays(Slip::SeedWithoutEffect) {
            sampling.seed = 0;
        }
        let prompt = if script.plays(Slip::PromptIgnored) { "" } else { prompt };
        let words: Vec<&str> = prompt.split_whitespace().collect();
        Self {
            origin: digest(prompt.as_bytes()) ^ model_digest,
            random: mix(sampling.seed),
            last: end_of_text(),
            produced: 0,
            length,
            seen: (0..vocab_size())
                .map(|token| words.iter().any(|word| bytes_of(token).trim_ascii() == word.as_bytes()))
                .collect(),
            sampling,
        }
    }

    /// Goes on from another job's random state.
    pub fn carry(&mut self, state: u64) {
        self.random ^= state;
    }

    pub fn random_state(&self) -> u64 {
        self.random
    }

    pub fn next(&mut self) -> usize {
        let token = match second_half(self.last) {
            Some(second) => second,
            None if self.produced >= self.length => end_of_text(),
            None => self.sample(),
        };
        (self.last, self.produced) = (token, self.produced + 1);
        self.seen[token] = true;
        token
    }

    /// A score for each token that may begin a word, penalised where it was seen.
    fn scores(&self) -> Vec<(usize, f64)> {
        let place = mix(self.origin ^ mix(self.last as u64 ^ (self.produced << 16)));
        let begins = (0..end_of_text()).filter(|&token| token < WORDS.len() || second_half(token).is_some());
        let favoured = self.produced % 5 == 3; // so that every text of some length has split characters in it
        let score = |token: usize| {
            let bonus = if favoured && token >= WORDS.len() { 8.0 } else { 0.0 };
            let score = unit(mix(place ^ (token as u64) << 32)) * 8.0 - 2.0 + bonus;
            let score = match (self.seen[token], score > 0.0) {
                (false, _) => score,
                (true, true) => score / self.sampling.repetition_penalty,
                (true, false) => score * self.sampling.repetition_penalty,
            };
            score.min(1e30) // a penalty near 0 would divide to infinity
        };
        begins.map(|token| (token, score(token))).collect()
    }

    fn sample(&mut self) -> usize {
        let mut candidates = self.scores();
        // Highest first, and the lowest id among equals.
        candidates.sort_by(|(left, a), (right, b)| b.total_cmp(a).then(left.cmp(right)));
        let temperature = self.sampling.temperature;
        if temperature < 1e-6 {
            return candidates[0].0;
        }
        let highest = candidates[0].1;
        for (_, score) in &mut candidates {
            *score = ((*score - highest) / temperature).exp();
        }
        if self.sampling.top_k > 0 {
            candidates.truncate(self.sampling.top_k);
        }
        if self.sampling.top_p < 1.0 {
            let wanted = self.sampling.top_p * candidates.iter().map(|(_, weight)| weight).sum::<f64>();
            let mut mass = 0.0;
            let crossing = candidates.iter().position(|(_, weight)| {
                mass += weight;
                mass >= wanted
            });
            candidates.truncate(crossing.map_or(candidates.len(), |index| index + 1));
        }
        let floor = self.sampling.min_p * candidates[0].1;
        candidates.retain(|(_, weight)| *weight >= floor);
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut point = unit(mix(self.random)) * candidates.iter().map(|(_, weight)| weight).sum::<f64>();
        for &(token, weight) in &candidates {
            point -= weight;
            if point < 0.0 {
                return token;
            }
        }
        candidates[candidates.len() - 1].0
    }
}

/// FNV-1a, finished so that close texts are far apart.
pub fn digest(bytes: &[u8]) -> u64 {
    mix(bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)))
}

/// SplitMix64's finisher.
fn mix(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// The upper bits of a number as a fraction in [0, 1).
fn unit(value: u64) -> f64 {
    (value >> 11) as f64 / (1u64 << 53) as f64
}
