//! `ORCH_LOG_FILE`, `ORCH_LOG_TEAM`, `ORCH_LOG_VALUES`.

use std::collections::BTreeMap;
use std::path::PathBuf;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Appended to.
    pub file: PathBuf,
    /// Whose worker it is, where several write.
    pub team: String,
    /// How many of a tensor's numbers each record shows.
    pub values: usize,
}

const VALUES: usize = 10;
const MOST_VALUES: usize = 1_000_000;

impl Settings {
    /// `None` where no file is named: the log is off then. The message names the variable that is refused.
    pub fn from_variables(variables: &BTreeMap<String, String>) -> Result<Option<Settings>, String> {
        let get = |name: &str| variables.get(name).filter(|value| !value.is_empty());
        let Some(file) = get("ORCH_LOG_FILE") else { return Ok(None) };
        let values = match get("ORCH_LOG_VALUES") {
            None => VALUES,
            Some(text) => text.parse().ok().filter(|count| *count <= MOST_VALUES).ok_or_else(|| {
                format!("ORCH_LOG_VALUES: '{text}' is refused; allowed: a whole number from 0 to {MOST_VALUES}")
            })?,
        };
        let team = get("ORCH_LOG_TEAM").map_or("llorch", String::as_str).to_owned();
        Ok(Some(Settings { file: file.into(), team, values }))
    }
}
