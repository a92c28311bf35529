//! A job on its way through: the wait for the turn, then its events one by one.

use std::io;
use std::net::TcpStream;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::event_stream::EventStream;
use super::events::{end_data, error_data, metrics_data, started_data};
use super::http_server::{Request, disconnected};
use super::jobs::{Interruption, Ticket};
use super::logs::fingerprint;
use super::metrics::JobRecord;
use super::mistakes::Slip;
use super::oddities::Quirk;
use super::request::Job;
use super::routes::echoed;
use super::text::{Step, TextOut};
use super::words::{CONTEXT_LENGTH, Chain, bytes_of, end_of_text};
use super::worker::Worker;

/// What is left to send once the job is over.
pub enum Ending<'a> {
    Success {
        stream: EventStream<'a>,
        reason: &'static str,
        matched: Option<String>,
    },
    Failure {
        stream: EventStream<'a>,
        code: &'static str,
        message: &'static str,
    },
    /// The client is gone; what the job counts as.
    Dropped(&'static str),
    /// Cancelled before the response head was written.
    NeverOpened,
}

impl Ending<'_> {
    /// The label of `worker_requests_total`.
    pub fn outcome(&self) -> &'static str {
        match self {
            Ending::Success { .. } => "success",
            Ending::Failure { code: "INFERENCE_TIMEOUT", .. } => "timeout",
            Ending::Failure { .. } | Ending::NeverOpened => "cancelled",
            Ending::Dropped(outcome) => outcome,
        }
    }
}

/// Why the tokens ended.
enum Finish {
    MaxTokens,
    EndOfText,
    Stopped(String),
    Interrupted(Interruption),
    TimedOut,
}

pub struct Run<'a> {
    worker: &'a Worker,
    job: &'a Job,
    ticket: &'a Ticket<'a>,
    socket: &'a TcpStream,
    request: &'a Request,
    correlation: &'a str,
    begun: Instant,
    /// Milliseconds from the start to each token.
    token_times: Vec<f64>,
    /// Tokens sampled.
    tokens_out: u64,
    /// Token events sent.
    index: u64,
    text: String,
}

impl<'a> Run<'a> {
    pub fn new(
        worker: &'a Worker,
        job: &'a Job,
        ticket: &'a Ticket<'a>,
        socket: &'a TcpStream,
        request: &'a Request,
        correlation: &'a str,
    ) -> Self {
        let (token_times, text) = Default::default();
        let begun = Instant::now();
        Self { worker, job, ticket, socket, request, correlation, begun, token_times, tokens_out: 0, index: 0, text }
    }

    fn gone(&self) -> bool {
        !self.worker.plays(Slip::DisconnectIgnored) && disconnected(self.socket)
    }

