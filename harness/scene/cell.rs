//! What a cell of a feature's table says: JSON, with three shorthands for what nobody wants to read in full.
//!
//! `(absent)` leaves the field out. `(129 times "j")` is that string, also inside a list. A body may be `(empty)`,
//! `(bytes 7b ff)` or `(a request of 1048577 bytes)`; otherwise it is sent as it stands.

use regex::{Captures, Regex};
use serde_json::{Map, Value, json};

use crate::harness::Finding;

/// The request that a scenario changes: short, greedy, valid for every worker.
pub fn base_job(job_id: &str) -> Map<String, Value> {
    let Value::Object(job) = json!({ "job_id": job_id, "prompt": "Hello.", "max_tokens": 4, "temperature": 0.0 })
    else {
        unreachable!("an object is written above")
    };
    job
}

/// Sets, replaces or removes the fields that the table names.
pub fn change(job: &mut Map<String, Value>, rows: &[(String, String)]) -> Result<(), Finding> {
    for (field, cell) in rows {
        if cell == "(absent)" {
            job.remove(field);
        } else {
            job.insert(field.clone(), value(cell)?);
        }
    }
    Ok(())
}

/// The raw bytes of a body.
pub fn body(cell: &str) -> Result<Vec<u8>, Finding> {
    if cell == "(empty)" {
        return Ok(Vec::new());
    }
    if let Some(digits) = cell.strip_prefix("(bytes ").and_then(|rest| rest.strip_suffix(')')) {
        return digits
            .split_whitespace()
            .map(|byte| u8::from_str_radix(byte, 16).map_err(|_| unreadable(cell, "bytes in hexadecimal")))
            .collect();
    }
    if let Some(size) = cell.strip_prefix("(a request of ").and_then(|rest| rest.strip_suffix(" bytes)")) {
        let size: usize = size.parse().map_err(|_| unreadable(cell, "a number of bytes"))?;
        let mut bytes = br#"{"job_id":"large","max_tokens":1,"padding":""#.to_vec();
        let end = br#"","prompt":"Hello."}"#;
        bytes.resize(size - end.len(), b'x');
        bytes.extend_from_slice(end);
        return Ok(bytes);
    }
    Ok(repetitions(cell, |repeated, _| repeated.to_owned()).into_bytes())
}

fn value(cell: &str) -> Result<Value, Finding> {
    let written = repetitions(cell, |_, quoted| quoted);
    serde_json::from_str(&written).map_err(|error| unreadable(cell, &error.to_string()))
}

/// Replaces each `(N times "text")`, by the text or by the text as JSON.
fn repetitions(cell: &str, write: impl Fn(&str, String) -> String) -> String {
    let shorthand = Regex::new(r#"\((\d+) times "([^"]*)"\)"#).expect("a fixed expression");
    shorthand
        .replace_all(cell, |found: &Captures| {
            let repeated = found[2].repeat(found[1].parse().unwrap_or(0));
            let quoted = Value::from(repeated.as_str()).to_string();
            write(&repeated, quoted)
        })
        .into_owned()
}

fn unreadable(cell: &str, why: &str) -> Finding {
    Finding::error("a table cell that can be read", format!("{cell}: {why}"))
}
