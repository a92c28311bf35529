//! What this machine is made of: cores, memory, and the devices that `nvidia-smi` lists, where it is installed.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use super::workers::spawn::on_path;

const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Capabilities {
    pub gpus: Vec<Gpu>,
    pub cpu_cores: usize,
    pub ram_total_bytes: u64,
    #[serde(skip)]
    tool: Option<PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Gpu {
    pub device_id: u32,
    pub name: String,
    pub vram_total_bytes: u64,
    pub compute_capability: String,
}

impl Capabilities {
    pub async fn of_this_machine() -> Self {
        let tool = on_path("nvidia-smi");
        let listed = ask(tool.clone(), "--query-gpu=index,name,memory.total,compute_cap").await;
        let gpus: Vec<Gpu> = listed.lines().filter_map(gpu).collect();
        let cpu_cores = std::thread::available_parallelism().map_or(1, usize::from);
        let tool = tool.filter(|_| !gpus.is_empty());
        Self { gpus, cpu_cores, ram_total_bytes: ram_total_bytes(), tool }
    }

    /// Over all devices, now; 0 without any.
    pub async fn vram_free_bytes(&self) -> u64 {
        let listed = ask(self.tool.clone(), "--query-gpu=memory.free").await;
        listed.lines().filter_map(|line| mebibytes(line.trim())).sum()
    }
}

/// What the tool prints; nothing where it is not there, fails or takes too long.
async fn ask(tool: Option<PathBuf>, query: &'static str) -> String {
    let Some(tool) = tool else { return String::new() };
    let asked = tokio::task::spawn_blocking(move || {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut command = std::process::Command::new(tool);
        command.args([query, "--format=csv,noheader,nounits"]).env_clear().env("PATH", path); // no token of ours
        command.output()
    });
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Ok(Ok(output))) if output.status.success() => String::from_utf8_lossy(&output.stdout).into_owned(),
        _ => String::new(),
    }
}

/// A line such as `0, NVIDIA H200, 143771, 9.0`.
pub fn gpu(line: &str) -> Option<Gpu> {
    let mut parts = line.split(',').map(str::trim);
    let device_id = parts.next()?.parse().ok()?;
    let name = parts.next()?.to_owned();
    let vram_total_bytes = mebibytes(parts.next()?)?;
    Some(Gpu { device_id, name, vram_total_bytes, compute_capability: parts.next()?.to_owned() })
}

fn mebibytes(text: &str) -> Option<u64> {
    text.parse::<u64>().ok()?.checked_mul(1024 * 1024)
}

fn ram_total_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kibibytes =
        line.and_then(|line| line.trim().strip_suffix("kB")).and_then(|text| text.trim().parse::<u64>().ok());
    kibibytes.unwrap_or(0).saturating_mul(1024)
}
