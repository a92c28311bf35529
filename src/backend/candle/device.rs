//! Where a model is computed, and what can be said of that place.

use candle_core::Device;

use crate::backend::CudaFacts;

/// What `--backend` and `--gpu` ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Cpu,
    Cuda(usize),
    Metal(usize),
}

impl Place {
    /// The device, or the sentence that says why it is not there.
    pub fn device(self) -> Result<Device, String> {
        let lacks = |feature: &str| format!("this build has no {feature}: build it with --features {feature}");
        match self {
            Place::Cpu => Ok(Device::Cpu),
            Place::Cuda(_) if !candle_core::utils::cuda_is_available() => Err(lacks("cuda")),
            Place::Metal(_) if !candle_core::utils::metal_is_available() => Err(lacks("metal")),
            Place::Cuda(gpu) => {
                Device::new_cuda(gpu).map_err(|error| format!("the CUDA device {gpu} can't be used: {error}"))
            }
            Place::Metal(gpu) => {
                Device::new_metal(gpu).map_err(|error| format!("the Metal device {gpu} can't be used: {error}"))
            }
        }
    }

    pub fn worker_type(self) -> &'static str {
        match self {
            Place::Cpu => "cpu",
            Place::Cuda(_) => "cuda",
            Place::Metal(_) => "metal",
        }
    }

    pub fn memory_architecture(self) -> &'static str {
        match self {
            Place::Cpu => "cpu",
            Place::Cuda(_) => "vram-only",
            Place::Metal(_) => "unified",
        }
    }

    pub fn has_memory_of_its_own(self) -> bool {
        self != Place::Cpu
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Place::Cpu => out.write_str("cpu"),
            Place::Cuda(gpu) => write!(out, "cuda:{gpu}"),
            Place::Metal(gpu) => write!(out, "metal:{gpu}"),
        }
    }
}

/// Whether this is how a device says that its memory is full: candle hands the driver's words on.
pub fn is_out_of_memory(reason: &str) -> bool {
    ["CUDA_ERROR_OUT_OF_MEMORY", "CUBLAS_STATUS_ALLOC_FAILED", "out of memory", "Failed to create metal resource"]
        .iter()
        .any(|words| reason.contains(words))
}

/// What a CUDA device says of itself.
pub fn cuda_facts(device: &Device) -> Option<CudaFacts> {
    #[cfg(feature = "cuda")]
    if let Device::Cuda(device) = device {
        use candle_core::cuda_backend::cudarc::driver::sys::CUDA_VERSION;
        let (major, minor) = device.cuda_stream().context().compute_capability().ok()?;
        let runtime_version = format!("{}.{}", CUDA_VERSION / 1000, CUDA_VERSION % 1000 / 10);
        return Some(CudaFacts { sm: format!("sm_{major}{minor}"), runtime_version });
    }
    let _ = device;
    None
}

/// How many threads candle computes with on a processor: it reads that from the environment, and nowhere else.
pub fn compute_with(threads: usize) {
    for name in ["RAYON_NUM_THREADS", "CANDLE_NUM_THREADS"] {
        #[allow(unsafe_code)]
        // SAFETY: a daemon's main calls this before it has started a thread, so that nobody reads the environment meanwhile.
        unsafe {
            std::env::set_var(name, threads.to_string());
        }
    }
}
