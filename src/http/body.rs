//! The bytes of a JSON request, within the limits on kind, size and patience.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, header};
use tokio_stream::StreamExt;

pub const LIMIT: usize = 1024 * 1024;
/// What is read and thrown away of a body that is too long, so that its sender gets to the answer.
const DISCARDED: usize = 16 * LIMIT;
const PATIENCE: Duration = Duration::from_secs(30);

/// Why there is no body to read. The message is a whole clause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    #[error("expected application/json, in UTF-8")]
    MediaType,
    #[error("the body was not there within {} s", PATIENCE.as_secs())]
    Time,
    #[error("the body ended early or was framed wrongly")]
    Transfer,
    #[error("the body is longer than {LIMIT} bytes")]
    Size,
}

pub async fn read_json(headers: &HeaderMap, body: Body) -> Result<Vec<u8>, BodyError> {
    if !is_json(headers) {
        return Err(BodyError::MediaType);
    }
    match tokio::time::timeout(PATIENCE, read(body)).await {
        Ok(bytes) => bytes,
        Err(_) => Err(BodyError::Time),
    }
}

/// A body that may be left out: none where nothing is sent and nothing is said of it.
pub async fn read_optional_json(headers: &HeaderMap, body: Body) -> Result<Option<Vec<u8>>, BodyError> {
    let empty = headers.get(header::CONTENT_LENGTH).is_none_or(|length| length == "0");
    let unsaid = !headers.contains_key(header::CONTENT_TYPE) && !headers.contains_key(header::TRANSFER_ENCODING);
    if empty && unsaid {
        return Ok(None);
    }
    read_json(headers, body).await.map(|bytes| Some(bytes).filter(|bytes| !bytes.is_empty()))
}

async fn read(body: Body) -> Result<Vec<u8>, BodyError> {
    let mut chunks = body.into_data_stream();
    let mut bytes = Vec::new();
    let mut length = 0;
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| BodyError::Transfer)?;
        length += chunk.len();
        if length > LIMIT + DISCARDED {
            break;
        }
        if length <= LIMIT {
            bytes.extend_from_slice(&chunk);
        }
    }
    if length > LIMIT {
        return Err(BodyError::Size);
    }
    Ok(bytes)
}

/// `application/json`, with nothing but `charset=utf-8` to say about the characters.
fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()) else { return false };
    let mut parts = value.split(';').map(str::trim);
    let kind = parts.next().unwrap_or_default();
    let charset_is_utf8 = |part: &str| match part.split_once('=') {
        Some((name, value)) if name.trim().eq_ignore_ascii_case("charset") => {
            value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
        }
        _ => true,
    };
    kind.eq_ignore_ascii_case("application/json") && parts.all(charset_is_utf8)
}
