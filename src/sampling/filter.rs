//! What reshapes or filters a row of logits `[V]` before the draw.
//!
//! No step sorts the whole row: a filter that is off costs nothing, top-k is one partial selection, and top-p sorts no
//! further than the mass that it keeps. `order` is working space that holds ids between calls for its capacity only.

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

/// Keeps the `k` most likely, of equal ones the lowest ids; 0 is off.
pub fn keep_top_k(logits: &mut [f32], k: u32, order: &mut Vec<u32>) {
    let k = k as usize;
    if k == 0 || k >= logits.len() {
        return;
    }
    survivors(logits, order);
    if k < order.len() {
        order.select_nth_unstable_by(k - 1, |a, b| by_rank(logits, *a, *b));
        filter(logits, &order[k..]);
    }
}

/// Keeps the most likely tokens up to the one whose mass makes the sum reach `p`, that one included; 1.0 is off and 0.0
/// keeps one.
pub fn keep_top_p(logits: &mut [f32], p: f32, order: &mut Vec<u32>) {
    if p >= 1.0 {
        return;
    }
    survivors(logits, order);
    let highest = highest(logits);
    let mass = |id: u32| f64::from((logits[id as usize] - highest).exp());
    // In the order of the ids, which is that of `order` until it is sorted.
    let enough = f64::from(p) * order.iter().map(|id| mass(*id)).sum::<f64>();
    let (mut kept, mut sum, mut next) = (0, 0.0, FIRST_SORTED);
    'reached: while kept < order.len() {
        let end = (kept + next).min(order.len());
        if end < order.len() {
            order[kept..].select_nth_unstable_by(end - kept, |a, b| by_rank(logits, *a, *b));
        }
        order[kept..end].sort_unstable_by(|a, b| by_rank(logits, *a, *b));
        while kept < end {
            sum += mass(order[kept]);
            kept += 1;
            if sum >= enough {
                break 'reached;
            }
        }
        next *= 4;
    }
    filter(logits, &order[kept..]);
}

/// How many top-p sorts at first, and then four times as many, and so on: the mass usually lies in a few.
const FIRST_SORTED: usize = 64;

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

/// The largest of a row; `FILTERED` where there is none.
pub(super) fn highest(logits: &[f32]) -> f32 {
    logits.iter().copied().fold(FILTERED, f32::max)
}

fn survivors(logits: &[f32], order: &mut Vec<u32>) {
    order.clear();
    order.extend((0u32..).zip(logits).filter(|(_, logit)| **logit > FILTERED).map(|(id, _)| id));
}

fn filter(logits: &mut [f32], ids: &[u32]) {
    for id in ids {
        logits[*id as usize] = FILTERED;
    }
}

/// The likelier first, of equal ones the lower id.
fn by_rank(logits: &[f32], a: u32, b: u32) -> Ordering {
    let (left, right) = (logits[a as usize], logits[b as usize]);
    right.partial_cmp(&left).unwrap_or(Ordering::Equal).then(a.cmp(&b))
}
