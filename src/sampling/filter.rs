//! What reshapes or filters a row of logits `[V]` before the draw.
//!
//! No step sorts the whole row: a filter that is off costs nothing, top-k is one partial selection, and top-p sorts no
//! further than the mass that it keeps. `candidates` is working space, kept between calls for its capacity only.

use std::cmp::Ordering;

use super::FILTERED;

/// Makes the tokens of `seen`, each once, less likely (or more, for a penalty below 1): a positive logit is divided, a
/// negative one multiplied. What would leave the range of f32 stays at its end, so that no infinity arises.
pub fn penalise(logits: &mut [f32], seen: &[u32], penalty: f32) {
    if penalty == 1.0 {
        return;
    }
    for &id in seen {
        if let Some(logit) = logits.get_mut(id as usize).filter(|logit| **logit > FILTERED) {
            let scaled = if *logit > 0.0 { *logit / penalty } else { *logit * penalty };
            *logit = scaled.clamp(f32::MIN, f32::MAX);
        }
    }
}

/// Divides by the temperature, after the maximum is subtracted: the same distribution, and nothing can overflow.
pub fn temper(logits: &mut [f32], temperature: f32) {
    let highest = highest(logits);
    for logit in logits {
        *logit = (*logit - highest) / temperature;
    }
}

/// Tokens with their logits, side by side so that sorting them touches nothing else.
pub type Candidates = Vec<(f32, u32)>;

/// Keeps the `k` most likely, of equal ones the lowest ids; 0 is off.
pub fn keep_top_k(logits: &mut [f32], k: u32, candidates: &mut Candidates) {
    let k = k as usize;
    if k == 0 || k >= logits.len() {
        return;
    }
    collect(logits, FILTERED, candidates);
    if k < candidates.len() {
        candidates.select_nth_unstable_by(k - 1, by_rank);
        filter(logits, &candidates[k..]);
    }
}

/// Keeps the most likely tokens up to the one whose mass makes the sum reach `p`, that one included; 1.0 is off and 0.0
/// keeps one.
pub fn keep_top_p(logits: &mut [f32], p: f32, candidates: &mut Candidates) {
    if p >= 1.0 {
        return;
    }
    let highest = highest(logits);
    let mass = |logit: f32| f64::from((logit - highest).exp());
    let total: f64 = logits.iter().filter(|logit| **logit > FILTERED).map(|logit| mass(*logit)).sum();
    // Tokens this unlikely have less than 1 − p among them even if all are: they are filtered without being sorted.
    let tail = (1.0 - f64::from(p)) * total / logits.len() as f64;
    let least = highest + tail.ln() as f32 - TAIL_MARGIN;
    for logit in logits.iter_mut().filter(|logit| **logit <= least) {
        *logit = FILTERED;
    }
    collect(logits, least, candidates);

    let (mut kept, mut sum, mut next) = (0, 0.0, FIRST_SORTED);
    'reached: while kept < candidates.len() {
        let end = (kept + next).min(candidates.len());
        if end < candidates.len() {
            candidates[kept..].select_nth_unstable_by(end - kept, by_rank);
        }
        candidates[kept..end].sort_unstable_by(by_rank);
        while kept < end {
            sum += mass(candidates[kept].0);
            kept += 1;
            if sum >= f64::from(p) * total {
                break 'reached;
            }
        }
        next *= 4;
    }
    filter(logits, &candidates[kept..]);
}

/// How many top-p sorts at first, and then four times as many, and so on: the mass usually lies in a few.
const FIRST_SORTED: usize = 64;

/// Keeps the rounding of logarithms away from tokens that top-p may keep.
const TAIL_MARGIN: f32 = 1e-3;

/// Keeps what is at least `min_p` times as likely as the most likely; 0.0 is off.
pub fn keep_min_p(logits: &mut [f32], min_p: f32) {
    if min_p <= 0.0 {
        return;
    }
    // exp(logit − highest) ≥ min_p, without an exponential for each.
    let least = highest(logits) + min_p.ln();
    for logit in logits.iter_mut().filter(|logit| **logit < least) {
        *logit = FILTERED;
    }
}

/// The largest of a row; `FILTERED` where there is none. Sixteen at a time: one after the other, a vocabulary takes as long
/// as a layer norm of the whole model.
pub(super) fn highest(logits: &[f32]) -> f32 {
    let mut lanes = [FILTERED; 16];
    let (groups, rest) = logits.as_chunks::<16>();
    for group in groups.iter().map(<[f32; 16]>::as_slice).chain([rest]) {
        for (lane, logit) in lanes.iter_mut().zip(group) {
            *lane = if *logit > *lane { *logit } else { *lane };
        }
    }
    lanes.into_iter().fold(FILTERED, f32::max)
}

/// Everything above `least`, in the order of the ids.
fn collect(logits: &[f32], least: f32, candidates: &mut Candidates) {
    candidates.clear();
    candidates.extend(logits.iter().copied().zip(0u32..).filter(|(logit, _)| *logit > least));
}

fn filter(logits: &mut [f32], candidates: &[(f32, u32)]) {
    for (_, id) in candidates {
        logits[*id as usize] = FILTERED;
    }
}

/// The likelier first, of equal ones the lower id.
fn by_rank(left: &(f32, u32), right: &(f32, u32)) -> Ordering {
    right.0.partial_cmp(&left.0).unwrap_or(Ordering::Equal).then(left.1.cmp(&right.1))
}
