//! What stands in a line.

use serde::{Deserialize, Serialize};

use crate::layers::Station;
use crate::parity::capture::summary::{Number, Statistics};
use crate::parity::capture::{Manifest, Sizes};

pub const SCHEMA_VERSION: u32 = 1;

/// The first line: who computes, and on what.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Meta {
    /// `meta`: what tells this line from the others.
    pub record: String,
    pub schema_version: u32,
    pub ts: String,
    pub team: String,
    pub engine: String,
    pub engine_version: String,
    pub model: String,
    pub architecture: String,
    pub sizes: Sizes,
    pub model_digest: String,
    pub weights_dtype: String,
    pub compute_dtype: String,
}

/// What a capture's manifest says of the same.
impl From<Manifest> for Meta {
    fn from(manifest: Manifest) -> Meta {
        Meta {
            engine: manifest.engine,
            engine_version: manifest.engine_version,
            model: manifest.model,
            architecture: manifest.architecture,
            sizes: manifest.sizes,
            model_digest: manifest.model_digest,
            weights_dtype: manifest.weights_dtype,
            compute_dtype: manifest.compute_dtype,
            ..Meta::default()
        }
    }
}

impl From<Meta> for Manifest {
    fn from(meta: Meta) -> Manifest {
        Manifest {
            engine: meta.engine,
            engine_version: meta.engine_version,
            model: meta.model,
            architecture: meta.architecture,
            sizes: meta.sizes,
            model_digest: meta.model_digest,
            weights_dtype: meta.weights_dtype,
            compute_dtype: meta.compute_dtype,
            ..Manifest::default()
        }
    }
}

/// One tensor of one pass.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    pub ts: String,
    pub team: String,
    /// The tensor's name in a capture, without layer and step: `cp01.ln_1`, `cp03.k`, `cp08.block`.
    pub checkpoint: String,
    /// The position of the pass's first token: 0 for the prompt, then its length, and one more for each token.
    pub token_idx: usize,
    pub layer: usize,
    pub dtype: String,
    pub shape: Vec<usize>,
    /// The first few, row-major.
    pub values: Vec<Number>,
    /// SHA-256 over all of them as little-endian bytes.
    pub digest: String,
    pub count: usize,
    #[serde(flatten)]
    pub statistics: Statistics,
    /// Who showed it: the engine, and the job.
    #[serde(default)]
    pub source: String,
}

/// What two logs are joined on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    pub token_idx: usize,
    pub checkpoint: String,
    pub layer: usize,
}

impl Record {
    pub fn key(&self) -> Key {
        Key { token_idx: self.token_idx, checkpoint: self.checkpoint.clone(), layer: self.layer }
    }
}

/// A station's name in a log.
pub fn checkpoint(station: Station) -> String {
    match station {
        Station::CachedKeys => "cp03.k".to_owned(),
        Station::CachedValues => "cp03.v".to_owned(),
        Station::BlockOutput => "cp08.block".to_owned(),
        other => other.name(0, 0),
    }
}
