//! Places where two tokens are almost as likely: who computes with fewer bits than the file has takes the wrong one in some
//! of them. The places are found in texts drawn now, in passes of the reference that give the logits of every position.

use super::known_answer::{self, Known};
use super::reference::Reference;
use crate::harness::Finding;
use crate::harness::target::Worker;
use crate::parity::oracle::two_best;

/// On the recipe model whose weights are drawn, an engine with weights in f16 moves the difference of two logits by 2.3e-3
/// (a standard deviation, over 4 800 positions), and was right in all whose margin was this much; one with weights in eight
/// bits moves it by 3.5e-2, and was wrong in a quarter of those between the two.
const LEAST: f64 = 0.008;
const MOST: f64 = 0.04;
/// So many are asked: eight bits pass them once in ten thousand runs. Fewer than the least can't tell.
const WANTED: usize = 32;
const FEWEST: usize = 16;
/// Texts that are searched for them: one position in twenty-five is such a place.
const SEARCHED: usize = 400;
const LONGEST: usize = 32;

pub fn are_right(worker: &Worker, reference: &Reference) -> Result<(), Finding> {
    let calls = find(reference)?;
    if calls.len() < FEWEST {
        let expected = format!("{FEWEST} places where the first choice is {LEAST} to {MOST} before the second");
        return Err(Finding::unimplemented(expected, format!("{} in {SEARCHED} texts", calls.len())));
    }
    calls.iter().try_for_each(|call| known_answer::answers(worker, call))
}

fn find(reference: &Reference) -> Result<Vec<Known>, Finding> {
    let length = LONGEST.min(reference.file.configuration.n_ctx() - 2);
    let mut calls = Vec::new();
    for _ in 0..SEARCHED {
        let tokens = reference.encode(&reference.random_text(length));
        let tokens = &tokens[..length.min(tokens.len())];
        for (position, logits) in reference.logits_of_all(tokens)?.iter().enumerate() {
            let (right, margin) = two_best(logits);
            let text = reference.text(&[right]);
            if !(LEAST..=MOST).contains(&margin) || reference.ends_text(right) || text.is_empty() {
                continue;
            }
            let prompt = reference.text(&tokens[..=position]);
            // A cut may fall within what is one token when it is read again.
            if reference.encode(&prompt) == tokens[..=position] {
                calls.push(Known { prompt, ids: vec![right], text, margin });
            }
        }
        if calls.len() >= WANTED {
            break;
        }
    }
    calls.truncate(WANTED);
    Ok(calls)
}
