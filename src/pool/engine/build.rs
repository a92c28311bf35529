//! A `llama-server`, found or built, that can do what was asked of it.
//!
//! A build has a folder in the cache, named after its source and device; the server lies there once it is whole, and is
//! used again. What fails takes its folder with it and leaves its log.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::time::sleep;

use super::settings::{EngineSettings, Gpu, Source};
use super::{find, preflight, server, source};
use crate::pool::children::{Child, Command, Exit, Output};
use crate::pool::durable::Lock;
use crate::pool::preparation::Progress;
use crate::pool::workers::spawn::{is_executable, on_path};

/// For another process that builds the same.
const LOCK_PATIENCE: Duration = Duration::from_secs(3600);
const LOOK: Duration = Duration::from_millis(500);
const DEVICES_PATIENCE: Duration = Duration::from_secs(30);
/// What a build makes: the server, and what makes smaller models of a model, which costs seconds more.
const PROGRAMS: [&str; 2] = ["llama-server", "llama-quantize"];

/// A server that can work on the device that was asked for: found, or, where `may_build` says so, built. The refusal is a
/// sentence.
pub async fn provide(
    settings: &EngineSettings,
    may_build: Result<(), String>,
    progress: &Progress,
) -> Result<PathBuf, String> {
    progress.phase("find", "Looking for llama-server");
    if let Some(found) = find::find()? {
        works_on(&found, settings.gpu).await?;
        return Ok(found);
    }
    let Some(source) = &settings.source else {
        return Err(format!(
            "llama-server is neither named by {} nor on the PATH, and engine.source names nothing to build it from",
            find::VARIABLE
        ));
    };
    may_build?;
    let built = build(source, settings, progress).await?;
    works_on(&built, settings.gpu).await?;
    Ok(built)
}

/// Where one build is made, and what it says.
pub struct Workshop<'a> {
    pub folder: PathBuf,
    pub log: PathBuf,
    progress: &'a Progress,
}

/// Removes the folder of a build that did not come to its end.
struct Scaffold(PathBuf);

impl Drop for Scaffold {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0); // gone already after a build that did
    }
}

fn cache_folder(settings: &EngineSettings) -> Result<PathBuf, String> {
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache"));
    let user = std::env::var_os("XDG_CACHE_HOME").filter(|path| !path.is_empty()).map(PathBuf::from).or_else(home);
    let chosen = settings.cache_dir.clone().or_else(|| Some(user?.join("llorch")));
    let folder = chosen.ok_or("cache_dir is not set, and there is no HOME to choose one in")?;
    std::path::absolute(folder.join("llama.cpp")).map_err(|error| error.to_string())
}

async fn build(source: &Source, settings: &EngineSettings, progress: &Progress) -> Result<PathBuf, String> {
    let cache = cache_folder(settings)?;
    std::fs::create_dir_all(&cache).map_err(|error| format!("{} can't be made: {error}", cache.display()))?;
    let name = name(source, settings.gpu);
    let finished = cache.join(&name).join("llama-server");
    if is_executable(&finished) {
        return Ok(finished);
    }
    progress.phase("preflight", "Looking at what a build needs");
    preflight::check(source, settings.gpu, &cache)?;
    let lock_path = cache.join(format!("{name}.lock"));
    let lock = tokio::task::spawn_blocking(move || Lock::take(&lock_path, LOCK_PATIENCE)).await;
    let _lock = lock.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
    if is_executable(&finished) {
        return Ok(finished); // another process built it meanwhile
    }
    let folder = cache.join(format!("{name}.partial"));
    let _ = std::fs::remove_dir_all(&folder); // of one that was killed
    std::fs::create_dir_all(&folder).map_err(|error| format!("{} can't be made: {error}", folder.display()))?;
    let scaffold = Scaffold(folder.clone());
    let workshop = Workshop { folder, log: cache.join(format!("{name}.log")), progress };
    progress.phase("fetch", "Bringing the sources of llama.cpp");
    let tree = source::bring(source, &workshop).await?;
    let objects = workshop.folder.join("build");
    progress.phase("configure", "Configuring llama.cpp");
    workshop.run(&configure(&tree, &objects, settings.gpu, on_path("ninja").is_some()), "configure").await?;
    progress.phase("build", "Building llama-server");
    workshop.run(&compile(&objects), "build").await?;
    let place = cache.join(&name);
    std::fs::create_dir_all(&place).map_err(|error| format!("{} can't be made: {error}", place.display()))?;
    // The server last: where it lies, the build is whole.
    for program in PROGRAMS.iter().rev() {
        let made = objects.join("bin").join(program);
        std::fs::rename(&made, place.join(program))
            .map_err(|error| format!("{} can't be put into its place: {error}", made.display()))?;
    }
    drop(scaffold);
    Ok(finished)
}

/// Another source, device or processor is another build: it is made for the processor that makes it.
fn name(source: &Source, gpu: Gpu) -> String {
    let text = format!("{source:?} {}", processor());
    let digest: String = Sha256::digest(text.as_bytes()).iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{digest}", gpu.word())
}

