//! The same job through an SSE client that others use: what only our own reader can read is of no use to anybody.

use std::time::Duration;

use eventsource_client::{Client, ClientBuilder, Error, ReconnectOptions, SSE};
use futures::StreamExt as _;
use launchdarkly_sdk_transport::HyperTransport;

use super::Scene;
use crate::harness::Finding;
use crate::harness::target::unique;

/// How long the whole job may take.
const DEADLINE: Duration = Duration::from_secs(30);

impl Scene {
    pub fn send_through_ordinary_client(&mut self, label: &str) -> Result<(), Finding> {
        let worker = self.worker()?.clone();
        let mut body = self.job(label)?.request.body_json().unwrap_or_default();
        body["job_id"] = unique("ordinary").into();
        let url = worker.base().url("/execute");
        // On a thread of its own: the case's thread drives a runtime already.
        let client = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(|error| Finding::error("a runtime for the client", error.to_string()))?;
            let read = runtime.block_on(async { tokio::time::timeout(DEADLINE, read(&url, body.to_string())).await });
            read.map_err(|_| Finding::fail(format!("a stream that ends within {DEADLINE:?}"), "it goes on"))?
        });
        let kinds = client.join().map_err(|_| Finding::error("an ordinary SSE client", "it panicked"))??;
        self.ordinary = Some(kinds);
        Ok(())
    }

    pub fn clients_agree(&mut self, label: &str) -> Result<(), Finding> {
        let theirs = self.ordinary.take().ok_or_else(|| Finding::error("an ordinary client's events", "none"))?;
        let ours = self.kinds(label)?;
        if ours == theirs {
            return Ok(());
        }
        Err(Finding::fail(
            format!("the events that the harness read: {}", ours.join(", ")),
            format!("an ordinary client read: {}", theirs.join(", ")),
        ))
    }
}

/// The kinds of the events of one POST, metrics aside. Reconnecting is off: by default the client would send it again.
async fn read(url: &str, body: String) -> Result<Vec<String>, Finding> {
    let failed = |error: Error| Finding::fail("events that an ordinary SSE client can read", error.to_string());
    let transport = HyperTransport::builder().disable_proxy().build_http();
    let transport = transport.map_err(|error| Finding::error("an ordinary SSE client", error.to_string()))?;
    let client = ClientBuilder::for_url(url)
        .and_then(|builder| builder.header("content-type", "application/json"))
        .map_err(failed)?
        .method("POST".into())
        .body(body)
        .reconnect(ReconnectOptions::reconnect(false).retry_initial(false).build())
        .build_with_transport(transport);
    let mut events = client.stream();
    let mut kinds = Vec::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(SSE::Event(event)) if event.event_type != "metrics" => kinds.push(event.event_type),
            Ok(_) => {}
            Err(Error::Eof) => break, // how a stream's ordinary end arrives
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(kinds)
}
