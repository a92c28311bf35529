//! Causal attention over a cache, for any number of query heads to a head of keys and values.

use candle_core::{D, Device, Result, Tensor};
use candle_nn::ops::softmax_last_dim;

use super::pass::{Pass, PassError, lots};
use crate::layers::{Station, Tap};

/// The heads of one layer.
pub struct Heads {
    pub q: Tensor, // [T, H, D]
    pub k: Tensor, // [T, KV, D]
    pub v: Tensor, // [T, KV, D]
}

/// softmax(q · kᵀ / √D + mask) · v, heads side by side: [T, H · D]
pub fn attend<T: Tap>(heads: &Heads, layer: usize, pass: &mut Pass<'_, T>) -> std::result::Result<Tensor, PassError> {
    let (tokens, n_head, size) = heads.q.dims3()?;
    let n_kv = heads.k.dim(1)?;
    let (group, start) = (n_head / n_kv, pass.start());
    let heads_first = |tensor: &Tensor| tensor.transpose(0, 1)?.contiguous();
    let (keys, values) = pass.cache.extend(layer, &heads_first(&heads.k)?, &heads_first(&heads.v)?)?; // [KV, N, D]
    if T::ON {
        pass.show(Station::CachedKeys, layer, &keys.transpose(0, 1)?)?; // [N, KV, D]
        pass.show(Station::CachedValues, layer, &values.transpose(0, 1)?)?;
    }

    let q = heads_first(&heads.q)?.affine(1.0 / (size as f64).sqrt(), 0.0)?; // [H, T, D]
    let (mut shown, mut merged) = (Shown::default(), Vec::new());
    for (first, count) in lots(tokens, pass.lot) {
        pass.unless_cancelled()?;
        // No query of this lot sees a later position. Whoever looks on wants to see the scores of all.
        let seen = if T::ON { start + tokens } else { start + first + count };
        let (keys, values) = (keys.narrow(1, 0, seen)?, values.narrow(1, 0, seen)?); // [KV, N, D]
        // Query head h belongs to head h / group of the keys: the queries of a group are rows of one product.
        let q = q.narrow(1, first, count)?.reshape((n_kv, group * count, size))?;
        let scores = q.matmul(&keys.t()?)?.reshape((n_head, count, seen))?; // [H, T, N]
        let masked = match count {
            1 if seen == start + first + 1 => scores.clone(), // a single token sees all that there is
            _ => scores.broadcast_add(&causal_mask(start + first, count, seen, scores.device())?)?,
        };
        let probabilities = softmax_last_dim(&masked)?;
        let weighted = probabilities.reshape((n_kv, group * count, seen))?.matmul(&values)?; // [KV, G · T, D]
        let weighted = weighted.reshape((n_head, count, size))?.transpose(0, 1)?.contiguous()?; // [T, H, D]
        merged.push(weighted.flatten_from(D::Minus2)?); // [T, H · D]
        if T::ON {
            shown.add([scores, masked, probabilities]);
        }
    }
    if T::ON {
        shown.show(layer, pass)?;
    }
    let merged = if merged.len() == 1 { merged.swap_remove(0) } else { Tensor::cat(&merged, 0)? };
    pass.show(Station::Merged, layer, &merged)?;
    Ok(merged)
}

/// −∞ where a position is later than that of the token: [T, N]
fn causal_mask(start: usize, tokens: usize, positions: usize, device: &Device) -> Result<Tensor> {
    let row = |t: usize| (0..positions).map(move |s| if s > start + t { f32::NEG_INFINITY } else { 0.0 });
    let mask: Vec<f32> = (0..tokens).flat_map(row).collect();
    Tensor::from_vec(mask, (tokens, positions), device)
}

/// What a tap is shown of the lots: [H, T, N] each, one after the other along T.
#[derive(Default)]
struct Shown {
    lots: [Vec<Tensor>; 3],
}

impl Shown {
    fn add(&mut self, lot: [Tensor; 3]) {
        for (all, lot) in self.lots.iter_mut().zip(lot) {
            all.push(lot);
        }
    }

    fn show<T: Tap>(&self, layer: usize, pass: &mut Pass<'_, T>) -> Result<()> {
        let stations = [Station::Scores, Station::ScoresMasked, Station::Probabilities];
        for (station, lots) in stations.into_iter().zip(&self.lots) {
            pass.show(station, layer, &Tensor::cat(lots, 1)?)?;
        }
        Ok(())
    }
}
