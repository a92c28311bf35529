//! A GPT-2 in GGUF.
use super::Plan;
use crate::model::error::{ModelError, Problem};
use std::path::Path;
pub fn plan(file: &Path) -> Result<Plan, ModelError> {
    Err(Problem::NoModel("GGUF comes next".into()).of(file))
}
