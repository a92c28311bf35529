//! The contract, message by message: one JSON Schema each in `fixtures/contract`, written by hand, and violations said in
//! plain words. Unknown fields are legal everywhere.

use std::fmt;
use std::sync::OnceLock;

use boon::{Compiler, ErrorKind, SchemaIndex, Schemas, Type, ValidationError};
use serde_json::Value;

use super::Finding;

macro_rules! messages {
    ($($variant:ident $name:literal,)*) => {
        /// Every message of the contract that has a schema.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Message { $($variant),* }

        impl Message {
            pub const ALL: &[Message] = &[$(Message::$variant),*];

            pub fn name(self) -> &'static str {
                match self { $(Message::$variant => $name),* }
            }

            /// The schema's text.
            pub fn schema(self) -> &'static str {
                match self {
                    $(Message::$variant => include_str!(concat!("../fixtures/contract/", $name, ".schema.json"))),*
                }
            }
        }
    };
}

messages! {
    Health "health",
    ExecuteRequest "execute_request",
    Started "started",
    Token "token",
    Metrics "metrics",
    End "end",
    ErrorEvent "error_event",
    ErrorBody "error_body",
    SimpleErrorBody "simple_error_body",
    CancelRequest "cancel_request",
    ShutdownAnswer "shutdown_answer",
    ReadyCallback "ready_callback",
    LogLine "log_line",
    TaskRequest "task_request",
    TaskAdmission "task_admission",
    TaskRefusal "task_refusal",
    TaskStarted "task_started",
    TaskMetrics "task_metrics",
    TaskEnd "task_end",
    TaskError "task_error",
    Narration "narration",
}

impl Message {
    pub fn by_name(name: &str) -> Option<Message> {
        Message::ALL.iter().copied().find(|message| message.name() == name)
    }

    /// The message that an event of a stream carries.
    pub fn of_event(event: &str) -> Option<Message> {
        match event {
            "started" => Some(Message::Started),
            "token" => Some(Message::Token),
            "metrics" => Some(Message::Metrics),
            "end" => Some(Message::End),
            "error" => Some(Message::ErrorEvent),
            _ => None,
        }
    }
}

/// One thing about a message that the contract does not allow.
#[derive(Clone, Debug, PartialEq)]
pub struct Violation {
    /// The way to the value, without the message: `tokens_out`, `errors[0].field`; empty for the message itself.
    pub path: String,
    pub expected: String,
    pub found: String,
    message: Message,
}

impl Violation {
    /// The field at the top of the message in which it lies.
    pub fn field(&self) -> &str {
        self.path.split(['.', '[']).next().unwrap_or_default()
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dot = if self.path.is_empty() { "" } else { "." };
        write!(out, "{}{dot}{}: expected {}, found {}", self.message.name(), self.path, self.expected, self.found)
    }
}

/// Everything about `value` that the contract does not allow, in the order of the fields' names.
pub fn violations(message: Message, value: &Value) -> Result<Vec<Violation>, Finding> {
    let compiled = compiled()?;
    let Err(error) = compiled.schemas.validate(value, compiled.of(message)?) else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    collect(message, value, &error, &mut found);
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found.dedup();
    Ok(found)
}

/// Holds when the contract allows the message; a finding otherwise lists all violations.
pub fn check(message: Message, value: &Value) -> Result<(), Finding> {
    let violations = violations(message, value)?;
    if violations.is_empty() {
        return Ok(());
    }
    let told: Vec<String> = violations.iter().map(Violation::to_string).collect();
    let finding =
        Finding::fail(format!("the message {} as the contract describes it", message.name()), told.join("; "));
    Err(finding.with("message", serde_json::to_string_pretty(value).unwrap_or_default()))
}

struct Compiled {
    schemas: Schemas,
    indices: Vec<(Message, SchemaIndex)>,
}

impl Compiled {
    fn of(&self, message: Message) -> Result<SchemaIndex, Finding> {
        let index = self.indices.iter().find(|(own, _)| *own == message).map(|(_, index)| *index);
        index.ok_or_else(|| Finding::error(format!("a schema for {}", message.name()), "there is none"))
    }
}

fn compiled() -> Result<&'static Compiled, Finding> {
    static COMPILED: OnceLock<Result<Compiled, String>> = OnceLock::new();
    let compiled = COMPILED.get_or_init(compile).as_ref();
    compiled.map_err(|problem| Finding::error("the contract's schemas", problem.as_str()))
}

