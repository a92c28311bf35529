//! What a build needs of the machine, looked at before anything is fetched: what is missing is said at once, with the
//! command of this distribution that brings it.

use std::path::Path;

use super::settings::{Gpu, Source};
use crate::pool::workers::spawn::on_path;

/// Sources, objects and the server itself.
const DISK_BYTES: u64 = 3_000_000_000;

/// Something that a build needs: one of these programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    Compiler,
    Cmake,
    Builder,
    Git,
    Tar,
    Curl,
    Python,
    Cuda,
    Vulkan,
    Rocm,
    /// The machine itself: no package brings it.
    Macos,
}

impl Need {
    fn programs(self) -> &'static [&'static str] {
        match self {
            Need::Compiler => &["c++", "g++", "clang++"],
            Need::Cmake => &["cmake"],
            Need::Builder => &["ninja", "make"],
            Need::Git => &["git"],
            Need::Tar => &["tar"],
            Need::Curl => &["curl"],
            Need::Python => &["python3"],
            Need::Cuda => &["nvcc"],
            Need::Vulkan => &["glslc"],
            Need::Rocm => &["hipcc"],
            Need::Macos => &[],
        }
    }

    fn words(self) -> &'static str {
        match self {
            Need::Compiler => "a C++ compiler",
            Need::Cmake => "cmake",
            Need::Builder => "ninja or make",
            Need::Git => "git",
            Need::Tar => "tar",
            Need::Curl => "curl",
            Need::Python => "python3 with pip",
            Need::Cuda => "the CUDA toolkit (nvcc)",
            Need::Vulkan => "the Vulkan SDK (glslc)",
            Need::Rocm => "ROCm (hipcc)",
            Need::Macos => "macOS, where Metal is",
        }
    }

    fn packages(self, manager: Manager) -> &'static str {
        use Manager::{Apt, Brew, Dnf, Pacman};
        match (self, manager) {
            (Need::Compiler, Apt) => "g++",
            (Need::Compiler, Dnf) => "gcc-c++",
            (Need::Compiler, Pacman) => "gcc",
            (Need::Compiler, Brew) => "llvm",
            (Need::Cmake, _) => "cmake",
            (Need::Builder, Apt | Dnf) => "ninja-build",
            (Need::Builder, _) => "ninja",
            (Need::Git, _) => "git",
            (Need::Tar, Brew) => "gnu-tar",
            (Need::Tar, _) => "tar",
            (Need::Curl, _) => "curl",
            (Need::Python, Apt) => "python3-pip",
            (Need::Python, Dnf) => "python3-pip",
            (Need::Python, Pacman) => "python-pip",
            (Need::Python, Brew) => "python",
            (Need::Cuda, Apt) => "nvidia-cuda-toolkit",
            (Need::Cuda, Dnf) => "cuda-toolkit",
            (Need::Cuda, _) => "cuda",
            (Need::Vulkan, Apt) => "libvulkan-dev glslc",
            (Need::Vulkan, Dnf) => "vulkan-devel glslc",
            (Need::Vulkan, Pacman) => "vulkan-devel shaderc",
            (Need::Vulkan, Brew) => "molten-vk shaderc",
            (Need::Rocm, Apt) => "hipcc rocm-dev",
            (Need::Rocm, Dnf) => "rocm-hip-devel",
            (Need::Rocm, _) => "rocm-hip-sdk",
            (Need::Macos, _) => "",
        }
    }
}

/// How this system installs packages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manager {
    Apt,
    Dnf,
    Pacman,
    Brew,
}

impl Manager {
    /// From `/etc/os-release`: the distribution, or the one that it is like.
    pub fn of(os_release: &str) -> Self {
        let value = |key: &str| os_release.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
        let ids = format!("{} {}", value("ID="), value("ID_LIKE=")).replace('"', " ").to_lowercase();
        let is = |names: &[&str]| ids.split_whitespace().any(|id| names.contains(&id));
        if is(&["fedora", "rhel", "centos", "rocky", "almalinux", "amzn"]) {
            Manager::Dnf
        } else if is(&["arch", "manjaro"]) {
            Manager::Pacman
        } else {
            Manager::Apt
        }
    }

    fn of_this_system() -> Self {
        if cfg!(target_os = "macos") {
            return Manager::Brew;
        }
        Self::of(&std::fs::read_to_string("/etc/os-release").unwrap_or_default())
    }

    fn command(self) -> &'static str {
        match self {
            Manager::Apt => "sudo apt-get install -y",
            Manager::Dnf => "sudo dnf install -y",
            Manager::Pacman => "sudo pacman -S --needed",
            Manager::Brew => "brew install",
        }
    }
}

/// What building from this source for this device takes.
pub fn needs(source: &Source, gpu: Gpu) -> Vec<Need> {
    let mut needs = vec![Need::Compiler, Need::Cmake, Need::Builder];
    if source.git.is_some() {
        needs.push(Need::Git);
    }
    if source.archive.is_some() || source.pypi.is_some() {
        needs.push(Need::Tar);
    }
    if source.archive.as_ref().is_some_and(|archive| archive.contains("://")) {
        needs.push(Need::Curl);
    }
    if source.pypi.is_some() {
        needs.push(Need::Python);
    }
    match gpu {
        Gpu::None => {}
        Gpu::Cuda => needs.push(Need::Cuda),
        Gpu::Metal => needs.push(Need::Macos),
        Gpu::Vulkan => needs.push(Need::Vulkan),
        Gpu::Rocm => needs.push(Need::Rocm),
    }
    needs
}

/// The sentence about what is missing, with the command that brings it; `None` when nothing is.
pub fn missing(needs: &[Need], has: impl Fn(&str) -> bool, macos: bool, manager: Manager) -> Option<String> {
    let there = |need: &Need| match need {
        Need::Macos => macos,
        need => need.programs().iter().any(|program| has(program)),
    };
    let missing: Vec<Need> = needs.iter().copied().filter(|need| !there(need)).collect();
    if missing.is_empty() {
        return None;
    }
    let words: Vec<&str> = missing.iter().map(|need| need.words()).collect();
    let packages: Vec<&str> =
        missing.iter().map(|need| need.packages(manager)).filter(|packages| !packages.is_empty()).collect();
    let install = if packages.is_empty() {
        String::new()
    } else {
        format!(". Run: {} {}", manager.command(), packages.join(" "))
    };
    Some(format!("the build needs {}{install}", words.join(", ")))
}

/// The refusal is a sentence.
pub fn check(source: &Source, gpu: Gpu, cache: &Path) -> Result<(), String> {
    let has = |program: &str| {
        let beside = program == "nvcc" && Path::new("/usr/local/cuda/bin/nvcc").is_file();
        beside || on_path(program).is_some()
    };
    let manager = Manager::of_this_system();
    if let Some(sentence) = missing(&needs(source, gpu), has, cfg!(target_os = "macos"), manager) {
        return Err(sentence);
    }
    match free_bytes(cache) {
        Some(free) if free < DISK_BYTES => {
            Err(format!("the build needs {DISK_BYTES} free bytes in {}, and there are {free}", cache.display()))
        }
        _ => Ok(()),
    }
}

/// What `df` says; nothing where it can't be asked.
fn free_bytes(folder: &Path) -> Option<u64> {
    let mut command = std::process::Command::new("df");
    command.arg("-Pk").arg(folder).env_clear().env("PATH", std::env::var_os("PATH")?);
    let text = String::from_utf8(command.output().ok()?.stdout).ok()?;
    text.lines().nth(1)?.split_whitespace().nth(3)?.parse::<u64>().ok()?.checked_mul(1024)
}
