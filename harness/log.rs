//! A worker's log as the harness reads it: JSON lines with flat keys, and a search for text that must not be there.

use std::time::Duration;

use serde_json::{Map, Value};

use super::Finding;
use super::http::excerpt;
use super::process::{Line, Output};

/// Every line of a log. Lines that are not JSON are kept: they are findings, or a foreign worker's habit.
#[derive(Clone, Debug, Default)]
pub struct Log {
    pub lines: Vec<LogLine>,
}

#[derive(Clone, Debug)]
pub struct LogLine {
    pub raw: String,
    pub from: Output,
    pub at: Duration,
    /// The keys, where the line is a JSON object.
    pub fields: Option<Map<String, Value>>,
}

impl LogLine {
    pub fn text(&self, key: &str) -> Option<&str> {
        self.fields.as_ref()?.get(key)?.as_str()
    }

    pub fn value(&self, key: &str) -> Option<&Value> {
        self.fields.as_ref()?.get(key)
    }

    pub fn is(&self, event: &str) -> bool {
        self.text("event") == Some(event)
    }
}

impl Log {
    pub fn read(lines: &[Line]) -> Log {
        let line = |line: &Line| {
            let fields = match serde_json::from_str(&line.text) {
                Ok(Value::Object(fields)) => Some(fields),
                _ => None,
            };
            LogLine { raw: line.text.clone(), from: line.from, at: line.at, fields }
        };
        Log { lines: lines.iter().map(line).collect() }
    }

    /// A log that was kept in a file.
    pub fn of_text(text: &str) -> Log {
        let mut log = Log::default();
        text.lines().for_each(|line| log.append(line));
        log
    }

    pub fn append(&mut self, line: &str) {
        let line = Line { text: line.to_owned(), from: Output::Stdout, at: Duration::ZERO };
        self.lines.extend(Log::read(std::slice::from_ref(&line)).lines);
    }

    pub fn events<'a>(&'a self, event: &'a str) -> impl Iterator<Item = &'a LogLine> {
        self.lines.iter().filter(move |line| line.is(event))
    }

    /// The lines that have this value under this key: all lines of a job, of a correlation id.
    pub fn with<'a>(&'a self, key: &'a str, value: &'a str) -> impl Iterator<Item = &'a LogLine> {
        self.lines.iter().filter(move |line| line.text(key) == Some(value))
    }

    /// The first line of this event; a finding where there is none.
    pub fn event(&self, event: &str) -> Result<&LogLine, Finding> {
        let found = format!("no such line among {}", self.lines.len());
        let missing = || self.evidence(Finding::fail(format!("a log line with event {event:?}"), found));
        self.lines.iter().find(|line| line.is(event)).ok_or_else(missing)
    }

    /// Every event of this name has these keys, and there is one at least.
    pub fn requires(&self, event: &str, keys: &[&str]) -> Result<(), Finding> {
        self.event(event)?;
        for line in self.events(event) {
            if let Some(key) = keys.iter().find(|key| line.value(key).is_none()) {
                let finding = Finding::fail(format!("the key {key:?} in every {event:?} line"), "it is missing");
                return Err(finding.with("log line", &line.raw));
            }
        }
        Ok(())
    }

    /// These messages stand in the log, in this order; others may stand between them.
    pub fn messages_in_order(&self, messages: &[&str]) -> Result<(), Finding> {
        let mut from = 0;
        for (position, message) in messages.iter().enumerate() {
            let says = |line: &LogLine| line.text("message").unwrap_or(&line.raw).contains(message);
            match self.lines[from..].iter().position(says) {
                Some(at) => from += at + 1,
                None => {
                    let found = match self.lines.iter().position(says) {
                        Some(at) => format!("it stands before, in line {}", at + 1),
                        None => "it is nowhere in the log".into(),
                    };
                    let after =
                        if position == 0 { String::new() } else { format!(" after {:?}", messages[position - 1]) };
                    return Err(self.evidence(Finding::fail(format!("the message {message:?}{after}"), found)));
                }
            }
        }
        Ok(())
    }

    /// All lines on standard output are JSON objects.
    pub fn is_json(&self) -> Result<(), Finding> {
        let plain =
            self.lines.iter().find(|line| line.from == Output::Stdout && line.fields.is_none() && !line.raw.is_empty());
        match plain {
            None => Ok(()),
            Some(line) => Err(Finding::fail("JSON lines on standard output", excerpt(line.raw.as_bytes(), 200))),
        }
    }

    /// The text stands nowhere in the log, as it is or as JSON writes it. Short texts are in every log: at least four
    /// characters are asked for.
    pub fn is_free_of(&self, what: &str, text: &str) -> Result<(), Finding> {
        if text.trim().chars().count() < 4 {
            return Err(Finding::error("a text of at least four characters to look for", format!("{text:?}")));
        }
        // The inside of the JSON string: quotes and control characters escaped.
        let written = serde_json::to_string(text).unwrap_or_default();
        let written = written.trim_matches('"');
        let holds = |line: &&LogLine| {
            let in_a_field = |fields: &Map<String, Value>| fields.values().any(|value| mentions(value, text));
            line.raw.contains(text) || line.raw.contains(written) || line.fields.as_ref().is_some_and(in_a_field)
        };
        match self.lines.iter().find(holds) {
            None => Ok(()),
            Some(line) => {
                Err(Finding::fail(format!("no {what} in the log"), "it stands there").with("log line", &line.raw))
            }
        }
    }

    /// Attaches the end of the log to a finding about it.
    pub fn evidence(&self, finding: Finding) -> Finding {
        let from = self.lines.len().saturating_sub(20);
        let lines: Vec<&str> = self.lines[from..].iter().map(|line| line.raw.as_str()).collect();
        finding.with("last lines of the log", lines.join("\n"))
    }
}

fn mentions(value: &Value, text: &str) -> bool {
    match value {
        Value::String(string) => string.contains(text),
        Value::Array(items) => items.iter().any(|item| mentions(item, text)),
        Value::Object(fields) => fields.iter().any(|(key, value)| key.contains(text) || mentions(value, text)),
        _ => false,
    }
}
