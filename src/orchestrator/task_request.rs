//! From the bytes of `POST /v2/tasks` to a checked task, or to the list of everything that is wrong with it.
//!
//! Every field that is accepted has an effect; one that would have none here is refused by name.

use serde_json::{Map, Value};
use utoipa::ToSchema;
use uuid::Uuid;

use super::configuration::{NAME, is_name};
use super::error::{ApiError, Code};
use super::sessions::Budgets;
use super::task::{Determinism, KvHint, Mode, Priority, TaskSpec, Wish};
use crate::http::fields::{self, FieldError, Fields, kind};

pub const MAX_TOKENS: u32 = 2048;
const PROMPT_CHARACTERS: usize = 32_768;
const STOPS: usize = 4;
const STOP_BYTES: usize = 100;
const MODEL_REF_BYTES: usize = 512;
const POOL_NAMES: usize = 64;
/// What a refusal does not repeat.
const SECRET: &[&str] = &["prompt", "stop"];
/// Engines that this orchestrator has an adapter for.
pub const ENGINES: [&str; 2] = ["llamacpp", "llorch"];
const OTHER_ENGINES: [&str; 3] = ["vllm", "tgi", "triton"];

/// A checked request.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskRequest {
    pub spec: TaskSpec,
    pub budgets: Budgets,
}

/// The body of `POST /v2/tasks`. Read by hand, so that every failure is listed; this type describes it.
#[derive(ToSchema)]
#[schema(example = json!({
    "task_id": "6f0d6c43-4f5e-4a43-9d1c-0d4b8a6f1f0e", "session_id": "b2f6a1de-53b9-4c8e-8a0e-2b1a4c6d7e8f",
    "workload": "completion", "model_ref": "tiny", "engine": "llorch", "ctx": 128, "priority": "interactive",
    "prompt": "Once upon a time", "max_tokens": 16, "deadline_ms": 30000, "seed": 7
}))]
#[allow(dead_code)] // only its schema is used
pub struct TaskBody {
    /// The client's own name for the task.
    task_id: Uuid,
    session_id: Uuid,
    workload: Workload,
    /// `hf:{org}/{repo}[@rev][::file=path]`, `file:/abs/path`, or an alias of the catalog.
    #[schema(min_length = 1, max_length = 512)]
    model_ref: String,
    engine: Engine,
    /// The context that the task needs; one above the model's is refused.
    #[schema(minimum = 1)]
    ctx: u32,
    priority: Priority,
    #[schema(min_length = 1, max_length = 32768)]
    prompt: String,
    #[schema(minimum = 1, maximum = 2048)]
    max_tokens: u32,
    /// From admission on. The task ends with DEADLINE_UNMET when it has passed.
    #[schema(minimum = 1)]
    deadline_ms: u64,
    seed: Option<u64>,
    #[schema(minimum = 0.0, maximum = 2.0)]
    temperature: Option<f32>,
    #[schema(minimum = 0.0, maximum = 1.0)]
    top_p: Option<f32>,
    #[schema(minimum = 0)]
    top_k: Option<u32>,
    #[schema(minimum = 0.0, maximum = 1.0)]
    min_p: Option<f32>,
    #[schema(exclusive_minimum = 0.0, maximum = 2.0)]
    repetition_penalty: Option<f32>,
    #[schema(max_items = 4)]
    stop: Option<Vec<String>>,
    determinism: Option<Determinism>,
    /// How many tokens the client expects: what start times are predicted from.
    #[schema(minimum = 1, maximum = 2048)]
    expected_tokens: Option<u32>,
    kv_hint: Option<KvHint>,
    placement: Option<PlacementBody>,
    /// The budget of the session, set by its first task.
    #[schema(minimum = 1)]
    tokens_budget: Option<u64>,
    /// The budget of the session, set by its first task.
    #[schema(minimum = 1)]
    time_budget_ms: Option<u64>,
}

/// Where the task may run.
#[derive(ToSchema)]
#[schema(as = Placement)]
#[allow(dead_code)] // only its schema is used
pub struct PlacementBody {
    mode: Option<Mode>,
    /// With mode `pin`: the one pool.
    pin_pool_id: Option<String>,
    /// With mode `prefer`: the pools to take first.
    #[schema(max_items = 64)]
    prefer_pools: Option<Vec<String>>,
    #[schema(max_items = 64)]
    avoid_pools: Option<Vec<String>>,
    /// Devices, with commas between, all of which the pool must have.
    #[schema(pattern = "^[^,\\s]+(,[^,\\s]+)*$")]
    require_device_mask: Option<String>,
    /// With mode `prefer`: whether other pools will do. True by default.
    allow_fallback: Option<bool>,
}

/// `embedding` and `rerank` are refused by name.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[allow(dead_code)] // only its schema is used
pub enum Workload {
    Completion,
}