    fn open(&self) -> io::Result<EventStream<'a>> {
        let correlation = echoed(self.worker, self.correlation);
        let mut stream = EventStream::open(self.socket, self.worker.script(), self.request, correlation)?;
        if self.worker.plays(Slip::JobIdInComment) {
            stream.comment(&format!("job {}", self.job.id))?;
        }
        Ok(stream)
    }

    /// From the wait for the turn to the last token.
    pub fn play(&mut self) -> io::Result<Ending<'a>> {
        let worker = self.worker;
        let mut stream = None;
        if !worker.shows(Quirk::HeadHeldBack) {
            let stream = stream.insert(self.open()?);
            if worker.plays(Slip::StartedWhileWaiting) {
                self.started(stream)?;
            }
        }
        let mut last_comment = Instant::now();
        let turn = self.ticket.wait_turn(
            || self.gone(),
            || {
                if let Some(stream) = stream.as_mut().filter(|_| worker.shows(Quirk::WaitingComments))
                    && last_comment.elapsed() >= Duration::from_millis(20)
                {
                    last_comment = Instant::now();
                    let _ = stream.comment("waiting"); // a closed connection is seen by `gone`
                }
            },
        );
        match (turn, stream) {
            (Err(Interruption::Disconnected), _) => Ok(Ending::Dropped("cancelled")),
            (Err(Interruption::Cancelled), None) => Ok(Ending::NeverOpened),
            (Err(Interruption::Cancelled), Some(mut stream)) => {
                if worker.plays(Slip::WaitingCancelStarts) {
                    self.started(&mut stream)?;
                }
                Ok(Ending::Failure { stream, code: "CANCELLED", message: "cancelled while it waited" })
            }
            (Ok(()), stream) => {
                let mut stream = match stream {
                    Some(stream) => stream,
                    None => self.open()?,
                };
                self.begun = Instant::now();
                self.log_start();
                if !worker.plays(Slip::StartedWhileWaiting) {
                    self.started(&mut stream)?;
                }
                let finish = self.generate(&mut stream)?;
                Ok(self.conclude(stream, finish))
            }
        }
    }

    fn started(&self, stream: &mut EventStream) -> io::Result<()> {
        let data = started_data(self.worker, self.job);
        match self.worker.script().mistake {
            Some(Slip::StartedMissing) => return Ok(()),
            Some(Slip::StartedTwice) => stream.frame("started", data.clone())?,
            _ => {}
        }
        stream.frame("started", data)
    }

    fn generate(&mut self, stream: &mut EventStream) -> io::Result<Finish> {
        let (worker, job) = (self.worker, self.job);
        let script = worker.script();
        let mut chain =
            Chain::new(&job.prompt, worker.model.digest, worker.options.tokens, job.sampling.clone(), script);
        if worker.plays(Slip::StateCarriedOver) {
            chain.carry(worker.carried.load(Ordering::SeqCst));
        }
        let leftovers = std::mem::take(&mut *worker.leftovers.lock().unwrap_or_else(PoisonError::into_inner));
        for text in leftovers {
            self.token(stream, &text, &[])?;
        }
        let mut out = TextOut::new(job.stops.clone(), script);
        // The last token of a full context still has scores to draw one more from.
        let limit = job.max_tokens.min(CONTEXT_LENGTH - job.prompt_tokens + 1);
        let mut ids = Vec::new();
        let finish = loop {
            if let Err(reason) = self.ticket.compute(worker.options.delay, || self.gone()) {
                if reason == Interruption::Cancelled && worker.plays(Slip::LeftoverTokens) {
                    self.leave(&mut chain);
                }
                break Finish::Interrupted(reason);
            }
            if self.begun.elapsed() > worker.options.inference_timeout {
                break Finish::TimedOut;
            }
            let token = chain.next();
            self.tokens_out += 1;
            self.token_times.push(self.begun.elapsed().as_secs_f64() * 1000.0);
            if token == end_of_text() {
                break Finish::EndOfText;
            }
            ids.push(token);
            match out.push(bytes_of(token)) {
                Step::Stopped { text, matched } => {
                    self.token(stream, &text, &ids)?;
                    break Finish::Stopped(matched);
                }
                Step::Text(text) => {
                    self.token(stream, &text, &ids)?;
                    if !text.is_empty() {
                        ids.clear();
                    }
                }
            }
            if self.tokens_out >= limit {
                break Finish::MaxTokens;
            }
            if self.tokens_out.is_multiple_of(8) || worker.shows(Quirk::MetricsAfterEachToken) {
                self.metrics(stream)?;
            }
        };
        if matches!(finish, Finish::MaxTokens | Finish::EndOfText) {
            self.token(stream, &out.finish(), &ids)?;
        }
        worker.carried.store(chain.random_state(), Ordering::SeqCst);
        Ok(finish)
    }

    /// A token event, where there is text for one.
    fn token(&mut self, stream: &mut EventStream, text: &str, ids: &[usize]) -> io::Result<()> {
        let worker = self.worker;
        let index = match worker.script().mistake {
            Some(Slip::IndexFromOne) => self.index + 1,
            Some(Slip::IndexGap) if self.index >= 2 => self.index + 1,
            Some(Slip::IndexStandsStill) => 0,
            Some(Slip::IndexCountsTokens) => self.tokens_out.saturating_sub(1),
            _ => self.index,
        };
        if text.is_empty() {
            if worker.plays(Slip::TokenNull) && self.tokens_out > 0 {
                self.index += 1;
                return stream.frame("token", json!({"t": null, "i": index}));
            }
            return Ok(());
        }
        self.text += text;
        let said = match worker.script().mistake {
            Some(Slip::TokenEmpty) if self.index % 3 == 2 => String::new(),
            Some(Slip::BlanksStripped) => text.trim().to_string(),
            Some(Slip::ExtraBlanks) => format!("{text} "),
            Some(Slip::CumulativeText) => self.text.clone(),
            _ => text.to_string(),
        };
        let mut data = json!({"t": said, "i": index});
        if worker.shows(Quirk::TokenIds) {
            data["ids"] = json!(ids);
        }
        self.index += 1;
        if self.index == 4 && worker.plays(Slip::ErrorThenContinues) {
            self.tolerate(stream.frame("error", error_data(worker, "INTERNAL", "a hiccup")))?;
        }
        self.tolerate(stream.frame("token", data))
    }

    /// A failed write means that the client is gone, which only a mistake ignores.
    fn tolerate(&self, written: io::Result<()>) -> io::Result<()> {
        if self.worker.plays(Slip::DisconnectIgnored) { Ok(()) } else { written }
    }

    fn metrics(&self, stream: &mut EventStream) -> io::Result<()> {
        if self.worker.shows(Quirk::NoMetricsEvents) {
            return Ok(());
        }
        let data = metrics_data(self.worker, self.tokens_out, self.begun.elapsed());
        self.tolerate(stream.frame("metrics", data))
    }

    /// Keeps what a cancelled job would have said next, for the job after it.
    fn leave(&self, chain: &mut Chain) {
        let mut out = TextOut::new(Vec::new(), self.worker.script());
        let texts = (0..4).filter_map(|_| match out.push(bytes_of(chain.next())) {
            Step::Text(text) if !text.is_empty() => Some(text),
            _ => None,
        });
        self.worker.leftovers.lock().unwrap_or_else(PoisonError::into_inner).extend(texts);
    }

    /// Which terminal event follows from how the tokens ended.
    fn conclude(&self, mut stream: EventStream<'a>, finish: Finish) -> Ending<'a> {
        let worker = self.worker;
        let success = |stream, reason, matched| Ending::Success { stream, reason, matched };
        if worker.plays(Slip::NeverEnds) && !matches!(finish, Finish::Interrupted(_)) {
            while self.ticket.compute(Duration::from_millis(50), || self.gone()).is_ok() {
                let _ = stream.comment("still here"); // a closed connection is seen by `gone`
            }
            return Ending::Dropped("success");
        }
        match finish {
            Finish::MaxTokens => success(stream, "MAX_TOKENS", None),
            Finish::EndOfText => success(stream, "EOS", None),
            Finish::Stopped(_) if worker.plays(Slip::StopSaidEos) => success(stream, "EOS", None),
            Finish::Stopped(matched) => success(stream, "STOP_SEQUENCE", Some(matched)),
            Finish::TimedOut => Ending::Failure { stream, code: "INFERENCE_TIMEOUT", message: "the job took too long" },
            Finish::Interrupted(Interruption::Disconnected) => Ending::Dropped("cancelled"),
            Finish::Interrupted(Interruption::Cancelled) => {
                Ending::Failure { stream, code: "CANCELLED", message: "the job was cancelled" }
            }
        }
    }

    /// An `end` event ends the stream.
    pub fn end(&mut self, stream: &mut EventStream, reason: &str, matched: Option<String>) -> io::Result<()> {
        let worker = self.worker;
        let data = self.end_data(reason, matched);
        if !worker.plays(Slip::EndMissing) {
            self.tolerate(stream.frame("end", data.clone()))?;
        }
        match worker.script().mistake {
            Some(Slip::TwoTerminalEvents) => stream.frame("end", data),
            Some(Slip::TokenAfterEnd) => self.token(stream, " afterwards", &[]),
            Some(Slip::MetricsAfterEnd) => self.metrics(stream),
            Some(Slip::DoneMarker) => stream.bare_data("[DONE]"),
            _ => Ok(()),
        }
    }

    fn end_data(&self, reason: &str, matched: Option<String>) -> Value {
        end_data(self.worker, self.job, self.tokens_out, self.begun.elapsed(), reason, matched)
    }

    /// An `error` event ends the stream.
    pub fn fail(&mut self, stream: &mut EventStream, code: &str, message: &str) -> io::Result<()> {
        let worker = self.worker;
        match worker.script().mistake {
            Some(Slip::CancelledSilently) if code == "CANCELLED" => return Ok(()),
            Some(Slip::CancelledWithEnd) if code == "CANCELLED" => return self.end(stream, "EOS", None),
            _ => {}
        }
        stream.frame("error", error_data(worker, code, message))?;
        match worker.script().mistake {
            Some(Slip::EndAfterError) => stream.frame("end", self.end_data("EOS", None)),
            Some(Slip::TokenAfterCancelled) => self.token(stream, " afterwards", &[]),
            _ => Ok(()),
        }
    }

    fn log_start(&self) {
        let mut extra = json!({
            "job_id": self.job.id,
            "correlation_id": self.correlation,
            "tokens_in": self.job.prompt_tokens,
            "max_tokens": self.job.max_tokens,
        });
        for (key, value) in fingerprint("prompt", &self.job.prompt) {
            extra[key] = value;
        }
        if self.worker.plays(Slip::PromptInLog) {
            extra["prompt"] = json!(self.job.prompt);
        }
        self.worker.log.info("execute_start", "Job started", extra);
    }

    /// Adds the job to the counters and to the log.
    pub fn count(&self, outcome: &'static str) {
        let duration = self.begun.elapsed().as_secs_f64() * 1000.0;
        let record = JobRecord {
            outcome,
            tokens_in: self.job.prompt_tokens,
            tokens_out: self.tokens_out,
            token_times: self.token_times.clone(),
            duration,
        };
        self.worker.metrics.record(&record, self.worker.script());
        let mut extra = json!({
            "job_id": self.job.id,
            "correlation_id": self.correlation,
            "outcome": outcome,
            "tokens_out": self.tokens_out,
            "duration_ms": duration,
        });
        for (key, value) in fingerprint("text", &self.text) {
            extra[key] = value;
        }
        if self.worker.plays(Slip::TextInLog) {
            extra["text"] = json!(self.text);
        }
        self.worker.log.info("execute_end", "Job ended", extra);
    }
}
