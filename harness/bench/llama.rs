//! llama.cpp's own benchmark: prefill and decode inside one process, without HTTP, tokenizer or sampling.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use super::subject::Subject;
use super::{Figures, Metric, Terms};
use crate::harness::process::{Command, Exit, Output, Process};
use crate::harness::{Finding, Verdict};

const PATIENCE: Duration = Duration::from_secs(900);

#[derive(Clone, Debug)]
pub struct LlamaBench {
    pub binary: PathBuf,
    /// A GGUF file; the subject's own, or the same weights in that format.
    pub model: PathBuf,
}

impl LlamaBench {
    pub fn play(&self, subject: &Subject, terms: &Terms, figures: &mut Figures) -> Result<(), Finding> {
        let prefill = subject.long.ids.len().to_string();
        let (decode, threads) = (terms.decode_tokens.to_string(), terms.threads.to_string());
        let command = Command::new(&self.binary)
            .arguments(["--model".to_owned(), self.model.to_string_lossy().into_owned()])
            .arguments(["--threads", &threads, "--n-prompt", &prefill, "--n-gen", &decode])
            .arguments(["--repetitions", "1", "--output", "json"]);
        let wanted = command.to_string();
        let process = Process::spawn(command).map_err(|error| Finding::error(wanted, error.to_string()))?;
        let exit = process.wait_for_exit(PATIENCE)?;
        let told: String =
            process.lines().into_iter().filter(|line| line.from == Output::Stdout).map(|line| line.text).collect();
        if exit != Exit::Code(0) {
            return Err(process.evidence(Finding::error("llama-bench runs", exit.to_string())));
        }
        read(&told, figures).map_err(|finding| process.evidence(finding))
    }
}

/// Its tests, of which each is either prompt or answer: `[{"n_prompt": 512, "n_gen": 0, "avg_ts": 497.1, …}, …]`.
pub fn read(json: &str, figures: &mut Figures) -> Result<(), Finding> {
    let problem = |found: String| Finding::new(Verdict::Error, "llama-bench's tests as JSON", found);
    let tests: Vec<Value> = serde_json::from_str(json).map_err(|error| problem(error.to_string()))?;
    for test in &tests {
        let number = |name| test.get(name).and_then(Value::as_f64);
        let metric = match (number("n_prompt"), number("n_gen")) {
            (Some(1.0..), Some(0.0)) => Metric::Prefill,
            (Some(0.0), Some(1.0..)) => Metric::Decode,
            _ => continue,
        };
        figures.add(metric, number("avg_ts").ok_or_else(|| problem(format!("a test without avg_ts: {test}")))?);
    }
    match (figures.get(Metric::Prefill), figures.get(Metric::Decode)) {
        (Some(_), Some(_)) => Ok(()),
        _ => Err(problem(format!("{} tests, and not both prompt and answer", tests.len()))),
    }
}
