//! `llorch infer`: one job on a worker, its text on the terminal as it comes.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};

use crate::model::chat::{ChatError, ChatTemplate, Message};

/// Longer frames are no worker's.
const LONGEST_FRAME: usize = 1 << 20;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 text came and the job ended well · 1 no token came, an error came, or nobody answered · \
                        2 the command line is wrong"
)]
pub struct Flags {
    /// Where the worker listens; LLORCH_API_TOKEN is sent as its bearer
    #[arg(long, value_name = "HOST:PORT", required_unless_present = "print_prompt")]
    worker: Option<String>,
    #[arg(long, value_name = "TEXT")]
    prompt: String,
    /// Put the prompt into a conversation, by this .jinja file, or without one by the template of --model
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true)]
    chat_template: Option<Option<PathBuf>>,
    /// The model whose chat template and special tokens are taken: a .gguf file, a .safetensors file or a folder
    #[arg(long, value_name = "MODEL", requires = "chat_template")]
    model: Option<PathBuf>,
    /// What the system says first in the conversation
    #[arg(long, value_name = "TEXT", requires = "chat_template")]
    system: Option<String>,
    /// Print the prompt as it would be sent, and send nothing
    #[arg(long)]
    print_prompt: bool,
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_tokens: Option<u32>,
    #[arg(long, value_name = "T")]
    temperature: Option<f64>,
    #[arg(long, value_name = "P")]
    top_p: Option<f64>,
    #[arg(long, value_name = "K")]
    top_k: Option<u32>,
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// End before this text; may be repeated
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,
    /// Give up when nothing comes for this long
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    silence_sec: u32,
}

pub fn main(flags: Flags) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(problem) => return complain(&problem),
    };
    match runtime.block_on(flags.run()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => complain(&problem),
    }
}

fn complain(problem: &dyn std::error::Error) -> ExitCode {
    eprintln!("llorch: {problem}");
    ExitCode::FAILURE
}

#[derive(Debug, thiserror::Error)]
pub enum InferError {
    #[error("{worker} does not answer: {reason}")]
    NoAnswer { worker: String, reason: String },
    #[error("{worker} refused the job: {status}: {body}")]
    Refused { worker: String, status: u16, body: String },
    #[error("the job ended with {code}: {message}")]
    Failed { code: String, message: String },
    #[error("the stream ended before the job did")]
    CutShort,
    #[error("the job ended without a token")]
    NoToken,
    #[error("{0}")]
    NotUnderstood(String),
    #[error("the text can't be written: {0}")]
    Output(#[from] io::Error),
    #[error(transparent)]
    Chat(#[from] ChatError),
    #[error("--chat-template needs --model, or a file: --chat-template=FILE.jinja")]
    NoTemplate,
}

impl Flags {
    /// As it is, or as the conversation that was asked for.
    pub fn prompt(&self) -> Result<String, InferError> {
        let Some(file) = &self.chat_template else { return Ok(self.prompt.clone()) };
        let template = match (file, &self.model) {
            (Some(file), model) => ChatTemplate::of_file(file, model.as_deref())?,
            (None, Some(model)) => ChatTemplate::of_model(model)?,
            (None, None) => return Err(InferError::NoTemplate),
        };
        let system = self.system.iter().map(|text| Message { role: "system", content: text.clone() });
        let user = Message { role: "user", content: self.prompt.clone() };
        Ok(template.render(&system.chain([user]).collect::<Vec<_>>())?)
    }

    fn job(&self, prompt: &str) -> Value {
        let mut job = json!({ "job_id": format!("infer-{}", uuid::Uuid::new_v4()), "prompt": prompt });
        let given = [
            ("max_tokens", self.max_tokens.map(Value::from)),
            ("temperature", self.temperature.map(Value::from)),
            ("top_p", self.top_p.map(Value::from)),
            ("top_k", self.top_k.map(Value::from)),
            ("seed", self.seed.map(Value::from)),
            ("stop", (!self.stop.is_empty()).then(|| json!(self.stop))),
        ];
        for (name, value) in given.into_iter().filter_map(|(name, value)| Some((name, value?))) {
            job[name] = value;
        }
        job
    }

    async fn run(&self) -> Result<(), InferError> {
        let prompt = self.prompt()?;
        let Some(worker) = self.worker.as_deref().filter(|_| !self.print_prompt) else {
            io::stdout().write_all(prompt.as_bytes())?;
            return Ok(());
        };
        let worker = worker.trim_start_matches("http://").trim_end_matches('/').to_owned();
        let silent = Duration::from_secs(self.silence_sec.into());
        let no_answer = |error: reqwest::Error| InferError::NoAnswer { worker: worker.clone(), reason: causes(&error) };
        let client = crate::http::client().no_proxy().redirect(reqwest::redirect::Policy::none()).read_timeout(silent);
        let client = client.connect_timeout(silent).build().map_err(no_answer)?;
        let mut request = client.post(format!("http://{worker}/execute")).json(&self.job(&prompt));
        if let Some(token) = std::env::var("LLORCH_API_TOKEN").ok().filter(|token| !token.is_empty()) {
            // Two may be valid while they are rotated; either is taken.
            request = request.bearer_auth(token.split(',').next().unwrap_or_default().trim());
        }
        let mut answer = request.send().await.map_err(no_answer)?;
        if !answer.status().is_success() {
            let status = answer.status().as_u16();
            let body = answer.text().await.unwrap_or_default();
            return Err(InferError::Refused { worker, status, body: body.trim().to_owned() });
        }
        let mut frames = Frames::default();
        let mut job = Job::default();
        while let Some(bytes) = answer.chunk().await.map_err(no_answer)? {
            for frame in frames.take(&bytes)? {
                if job.hear(&frame, &mut io::stdout())? {
                    return job.conclude(&mut io::stdout());
                }
            }
        }
        Err(InferError::CutShort)
    }
}

/// An error with its causes, which say what really happened.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

/// An event with its data.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Frame {
    pub event: String,
    pub data: String,
}

/// Bytes as they come, into whole frames; however they are cut.
#[derive(Debug, Default)]
pub struct Frames {
    line: Vec<u8>,
    frame: Frame,
    /// The last byte was a carriage return: a line feed after it belongs to the same line end.
    after_return: bool,
}

impl Frames {
    pub fn take(&mut self, bytes: &[u8]) -> Result<Vec<Frame>, InferError> {
        let mut whole = Vec::new();
        for byte in bytes {
            let after_return = std::mem::replace(&mut self.after_return, *byte == b'\r');
            match byte {
                b'\n' if after_return => {}
                b'\n' | b'\r' => whole.extend(self.end_line()),
                byte => self.line.push(*byte),
            }
            if self.line.len() + self.frame.data.len() > LONGEST_FRAME {
                return Err(InferError::NotUnderstood(format!("a frame has more than {LONGEST_FRAME} bytes")));
            }
        }
        Ok(whole)
    }