/// `vllm`, `tgi` and `triton` are refused by name.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[allow(dead_code)] // only its schema is used
pub enum Engine {
    Llamacpp,
    Llorch,
}

const FIELDS: &[&str] = &[
    "task_id",
    "session_id",
    "workload",
    "model_ref",
    "engine",
    "ctx",
    "priority",
    "prompt",
    "max_tokens",
    "deadline_ms",
    "seed",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "repetition_penalty",
    "stop",
    "determinism",
    "expected_tokens",
    "kv_hint",
    "placement",
    "tokens_budget",
    "time_budget_ms",
];

/// Reads and checks the body. A strict task without a seed gets one here.
pub fn read(body: &[u8]) -> Result<TaskRequest, ApiError> {
    let object = fields::object(body)?;
    let mut fields = Fields::of(&object, SECRET);
    let task_id = fields.uuid("task_id");
    let session_id = fields.uuid("session_id");
    fields.workload();
    let model_ref = fields.model_ref("model_ref");
    let engine = fields.engine();
    let ctx = fields.required_integer("ctx", 1, u32::MAX.into()).map(|ctx| ctx as u32);
    let priority =
        fields.required_word("priority", &[("interactive", Priority::Interactive), ("batch", Priority::Batch)]);
    let prompt = fields.task_prompt();
    let max_tokens = fields.required_integer("max_tokens", 1, MAX_TOKENS.into()).map(|tokens| tokens as u32);
    let deadline_ms = fields.deadline();
    let seed = fields.integer("seed", 0, u64::MAX);
    let sampling = fields.sampling();
    let determinism = fields
        .word("determinism", &[("strict", Determinism::Strict), ("best_effort", Determinism::BestEffort)])
        .unwrap_or(Determinism::BestEffort);
    let expected_tokens = fields.integer("expected_tokens", 1, MAX_TOKENS.into()).map(|tokens| tokens as u32);
    let kv_hint = fields.word("kv_hint", &[("reuse", KvHint::Reuse), ("cold", KvHint::Cold)]);
    let placement = fields.placement();
    let budgets = Budgets {
        tokens: fields.integer("tokens_budget", 1, u64::MAX),
        time_ms: fields.integer("time_budget_ms", 1, u64::MAX),
    };
    fields.refuse_unknown(FIELDS);
    let errors = std::mem::take(&mut fields.errors);
    // Its own code, where it is all that is wrong.
    if let [FieldError { field, constraint, message, .. }] = errors.as_slice()
        && field == "deadline_ms"
        && constraint == "past"
    {
        let mut error = ApiError::field(field, constraint, message.clone());
        error.code = Code::DeadlineUnmet;
        return Err(error);
    }
    let spec = (|| {
        Some(TaskSpec {
            task_id: task_id?,
            session_id: session_id?,
            model_ref: model_ref?,
            engine: engine?,
            ctx: ctx?,
            priority: priority?,
            prompt: prompt?,
            max_tokens: max_tokens?,
            deadline_ms: deadline_ms?,
            seed: seed.or_else(|| (determinism == Determinism::Strict).then(drawn_seed)),
            sampling,
            determinism,
            expected_tokens,
            kv_hint,
            placement,
        })
    })();
    match spec {
        Some(spec) if errors.is_empty() => Ok(TaskRequest { spec, budgets }),
        _ => Err(ApiError::invalid(&errors)),
    }
}

/// From the operating system, through the one source of a random UUID. It stays within what every JSON reader keeps exact.
fn drawn_seed() -> u64 {
    let (high, low) = Uuid::new_v4().as_u64_pair();
    (high ^ low.rotate_left(32)) >> 11
}

/// The three ways to name a model, as the OpenAPI document has them.
pub const MODEL_REF: &str = "^(hf:[A-Za-z0-9_-][A-Za-z0-9._-]*/[A-Za-z0-9_-][A-Za-z0-9._-]*(@[A-Za-z0-9._/-]+)?\
    (::file=[A-Za-z0-9_-]+([./][A-Za-z0-9_-]+)*)?|file:(/[A-Za-z0-9._~+@=-]+)+|[A-Za-z0-9][A-Za-z0-9._/-]{0,199})$";

