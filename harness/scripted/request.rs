//! The body of `/execute`, checked field by field before anything is computed. Every failure is listed.

use serde_json::{Map, Value, json};

use super::mistakes::Slip;
use super::oddities::Quirk;
use super::options::Script;
use super::words::{CONTEXT_LENGTH, Sampling, count_tokens, drawn_seed, vocab_size};

#[derive(Clone, Debug)]
pub struct Job {
    pub id: String,
    pub prompt: String,
    pub prompt_tokens: u64,
    pub max_tokens: u64,
    pub stops: Vec<String>,
    pub sampling: Sampling,
}

/// One thing that is wrong with a request.
#[derive(Clone, Debug)]
pub struct Failure {
    pub field: &'static str,
    pub constraint: String,
    pub message: String,
    pub value: Option<Value>,
}

const KNOWN: &[&str] =
    &["job_id", "prompt", "max_tokens", "temperature", "top_p", "top_k", "min_p", "repetition_penalty", "stop", "seed"];

/// The body as a JSON object, or why it is none.
pub fn parse_object(body: &[u8], script: Script) -> Result<Map<String, Value>, Vec<Failure>> {
    let parsed = match script.plays(Slip::TrailingGarbageAccepted) {
        true => serde_json::Deserializer::from_slice(body).into_iter().next().unwrap_or(Ok(Value::Null)),
        false => serde_json::from_slice(body),
    };
    match parsed {
        Ok(Value::Object(members)) => Ok(members),
        Ok(_) => Err(vec![body_failure("object", "the body is not a JSON object")]),
        // The message of the parser names a place and no text of the body.
        Err(error) => Err(vec![body_failure("json", &error.to_string())]),
    }
}

pub fn body_failure(constraint: &str, message: &str) -> Failure {
    Failure { field: "body", constraint: constraint.into(), message: message.into(), value: None }
}

pub fn is_job_id(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
    (1..=128).contains(&text.len()) && text.bytes().all(allowed) && text != "." && text != ".."
}

pub fn check(members: &Map<String, Value>, longest: u64, script: Script) -> Result<Job, Vec<Failure>> {
    let mut fields = Fields { members, failures: Vec::new(), script };
    let id = fields.job_id();
    let (prompt, prompt_tokens) = fields.prompt();
    let default = if script.plays(Slip::DefaultMaxTokens) { 16 } else { longest };
    let max_tokens = fields.whole("max_tokens", 1, longest, default);
    let temperature = fields.number("temperature", 0.0, 2.0, 1.0);
    let top_p = fields.number("top_p", 0.0, 1.0, 1.0);
    let top_k = fields.whole("top_k", 0, vocab_size() as u64, 0) as usize;
    let min_p = fields.number("min_p", 0.0, 1.0, 0.0);
    let repetition_penalty = fields.number("repetition_penalty", f64::MIN_POSITIVE, 2.0, 1.0);
    let stops = fields.stops();
    let drawn = if script.plays(Slip::SeedAlwaysSame) { 42 } else { drawn_seed() };
    let mut seed = fields.whole("seed", 0, u64::MAX, drawn);
    if script.plays(Slip::SeedThroughDouble) {
        seed = seed as f64 as u64;
    }
    if script.plays(Slip::UnknownFieldsRefused) && members.keys().any(|key| !KNOWN.contains(&key.as_str())) {
        fields.failures.push(body_failure("known fields", "the body has a field that is not known"));
    }
    if script.plays(Slip::PromptEchoed) {
        fields.failures.iter_mut().for_each(|failure| failure.message += &format!(" (prompt: {prompt})"));
    }
    if !fields.failures.is_empty() {
        return Err(fields.failures);
    }
    let sampling = Sampling { temperature, top_p, top_k, min_p, repetition_penalty, seed };
    let max_tokens = match script.mistake {
        Some(Slip::MaxTokensIgnored) => u64::MAX,
        Some(Slip::MaxTokensOffByOne) => max_tokens + 1,
        _ => max_tokens,
    };
    Ok(Job { id, prompt, prompt_tokens, max_tokens, stops, sampling })
}

/// Reads fields and collects what is wrong with them; a bad field reads as its default.
struct Fields<'a> {
    members: &'a Map<String, Value>,
    failures: Vec<Failure>,
    script: Script,
}

