//! Prompts that no recording has: drawn when they are asked.

/// Drawn from the system, anew each time.
fn drawn() -> u128 {
    uuid::Uuid::new_v4().as_u128()
}

pub fn drawn_seed() -> u64 {
    uuid::Uuid::new_v4().as_u64_pair().0
}

/// Words drawn now.
pub fn unseen() -> String {
    const OPENINGS: [&str; 4] = ["Write a haiku about", "Tell me of", "The", "Once upon a"];
    const NOUNS: [&str; 8] = ["copper", "tide", "violin", "harbour", "lichen", "quartz", "sparrow", "turbine"];
    let drawn = drawn();
    let pick = |from: &[&str], shift: u32| from[(drawn >> shift) as usize % from.len()].to_owned();
    format!("{} {} {} {:04x}", pick(&OPENINGS, 0), pick(&NOUNS, 8), pick(&NOUNS, 16), (drawn >> 24) as u16)
}

/// Prompts that are nearly one: what remembers one of them by less than all of it takes it for another.
pub fn neighbours() -> Vec<String> {
    let prompt = unseen();
    vec![
        format!("{prompt} and the rain"),
        format!("{prompt} and the snow"),
        format!("{prompt} and  the rain"),
        format!("{} and the rain", prompt.to_uppercase()),
        format!("Once more: {prompt} and the rain"),
    ]
}

/// Several in a row: about so many characters.
pub fn long(characters: usize) -> String {
    let mut prompt = unseen();
    while prompt.len() < characters {
        prompt = format!("{prompt}, {}", unseen());
    }
    prompt
}