    fn end_line(&mut self) -> Option<Frame> {
        let line = String::from_utf8_lossy(&std::mem::take(&mut self.line)).into_owned();
        if line.is_empty() {
            let frame = std::mem::take(&mut self.frame);
            return (!frame.data.is_empty()).then_some(frame);
        }
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => self.frame.event = value.to_owned(),
            "data" if self.frame.data.is_empty() => self.frame.data = value.to_owned(),
            "data" => self.frame.data += &format!("\n{value}"),
            // A comment, an id, or something newer.
            _ => {}
        }
        None
    }
}

/// What a job has brought so far.
#[derive(Debug, Default)]
pub struct Job {
    tokens: u64,
    /// The text stands on a line that has not ended.
    open_line: bool,
}

impl Job {
    /// True when the job has ended.
    pub fn hear(&mut self, frame: &Frame, out: &mut dyn Write) -> Result<bool, InferError> {
        let read = || -> Result<Value, InferError> {
            let problem = |problem| InferError::NotUnderstood(format!("a {} event is no JSON: {problem}", frame.event));
            serde_json::from_str(&frame.data).map_err(problem)
        };
        match frame.event.as_str() {
            "token" => {
                let data = read()?;
                let no_text = || InferError::NotUnderstood(format!("a token event without its text: {}", frame.data));
                let text = data["t"].as_str().ok_or_else(no_text)?;
                out.write_all(text.as_bytes())?;
                out.flush()?;
                self.tokens += 1;
                if !text.is_empty() {
                    self.open_line = !text.ends_with('\n');
                }
                Ok(false)
            }
            "error" => {
                let data = read()?;
                self.end_line(out)?;
                let text = |name: &str| data[name].as_str().unwrap_or("?").to_owned();
                Err(InferError::Failed { code: text("code"), message: text("message") })
            }
            "end" => Ok(true),
            _ => Ok(false),
        }
    }

    pub fn conclude(&mut self, out: &mut dyn Write) -> Result<(), InferError> {
        self.end_line(out)?;
        if self.tokens == 0 { Err(InferError::NoToken) } else { Ok(()) }
    }

    fn end_line(&mut self, out: &mut dyn Write) -> Result<(), InferError> {
        if std::mem::take(&mut self.open_line) {
            out.write_all(b"\n")?;
        }
        Ok(())
    }
}