impl Fields<'_> {
    fn fail(&mut self, field: &'static str, constraint: impl Into<String>, message: &str, value: Option<Value>) {
        self.failures.push(Failure { field, constraint: constraint.into(), message: message.into(), value });
    }

    /// An optional field; `null` is read as absent.
    fn optional(&mut self, field: &'static str) -> Option<Value> {
        let value = self.members.get(field)?;
        if value.is_null() && self.script.shows(Quirk::NullRefused) {
            self.fail(field, "type", "null is no value for this field", Some(Value::Null));
        }
        let text = value.as_str().filter(|_| self.script.plays(Slip::NumbersFromText));
        let parsed = text.and_then(|text| serde_json::from_str(text).ok());
        parsed.or_else(|| (!value.is_null()).then(|| value.clone()))
    }

    fn whole(&mut self, field: &'static str, low: u64, high: u64, default: u64) -> u64 {
        let Some(value) = self.optional(field) else { return default };
        match value.as_u64() {
            Some(number) if (low..=high).contains(&number) => return number,
            _ if self.script.plays(Slip::RangeUnchecked) && value.is_number() => return low.max(1),
            _ if value.is_number() => {
                self.fail(field, format!("{low}..={high}"), "not a whole number in the range", Some(value));
            }
            _ => self.fail(field, "type", "not a number", Some(value)),
        }
        default
    }

    fn number(&mut self, field: &'static str, low: f64, high: f64, default: f64) -> f64 {
        let Some(value) = self.optional(field) else { return default };
        match value.as_f64() {
            Some(number) if (low..=high).contains(&number) => return number,
            Some(number) if self.script.plays(Slip::RangeUnchecked) => return number.clamp(low, high),
            // The open end of the penalty's range is the only bound that is no round number.
            Some(_) if low == f64::MIN_POSITIVE => {
                self.fail(field, format!("(0, {high}]"), "outside the range", Some(value));
            }
            Some(_) => self.fail(field, format!("{low}..={high}"), "outside the range", Some(value)),
            None => self.fail(field, "type", "not a number", Some(value)),
        }
        default
    }

    fn job_id(&mut self) -> String {
        let unchecked = self.script.plays(Slip::JobIdUnchecked) || self.script.plays(Slip::JobIdInComment);
        match self.members.get("job_id").cloned() {
            Some(Value::String(id)) if is_job_id(&id) || unchecked => return id,
            None if self.script.plays(Slip::MissingJobIdAccepted) => return uuid::Uuid::new_v4().to_string(),
            None => self.fail("job_id", "required", "job_id is missing", None),
            Some(Value::String(id)) => {
                let short: String = id.chars().take(200).collect();
                self.fail("job_id", "[A-Za-z0-9._:-]{1,128}", "not a job id", Some(json!(short)));
            }
            Some(other) => self.fail("job_id", "type", "not a string", Some(other)),
        }
        String::new()
    }

    /// The prompt, and how many tokens it takes.
    fn prompt(&mut self) -> (String, u64) {
        let prompt = match self.members.get("prompt") {
            Some(Value::String(prompt)) => prompt.clone(),
            Some(_) => {
                self.fail("prompt", "type", "not a string", None);
                return Default::default();
            }
            None => {
                self.fail("prompt", "required", "prompt is missing", None);
                return Default::default();
            }
        };
        let characters = if self.script.plays(Slip::PromptInBytes) { prompt.len() } else { prompt.chars().count() };
        let tokens = count_tokens(&prompt);
        if !(1..=32768).contains(&characters) && !self.script.plays(Slip::RangeUnchecked) {
            self.fail("prompt", "1..=32768 characters", "too short or too long", None);
        } else if tokens > CONTEXT_LENGTH && !self.script.plays(Slip::LongPromptCut) {
            let constraint = format!("at most {CONTEXT_LENGTH} tokens");
            self.fail("prompt", constraint, "does not fit the context", None);
        }
        (prompt, tokens.min(CONTEXT_LENGTH))
    }

    fn stops(&mut self) -> Vec<String> {
        let Some(value) = self.optional("stop") else { return Vec::new() };
        let texts: Option<Vec<String>> =
            value.as_array().and_then(|list| list.iter().map(|text| text.as_str().map(String::from)).collect());
        let Some(texts) = texts else {
            self.fail("stop", "type", "not a list of strings", None);
            return Vec::new();
        };
        if self.script.plays(Slip::StopLimitsUnchecked) {
            return texts;
        }
        if texts.len() > 4 {
            self.fail("stop", "at most 4", "too many stop sequences", None);
        }
        if texts.iter().any(|text| !(1..=100).contains(&text.len())) {
            self.fail("stop", "1..=100 bytes each", "a stop sequence is empty or too long", None);
        } else if texts.iter().any(|text| count_tokens(text) > 32) {
            self.fail("stop", "at most 32 tokens each", "a stop sequence has too many tokens", None);
        }
        texts
    }
}
