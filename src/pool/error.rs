//! What goes wrong on a node, under stable codes, in the form of the worker contract: `{code, message}`.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use crate::worker::error::ApiError;

/// Codes that a pool manager answers with beside the worker's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ToSchema)]
#[schema(as = PoolCode, rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Code {
    InvalidRequest,
    Unauthorized,
    NotFound,
    MethodNotAllowed,
    Conflict,
    DuplicateJob,
    Busy,
    Draining,
    PoolUnready,
    ModelNotAvailable,
    /// The worker went away before its job ended.
    WorkerReset,
    InferenceTimeout,
    Cancelled,
    Internal,
}

impl Code {
    pub fn word(self) -> &'static str {
        match self {
            Code::InvalidRequest => "INVALID_REQUEST",
            Code::Unauthorized => "UNAUTHORIZED",
            Code::NotFound => "NOT_FOUND",
            Code::MethodNotAllowed => "METHOD_NOT_ALLOWED",
            Code::Conflict => "CONFLICT",
            Code::DuplicateJob => "DUPLICATE_JOB",
            Code::Busy => "BUSY",
            Code::Draining => "DRAINING",
            Code::PoolUnready => "POOL_UNREADY",
            Code::ModelNotAvailable => "MODEL_NOT_AVAILABLE",
            Code::WorkerReset => "WORKER_RESET",
            Code::InferenceTimeout => "INFERENCE_TIMEOUT",
            Code::Cancelled => "CANCELLED",
            Code::Internal => "INTERNAL",
        }
    }

    pub fn status(self) -> StatusCode {
        match self {
            Code::InvalidRequest => StatusCode::BAD_REQUEST,
            Code::Unauthorized => StatusCode::UNAUTHORIZED,
            Code::NotFound | Code::ModelNotAvailable => StatusCode::NOT_FOUND,
            Code::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Code::Conflict | Code::DuplicateJob => StatusCode::CONFLICT,
            Code::Busy | Code::Draining | Code::PoolUnready | Code::WorkerReset => StatusCode::SERVICE_UNAVAILABLE,
            Code::InferenceTimeout => StatusCode::GATEWAY_TIMEOUT,
            Code::Cancelled => StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST),
            Code::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Whether the same request may succeed later, here or on another node.
    pub fn is_retriable(self) -> bool {
        self.status().is_server_error()
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.word())
    }
}

/// The answer to a request that is refused for another reason than its fields.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PoolRefusal)]
pub struct Refusal {
    #[schema(value_type = Code)]
    code: Code,
    message: String,
}

/// The data of an `error` event: a code of ours, or one that the worker sent.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = PoolFailure)]
pub struct Failure {
    #[schema(value_type = String, pattern = "^[A-Z_]+$")]
    pub code: Code,
    pub message: String,
    pub retriable: bool,
}

impl Failure {
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), retriable: code.is_retriable() }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// What is wrong with the fields, or with the body as a whole.
    #[error("the request is refused for: {}", .0.fields())]
    Invalid(ApiError),
    #[error("{message}")]
    Refused { code: Code, message: String },
}

impl PoolError {
    pub fn refused(code: Code, message: impl Into<String>) -> Self {
        Self::Refused { code, message: message.into() }
    }

    pub fn code(&self) -> &'static str {
        match self {
            PoolError::Invalid(error) => error.code().word(),
            PoolError::Refused { code, .. } => code.word(),
        }
    }
}

impl From<ApiError> for PoolError {
    fn from(error: ApiError) -> Self {
        Self::Invalid(error)
    }
}

impl IntoResponse for PoolError {
    fn into_response(self) -> Response {
        let (code, message) = match self {
            PoolError::Invalid(error) => return error.into_response(),
            PoolError::Refused { code, message } => (code, message),
        };
        let mut response = (code.status(), Json(Refusal { code, message })).into_response();
        match code.status() {
            StatusCode::UNAUTHORIZED => {
                response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            _ => {}
        }
        response
    }
}

impl From<crate::pool::adapter::llamacpp::Unfit> for PoolError {
    fn from(unfit: crate::pool::adapter::llamacpp::Unfit) -> Self {
        use crate::pool::adapter::llamacpp::Unfit;
        match unfit {
            Unfit::Request(error) => Self::Invalid(error),
            Unfit::Engine(error) => {
                let failure = Failure::from(&error);
                Self::refused(failure.code, failure.message)
            }
        }
    }
}
