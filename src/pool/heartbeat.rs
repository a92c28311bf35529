//! What the orchestrator hears: that this node is here, and, over and over, what it can take on.
//!
//! One task says it all, in order: register, then heartbeats, at the pace that the orchestrator asks for and at once when
//! something changed. An orchestrator that has forgotten the node is registered with again; one that is away is asked
//! again, ever less often up to a limit, for as long as the node lives.

use std::sync::Arc;
use std::time::Duration;

use reqwest::{RequestBuilder, StatusCode, Url};
use serde::Serialize;
use serde_json::Value;
use tokio::time::sleep;
use tracing::{info, warn};

use super::capabilities::Capabilities;
use super::node::{FailureReport, Node};
use super::status::{ServedModel, Summary, served};
use crate::http::correlation;
use crate::http::failure::describe;

const PATIENCE: Duration = Duration::from_secs(5);
const FIRST_RETRY: Duration = Duration::from_millis(500);
const LONGEST_RETRY: Duration = Duration::from_secs(10);
/// Changes that come together are told together.
const SETTLE: Duration = Duration::from_millis(50);
/// What an orchestrator may ask for as the time to the next heartbeat.
const PACES: std::ops::RangeInclusive<u64> = 10..=3_600_000;

#[derive(Serialize)]
struct Registration<'a> {
    node_id: &'a str,
    machine_id: &'a str,
    address: String,
    pools: &'a [String],
    capabilities: &'a Capabilities,
    version: &'a str,
}

#[derive(Serialize)]
struct Heartbeat {
    timestamp: String,
    pools: Vec<PoolReport>,
    /// Workers that failed since the last heartbeat that was taken.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    failures: Vec<FailureReport>,
}

#[derive(Serialize)]
struct PoolReport {
    #[serde(flatten)]
    summary: Summary,
    models: Vec<ServedModel>,
    vram_free_bytes: u64,
}

/// Tells the orchestrator, until it is dropped. Only where there is one.
pub async fn beat(node: Arc<Node>) {
    let Some(orchestrator) = node.configuration.orchestrator.clone() else { return };
    let capabilities = Capabilities::of_this_machine().await;
    let mut pace = node.configuration.heartbeat_interval;
    let mut retry = FIRST_RETRY;
    loop {
        let told = if node.is_registered() {
            heartbeat(&node, &orchestrator, &capabilities).await
        } else {
            register(&node, &orchestrator, &capabilities).await.map(|()| Told::Again)
        };
        match told {
            Ok(Told::Again) => {
                retry = FIRST_RETRY;
                continue;
            }
            Ok(Told::Next(asked)) => {
                retry = FIRST_RETRY;
                pace = asked.unwrap_or(pace);
                tokio::select! {
                    () = sleep(pace) => {}
                    () = node.registry.changed.notified() => sleep(SETTLE.min(pace)).await,
                }
            }
            Err(reason) => {
                warn!(
                    actor = "pool-managerd",
                    action = "heartbeat_failed",
                    target = "orchestratord",
                    reason,
                    human = "The orchestrator does not hear this node",
                    "The orchestrator does not hear this node"
                );
                sleep(retry.min(pace)).await;
                retry = (retry * 2).min(LONGEST_RETRY);
            }
        }
    }
}

enum Told {
    /// Say the next thing at once.
    Again,
    /// The next heartbeat is due then, or as before.
    Next(Option<Duration>),
}

async fn register(node: &Node, orchestrator: &Url, capabilities: &Capabilities) -> Result<(), String> {
    let configuration = &node.configuration;
    let registration = Registration {
        node_id: &configuration.node_id,
        machine_id: &configuration.machine_id,
        address: node.public_address(),
        pools: &configuration.pools,
        capabilities,
        version: env!("CARGO_PKG_VERSION"),
    };
    let request = node.client.post(route(orchestrator, &["register"])?).json(&registration);
    send(node, request).await.and_then(taken)?;
    node.set_registered(true);
    info!(
        actor = "pool-managerd",
        action = "register",
        target = "orchestratord",
        human = "The orchestrator knows this node",
        "The orchestrator knows this node"
    );
    Ok(())
}

async fn heartbeat(node: &Node, orchestrator: &Url, capabilities: &Capabilities) -> Result<Told, String> {
    let vram_free_bytes = capabilities.vram_free_bytes().await;
    let failures = node.failures();
    let report = Heartbeat {
        timestamp: format!("{:.3}", jiff::Timestamp::now()),
        pools: node
            .registry
            .pools()
            .iter()
            .map(|pool| PoolReport { summary: Summary::of(pool), models: served(pool), vram_free_bytes })
            .collect(),
        failures,
    };
    let url = route(orchestrator, &[&node.configuration.node_id, "heartbeat"])?;
    let answer = send(node, node.client.post(url).json(&report)).await;
    let outcome = answer.and_then(|answer| {
        if answer.status() == StatusCode::NOT_FOUND {
            node.set_registered(false);
            return Ok(None);
        }
        taken(answer).map(Some)
    });
    let word = if matches!(outcome, Ok(Some(_))) { "success" } else { "error" };
    node.metrics.heartbeats.with_label_values(&[word]).inc();
    let Some(answer) = outcome? else { return Ok(Told::Again) };
    node.forget_failures(&report.failures);
    let answer: Value = answer.json().await.unwrap_or_default();
    let asked = answer.get("next_heartbeat_ms").and_then(Value::as_u64).filter(|asked| PACES.contains(asked));
    Ok(Told::Next(asked.map(Duration::from_millis)))
}

/// The orchestrator forgets the node, when it stops in good order.
pub async fn sign_off(node: &Node) {
    let Some(orchestrator) = &node.configuration.orchestrator else { return };
    if !node.is_registered() {
        return;
    }
    let Ok(url) = route(orchestrator, &[&node.configuration.node_id]) else { return };
    if let Err(reason) = send(node, node.client.delete(url)).await.and_then(taken) {
        warn!(actor = "pool-managerd", action = "sign_off_failed", target = "orchestratord", reason);
    }
}

fn route(orchestrator: &Url, parts: &[&str]) -> Result<Url, String> {
    let mut url = orchestrator.clone();
    url.path_segments_mut()
        .map_err(|()| "ORCHESTRATORD_URL can't carry a path".to_owned())?
        .pop_if_empty()
        .extend(["v2", "nodes"])
        .extend(parts);
    Ok(url)
}

async fn send(node: &Node, request: RequestBuilder) -> Result<reqwest::Response, String> {
    let request = request.timeout(PATIENCE).header(correlation::HEADER, uuid::Uuid::new_v4().to_string());
    let request = match &node.configuration.node_token {
        Some(token) => request.bearer_auth(token),
        None => request,
    };
    request.send().await.map_err(|error| describe(&error.without_url()))
}

fn taken(answer: reqwest::Response) -> Result<reqwest::Response, String> {
    if answer.status().is_success() { Ok(answer) } else { Err(format!("answered {}", answer.status())) }
}
