//! Who is measured: anybody who speaks the contract, or llama.cpp's server. Both are started, asked and read the same way;
//! only the words of a request and of its answer differ.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::subject::Prompt;
use crate::harness::Finding;
use crate::harness::http::Request;
use crate::harness::target::{Start, StartError, Target, Worker, free_port, unique};
use crate::harness::transcript::Transcript;

#[derive(Clone, Debug)]
pub struct Contender {
    pub name: String,
    target: Target,
    start: Start,
    dialect: Dialect,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// The contract's `/execute`.
    Worker,
    /// llama-server's `/completion`.
    LlamaServer,
}

impl Contender {
    pub fn built_in(binary: &Path, model: &Path, threads: usize) -> Contender {
        let start = Start::model(model).flags(["--backend", "cpu", "--threads", &threads.to_string()]);
        let (name, target) = ("built-in worker".to_owned(), Target::built_in(binary));
        Contender { name, target, start, dialect: Dialect::Worker }
    }

    /// Our worker on candle, on the processor.
    #[cfg(feature = "candle")]
    pub fn candle(binary: &Path, model: &Path, threads: usize) -> Contender {
        let start = Start::model(model).flags(["--threads", &threads.to_string()]);
        let words = [binary.to_string_lossy().into_owned(), "llorch-candled".to_owned()];
        let (name, target) = ("built-in, candle".to_owned(), Target::Spawn { command: words.to_vec() });
        Contender { name, target, start, dialect: Dialect::Worker }
    }

    /// A command that is given the model; how many threads it takes is up to the command, or to `{threads}` in it.
    pub fn spawned(command: &str, model: &Path, threads: usize) -> Result<Contender, StartError> {
        let target = Target::spawn(&command.replace("{threads}", &threads.to_string()))?;
        Ok(Contender { name: command.to_owned(), target, start: Start::model(model), dialect: Dialect::Worker })
    }

    /// A worker that runs already, on the same model.
    pub fn reached(url: &str) -> Result<Contender, StartError> {
        let target = Target::url(url)
            .map_err(|error| StartError::NoWorker { base: url.to_owned(), reason: error.to_string() })?;
        Ok(Contender { name: url.to_owned(), target, start: Start::default(), dialect: Dialect::Worker })
    }

    /// As it is shipped, with one slot for each client.
    pub fn llama_server(binary: PathBuf, model: &Path, threads: usize, clients: usize) -> Contender {
        let threads = threads.to_string();
        let start = Start::bare(["--model", &model.to_string_lossy(), "--host", "127.0.0.1"]).flags([
            "--threads",
            &threads,
            "--threads-batch",
            &threads,
            "--parallel",
            &clients.to_string(),
        ]);
        let command = vec![binary.to_string_lossy().into_owned()];
        let (name, target) = ("llama-server".to_owned(), Target::Spawn { command });
        Contender { name, target, start, dialect: Dialect::LlamaServer }
    }

    /// Starts it, or reaches it. A port is found anew each time.
    pub fn start(&self) -> Result<Worker, StartError> {
        let start = match self.dialect {
            Dialect::Worker => self.start.clone(),
            Dialect::LlamaServer => self.start.clone().flags(["--port".to_owned(), free_port().to_string()]),
        };
        self.target.start(&start)
    }

    /// Greedy, up to this many tokens.
    pub fn request(&self, prompt: &Prompt, max_tokens: u32) -> Request {
        match self.dialect {
            Dialect::Worker => Request::post("/execute").json(&json!({
                "job_id": unique("bench"), "prompt": prompt.text, "max_tokens": max_tokens, "temperature": 0.0, "seed": 1,
            })),
            Dialect::LlamaServer => Request::post("/completion").json(&json!({
                "prompt": prompt.ids, "n_predict": max_tokens, "temperature": 0.0, "seed": 1, "stream": true,
                "cache_prompt": false, "return_tokens": true,
            })),
        }
    }

    /// When each token came, since the request was sent. A job that did not come to a good end is a finding.
    pub fn arrivals(&self, transcript: &Transcript) -> Result<Vec<Duration>, Finding> {
        self.dialect.arrivals(transcript)
    }
}

impl Dialect {
    pub fn arrivals(self, transcript: &Transcript) -> Result<Vec<Duration>, Finding> {
        let mut arrivals = Vec::new();
        match self {
            Dialect::Worker => {
                transcript.completed()?;
                for frame in transcript.tokens() {
                    // A piece of text may be made from several tokens, where the worker says so.
                    let ids = frame.json().ok().and_then(|data| Some(data.get("ids")?.as_array()?.len()));
                    arrivals.extend(std::iter::repeat_n(frame.at, ids.unwrap_or(1)));
                }
            }
            Dialect::LlamaServer => {
                let mut stopped = false;
                for frame in &transcript.frames {
                    let data = frame.json().unwrap_or_default();
                    let ids = data.get("tokens").and_then(Value::as_array).map_or(0, Vec::len);
                    arrivals.extend(std::iter::repeat_n(frame.at, ids));
                    stopped |= data.get("stop").and_then(Value::as_bool) == Some(true);
                }
                if !stopped {
                    let finding = Finding::fail("a completion that runs to its end", transcript.summary());
                    return Err(transcript.evidence(finding));
                }
            }
        }
        if arrivals.is_empty() {
            return Err(transcript.evidence(Finding::fail("at least one token", transcript.summary())));
        }
        Ok(arrivals)
    }
}
