//! A pool on a node, through its pool manager: `POST {address}/pools/{id}/execute` and `/cancel`.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderMap, StatusCode};
use reqwest::Url;
use serde_json::{Value, json};
use tokio_stream::Stream;

use super::{Answer, Broken, Events, Job, Refusal, Upstream, UpstreamEvent, read_event};
use crate::http::event_stream::EventReader;
use crate::http::post::{self, PostError};

/// No event of the contract comes near this.
const EVENT_BYTES: usize = 1024 * 1024;
/// What is read of an answer that is not a stream.
const REFUSAL_BYTES: usize = 64 * 1024;
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
const CANCEL_PATIENCE: Duration = Duration::from_secs(5);
/// Where a busy worker does not say when to come back.
const PAUSE: Duration = Duration::from_secs(1);

pub struct NodePool {
    client: reqwest::Client,
    /// `{address}/pools/{pool_id}`
    base: String,
    token: Option<String>,
}

impl NodePool {
    pub fn new(client: reqwest::Client, address: &str, pool_id: &str, token: Option<String>) -> Self {
        Self { client, base: format!("{address}/pools/{pool_id}"), token }
    }

    fn headers(&self, correlation: &str) -> HeaderMap {
        post::headers(Some(correlation), self.token.as_deref())
    }
}

impl Upstream for NodePool {
    fn execute<'a>(&'a self, job: &'a Job) -> Answer<'a, Result<Events, Refusal>> {
        Box::pin(async move {
            let url = Url::parse(&format!("{}/execute", self.base));
            let url = url.map_err(|error| Refusal::Unreachable(format!("its address is no URL: {error}")))?;
            let body = serde_json::to_vec(&job.body).unwrap_or_default();
            let answer = post::post(&url, &self.headers(&job.correlation), &body, CONNECT_PATIENCE).await;
            let answer = answer.map_err(|error| match error {
                PostError::Connect { .. } => Refusal::Unreachable(error.to_string()),
                PostError::Broken(_) => Refusal::Broken(error.to_string()),
            })?;
            if answer.status == StatusCode::OK {
                return Ok(Box::pin(Relayed { answer, reader: EventReader::new(EVENT_BYTES), over: false }) as Events);
            }
            Err(refusal(answer).await)
        })
    }

    fn cancel<'a>(&'a self, job: &'a Job) -> Answer<'a, ()> {
        Box::pin(async move {
            let body = json!({"job_id": job.job_id});
            // Not taken: then the connection is closed, which says the same.
            let request = self.client.post(format!("{}/cancel", self.base)).headers(self.headers(&job.correlation));
            let _ = request.json(&body).timeout(CANCEL_PATIENCE).send().await;
        })
    }
}

async fn refusal(mut answer: post::Answer) -> Refusal {
    let status = answer.status;
    let pause = answer.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    let pause = pause.map_or(PAUSE, Duration::from_secs).clamp(Duration::from_millis(100), Duration::from_secs(30));
    let bytes = answer.rest(REFUSAL_BYTES).await.unwrap_or_default();
    let body: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    // A worker's refusal is flat; a pool manager's own may be in an envelope.
    let body = body.get("error").filter(|inner| inner.is_object()).unwrap_or(&body);
    let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (code, message) = (text("code"), text("message"));
    let message = if message.is_empty() { format!("it answered {status}") } else { message };
    match status {
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => Refusal::Busy { pause, message },
        StatusCode::CONFLICT => Refusal::Duplicate,
        StatusCode::BAD_REQUEST => {
            let errors = body.get("errors").or_else(|| body.get("details")?.get("errors")).cloned();
            Refusal::Invalid { message, errors: errors.unwrap_or(Value::Null) }
        }
        _ => Refusal::Failed { code, message },
    }
}

/// The events of one answer, as its bytes arrive.
struct Relayed {
    answer: post::Answer,
    reader: EventReader,
    over: bool,
}

impl Stream for Relayed {
    type Item = Result<UpstreamEvent, Broken>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            while let Some(event) = this.reader.next_event() {
                if let Some(event) = read_event(&event.name, &event.data).transpose() {
                    return Poll::Ready(Some(event));
                }
            }
            if this.over {
                return Poll::Ready(None);
            }
            let fed = match ready!(this.answer.poll_chunk(context)) {
                Ok(Some(bytes)) => this.reader.feed(&bytes).map_err(|error| Broken(error.to_string())),
                Err(error) => Err(Broken(format!("the connection broke: {error}"))),
                Ok(None) => {
                    this.over = true;
                    Ok(())
                }
            };
            if let Err(broken) = fed {
                this.over = true;
                return Poll::Ready(Some(Err(broken)));
            }
        }
    }
}
