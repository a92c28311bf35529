//! What goes wrong, under stable codes: as an HTTP answer before the stream is open, as an `error` event after.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use crate::http::body::BodyError;
pub use crate::http::fields::FieldError;

/// Every code that this worker answers with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ToSchema)]
#[schema(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Code {
    InvalidRequest,
    UnsupportedMediaType,
    Unauthorized,
    NotFound,
    MethodNotAllowed,
    DuplicateJob,
    Busy,
    Draining,
    VramOom,
    InferenceTimeout,
    Cancelled,
    Internal,
}

impl Code {
    /// As it is spelled in answers, events and logs.
    pub fn word(self) -> &'static str {
        match self {
            Code::InvalidRequest => "INVALID_REQUEST",
            Code::UnsupportedMediaType => "UNSUPPORTED_MEDIA_TYPE",
            Code::Unauthorized => "UNAUTHORIZED",
            Code::NotFound => "NOT_FOUND",
            Code::MethodNotAllowed => "METHOD_NOT_ALLOWED",
            Code::DuplicateJob => "DUPLICATE_JOB",
            Code::Busy => "BUSY",
            Code::Draining => "DRAINING",
            Code::VramOom => "VRAM_OOM",
            Code::InferenceTimeout => "INFERENCE_TIMEOUT",
            Code::Cancelled => "CANCELLED",
            Code::Internal => "INTERNAL",
        }
    }

    pub fn status(self) -> StatusCode {
        match self {
            Code::InvalidRequest => StatusCode::BAD_REQUEST,
            Code::Unauthorized => StatusCode::UNAUTHORIZED,
            Code::NotFound => StatusCode::NOT_FOUND,
            Code::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Code::DuplicateJob => StatusCode::CONFLICT,
            Code::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Code::Busy | Code::Draining => StatusCode::SERVICE_UNAVAILABLE,
            Code::InferenceTimeout => StatusCode::GATEWAY_TIMEOUT,
            Code::Cancelled => StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST),
            Code::VramOom | Code::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Whether the same request may succeed later, here or on another worker.
    pub fn is_retriable(self) -> bool {
        matches!(self, Code::Busy | Code::Draining | Code::VramOom | Code::InferenceTimeout | Code::Internal)
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.word())
    }
}

/// The answer to a request that breaks the rules: all of the rules that it breaks.
#[derive(Debug, Serialize, ToSchema)]
pub struct InvalidRequest {
    /// `UNSUPPORTED_MEDIA_TYPE` with 415, else `INVALID_REQUEST`.
    #[schema(value_type = String, pattern = "^(INVALID_REQUEST|UNSUPPORTED_MEDIA_TYPE)$")]
    code: Code,
    message: String,
    #[schema(min_items = 1)]
    errors: Vec<FieldError>,
}

/// The answer to a request that is refused for another reason than its fields.
#[derive(Debug, Serialize, ToSchema)]
pub struct Refusal {
    code: Code,
    message: String,
}

/// An HTTP answer other than success.
#[derive(Debug)]
pub enum ApiError {
    /// What is wrong with the fields, or with the body as a whole.
    Invalid(Vec<FieldError>),
    /// The body is not said to be JSON.
    UnsupportedMediaType,
    Refused(Code, String),
}

impl ApiError {
    pub fn body(constraint: &str, message: impl Into<String>) -> Self {
        Self::Invalid(vec![FieldError::new("body", constraint, message)])
    }

    pub fn code(&self) -> Code {
        match self {
            ApiError::Invalid(_) => Code::InvalidRequest,
            ApiError::UnsupportedMediaType => Code::UnsupportedMediaType,
            ApiError::Refused(code, _) => *code,
        }
    }

    /// The names of the fields that are wrong, for the log.
    pub fn fields(&self) -> String {
        match self {
            ApiError::Invalid(errors) => {
                let names: Vec<&str> = errors.iter().map(|error| error.field.as_str()).collect();
                names.join(", ")
            }
            ApiError::UnsupportedMediaType => "content-type".to_owned(),
            ApiError::Refused(..) => String::new(),
        }
    }
}

impl From<BodyError> for ApiError {
    fn from(error: BodyError) -> Self {
        let constraint = match error {
            BodyError::MediaType => return Self::UnsupportedMediaType,
            BodyError::Time => "time",
            BodyError::Transfer => "transfer",
            BodyError::Size => "size",
        };
        Self::body(constraint, error.to_string())
    }
}

impl From<Box<FieldError>> for ApiError {
    fn from(error: Box<FieldError>) -> Self {
        Self::Invalid(vec![*error])
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let code = self.code();
        let fields = self.fields();
        let mut response = match self {
            ApiError::Invalid(errors) => invalid(code, &fields, errors),
            ApiError::UnsupportedMediaType => {
                let message = BodyError::MediaType.to_string();
                invalid(code, &fields, vec![FieldError::new(&fields, "media_type", message)])
            }
            ApiError::Refused(code, message) => (code.status(), Json(Refusal { code, message })).into_response(),
        };
        match code {
            Code::Unauthorized => {
                response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
            }
            Code::Busy | Code::Draining => {
                response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"))
            }
            _ => None,
        };
        response
    }
}

fn invalid(code: Code, fields: &str, errors: Vec<FieldError>) -> Response {
    let message = format!("the request is refused for: {fields}");
    (code.status(), Json(InvalidRequest { code, message, errors })).into_response()
}
