//! A capture of the worker under test: it is started with a checkpoint folder, asked for one greedy job, and what it wrote
//! is read as a stranger's.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::Finding;
use crate::harness::target::{Start, Target, Worker, unique};
use crate::harness::transcript::Transcript;
use crate::parity::Capture;

/// One greedy job, as it was captured and as it was streamed.
#[derive(Clone, Debug)]
pub struct Captured {
    pub capture: Capture,
    pub transcript: Transcript,
}

/// Tokens that a captured job generates.
pub const TOKENS: usize = 12;
/// How long a capture may take after the end of its job.
const WRITTEN_WITHIN: Duration = Duration::from_secs(30);
const PATIENCE: Duration = Duration::from_secs(60);

/// A worker that writes captures, and the folder where it writes them.
pub struct Capturing {
    worker: Worker,
    folder: tempfile::TempDir,
}

/// Starts a worker, runs the prompt and reads the capture. `start` names the model.
pub fn capture(target: &Target, start: &Start, prompt: &str, every_layer: bool) -> Result<Captured, Finding> {
    start_capturing(target, start, every_layer)?.run(prompt)
}

pub fn start_capturing(target: &Target, start: &Start, every_layer: bool) -> Result<Capturing, Finding> {
    let folder = tempfile::tempdir().map_err(|error| Finding::error("a folder for captures", error.to_string()))?;
    let mut start = Start { checkpoint_dir: Some(folder.path().to_path_buf()), ..start.clone() };
    if every_layer {
        start = start.variable("LLORCH_CHECKPOINT_LAYERS", "all");
    }
    let worker = target.start(&start).map_err(|error| without(error.into()))?;
    Ok(Capturing { worker, folder })
}

impl Capturing {
    pub fn run(&self, prompt: &str) -> Result<Captured, Finding> {
        self.run_job(&json!({ "prompt": prompt, "max_tokens": TOKENS, "temperature": 0.0, "seed": 1 }))
    }

    /// Stops the worker, which writes what it still has to write.
    pub fn end(self) -> Result<(), Finding> {
        self.worker.terminate(PATIENCE).map(drop)
    }

    /// A job that has no id yet.
    pub fn run_job(&self, job: &serde_json::Value) -> Result<Captured, Finding> {
        let job_id = unique("capture");
        let mut job = job.clone();
        job["job_id"] = job_id.as_str().into();
        let transcript = self.worker.run(&job, PATIENCE)?;
        transcript.completed()?;
        let path = written(self.folder.path(), &job_id)?;
        let capture = Capture::read(&path);
        let capture = capture.map_err(|error| {
            transcript.evidence(Finding::fail("a capture in the format of the contract", error.to_string()))
        })?;
        Ok(Captured { capture, transcript })
    }
}

/// A worker that can't be started with `--checkpoint-dir` has no white-box part; whether it starts at all, others ask.
fn without(finding: Finding) -> Finding {
    let mut unimplemented = Finding::unimplemented("a worker that writes captures (--checkpoint-dir)", finding.found);
    unimplemented.evidence = finding.evidence;
    unimplemented
}

/// The folder of this job's capture, or the folder itself for a worker that captures its first job only. Its manifest is
/// written last.
fn written(folder: &Path, job_id: &str) -> Result<std::path::PathBuf, Finding> {
    let places = [folder.join(job_id), folder.to_path_buf()];
    let until = Instant::now() + WRITTEN_WITHIN;
    loop {
        if let Some(place) = places.iter().find(|place| place.join("manifest.json").is_file()) {
            return Ok(place.clone());
        }
        let empty = std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none());
        // Whoever captures has begun to by now; whoever has not takes the flag and does nothing with it.
        let patience = if empty { until - WRITTEN_WITHIN + Duration::from_secs(5) } else { until };
        if Instant::now() >= patience {
            let expected = "a capture in the folder that --checkpoint-dir names";
            return Err(match empty {
                true => Finding::unimplemented(expected, "the folder is empty after a job"),
                false => Finding::fail(expected, format!("no manifest.json within {WRITTEN_WITHIN:.0?}")),
            });
        }
        std::thread::park_timeout(Duration::from_millis(10));
    }
}
