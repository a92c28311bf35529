//! The haiku in two engines that write a parity log each: the worker, which draws its tokens, and llama.cpp, which follows
//! them.

use super::Scene;
use crate::harness::Finding;

#[cfg(not(feature = "llama-cpp"))]
impl Scene {
    pub fn haiku_logs_agree(&mut self) -> Result<(), Finding> {
        // The library, whose callback shows every node: REQUIRE_REAL_LLAMA asks for the server.
        Err(Finding::skipped("llama.cpp", "this build does not carry it: cargo test --features bdd,llama-cpp"))
    }
}

#[cfg(feature = "llama-cpp")]
impl Scene {
    /// Every tensor of every pass, prompt and text, as both logs tell it.
    pub fn haiku_logs_agree(&mut self) -> Result<(), Finding> {
        let folder = self.folder()?;
        let [ours, theirs] = ["worker.jsonl", "llama.cpp.jsonl"].map(|name| folder.join(name));
        let model = crate::harness::tiny_model::write(&folder, ModelFormat::Gguf)
            .map_err(|error| Finding::error("the tiny model on disk", error.to_string()))?;
        let start = self.session.start_on(&model, ModelFormat::Gguf)?;
        let start = start.variable("ORCH_LOG_FILE", &ours.display().to_string()).variable("ORCH_LOG_TEAM", "worker");
        let capturing = captured::start_capturing(&self.session.target, &start, false)?;
        let asked = Asked::new("GPU computing", 42);
        let Captured { capture, .. } = capturing.run_job(&json!({
            "prompt": asked.prompt(), "max_tokens": 100, "temperature": 0.7, "top_p": 0.95, "seed": 42,
        }))?;
        capturing.end()?;
        let ids = |name: &str| capture.tensors.get(name).map(|ids| ids.to_f64().iter().map(|id| *id as u32).collect());
        let follow: Vec<u32> = ids("cp12.ids").ok_or_else(|| Finding::fail("the ids of the haiku", "none"))?;
        let settings = Settings { file: theirs.clone(), team: "llama.cpp".to_owned(), values: 10 };
        let options = Options { steps: 0, every_layer: true, follow, log: Some(settings), ..Options::default() };
        llama_cpp::capture(&model, &capture.manifest.token_ids, &options)
            .map_err(|error| Finding::fail("llama.cpp along the same tokens", error.to_string()))?;
        let read = |path| Log::read(path).map_err(|error| Finding::fail("a parity log", error.to_string()));
        let diff = diff_logs(&read(&theirs)?, &read(&ours)?);
        let agree = diff.rows.iter().filter(|row| row.standing() == Standing::Agrees).count();
        if diff.outcome == Outcome::Parity && agree > 0 {
            return Ok(());
        }
        let found = format!("{:?}, {agree} of {} records agree", diff.outcome, diff.rows.len());
        Err(Finding::fail("two logs that agree", found).with("difference", story::tell(&diff)))
    }
}

#[cfg(feature = "llama-cpp")]
use {
    crate::harness::checkpoints::captured::{self, Captured},
    crate::harness::haiku::Asked,
    crate::harness::selection::ModelFormat,
    crate::parity::Log,
    crate::parity::diff::{Outcome, Standing, diff_logs, story},
    crate::parity::llama_cpp::{self, Options},
    crate::parity::log::Settings,
    serde_json::json,
};
