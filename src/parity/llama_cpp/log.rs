//! llama.cpp's side of a parity log: every tensor of every pass, as our workers write theirs.

use std::path::Path;
use std::sync::Arc;

use super::LlamaCppError;
use crate::layers::Station;
use crate::parity::capture::Manifest;
use crate::parity::log::{Entry, Settings, Writer, checkpoint};

pub struct Log {
    writer: Writer,
    source: Arc<str>,
    /// Of several nodes that mean the same the last is told: a sum with a bias, after the product.
    pending: Option<Entry>,
}

impl Log {
    /// Appends to `settings.file`; closed when it is dropped.
    pub fn start(settings: &Settings, manifest: &Manifest) -> Result<Log, LlamaCppError> {
        let source = manifest.engine.as_str().into();
        let refused = |source| LlamaCppError::Log { file: Path::display(&settings.file).to_string(), source };
        let writer = Writer::start(settings, manifest.clone().into()).map_err(refused)?;
        Ok(Log { writer, source, pending: None })
    }

    pub fn record(&mut self, station: Station, layer: usize, token_idx: usize, shape: &[usize], values: &[f32]) {
        let (checkpoint, shape, values) = (checkpoint(station), shape.to_vec(), values.to_vec());
        let same = |before: &Entry| (before.checkpoint.as_str(), before.layer) == (checkpoint.as_str(), layer);
        if !self.pending.as_ref().is_some_and(same) {
            self.tell();
        }
        self.pending = Some(Entry { checkpoint, layer, token_idx, shape, values, source: self.source.clone() });
    }

    /// At the end of a pass, and before another tensor.
    pub fn tell(&mut self) {
        if let Some(entry) = self.pending.take() {
            self.writer.record(entry);
        }
    }
}
