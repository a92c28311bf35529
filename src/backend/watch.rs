//! Who looks at a job's passes: nobody as a rule, and then a pass is compiled without a tap; else the recorder of a capture,
//! the parity log, or both.

use crate::layers::{Station, Tap};
use crate::parity::Recorder;

#[derive(Default)]
pub struct Watch {
    pub recorder: Option<Recorder>,
    #[cfg(feature = "orch_logging")]
    pub log: Option<Logged>,
}

/// The log, and what its records say of the pass under way.
#[cfg(feature = "orch_logging")]
pub struct Logged {
    pub writer: std::sync::Arc<crate::parity::log::Writer>,
    pub source: std::sync::Arc<str>,
    /// The position of the pass's first token.
    pub token_idx: usize,
}

impl Watch {
    pub fn is_on(&self) -> bool {
        self.is_logged() || self.recorder.as_ref().is_some_and(|recorder| !recorder.is_full())
    }

    pub fn begin_pass(&mut self, _position: usize) {
        #[cfg(feature = "orch_logging")]
        if let Some(log) = &mut self.log {
            log.token_idx = _position;
        }
    }

    /// What an unfinished pass showed is no capture.
    pub fn end_pass(&mut self, finished: bool) {
        match &mut self.recorder {
            Some(recorder) if finished => recorder.next_step(),
            _ if !finished => self.recorder = None,
            _ => {}
        }
    }

    fn is_logged(&self) -> bool {
        #[cfg(feature = "orch_logging")]
        return self.log.is_some();
        #[cfg(not(feature = "orch_logging"))]
        return false;
    }

    #[cfg(feature = "orch_logging")]
    fn log(&self, station: Station, layer: usize, shape: &[usize], values: &[f32]) {
        if let Some(Logged { writer, source, token_idx }) = &self.log {
            writer.record(crate::parity::log::Entry {
                checkpoint: crate::parity::log::checkpoint(station),
                layer,
                token_idx: *token_idx,
                shape: shape.to_vec(),
                values: values.to_vec(),
                source: source.clone(),
            });
        }
    }
}

impl Tap for Watch {
    const ON: bool = true;

    fn tensor(&mut self, station: Station, layer: usize, shape: &[usize], values: impl FnOnce() -> Vec<f32>) {
        let is_kept = self.recorder.as_ref().is_some_and(|recorder| recorder.wants(station, layer));
        if !is_kept && !self.is_logged() {
            return;
        }
        let values = values();
        #[cfg(feature = "orch_logging")]
        self.log(station, layer, shape, &values);
        if let Some(recorder) = self.recorder.as_mut().filter(|_| is_kept) {
            recorder.keep(station, layer, shape, values);
        }
    }
}
