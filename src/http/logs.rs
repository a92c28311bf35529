//! The log: flat JSON lines on stdout, each with the few fields that name the daemon.
//!
//! Lines are written by a thread of their own, behind a bounded channel: a reader that does not read its pipe can't hold
//! up the thread that serves. Lines that find the channel full are dropped, counted, and the count is logged.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use serde_json::{Map, Value, json};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

const LINES: usize = 4096;
const FLUSH_PATIENCE: Duration = Duration::from_millis(300);

enum Message {
    Line(Value),
    /// Everything before this has been written: answer.
    Flush(SyncSender<()>),
}

/// A handle to flush with, before the process ends.
#[derive(Clone)]
pub struct Logs {
    lines: SyncSender<Message>,
}

impl Logs {
    /// From here on the process's events go to stdout. A second call in one process keeps the first log.
    pub fn start(identity: &[(&'static str, &str)]) -> std::io::Result<Self> {
        let (lines, written) = sync_channel(LINES);
        let dropped = Arc::new(AtomicU64::new(0));
        let layer = JsonLines {
            lines: lines.clone(),
            dropped: dropped.clone(),
            identity: identity.iter().map(|(name, value)| (*name, (*value).to_owned())).collect(),
        };
        std::thread::Builder::new().name("log".to_owned()).spawn(move || write_lines(&written, &dropped))?;
        let _ = tracing_subscriber::registry().with(layer).try_init();
        Ok(Self { lines })
    }

    /// Waits until all that was logged is written, or for as long as a stop may take.
    /// The log of a whole process: a panic in it tells its place. Where it can't be started that is said, and the exit code
    /// given.
    pub fn of_daemon(identity: &[(&'static str, &str)]) -> Result<Self, ExitCode> {
        let logs = Self::start(identity).map_err(|error| {
            eprintln!("failed to start the log's thread: {error}");
            ExitCode::FAILURE
        })?;
        std::panic::set_hook(Box::new(|panic| {
            // The place only: the message may hold a piece of a prompt.
            let place = panic.location().map(ToString::to_string).unwrap_or_default();
            tracing::error!(event = "error", code = "INTERNAL", place, "Panicked");
        }));
        Ok(logs)
    }

    pub fn flush(&self) {
        let (done, flushed) = sync_channel(1);
        // Full or gone: then there is nothing to wait for.
        if self.lines.try_send(Message::Flush(done)).is_ok() {
            let _ = flushed.recv_timeout(FLUSH_PATIENCE);
        }
    }
}

fn write_lines(lines: &Receiver<Message>, dropped: &AtomicU64) {
    let mut stdout = std::io::stdout();
    // A reader that went away takes the log with it, not the daemon.
    let mut write = |line: &Value| {
        let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
    };
    while let Ok(message) = lines.recv() {
        match message {
            Message::Line(line) => write(&line),
            Message::Flush(done) => drop(done.send(())),
        }
        let lost = dropped.swap(0, Ordering::Relaxed);
        if lost > 0 {
            write(
                &json!({"timestamp": timestamp(), "level": "WARN", "message": format!("{lost} log lines were dropped")}),
            );
        }
    }
}

struct JsonLines {
    lines: SyncSender<Message>,
    dropped: Arc<AtomicU64>,
    /// On every line.
    identity: Vec<(&'static str, String)>,
}

impl<S: Subscriber> Layer<S> for JsonLines {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        *metadata.level() <= if metadata.target().starts_with("llorch") { Level::INFO } else { Level::WARN }
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields(Map::new());
        event.record(&mut fields);
        let mut line = Map::new();
        line.insert("timestamp".to_owned(), timestamp().into());
        line.insert("level".to_owned(), event.metadata().level().as_str().into());
        line.insert("message".to_owned(), fields.0.remove("message").unwrap_or_default());
        line.extend(self.identity.iter().map(|(name, value)| ((*name).to_owned(), value.clone().into())));
        line.extend(fields.0);
        if self.lines.try_send(Message::Line(Value::Object(line))).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The fields of an event, as JSON.
struct Fields(Map<String, Value>);

impl Fields {
    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }
}

/// RFC 3339, UTC, to the microsecond.
fn timestamp() -> String {
    format!("{:.6}", jiff::Timestamp::now())
}
