//! A parity log from disk, as runs whose records can be joined with another's.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};

use super::record::{Key, Meta, Record, SCHEMA_VERSION};
use crate::model::json;

/// A line is some hundred bytes, and more only for many values.
const MAX_LINE_BYTES: u64 = 64 << 20;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Log {
    /// One for each generation: a key that comes again begins the next one, and so does a first line.
    pub runs: Vec<Run>,
    /// Records that the writers say they have dropped.
    pub dropped: u64,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Run {
    pub meta: Meta,
    pub records: BTreeMap<Key, Record>,
}

#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("{}: cannot be read: {source}", file.display())]
    Io { file: PathBuf, source: std::io::Error },
    #[error("{}: it holds no record", file.display())]
    Empty { file: PathBuf },
    #[error("{}: line {line}: {why}", file.display())]
    Line { file: PathBuf, line: usize, why: String },
}

impl Log {
    pub fn read(path: &Path) -> Result<Log, LogError> {
        let io = |source| LogError::Io { file: path.to_path_buf(), source };
        if !fs::metadata(path).map_err(io)?.is_file() {
            return Err(io(std::io::Error::other("it is not a regular file")));
        }
        let mut file = BufReader::new(File::open(path).map_err(io)?);
        let mut log = Log::default();
        let mut meta = None;
        for number in 1.. {
            let wrong = |why: String| LogError::Line { file: path.to_path_buf(), line: number, why };
            let mut line = Vec::new();
            let read = file.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut line).map_err(io)?;
            if read == 0 {
                break;
            }
            if line.pop() != Some(b'\n') {
                return Err(wrong("it does not end: cut off, or longer than any record".to_owned()));
            }
            let text = std::str::from_utf8(&line).map_err(|_| wrong("it is not UTF-8".to_owned()))?.trim();
            if !text.is_empty() {
                log.take(text, &mut meta).map_err(wrong)?;
            }
        }
        match log.runs.iter().all(|run| run.records.is_empty()) {
            true => Err(LogError::Empty { file: path.to_path_buf() }),
            false => Ok(log),
        }
    }

    /// `meta` is the last first line, where none of its records came yet.
    fn take(&mut self, text: &str, meta: &mut Option<Meta>) -> Result<(), String> {
        let object = json::object(text).map_err(|error| error.to_string())?;
        let kind = object.get("record").and_then(|kind| kind.as_str()).unwrap_or("tensor").to_owned();
        let value = serde_json::Value::Object(object);
        match kind.as_str() {
            "meta" => {
                let found: Meta = serde_json::from_value(value).map_err(|error| error.to_string())?;
                if found.schema_version != SCHEMA_VERSION {
                    return Err(format!("schema_version {}; this tool reads {SCHEMA_VERSION}", found.schema_version));
                }
                *meta = Some(found);
            }
            "dropped" => {
                let count = value["dropped"].as_u64().ok_or("`dropped` is no count")?;
                self.dropped = self.dropped.saturating_add(count);
            }
            "tensor" => {
                let record: Record = serde_json::from_value(value).map_err(|error| error.to_string())?;
                check(&record)?;
                let key = record.key();
                let begins = meta.take();
                let again = self.runs.last().is_none_or(|run| run.records.contains_key(&key));
                if begins.is_some() || again {
                    let before = self.runs.last().map(|run| run.meta.clone()).unwrap_or_default();
                    let meta = begins.unwrap_or(before);
                    self.runs.push(Run { meta, records: BTreeMap::new() });
                }
                if let Some(run) = self.runs.last_mut() {
                    run.records.insert(key, record);
                }
            }
            other => return Err(format!("an unknown kind of record, `{other}`")),
        }
        Ok(())
    }
}

/// That a record says one thing.
fn check(record: &Record) -> Result<(), String> {
    let Record { shape, count, values, checkpoint, .. } = record;
    let product = shape.iter().try_fold(1usize, |product, size| product.checked_mul(*size));
    if product != Some(*count) {
        return Err(format!("{checkpoint}: shape {shape:?} does not hold {count} numbers"));
    }
    if values.len() > *count {
        return Err(format!("{checkpoint}: {} values of {count} numbers", values.len()));
    }
    Ok(())
}
