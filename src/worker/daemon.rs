//! The workers that share the contract: what each is called, and which backends it carries.

use crate::backend::BackendKind;
#[cfg(feature = "candle")]
use crate::backend::candle::device::Place;

pub struct Daemon {
    pub name: &'static str,
    /// What `--help` says it is.
    pub about: &'static str,
    /// Its first message.
    pub starting: &'static str,
    /// The words of `--backend`.
    pub backends: &'static [&'static str],
    pub backend_help: &'static str,
    pub gpu_help: &'static str,
}

impl std::fmt::Debug for Daemon {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(self.name)
    }
}

pub static CPUD: Daemon = Daemon {
    name: "llorch-cpud",
    about: "An inference worker on the CPU: one model, one port, tokens as they are computed",
    starting: "CPU worker starting",
    backends: &["cpu", "stub"],
    backend_help: "cpu or stub (default: cpu)",
    gpu_help: "The device's index; a CPU worker has none to use",
};

#[cfg(feature = "candle")]
pub static CANDLED: Daemon = Daemon {
    name: "llorch-candled",
    about: "An inference worker on candle, on the CPU or a GPU: one model, one port, tokens as they are computed",
    starting: "candle worker starting",
    backends: &["cpu", "cuda", "metal"],
    backend_help: "cpu, cuda or metal; a GPU needs a build with that feature (default: cpu)",
    gpu_help: "Which GPU, from 0 (default: 0); the CPU has no use for it",
};

impl Daemon {
    /// The backend behind a word of `--backend`, on the GPU of this index where it is one.
    pub fn backend(&self, word: &str, _gpu: usize) -> Option<BackendKind> {
        let word = self.backends.iter().find(|backend| **backend == word)?;
        Some(match *word {
            "stub" => BackendKind::Stub,
            #[cfg(feature = "candle")]
            "cpu" if self.name == CANDLED.name => BackendKind::Candle(Place::Cpu),
            #[cfg(feature = "candle")]
            "cuda" => BackendKind::Candle(Place::Cuda(_gpu)),
            #[cfg(feature = "candle")]
            "metal" => BackendKind::Candle(Place::Metal(_gpu)),
            _ => BackendKind::Cpu,
        })
    }
}
