//! The base of rotary angles that somebody used, whatever it is, from what was turned by it.

use super::Named;
use super::found::Found;
use super::measure::difference;
use crate::layers::Station;
use crate::model::Configuration;
use crate::model::configuration::RopeScaling;
use crate::parity::Place;
use crate::parity::faults::Injection;
use crate::parity::oracle::{self, Tensor};

/// Where another base explains what was found, to rounding.
pub fn other_base(found: &Found<'_>, place: Place, shown: &Tensor, right: &Tensor, limit: f64) -> Option<Named> {
    let Configuration::Llama(sizes) = found.model.configuration else { return None };
    let own = oracle::frequencies(sizes);
    let [rows, heads, d] = [right.shape[0], right.shape[1], right.shape[2]];
    if rows < 2 || place.step > 0 {
        return None;
    }
    // Cached keys begin at position 0, the others where the chunk does.
    let start = if place.station == Station::CachedKeys { 0 } else { found.start };
    // By how much each pair is turned further than it should be, at a row.
    let further = |t: usize, pair: usize| {
        let (mut sin, mut cos) = (0.0, 0.0);
        for h in 0..heads {
            let point = |x: &Tensor| [x.at([t, h, pair]), x.at([t, h, pair + d / 2])];
            let ([a, b], [c, e]) = (point(right), point(shown));
            (sin, cos) = (sin + a * e - b * c, cos + a * c + b * e);
        }
        f64::atan2(sin, cos)
    };
    let turn = std::f64::consts::TAU;
    // What a stretched frequency may have been divided by.
    let divisor = |pair: usize| match &sizes.rope_scaling {
        RopeScaling::None => 1.0,
        RopeScaling::Linear { factor } | RopeScaling::Llama3 { factor, .. } => *factor,
        RopeScaling::Divisors(divisors) => f64::from(divisors[pair]),
    };
    let of_pair = |pair: usize| {
        let step = (further(1, pair) - further(0, pair) + turn / 2.0).rem_euclid(turn) - turn / 2.0;
        let frequency = own[pair] + step;
        [frequency, frequency * divisor(pair)].map(|plain| plain.powf(-(d as f64) / (2.0 * pair as f64)))
    };
    let residual = |base: f64| {
        let mut other = sizes.clone();
        other.rope_theta = base;
        let between: Vec<f64> = oracle::frequencies(&other).iter().zip(&own).map(|(other, own)| other - own).collect();
        difference(place, shown, &oracle::rotate(right, start, &between))
    };
    // Bases are round numbers, as a rule.
    let candidates = (1..d / 2).flat_map(of_pair).filter(|base| (1.0..1e12).contains(base)).flat_map(|base| {
        let rounded = |digits: i32| {
            let unit = 10f64.powi(base.log10().floor() as i32 + 1 - digits);
            (base / unit).round() * unit
        };
        [rounded(1), rounded(2), rounded(3), (base * 1000.0).round() / 1000.0]
    });
    let candidates = candidates.map(|base| (residual(base), base));
    let (left, base) = candidates.min_by(|(a, _), (b, _)| a.total_cmp(b))?;
    let effect = difference(place, shown, right);
    let evidence =
        format!("with a base of {base}, max difference {}; the model's is {}", super::short(left), sizes.rope_theta);
    (left <= limit && left <= 0.1 * effect).then(|| Named {
        injection: Injection::of_base(base),
        residual: Some(left),
        evidence: Some(evidence),
    })
}
