//! Whether a model fits in memory, asked before anything is allocated: a context of a million positions takes a few bytes in
//! a file and hundreds of gigabytes in a cache, and a process that asks for more than there is ends without a word.

use super::error::Problem;

/// Bytes that this machine could give a process now; `None` where the system does not say.
pub fn available() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// Refuses what would not fit.
pub fn require(what: &'static str, required: u64, available: Option<u64>) -> Result<(), Problem> {
    match available {
        Some(available) if required > available => Err(Problem::Memory { what, required, available }),
        _ => Ok(()),
    }
}
