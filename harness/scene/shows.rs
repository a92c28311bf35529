//! A document held against a table: a pointer in each row, and what stands there.
//!
//! A cell is JSON; `absent` says that nothing is there, and `above 3`, `at most 3`, `a number`, `a text`, `one of "a", "b"`
//! and `like "…"` (a regular expression) leave room.

use regex::Regex;
use serde_json::Value;

use crate::harness::Finding;
use crate::harness::chain::pointed;

pub fn shows(document: &Value, rows: &[(String, String)]) -> Result<(), Finding> {
    for (pointer, wanted) in rows {
        let found = pointed(document, pointer);
        if !is(found, wanted)? {
            let found = found.map_or("absent".to_owned(), Value::to_string);
            let finding = Finding::fail(format!("{pointer}: {wanted}"), found);
            return Err(finding.with("document", format!("{document:#}")));
        }
    }
    Ok(())
}

fn is(found: Option<&Value>, wanted: &str) -> Result<bool, Finding> {
    let unreadable = |why: String| Finding::error("a table cell that can be read", format!("{wanted}: {why}"));
    let number = |words: &str| words.parse::<f64>().map_err(|error| unreadable(error.to_string()));
    let json = |words: &str| serde_json::from_str::<Value>(words).map_err(|error| unreadable(error.to_string()));
    let value = found.and_then(Value::as_f64);
    Ok(match wanted {
        "absent" => found.is_none(),
        "a number" => value.is_some(),
        "a text" => found.and_then(Value::as_str).is_some_and(|text| !text.is_empty()),
        _ => {
            if let Some(least) = wanted.strip_prefix("above ") {
                let least = number(least)?;
                value.is_some_and(|value| value > least)
            } else if let Some(most) = wanted.strip_prefix("at most ") {
                let most = number(most)?;
                value.is_some_and(|value| value <= most)
            } else if let Some(pattern) = wanted.strip_prefix("like ") {
                let pattern = json(pattern)?.as_str().unwrap_or_default().to_owned();
                let pattern = Regex::new(&pattern).map_err(|error| unreadable(error.to_string()))?;
                let text = found.map(|found| found.as_str().map_or_else(|| found.to_string(), str::to_owned));
                text.is_some_and(|text| pattern.is_match(&text))
            } else if let Some(list) = wanted.strip_prefix("one of ") {
                let list = json(&format!("[{list}]"))?;
                list.as_array().is_some_and(|list| found.is_some_and(|found| list.contains(found)))
            } else {
                let wanted = json(wanted)?;
                // A counter is read as 12.0, and 12 is what a reader writes.
                found == Some(&wanted)
                    || value.is_some_and(|value| wanted.as_f64() == Some(value) && found.is_some_and(Value::is_f64))
            }
        }
    })
}
