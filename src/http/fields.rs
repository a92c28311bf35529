//! The fields of a JSON object, read by hand: a derived reader stops at the first wrong type, and the contract wants
//! everything that is wrong, each with its field and its rule.

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// A longer value is not sent back.
const ECHO_BYTES: usize = 256;

/// One field, and the rule it breaks.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct FieldError {
    /// The field's name, or `body` for the whole of it.
    pub field: String,
    /// The rule: `required`, `type`, `pattern`, `length`, `range`, `count`, `exclusive`, `context`, `json`, `size`, …
    pub constraint: String,
    pub message: String,
    /// What was sent; left out for `prompt` and `stop`, and where it is long.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
}

impl FieldError {
    pub fn new(field: &str, constraint: &str, message: impl Into<String>) -> Self {
        Self { field: field.to_owned(), constraint: constraint.to_owned(), message: message.into(), value: None }
    }

    /// About the body as a whole.
    pub fn body(constraint: &str, message: impl Into<String>) -> Self {
        Self::new("body", constraint, message)
    }
}

pub fn object(body: &[u8]) -> Result<Map<String, Value>, Box<FieldError>> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(other) => Err(FieldError::body("type", format!("expected a JSON object, found {}", kind(&other))).into()),
        // The message of the parser may quote the prompt: its place is enough.
        Err(error) => {
            let place = format!("not JSON that can be read: line {}, column {}", error.line(), error.column());
            Err(FieldError::body("json", place).into())
        }
    }
}

/// The object of a body that may be left out: nothing and `null` are an object without fields.
pub fn optional_object(body: Option<&[u8]>) -> Result<Map<String, Value>, Box<FieldError>> {
    body.filter(|body| *body != b"null").map_or_else(|| Ok(Map::new()), object)
}

/// The id in a path.
pub async fn path_id<S: Send + Sync>(parts: &mut Parts, state: &S) -> Result<String, Box<FieldError>> {
    let id = Path::<String>::from_request_parts(parts, state).await;
    id.map(|Path(id)| id).map_err(|_| FieldError::new("id", "encoding", "the id in the path is not UTF-8").into())
}

pub fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// The fields of one request, and what is wrong with them so far.
pub struct Fields<'a> {
    object: &'a Map<String, Value>,
    /// Fields whose values no refusal repeats.
    secret: &'static [&'static str],
    pub errors: Vec<FieldError>,
}

impl<'a> Fields<'a> {
    pub fn of(object: &'a Map<String, Value>, secret: &'static [&'static str]) -> Self {
        Self { object, secret, errors: Vec::new() }
    }

    /// A field that is there; `null` is absent.
    pub fn get(&self, field: &str) -> Option<&'a Value> {
        self.object.get(field).filter(|value| !value.is_null())
    }

    pub fn refuse(&mut self, field: &str, constraint: &str, message: impl Into<String>) {
        let echoed = |value: &&Value| !self.secret.contains(&field) && value.to_string().len() <= ECHO_BYTES;
        let value = self.get(field).filter(echoed).cloned();
        self.errors.push(FieldError { value, ..FieldError::new(field, constraint, message) });
    }

    pub fn refuse_type(&mut self, field: &str, expected: &str, found: &Value) {
        self.refuse(field, "type", format!("expected {expected}, found {}", kind(found)));
    }

    /// A whole number; `3.0` is one, as JSON Schema has it.
    pub fn integer(&mut self, field: &str, least: u64, most: u64) -> Option<u64> {
        let value = self.get(field)?;
        let Value::Number(number) = value else {
            self.refuse_type(field, "a whole number", value);
            return None;
        };
        match whole(value).filter(|found| (least..=most).contains(found)) {
            Some(found) => Some(found),
            None if number.as_f64().is_some_and(|found| found.fract() != 0.0) => {
                self.refuse(field, "type", "expected a whole number, found a fraction");
                None
            }
            None => {
                self.refuse(field, "range", format!("expected {least} to {most}"));
                None
            }
        }
    }

    pub fn float(&mut self, field: &str) -> Option<f64> {
        let value = self.get(field)?;
        let found = value.as_f64();
        if found.is_none() {
            self.refuse_type(field, "a number", value);
        }
        found
    }

    pub fn number(&mut self, field: &str, least: f64, most: f64) -> Option<f32> {
        let found = self.float(field)?;
        if (least..=most).contains(&found) {
            return Some(found as f32);
        }
        self.refuse(field, "range", format!("expected {least:.1} to {most:.1}"));
        None
    }

    /// A text of the field, refused where it is missing.
    pub fn required_text(&mut self, field: &str) -> Option<&'a str> {
        if self.get(field).is_none() {
            self.refuse(field, "required", format!("{field} is missing"));
        }
        self.text(field)
    }

    pub fn text(&mut self, field: &str) -> Option<&'a str> {
        match self.get(field)? {
            Value::String(text) => Some(text),
            other => {
                self.refuse_type(field, "a string", other);
                None
            }
        }
    }

    pub fn required_integer(&mut self, field: &str, least: u64, most: u64) -> Option<u64> {
        if self.get(field).is_none() {
            self.refuse(field, "required", format!("{field} is missing"));
        }
        self.integer(field, least, most)
    }

    pub fn switch(&mut self, field: &str) -> Option<bool> {
        match self.get(field)? {
            Value::Bool(value) => Some(*value),
            other => {
                self.refuse_type(field, "true or false", other);
                None
            }
        }
    }

    /// One of a few words.
    pub fn word<T: Copy>(&mut self, field: &str, words: &[(&str, T)]) -> Option<T> {
        let text = self.text(field)?;
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if found.is_none() {
            let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            self.refuse(field, "enum", format!("expected one of {}", known.join(", ")));
        }
        found
    }

    /// A list of texts; empty where the field is absent.
    pub fn texts(&mut self, field: &str) -> Vec<String> {
        let items = match self.get(field) {
            None => return Vec::new(),
            Some(Value::Array(items)) => items,
            Some(other) => {
                self.refuse_type(field, "an array of strings", other);
                return Vec::new();
            }
        };
        if let Some((index, item)) = items.iter().enumerate().find(|(_, item)| !item.is_string()) {
            self.refuse(field, "type", format!("item {index}: expected a string, found {}", kind(item)));
        }
        items.iter().filter_map(Value::as_str).map(str::to_owned).collect()
    }

    /// Fields that nobody reads are refused by name: a typing mistake must not pass for a wish that was heard.
    pub fn refuse_unknown(&mut self, known: &[&str]) {
        for name in self.object.keys().filter(|name| !known.contains(&name.as_str())) {
            self.errors.push(FieldError::new(name, "unknown", "there is no such field"));
        }
    }
}

/// A number without a fraction that fits u64, whether written `3` or `3.0`.
pub fn whole(value: &Value) -> Option<u64> {
    const ABOVE: f64 = 18_446_744_073_709_551_616.0; // 2^64: the first f64 that no u64 reaches
    value.as_u64().or_else(|| {
        let found = value.as_f64()?;
        (found.fract() == 0.0 && (0.0..ABOVE).contains(&found)).then_some(found as u64)
    })
}
