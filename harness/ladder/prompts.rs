//! Prompts that no recording has: drawn when they are asked.

use crate::harness::haiku::spell;

/// Drawn from the system, anew each time.
fn drawn() -> u128 {
    uuid::Uuid::new_v4().as_u128()
}

pub fn drawn_seed() -> u64 {
    uuid::Uuid::new_v4().as_u64_pair().0
}

const NOUNS: [&str; 8] = ["copper", "tide", "violin", "harbour", "lichen", "quartz", "sparrow", "turbine"];

fn pick(from: &[&'static str], drawn: u128) -> &'static str {
    from[drawn as usize % from.len()]
}

/// Words drawn now.
pub fn unseen() -> String {
    const OPENINGS: [&str; 4] = ["Write a haiku about", "Tell me of", "The", "Once upon a"];
    let drawn = drawn();
    let (opening, one, other) = (pick(&OPENINGS, drawn), pick(&NOUNS, drawn >> 8), pick(&NOUNS, drawn >> 16));
    format!("{opening} {one} {other} {:04x}", (drawn >> 24) as u16)
}

/// Two prompts that begin alike and ask for different words.
pub fn pair() -> [String; 2] {
    let drawn = drawn();
    let (noun, nonce, minute) = (pick(&NOUNS, drawn), (drawn >> 8) as u32, (drawn >> 40) as u8 % 60);
    [minute, (minute + 13) % 60].map(|minute| {
        let word = spell(minute);
        format!("Write a haiku about {noun} that includes the word \"{word}\" (nonce: {nonce:08x})")
    })
}

/// Prompts that are nearly one: what remembers one of them by less than all of it takes it for another.
pub fn neighbours() -> Vec<String> {
    let [one, other] = pair();
    vec![one.clone(), other, one.to_uppercase(), one.replace(" about ", "  about "), format!("Once more: {one}")]
}

/// Several in a row: about so many characters.
pub fn long(characters: usize) -> String {
    let mut prompt = unseen();
    while prompt.len() < characters {
        prompt = format!("{prompt}, {}", unseen());
    }
    prompt
}
