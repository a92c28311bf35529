//! What goes wrong, under stable codes: in one envelope before a stream is open, as an `error` event after.

use axum::Json;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::sessions::Remaining;
use crate::http::body::BodyError;
use crate::http::correlation::CorrelationId;
use crate::http::fields::FieldError;

/// Every code of this API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Code {
    InvalidParams,
    DeadlineUnmet,
    BudgetExceeded,
    Unauthorized,
    NotFound,
    MethodNotAllowed,
    Conflict,
    PayloadTooLarge,
    UnsupportedMediaType,
    AdmissionReject,
    QueueFullDropLru,
    PoolUnavailable,
    PoolUnready,
    ModelNotAvailable,
    NodeUnavailable,
    Internal,
    // In streams only
    Cancelled,
    WorkerReset,
    DecodeTimeout,
    NotResumable,
}

impl Code {
    pub fn status(self) -> StatusCode {
        match self {
            Code::InvalidParams | Code::DeadlineUnmet | Code::BudgetExceeded => StatusCode::BAD_REQUEST,
            Code::Unauthorized => StatusCode::UNAUTHORIZED,
            Code::NotFound => StatusCode::NOT_FOUND,
            Code::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Code::Conflict => StatusCode::CONFLICT,
            Code::PayloadTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Code::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Code::AdmissionReject | Code::QueueFullDropLru => StatusCode::TOO_MANY_REQUESTS,
            Code::PoolUnavailable | Code::PoolUnready | Code::ModelNotAvailable | Code::NodeUnavailable => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Code::Internal | Code::Cancelled | Code::WorkerReset | Code::DecodeTimeout | Code::NotResumable => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
        }
    }

    /// Whether the same task may succeed later, or elsewhere.
    pub fn is_retriable(self) -> bool {
        matches!(
            self,
            Code::AdmissionReject
                | Code::QueueFullDropLru
                | Code::PoolUnavailable
                | Code::PoolUnready
                | Code::ModelNotAvailable
                | Code::NodeUnavailable
                | Code::Internal
                | Code::WorkerReset
                | Code::DecodeTimeout
        )
    }

    /// As it is spelled in answers, events, logs and labels.
    pub fn word(self) -> &'static str {
        match self {
            Code::InvalidParams => "INVALID_PARAMS",
            Code::DeadlineUnmet => "DEADLINE_UNMET",
            Code::BudgetExceeded => "BUDGET_EXCEEDED",
            Code::Unauthorized => "UNAUTHORIZED",
            Code::NotFound => "NOT_FOUND",
            Code::MethodNotAllowed => "METHOD_NOT_ALLOWED",
            Code::Conflict => "CONFLICT",
            Code::PayloadTooLarge => "PAYLOAD_TOO_LARGE",
            Code::UnsupportedMediaType => "UNSUPPORTED_MEDIA_TYPE",
            Code::AdmissionReject => "ADMISSION_REJECT",
            Code::QueueFullDropLru => "QUEUE_FULL_DROP_LRU",
            Code::PoolUnavailable => "POOL_UNAVAILABLE",
            Code::PoolUnready => "POOL_UNREADY",
            Code::ModelNotAvailable => "MODEL_NOT_AVAILABLE",
            Code::NodeUnavailable => "NODE_UNAVAILABLE",
            Code::Internal => "INTERNAL",
            Code::Cancelled => "CANCELLED",
            Code::WorkerReset => "WORKER_RESET",
            Code::DecodeTimeout => "DECODE_TIMEOUT",
            Code::NotResumable => "NOT_RESUMABLE",
        }
    }
}

/// Every answer other than success.
#[derive(Debug, Serialize, ToSchema)]
pub struct Envelope {
    error: ErrorBody,
}

#[derive(Debug, Serialize, ToSchema)]
struct ErrorBody {
    code: Code,
    message: String,
    /// Whether the same request may succeed later.
    retriable: bool,
    /// When to come back, where that can be said.
    #[schema(required, minimum = 0)]
    retry_after_ms: Option<u64>,
    /// The admission policy that refused.
    #[schema(required)]
    policy_label: Option<String>,
    #[schema(required)]
    engine: Option<String>,
    correlation_id: String,
    /// What the code alone does not say; `errors` lists every field that is wrong.
    details: Value,
}