/// What this processor can do, as the system lists it; empty where it does not.
fn processor() -> String {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = |name: &str| cpuinfo.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
    ["model name", "flags", "Features"].map(line).join(" ")
}

/// Nothing is fetched while it builds, and nothing is linked that another machine may lack.
pub fn configure(tree: &Path, objects: &Path, gpu: Gpu, ninja: bool) -> Vec<String> {
    let mut words = vec![
        "cmake".to_owned(),
        "-S".to_owned(),
        tree.display().to_string(),
        "-B".to_owned(),
        objects.display().to_string(),
    ];
    let mut set = |name: &str, value: &str| words.push(format!("-D{name}={value}"));
    set("CMAKE_BUILD_TYPE", "Release");
    set("BUILD_SHARED_LIBS", "OFF");
    set("GGML_NATIVE", "ON");
    for part in ["LLAMA_CURL", "LLAMA_OPENSSL", "LLAMA_BUILD_UI", "LLAMA_USE_PREBUILT_UI", "LLAMA_BUILD_TESTS"] {
        set(part, "OFF");
    }
    match gpu {
        Gpu::None => {}
        Gpu::Cuda => set("GGML_CUDA", "ON"),
        Gpu::Metal => set("GGML_METAL", "ON"),
        Gpu::Vulkan => set("GGML_VULKAN", "ON"),
        Gpu::Rocm => set("GGML_HIP", "ON"),
    }
    if ninja {
        words.extend(["-G".to_owned(), "Ninja".to_owned()]);
    }
    words
}

fn compile(objects: &Path) -> Vec<String> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from).to_string();
    let objects = objects.display().to_string();
    let mut words = vec!["cmake", "--build", &objects, "--parallel", &cores, "--target"];
    words.extend(PROGRAMS);
    words.into_iter().map(str::to_owned).collect()
}

impl Workshop<'_> {
    /// Runs one command to its end, with its output in the log and its progress in the step.
    pub async fn run(&self, words: &[String], what: &str) -> Result<(), String> {
        let (program, arguments) = words.split_first().ok_or("there is nothing to run")?;
        let from = std::fs::metadata(&self.log).map_or(0, |data| data.len());
        let child = Child::spawn(Command {
            program: program.into(),
            arguments: arguments.to_vec(),
            environment: Vec::new(),
            directory: None,
            output: Output::Log(self.log.clone()),
        })
        .map_err(|error| format!("{program} can't be started: {error}"))?;
        let exit = loop {
            tokio::select! {
                exit = child.ended() => break exit,
                () = sleep(LOOK) => {
                    if let Some(percent) = percent(&server::tail(&self.log, from)) {
                        self.progress.percent(percent);
                    }
                }
            }
        };
        if exit == Exit::ExitCode(0) {
            return Ok(());
        }
        let log = self.log.display();
        Err(format!("{what} failed ({exit}); the whole log is {log}; its end: {}", server::tail(&self.log, from)))
    }
}

/// How far a build has come: ninja counts `[12/345]`, make says `[ 12%]`.
pub fn percent(log: &str) -> Option<u8> {
    log.lines().rev().find_map(|line| {
        let inner = line.trim_start().strip_prefix('[')?.split(']').next()?;
        if let Some(percent) = inner.strip_suffix('%') {
            return percent.trim().parse().ok().filter(|percent| *percent <= 100);
        }
        let (done, all) = inner.split_once('/')?;
        let (done, all): (u32, u32) = (done.trim().parse().ok()?, all.trim().parse().ok()?);
        (all > 0 && done <= all).then(|| (done * 100 / all) as u8)
    })
}

/// A device that was asked for has to be there: a server that would compute on the processor instead is refused.
async fn works_on(binary: &Path, gpu: Gpu) -> Result<(), String> {
    if gpu == Gpu::None {
        return Ok(());
    }
    let (path, program) = (std::env::var_os("PATH").unwrap_or_default(), binary.to_owned());
    let asked = tokio::task::spawn_blocking(move || {
        std::process::Command::new(program).arg("--list-devices").env_clear().env("PATH", path).output()
    });
    let output = match tokio::time::timeout(DEVICES_PATIENCE, asked).await {
        Ok(Ok(Ok(output))) => output,
        _ => return Err(format!("{} does not say which devices it has", binary.display())),
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    if lists(&text, gpu) {
        return Ok(());
    }
    Err(format!(
        "engine.gpu is {}, and {} has no such device: it would compute on the processor, which nobody asked for",
        gpu.word(),
        binary.display()
    ))
}

/// Whether a list of devices, such as `  CUDA0: NVIDIA H200 (…)`, has one of this kind.
pub fn lists(devices: &str, gpu: Gpu) -> bool {
    let kind = match gpu {
        Gpu::None => return true,
        Gpu::Cuda => "CUDA",
        Gpu::Metal => "MTL",
        Gpu::Vulkan => "Vulkan",
        Gpu::Rocm => "ROCm",
    };
    let names = |line: &str| {
        let name = line.trim().split(':').next().unwrap_or_default().to_owned();
        name.strip_prefix(kind).is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
            || (gpu == Gpu::Metal && name.starts_with("Metal"))
    };
    devices.lines().any(names)
}