fn compile() -> Result<Compiled, String> {
    let mut compiler = Compiler::new();
    compiler.enable_format_assertions();
    let (mut schemas, mut indices) = (Schemas::new(), Vec::new());
    for message in Message::ALL {
        let place = format!("https://llorch.invalid/contract/{}", message.name());
        let schema = serde_json::from_str(message.schema()).map_err(|error| format!("{place}: {error}"))?;
        compiler.add_resource(&place, schema).map_err(|error| error.to_string())?;
        indices.push((*message, compiler.compile(&place, &mut schemas).map_err(|error| error.to_string())?));
    }
    Ok(Compiled { schemas, indices })
}

/// The leaves of a tree of errors: what is wrong, without the ways by which the schema came to look at it.
fn collect(message: Message, root: &Value, error: &ValidationError<'_, '_>, found: &mut Vec<Violation>) {
    let at = error.instance_location.to_string();
    let mut add = |path: String, expected: String, shown: String| {
        found.push(Violation { path, expected, found: shown, message });
    };
    match &error.kind {
        ErrorKind::Required { want } => {
            for name in want {
                let inside = plain_path(&at);
                let path = if inside.is_empty() { name.to_string() } else { format!("{inside}.{name}") };
                add(path, "a value".into(), "nothing: the field is missing".into());
            }
        }
        ErrorKind::OneOf(_) => add(plain_path(&at), "exactly one of the alternatives".into(), "none or several".into()),
        kind => match expectation(kind) {
            Some(expected) => add(plain_path(&at), expected, root.pointer(&at).map_or("nothing".into(), shown)),
            None if error.causes.is_empty() => add(plain_path(&at), "what the schema says".into(), kind_name(kind)),
            None => {}
        },
    }
    if !matches!(error.kind, ErrorKind::OneOf(_)) {
        for cause in &error.causes {
            collect(message, root, cause, found);
        }
    }
}

fn kind_name(kind: &ErrorKind<'_, '_>) -> String {
    format!("{kind}")
}

/// What a single keyword asks for; `None` for keywords that only hold others together.
fn expectation(kind: &ErrorKind<'_, '_>) -> Option<String> {
    let listed = |values: &[Value]| values.iter().map(Value::to_string).collect::<Vec<_>>().join(", ");
    Some(match kind {
        ErrorKind::Type { want, .. } => want.iter().map(type_name).collect::<Vec<_>>().join(" or "),
        ErrorKind::Enum { want } => format!("one of {}", listed(want)),
        ErrorKind::Const { want } => want.to_string(),
        ErrorKind::Format { want, err, .. } => format!("a {want} ({err})"),
        ErrorKind::Pattern { want, .. } => format!("a string of the form {want}"),
        ErrorKind::MinLength { want: 1, .. } => "a string that is not empty".into(),
        ErrorKind::MinLength { want, .. } => format!("at least {want} characters"),
        ErrorKind::MaxLength { want, .. } => format!("at most {want} characters"),
        ErrorKind::MinItems { want, .. } => format!("at least {want} items"),
        ErrorKind::MaxItems { want, .. } => format!("at most {want} items"),
        ErrorKind::Minimum { want, .. } => format!("{want} or more"),
        ErrorKind::Maximum { want, .. } => format!("{want} or less"),
        ErrorKind::ExclusiveMinimum { want, .. } => format!("more than {want}"),
        ErrorKind::ExclusiveMaximum { want, .. } => format!("less than {want}"),
        ErrorKind::Contains => "\"text-gen\" among the items".into(),
        ErrorKind::FalseSchema => "nothing: the value is left out here".into(),
        _ => return None,
    })
}

fn type_name(kind: Type) -> &'static str {
    match kind {
        Type::Null => "null",
        Type::Boolean => "a boolean",
        Type::Number => "a number",
        Type::Integer => "an integer",
        Type::String => "a string",
        Type::Array => "a list",
        Type::Object => "an object",
    }
}

fn shown(value: &Value) -> String {
    let text = super::http::excerpt(value.to_string().as_bytes(), 120);
    match value {
        Value::String(_) => format!("{text} (string)"),
        Value::Number(_) => format!("{text} (number)"),
        Value::Bool(_) => format!("{text} (boolean)"),
        _ => text,
    }
}

/// `/errors/0/field` as people write it: `errors[0].field`.
fn plain_path(pointer: &str) -> String {
    let mut path = String::new();
    for step in pointer.split('/').skip(1) {
        if !step.is_empty() && step.bytes().all(|byte| byte.is_ascii_digit()) {
            path.push_str(&format!("[{step}]"));
        } else {
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(&step.replace("~1", "/").replace("~0", "~"));
        }
    }
    path
}
