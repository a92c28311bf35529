//! Faults in what Llama and Qwen2 have of their own. Norms left out or doubled, the cache, attention, the residual stream
//! and all that comes after it are common to all models, and their faults are beside this module.

mod feed_forward;
mod norm;
mod projection;
mod rotary;

use super::{Faulty, Here};
use crate::layers::Station;
use crate::model::{LlamaConfiguration, ModelError};
use crate::parity::faults::Fault;
use crate::parity::oracle::{self, Tensor};
pub use norm::normalised;
pub use rotary::turned;

/// `None` where the station is one that all models have.
pub fn station(here: Here<'_>, pass: &Faulty<'_>, sizes: &LlamaConfiguration) -> Result<Option<Tensor>, ModelError> {
    Ok(Some(match here.station {
        Station::Embedding => embedding(here, pass)?,
        Station::Query | Station::Key | Station::Value => projection::heads(here, pass, sizes)?,
        Station::QueryRotated | Station::KeyRotated => rotary::station(here, pass, sizes)?,
        Station::AttentionOutput | Station::Gate | Station::Up | Station::FeedForwardOutput => {
            projection::linear(here, pass, sizes)?
        }
        Station::GatedProduct => feed_forward::product(here, pass)?,
        _ => return Ok(None),
    }))
}

/// [T, C]
fn embedding(here: Here<'_>, pass: &Faulty<'_>) -> Result<Tensor, ModelError> {
    let rows = oracle::rows(pass.tokens, &pass.model.token_embedding()?);
    let factor = if here.has(Fault::EmbeddingScaled) { (rows.row_len() as f64).sqrt() } else { 1.0 };
    Ok(rows.map(|x| factor * x))
}
