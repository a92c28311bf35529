//! The log's writer: a thread of its own behind a bounded queue. Who computes hands a copy of a tensor over and goes on;
//! digests, statistics and the file are the thread's. What finds the queue full is dropped, counted, and the count is a
//! line of the log.

use std::fs::File;
use std::io::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread::JoinHandle;

use serde_json::json;

use super::record::{Meta, Record, SCHEMA_VERSION};
use super::settings::Settings;
use crate::parity::capture::Tensor;
use crate::parity::capture::summary::{Number, Statistics, sha256};

/// Tensors and their bytes that may wait.
const ENTRIES: usize = 4096;
const BYTES: usize = 256 << 20;
/// Lines are written together up to this many bytes, and always whole: several processes may append to one file.
const BATCH: usize = 64 << 10;

/// One tensor on its way into the log.
#[derive(Debug)]
pub struct Entry {
    pub checkpoint: String,
    pub layer: usize,
    pub token_idx: usize,
    pub shape: Vec<usize>,
    pub values: Vec<f32>,
    pub source: Arc<str>,
}

impl Entry {
    fn bytes(&self) -> usize {
        size_of_val(&*self.values)
    }
}

/// Dropped, it writes what still waits and closes the file.
#[derive(Debug)]
pub struct Writer {
    /// `None` once it is closing.
    entries: Option<SyncSender<Entry>>,
    queue: Arc<Queue>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting_bytes: AtomicUsize,
    dropped: AtomicU64,
}

impl Writer {
    /// Opens the file, which is appended to, and writes the first line.
    pub fn start(settings: &Settings, meta: Meta) -> io::Result<Writer> {
        let mut file = File::options().append(true).create(true).open(&settings.file)?;
        let (record, team, ts) = ("meta".to_owned(), settings.team.clone(), now());
        let meta = Meta { record, team, ts, schema_version: SCHEMA_VERSION, ..meta };
        let mut line = serde_json::to_vec(&meta)?;
        line.push(b'\n');
        file.write_all(&line)?;
        let (sender, receiver) = sync_channel(ENTRIES);
        let queue = Arc::new(Queue::default());
        let mut pen = Pen { file, settings: settings.clone(), lines: Vec::new(), lost: 0, queue: queue.clone() };
        let thread = std::thread::Builder::new().name("parity-log".to_owned()).spawn(move || pen.write(&receiver))?;
        Ok(Writer { entries: Some(sender), queue, thread: Some(thread) })
    }

    /// Never waits.
    pub fn record(&self, entry: Entry) {
        let bytes = entry.bytes();
        let waiting = self.queue.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        // A tensor larger than the whole queue may pass where nothing else waits.
        let fits = waiting == 0 || waiting.saturating_add(bytes) <= BYTES;
        let sent = fits && self.entries.as_ref().is_some_and(|entries| entries.try_send(entry).is_ok());
        if !sent {
            self.queue.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.queue.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Tensors that found no room so far, and that the log does not speak of yet.
    pub fn dropped(&self) -> u64 {
        self.queue.dropped.load(Ordering::Relaxed)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.entries = None; // the thread ends once the queue is empty
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Pen {
    file: File,
    settings: Settings,
    /// Whole lines that are not in the file yet.
    lines: Vec<u8>,
    /// Records that the file would not take.
    lost: u64,
    queue: Arc<Queue>,
}

impl Pen {
    fn write(&mut self, entries: &Receiver<Entry>) {
        loop {
            let entry = match entries.try_recv() {
                Ok(entry) => entry,
                Err(TryRecvError::Empty) => {
                    self.tell_dropped();
                    self.flush();
                    match entries.recv() {
                        Ok(entry) => entry,
                        Err(_) => break,
                    }
                }
                Err(TryRecvError::Disconnected) => break,
            };
            let bytes = entry.bytes();
            self.line(entry);
            self.queue.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
            if self.lines.len() >= BATCH {
                self.flush();
            }
        }
        self.tell_dropped();
        self.flush();
    }

    fn line(&mut self, Entry { checkpoint, layer, token_idx, shape, values, source }: Entry) {
        let shown = values.iter().take(self.settings.values).map(|value| Number::F32(*value)).collect();
        let tensor = Tensor::f32(&shape, values);
        let record = Record {
            ts: now(),
            team: self.settings.team.clone(),
            checkpoint,
            token_idx,
            layer,
            dtype: "F32".to_owned(),
            shape,
            values: shown,
            digest: sha256(&tensor),
            count: tensor.count(),
            statistics: Statistics::of(&tensor),
            source: source.to_string(),
        };
        if serde_json::to_writer(&mut self.lines, &record).is_ok() {
            self.lines.push(b'\n');
        }
    }

    fn tell_dropped(&mut self) {
        let dropped = self.queue.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            tracing::warn!(dropped, "The parity log could not keep up: records were dropped");
            let line = json!({"record": "dropped", "ts": now(), "team": self.settings.team, "dropped": dropped});
            self.lines.extend(format!("{line}\n").as_bytes());
        }
    }

    fn flush(&mut self) {
        if let Err(error) = self.file.write_all(&self.lines) {
            if self.lost == 0 {
                let file = self.settings.file.display().to_string();
                tracing::warn!(file, "The parity log cannot be written: {error}");
            }
            self.lost += 1;
        }
        self.lines.clear();
    }
}

/// RFC 3339, UTC, to the microsecond.
fn now() -> String {
    format!("{:.6}", jiff::Timestamp::now())
}
