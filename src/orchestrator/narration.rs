//! The story that the log tells: who did what to whom, in a short sentence in the present tense.
//!
//! No prompt, no generated text and no token is ever handed to it.

use tracing::info;

const LONGEST: usize = 100;

/// One sentence of the story.
pub fn narrate(action: &'static str, target: &str, correlation: &str, human: &str) {
    let human = shortened(human);
    info!(actor = "orchestratord", action, target, human, correlation_id = correlation, "{human}");
}

/// At most a hundred characters, cut between two of them.
pub fn shortened(human: &str) -> String {
    if human.chars().count() <= LONGEST {
        return human.to_owned();
    }
    human.chars().take(LONGEST - 1).chain(['…']).collect()
}
