//! From logits to probabilities, and from those to one id.

use rand::Rng;
use rand_pcg::Pcg64;

use super::FILTERED;
use super::filter::highest;

/// Below this temperature the most likely token is taken; it is never divided by.
const GREEDY_BELOW: f32 = 1e-6;

pub fn is_greedy(temperature: f32) -> bool {
    temperature < GREEDY_BELOW
}

/// The id of the largest logit, of equal ones the lowest.
pub fn argmax(logits: &[f32]) -> u32 {
    let highest = highest(logits);
    logits.iter().position(|logit| *logit == highest).unwrap_or_default() as u32
}

/// Probabilities `[V]` of logits `[V]`: the maximum is subtracted, so that no exponential overflows, and the sum is taken
/// in f64.
pub fn softmax(logits: &[f32], temperature: f32, probabilities: &mut [f32]) {
    let highest = highest(logits);
    let mut sum = 0.0f64;
    for (probability, logit) in probabilities.iter_mut().zip(logits) {
        *probability = ((logit - highest) / temperature).exp();
        sum += f64::from(*probability);
    }
    for probability in probabilities {
        *probability = (f64::from(*probability) / sum) as f32;
    }
}

/// Draws an id with the probabilities of the softmax, given a number from [0, 1): ids in ascending order share that
/// interval. `weights` is working space.
pub fn draw(logits: &[f32], uniform: f64, weights: &mut Vec<f32>) -> u32 {
    let highest = highest(logits);
    weights.clear();
    weights.extend(logits.iter().map(|logit| if *logit > FILTERED { (logit - highest).exp() } else { 0.0 }));
    let target = uniform * weights.iter().map(|weight| f64::from(*weight)).sum::<f64>();
    let (mut sum, mut last) = (0.0f64, 0);
    for (id, &weight) in (0u32..).zip(weights.iter()).filter(|(_, weight)| **weight > 0.0) {
        sum += f64::from(weight);
        last = id;
        if sum > target {
            break;
        }
    }
    last
}

/// A number from [0, 1) with 53 random bits.
pub fn uniform(generator: &mut Pcg64) -> f64 {
    (generator.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
}
