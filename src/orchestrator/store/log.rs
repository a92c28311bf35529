//! The store in a file: an append-only log.
//!
//! Whoever appends writes, unless somebody is writing already, who then takes that along: an event is on its way to its
//! reader without a change of threads, and under load one `write` takes all that gathered meanwhile. A thread of its own
//! does what takes long, and goes on where one appender would write for all others for too long. It holds against the end
//! of the process at any moment, `kill -9` included, which is what bytes handed to the kernel do; a power cut is another
//! matter, and no `fsync` is paid for it. When most of the file is history that nobody needs any more, what is needed is
//! copied to a new file, which takes the old one's name.
//!
//! Own format rather than an embedded database: the whole need is "append, replay, drop histories", which is a checksum
//! and a loop; a B-tree or LSM engine would add its own pages, caches and recovery to reason about under `kill -9`.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tracing::{error, info, warn};

use super::framing::{self, Next};
use super::{Effect, Key, Record, StoreError, Stored, TaskStore};

const NAME: &str = "tasks.log";
const FRESH_NAME: &str = "tasks.log.new";
const LOCK_NAME: &str = "lock";
/// Below this a file is not worth copying.
pub const COMPACT_ABOVE: u64 = 64 * 1024 * 1024;

/// So many batches one appender writes, then the thread goes on.
const SHARE: usize = 8;

pub struct LogStore {
    desk: Arc<Desk>,
    thread: Option<std::thread::JoinHandle<()>>,
    /// Locked for as long as this lives: two daemons in one folder would write over each other.
    lock: File,
}

/// Where appends come in, and where the writer lies while nobody writes.
struct Desk {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    waiting: Vec<Append>,
    writer: Place,
    closed: bool,
}

enum Place {
    Here(Box<Writer>),
    /// Somebody writes, and will look for what came meanwhile.
    Away,
    /// For the thread to take.
    Handed(Box<Writer>),
}

struct Append {
    bytes: Vec<u8>,
    key: Key,
    effect: Effect,
    stored: Stored,
}

impl Desk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn append(&self, append: Append) {
        let writer = {
            let mut state = self.state();
            if state.closed {
                drop(state);
                return (append.stored)(Err(StoreError::Closed));
            }
            state.waiting.push(append);
            match std::mem::replace(&mut state.writer, Place::Away) {
                Place::Here(writer) => writer,
                busy => return state.writer = busy,
            }
        };
        if let Some(writer) = self.write(writer, SHARE) {
            self.state().writer = Place::Handed(writer);
            self.changed.notify_all();
        }
    }

    /// Writes what waits until nothing does, and lays the writer down. Gives it back where there is more than a share, or
    /// something that takes long.
    fn write(&self, mut writer: Box<Writer>, share: usize) -> Option<Box<Writer>> {
        for _ in 0..share {
            let appends = {
                let mut state = self.state();
                if state.waiting.is_empty() {
                    state.writer = Place::Here(writer);
                    if state.closed {
                        self.changed.notify_all();
                    }
                    return None;
                }
                std::mem::take(&mut state.waiting)
            };
            writer.take(appends);
            if writer.is_mostly_history() {
                break;
            }
        }
        Some(writer)
    }

    /// The thread: takes the writer where it is handed over, until the store is closed.
    fn serve(&self) {
        loop {
            let mut state = self.state();
            let mut writer = loop {
                match std::mem::replace(&mut state.writer, Place::Away) {
                    Place::Handed(writer) => break writer,
                    Place::Here(writer) if state.closed => return drop(writer),
                    other => state.writer = other,
                }
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            };
            drop(state);
            loop {
                if writer.is_mostly_history() {
                    writer.compact();
                }
                match self.write(writer, usize::MAX) {
                    Some(more) => writer = more,
                    None => break,
                }
            }
        }
    }
}

impl LogStore {
    /// Opens the folder's log, or a new one, and hands out the records that still count, in their order.
    pub fn open(folder: &Path, compact_above: u64) -> Result<(Self, Vec<Record>), StoreError> {
        let unusable = |path: &Path, error: std::io::Error| StoreError::Unusable {
            path: path.display().to_string(),
            reason: error.to_string(),
        };
        std::fs::create_dir_all(folder).map_err(|error| unusable(folder, error))?;
        let lock_path = folder.join(LOCK_NAME);
        let lock = private().open(&lock_path).map_err(|error| unusable(&lock_path, error))?;
        lock.try_lock().map_err(|_| StoreError::InUse { path: folder.display().to_string() })?;
        // A copy that was not finished: the log itself still has everything.
        let _ = std::fs::remove_file(folder.join(FRESH_NAME));
        let path = folder.join(NAME);
        let (writer, records) = Writer::open(path.clone(), compact_above).map_err(|error| match error {
            OpenError::Store(error) => error,
            OpenError::Io(error) => unusable(&path, error),
        })?;
        let state = State { waiting: Vec::new(), writer: Place::Here(Box::new(writer)), closed: false };
        let desk = Arc::new(Desk { state: Mutex::new(state), changed: Condvar::new() });
        let served = desk.clone();
        let thread = std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || served.serve())
            .map_err(|error| unusable(&path, error))?;
        Ok((Self { desk, thread: Some(thread), lock }, records))
    }
}

impl TaskStore for LogStore {
    fn append(&self, record: &Record, stored: Stored) {
        let bytes = framing::encode(record);
        self.desk.append(Append { bytes, key: record.key(), effect: record.effect(), stored });
    }

    fn flush(&self) {
        let (done, flushed) = std::sync::mpsc::sync_channel(1);
        // Nothing, which is stored when all before it is; also refused by a store that is closed, and has stored all.
        let stored = Box::new(move |_| {
            let _ = done.send(());
        });
        self.desk.append(Append { bytes: Vec::new(), key: Key::Model(String::new()), effect: Effect::Adds, stored });
        let _ = flushed.recv();
    }
}

