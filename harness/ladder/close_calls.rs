//! Places where two tokens are almost as likely: who computes with fewer bits than the file has takes the wrong one in some
//! of them. The places are found in texts drawn now, in passes of the reference that give the logits of every position.

use super::reference::{Reference, two_best};
use super::unfolding::Told;
use crate::harness::Finding;
use crate::harness::target::Worker;

/// An engine in f32 is within 1e-4 of the reference's logits, one with tables in f16 within 2e-3: both are right where the
/// margin is this much. Weights in eight bits move the logits of a trained model by several times as much.
const LEAST: f64 = 0.008;
const MOST: f64 = 0.04;
/// So many are asked; fewer than the least can't tell.
const WANTED: usize = 32;
const FEWEST: usize = 12;
/// What the reference computes for them at most: multiplications, a few seconds of them.
const AFFORDABLE: usize = 3_000_000_000;
const LONGEST: usize = 200;

struct CloseCall {
    prompt: String,
    right: u32,
    margin: f64,
}

pub fn are_right(worker: &Worker, reference: &Reference) -> Result<(), Finding> {
    let calls = find(reference)?;
    if calls.len() < FEWEST {
        let expected = format!("{FEWEST} places where the first choice is {LEAST} to {MOST} before the second");
        return Err(Finding::unimplemented(expected, format!("{} within what the reference can compute", calls.len())));
    }
    for (at, call) in calls.iter().enumerate() {
        let told = Told::ask(worker, &call.prompt, 1, 0.0, 1)?;
        told.is_greedy(reference, LEAST / 2.0).map_err(|finding| {
            let place = format!("{} of {}, margin {:.4}", at + 1, calls.len(), call.margin);
            finding.with("close call", format!("{place}: {:?}", reference.text(&[call.right])))
        })?;
    }
    Ok(())
}

fn find(reference: &Reference) -> Result<Vec<CloseCall>, Finding> {
    let length = LONGEST.min(reference.file.configuration.n_ctx() - 2);
    let passes = (AFFORDABLE / (reference.parameters() * length)).max(1);
    let mut calls = Vec::new();
    for _ in 0..passes {
        let tokens = reference.encode(&reference.random_text(length));
        let tokens = &tokens[..length.min(tokens.len())];
        for (position, logits) in reference.logits_of_all(tokens)?.iter().enumerate() {
            let (right, margin) = two_best(logits);
            if !(LEAST..=MOST).contains(&margin) || reference.ends_text(right) || reference.text(&[right]).is_empty() {
                continue;
            }
            let prompt = reference.text(&tokens[..=position]);
            // A cut may fall within what is one token when it is read again.
            if reference.encode(&prompt) == tokens[..=position] {
                calls.push(CloseCall { prompt, right, margin });
            }
        }
        if calls.len() >= WANTED {
            break;
        }
    }
    calls.sort_by(|one, other| one.margin.total_cmp(&other.margin));
    calls.truncate(WANTED);
    Ok(calls)
}