/// The same by hand, with a reason for each.
pub fn check_model_ref(text: &str) -> Result<(), &'static str> {
    if text.is_empty() || text.len() > MODEL_REF_BYTES {
        return Err("expected 1 to 512 bytes");
    }
    let made_of = |text: &str, marks: &[u8]| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || marks.contains(&byte))
    };
    if let Some(path) = text.strip_prefix("file:") {
        let mut parts = path.split('/');
        let sound = parts.next() == Some("") && parts.clone().count() > 0;
        return if sound && parts.all(|part| made_of(part, b"._~+@=-")) {
            Ok(())
        } else {
            Err("expected file:/abs/path, of letters, digits and . _ ~ + @ = -")
        };
    }
    if let Some(rest) = text.strip_prefix("hf:") {
        let (repository, file) = match rest.split_once("::") {
            None => (rest, None),
            Some((repository, option)) => (repository, Some(option.strip_prefix("file=").unwrap_or_default())),
        };
        let (repository, revision) = match repository.split_once('@') {
            None => (repository, None),
            Some((repository, revision)) => (repository, Some(revision)),
        };
        let name = |text: &str| made_of(text, b"._-") && !text.starts_with('.');
        let names_repository = repository.split_once('/').is_some_and(|(org, repo)| name(org) && name(repo));
        // Parts of letters with one dot or slash between: nothing leads out of the repository.
        let sound_file = file.is_none_or(|file| file.split(['.', '/']).all(|part| made_of(part, b"_-")));
        let sound_revision = revision.is_none_or(|revision| made_of(revision, b"._/-"));
        return if names_repository && sound_revision && sound_file {
            Ok(())
        } else {
            Err("expected hf:{org}/{repo}[@rev][::file=path]")
        };
    }
    if is_alias(text) { Ok(()) } else { Err("expected hf:…, file:/…, or an alias of letters, digits and . _ - /") }
}

fn is_device_mask(text: &str) -> bool {
    text.split(',').all(|device| !device.is_empty() && !device.contains(char::is_whitespace))
}

/// The name of a model in the catalog.
pub fn is_alias(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/".contains(&byte);
    (1..=200).contains(&text.len()) && text.bytes().all(allowed) && text.as_bytes()[0].is_ascii_alphanumeric()
}

