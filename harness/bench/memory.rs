//! What a process holds, as Linux tells it in `/proc`. Elsewhere nothing is known.

use std::fs;

/// In MiB; pages of a mapped file count as long as they are in memory.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Resident {
    pub now: f64,
    pub peak: f64,
}

impl Resident {
    pub fn of(process: u32) -> Option<Resident> {
        Resident::parse(&fs::read_to_string(format!("/proc/{process}/status")).ok()?)
    }

    /// Reads the text of a `status` file.
    pub fn parse(status: &str) -> Option<Resident> {
        let field = |name: &str| -> Option<f64> {
            let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            let kibibytes: f64 = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
            Some(kibibytes / 1024.0)
        };
        Some(Resident { now: field("VmRSS")?, peak: field("VmHWM")? })
    }
}
