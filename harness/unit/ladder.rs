//! What the ladder judges by: evidence that can acquit and convict, and prompts that are prompts.

use llorch::harness::ladder::prompts;
use llorch::harness::ladder::unfolding::Evidence;
use rand::{RngExt as _, SeedableRng as _};
use rand_pcg::Pcg64Mcg;

pub const TESTS: &[(&str, fn())] = &[
    ("ladder/evidence_acquits_who_draws_as_told", evidence_acquits_who_draws_as_told),
    ("ladder/evidence_convicts_others", evidence_convicts_others),
    ("ladder/evidence_of_the_certain_tells_nothing", evidence_of_the_certain_tells_nothing),
    ("ladder/prompts_are_other_prompts", prompts_are_other_prompts),
];

const TOKENS: usize = 200;

/// Chances of ten tokens, others at each step, at a temperature.
fn chances(step: usize, temperature: f64) -> Vec<f64> {
    let logit = |id: usize| ((7 * step + 13 * id * id) % 29) as f64 / 8.0 / temperature;
    let all: Vec<f64> = (0..10).map(|id| logit(id).exp()).collect();
    let sum: f64 = all.iter().sum();
    all.into_iter().map(|chance| chance / sum).collect()
}

fn draw(chances: &[f64], random: &mut Pcg64Mcg) -> u32 {
    let mut left: f64 = random.random();
    for (id, chance) in (0..).zip(chances) {
        left -= chance;
        if left < 0.0 {
            return id;
        }
    }
    chances.len() as u32 - 1
}

/// Draws from one distribution, judged by another.
fn weighed(seed: u64, drawn_from: impl Fn(usize) -> Vec<f64>) -> Evidence {
    let mut random = Pcg64Mcg::seed_from_u64(seed);
    let mut evidence = Evidence::default();
    for step in 0..TOKENS {
        evidence.add(&chances(step, 1.0), draw(&drawn_from(step), &mut random));
    }
    evidence
}

fn evidence_acquits_who_draws_as_told() {
    for seed in 0..2000 {
        let evidence = weighed(seed, |step| chances(step, 1.0));
        assert!(evidence.is_honest() && evidence.tells(), "seed {seed}: {evidence:?}");
    }
}

fn evidence_convicts_others() {
    let sharpened = |step: usize| {
        let mut chances = chances(step, 1.0);
        let mut ordered = chances.clone();
        ordered.sort_by(|one, other| other.total_cmp(one));
        chances.iter_mut().filter(|chance| **chance < ordered[1]).for_each(|chance| *chance = 0.0);
        let sum: f64 = chances.iter().sum();
        chances.into_iter().map(|chance| chance / sum).collect::<Vec<f64>>()
    };
    for seed in 0..50 {
        assert!(!weighed(seed, |step| chances(step, 0.4)).is_honest(), "seed {seed}: too cold");
        assert!(!weighed(seed, |step| chances(step, 4.0)).is_honest(), "seed {seed}: too hot");
        assert!(!weighed(seed, |step| chances(step, 1e-3)).is_honest(), "seed {seed}: greedy");
        assert!(!weighed(seed, |step| chances(step + 5, 1.0)).is_honest(), "seed {seed}: another model's");
        assert!(!weighed(seed, sharpened).is_honest(), "seed {seed}: among the likeliest two only");
    }
}

fn evidence_of_the_certain_tells_nothing() {
    let mut evidence = Evidence::default();
    for _ in 0..TOKENS {
        evidence.add(&[1.0 - 1e-6, 1e-6], 0);
    }
    assert!(evidence.is_honest() && !evidence.tells(), "{evidence:?}");
}

fn prompts_are_other_prompts() {
    let mut all: Vec<String> = (0..100).map(|_| prompts::unseen()).collect();
    all.extend(prompts::neighbours());
    let count = all.len();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), count);
    assert!(prompts::long(300).len() >= 300);
}