/// An HTTP answer other than success, until `envelop` writes its body.
#[derive(Clone, Debug)]
pub struct ApiError {
    pub code: Code,
    pub message: String,
    more: Box<More>,
}

/// What only some errors say.
#[derive(Clone, Debug, Default)]
struct More {
    retry_after_ms: Option<u64>,
    policy_label: Option<&'static str>,
    engine: Option<String>,
    /// Everything that is wrong with the fields.
    errors: Vec<FieldError>,
    /// What the session has left, where that is the reason.
    budgets: Option<Remaining>,
}

impl ApiError {
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), more: Box::default() }
    }

    pub fn not_found(what: &str, id: &str) -> Self {
        Self::new(Code::NotFound, format!("there is no {what} '{id}'"))
    }

    /// Everything that is wrong with the fields of a request.
    pub fn invalid(errors: &[FieldError]) -> Self {
        let names: Vec<&str> = errors.iter().map(|error| error.field.as_str()).collect();
        let reasons: Vec<String> = errors.iter().map(|error| format!("{}: {}", error.field, error.message)).collect();
        let message = format!("the request is refused for {}; {}", names.join(", "), reasons.join("; "));
        let mut error = Self::new(Code::InvalidParams, message);
        error.more.errors = errors.to_vec();
        error
    }

    pub fn field(field: &str, constraint: &str, message: impl Into<String>) -> Self {
        Self::invalid(&[FieldError::new(field, constraint, message)])
    }

    pub fn errors(&self) -> &[FieldError] {
        &self.more.errors
    }

    pub fn engine(mut self, engine: &str) -> Self {
        self.more.engine = Some(engine.to_owned());
        self
    }

    pub fn budgets(mut self, remaining: Remaining) -> Self {
        self.more.budgets = Some(remaining);
        self
    }

    /// The admission policy that refused, and when to come back.
    pub fn policy(mut self, label: &'static str, retry_after_ms: u64) -> Self {
        self.more.policy_label = Some(label);
        self.more.retry_after_ms = Some(retry_after_ms);
        self
    }
}

impl From<BodyError> for ApiError {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::MediaType => Self::new(Code::UnsupportedMediaType, error.to_string()),
            BodyError::Size => Self::new(Code::PayloadTooLarge, error.to_string()),
            BodyError::Time => Self::field("body", "time", error.to_string()),
            BodyError::Transfer => Self::field("body", "transfer", error.to_string()),
        }
    }
}

impl From<Box<FieldError>> for ApiError {
    fn from(error: Box<FieldError>) -> Self {
        Self::invalid(&[*error])
    }
}

impl IntoResponse for ApiError {
    /// The status only: the body needs the request's correlation id, which `envelop` has.
    fn into_response(self) -> Response {
        let mut response = self.code.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// Writes the body of every error, with the correlation id of its request.
pub async fn envelop(request: Request, next: Next) -> Response {
    let correlation = request.extensions().get::<CorrelationId>().cloned();
    let mut response = next.run(request).await;
    let Some(error) = response.extensions_mut().remove::<ApiError>() else { return response };
    let ApiError { code, message, more } = error;
    let correlation_id = correlation.map(|id| id.as_str().to_owned()).unwrap_or_default();
    let details = if more.errors.is_empty() { json!({}) } else { json!({"errors": more.errors}) };
    let body = ErrorBody {
        code,
        message,
        retriable: code.is_retriable(),
        retry_after_ms: more.retry_after_ms,
        policy_label: more.policy_label.map(str::to_owned),
        engine: more.engine,
        correlation_id,
        details,
    };
    let headers = std::mem::take(response.headers_mut());
    let mut answer = (response.status(), Json(Envelope { error: body })).into_response();
    let own = headers.into_iter().filter_map(|(name, value)| Some((name?, value)));
    let kept = own.filter(|(name, _)| *name != header::CONTENT_LENGTH && *name != header::CONTENT_TYPE);
    answer.headers_mut().extend(kept);
    if code == Code::Unauthorized {
        answer.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if let Some(budgets) = more.budgets {
        answer.headers_mut().extend(budgets.headers());
    }
    if let Some(wait) = more.retry_after_ms {
        answer.headers_mut().insert(header::RETRY_AFTER, wait.div_ceil(1000).into());
        answer.headers_mut().insert("x-backoff-ms", wait.into());
    }
    answer
}