impl Drop for LogStore {
    fn drop(&mut self) {
        self.desk.state().closed = true;
        self.desk.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        // Closing would do, were it not for a child just being born, which has the file open until it is a program.
        let _ = self.lock.unlock();
    }
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    // Prompts are in there: nobody else reads them.
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    options
}

/// The file, and which parts of it still count.
struct Writer {
    path: PathBuf,
    file: File,
    /// Whole records end here; what a failed write left behind lies after it.
    length: u64,
    live: HashMap<Key, Vec<Range<u64>>>,
    live_bytes: u64,
    compact_above: u64,
    /// One batch, kept for the next.
    buffer: Vec<u8>,
}

enum OpenError {
    Store(StoreError),
    Io(std::io::Error),
}

impl From<std::io::Error> for OpenError {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

impl Writer {
    fn open(path: PathBuf, compact_above: u64) -> Result<(Self, Vec<Record>), OpenError> {
        let mut file = private().open(&path)?;
        let bytes = std::fs::read(&path)?;
        let mut writer = Self {
            path,
            file: file.try_clone()?,
            length: 0,
            live: HashMap::new(),
            live_bytes: 0,
            compact_above,
            buffer: Vec::new(),
        };
        let mut records = Vec::new();
        let mut offset = 0;
        loop {
            match framing::decode(&bytes, offset) {
                Next::Record(record, range) => {
                    offset = range.end;
                    writer.account(record.key(), record.effect(), range.start as u64..range.end as u64);
                    records.push(*record);
                }
                Next::End => break,
                Next::Damaged(reason) => {
                    return Err(OpenError::Store(StoreError::Damaged {
                        path: writer.path.display().to_string(),
                        offset: offset as u64,
                        length: bytes.len() as u64,
                        reason,
                    }));
                }
            }
        }
        writer.length = offset as u64;
        if offset < bytes.len() {
            warn!(event = "store", torn_bytes = bytes.len() - offset, "The log's last record was cut off: dropped");
            file.set_len(writer.length)?;
        }
        file.seek(SeekFrom::Start(writer.length))?;
        Ok((writer, records))
    }

    /// Writes a batch, and says so to whoever waits.
    fn take(&mut self, appends: Vec<Append>) {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        appends.iter().for_each(|append| buffer.extend_from_slice(&append.bytes));
        let mut at = self.length;
        let outcome = if buffer.is_empty() { Ok(()) } else { self.write(&buffer) };
        self.buffer = buffer;
        for Append { bytes, key, effect, stored } in appends {
            if outcome.is_ok() && !bytes.is_empty() {
                let range = at..at + bytes.len() as u64;
                at = range.end;
                self.account(key, effect, range);
            }
            stored(outcome.clone());
        }
    }

    fn is_mostly_history(&self) -> bool {
        self.length > self.compact_above && self.length > 2 * self.live_bytes
    }

    /// All of it or nothing: what a failed write left is cut off again.
    fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        match self.file.write_all(bytes) {
            Ok(()) => {
                self.length += bytes.len() as u64;
                Ok(())
            }
            Err(reason) => {
                let path = self.path.display().to_string();
                error!(event = "store", path, reason = %reason, "The log could not be written");
                let _ = self.file.set_len(self.length);
                let _ = self.file.seek(SeekFrom::Start(self.length));
                Err(StoreError::Write { path, reason: reason.to_string() })
            }
        }
    }

    fn account(&mut self, key: Key, effect: Effect, range: Range<u64>) {
        if effect != Effect::Adds {
            let old = self.live.remove(&key).unwrap_or_default();
            self.live_bytes -= old.iter().map(|range| range.end - range.start).sum::<u64>();
        }
        if effect != Effect::Removes {
            self.live_bytes += range.end - range.start;
            self.live.entry(key).or_default().push(range);
        }
    }

    /// Copies what counts to a new file, which takes the old one's name. A failure leaves the old one as it was.
    fn compact(&mut self) {
        let before = self.length;
        match self.copy_live() {
            Ok(()) => info!(event = "store", before, after = self.length, "The log was compacted"),
            Err(reason) => {
                warn!(event = "store", reason = %reason, "The log could not be compacted");
                // Not again at each write.
                self.compact_above = self.compact_above.max(2 * self.length);
            }
        }
    }

    fn copy_live(&mut self) -> std::io::Result<()> {
        let fresh_path = self.path.with_file_name(FRESH_NAME);
        let fresh = private().open(&fresh_path)?;
        fresh.set_len(0)?;
        let mut out = std::io::BufWriter::with_capacity(1 << 20, fresh);
        let mut live: Vec<(Key, Range<u64>)> = Vec::new();
        for (key, ranges) in &self.live {
            live.extend(ranges.iter().map(|range| (key.clone(), range.clone())));
        }
        live.sort_by_key(|(_, range)| range.start); // in the order in which they were appended
        let mut moved: HashMap<Key, Vec<Range<u64>>> = HashMap::with_capacity(self.live.len());
        let (mut at, mut piece) = (0, Vec::new());
        for (key, range) in live {
            piece.resize((range.end - range.start) as usize, 0);
            self.file.read_exact_at(&mut piece, range.start)?;
            out.write_all(&piece)?;
            let end = at + piece.len() as u64;
            moved.entry(key).or_default().push(at..end);
            at = end;
        }
        let fresh = out.into_inner().map_err(std::io::IntoInnerError::into_error)?;
        std::fs::rename(&fresh_path, &self.path)?;
        (self.file, self.live, self.live_bytes, self.length) = (fresh, moved, at, at);
        Ok(())
    }
}