/// The fields of a task, on top of those that any object has.
impl Fields<'_> {
    fn uuid(&mut self, field: &str) -> Option<Uuid> {
        let text = self.required_text(field)?;
        // The hyphenated form only: the others would make two names of one id.
        let uuid = Uuid::parse_str(text).ok().filter(|_| text.len() == 36);
        if uuid.is_none() {
            self.refuse(field, "format", "expected a UUID");
        }
        uuid
    }

    fn required_word<T: Copy>(&mut self, field: &str, words: &[(&str, T)]) -> Option<T> {
        if self.get(field).is_none() {
            self.refuse(field, "required", format!("{field} is missing"));
        }
        self.word(field, words)
    }

    fn workload(&mut self) {
        match self.required_text("workload") {
            None | Some("completion") => {}
            Some(other @ ("embedding" | "rerank")) => {
                self.refuse("workload", "unsupported", format!("no worker here does '{other}'; expected completion"));
            }
            Some(_) => self.refuse("workload", "enum", "expected completion"),
        }
    }

    pub fn model_ref(&mut self, field: &str) -> Option<String> {
        let text = self.required_text(field)?;
        match check_model_ref(text) {
            Ok(()) => Some(text.to_owned()),
            Err(reason) => {
                self.refuse(field, "format", reason);
                None
            }
        }
    }

    fn engine(&mut self) -> Option<String> {
        let text = self.required_text("engine")?;
        if ENGINES.contains(&text) {
            return Some(text.to_owned());
        }
        let known = ENGINES.join(", ");
        if OTHER_ENGINES.contains(&text) {
            self.refuse("engine", "unsupported", format!("there is no adapter for '{text}'; expected one of {known}"));
        } else {
            self.refuse("engine", "enum", format!("expected one of {known}"));
        }
        None
    }

    fn task_prompt(&mut self) -> Option<String> {
        let text = self.required_text("prompt")?;
        let characters = text.chars().count();
        if (1..=PROMPT_CHARACTERS).contains(&characters) {
            return Some(text.to_owned());
        }
        self.refuse("prompt", "length", format!("expected 1 to {PROMPT_CHARACTERS} characters, found {characters}"));
        None
    }

    fn deadline(&mut self) -> Option<u64> {
        if let Some(Value::Number(number)) = self.get("deadline_ms")
            && number.as_f64().is_some_and(|value| value <= 0.0)
        {
            self.refuse("deadline_ms", "past", "the deadline has passed: expected more than 0");
            return None;
        }
        self.required_integer("deadline_ms", 1, u64::MAX)
    }

    /// What is passed on to the worker as it was given, within the worker's own limits.
    fn sampling(&mut self) -> Map<String, Value> {
        let before = self.errors.len();
        self.number("temperature", 0.0, 2.0);
        self.number("top_p", 0.0, 1.0);
        self.number("min_p", 0.0, 1.0);
        self.integer("top_k", 0, u32::MAX.into());
        if self.float("repetition_penalty").is_some_and(|penalty| !(penalty > 0.0 && penalty <= 2.0)) {
            self.refuse("repetition_penalty", "range", "expected more than 0.0 and at most 2.0");
        }
        let stops = self.texts("stop");
        if stops.len() > STOPS {
            self.refuse("stop", "count", format!("expected at most {STOPS} sequences, found {}", stops.len()));
        }
        if stops.iter().any(|stop| !(1..=STOP_BYTES).contains(&stop.len())) {
            self.refuse("stop", "length", format!("expected 1 to {STOP_BYTES} bytes each"));
        }
        if self.errors.len() > before {
            return Map::new();
        }
        ["temperature", "top_p", "top_k", "min_p", "repetition_penalty", "stop"]
            .into_iter()
            .filter_map(|name| Some((name.to_owned(), self.get(name)?.clone())))
            .collect()
    }

    fn placement(&mut self) -> Wish {
        let inner = match self.get("placement") {
            None => return Wish::default(),
            Some(Value::Object(object)) => object,
            Some(other) => {
                self.refuse_type("placement", "an object", other);
                return Wish::default();
            }
        };
        let mut fields = Fields::of(inner, &[]);
        let wish = fields.wish();
        fields.refuse_unknown(&[
            "mode",
            "pin_pool_id",
            "prefer_pools",
            "avoid_pools",
            "require_device_mask",
            "allow_fallback",
        ]);
        self.errors.extend(
            fields.errors.into_iter().map(|error| FieldError { field: format!("placement.{}", error.field), ..error }),
        );
        wish
    }

    fn wish(&mut self) -> Wish {
        let modes = [("pin", Mode::Pin), ("prefer", Mode::Prefer), ("auto", Mode::Auto)];
        let mode = self.word("mode", &modes).unwrap_or_default();
        let pin_pool_id = self.text("pin_pool_id").map(str::to_owned);
        let prefer_pools = self.pool_names("prefer_pools");
        let avoid_pools = self.pool_names("avoid_pools");
        let require_device_mask = self.text("require_device_mask").map(str::to_owned);
        let allow_fallback = self.switch("allow_fallback");
        if require_device_mask.as_ref().is_some_and(|mask| !is_device_mask(mask)) {
            self.refuse("require_device_mask", "format", "expected devices with commas between, and no blanks");
        }
        if pin_pool_id.as_deref().is_some_and(|name| !is_name(name)) {
            self.refuse("pin_pool_id", "format", format!("no pool can be called that; allowed: {NAME}"));
        }
        match (mode, &pin_pool_id) {
            (Mode::Pin, None) => self.refuse("pin_pool_id", "required", "mode pin needs it"),
            (Mode::Prefer | Mode::Auto, Some(_)) => {
                self.refuse("pin_pool_id", "without_effect", "it has an effect with mode pin only");
            }
            _ => {}
        }
        match (mode, prefer_pools.is_empty()) {
            (Mode::Prefer, true) => self.refuse("prefer_pools", "required", "mode prefer needs it"),
            (Mode::Pin | Mode::Auto, false) => {
                self.refuse("prefer_pools", "without_effect", "it has an effect with mode prefer only");
            }
            _ => {}
        }
        if mode != Mode::Prefer && allow_fallback == Some(false) {
            self.refuse("allow_fallback", "without_effect", "false has an effect with mode prefer only");
        }
        if mode == Mode::Pin && !avoid_pools.is_empty() {
            self.refuse("avoid_pools", "without_effect", "with mode pin no other pool is looked at");
        }
        let allow_fallback = allow_fallback.unwrap_or(true);
        Wish { mode, pin_pool_id, prefer_pools, avoid_pools, require_device_mask, allow_fallback }
    }

    fn pool_names(&mut self, field: &str) -> Vec<String> {
        let names = self.texts(field);
        if names.len() > POOL_NAMES {
            self.refuse(field, "count", format!("expected at most {POOL_NAMES}, found {}", names.len()));
        }
        if let Some(item) = names.iter().position(|name| !is_name(name)) {
            self.refuse(field, "format", format!("item {item}: no pool can be called that; allowed: {NAME}"));
        }
        names
    }
}

/// A list of objects, each read on its own; errors name the item.
pub fn objects<'a>(fields: &mut Fields<'a>, field: &str) -> Vec<&'a Map<String, Value>> {
    let items = match fields.get(field) {
        None => return Vec::new(),
        Some(Value::Array(items)) => items,
        Some(other) => {
            fields.refuse_type(field, "an array", other);
            return Vec::new();
        }
    };
    let mut found = Vec::new();
    for (index, item) in items.iter().enumerate() {
        match item {
            Value::Object(object) => found.push(object),
            other => fields.refuse(field, "type", format!("item {index}: expected an object, found {}", kind(other))),
        }
    }
    found
}
