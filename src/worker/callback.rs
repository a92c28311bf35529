//! The ready callback: the pool manager hears that the worker can be reached, after it could be.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use reqwest::Url;
use serde::Serialize;
use tracing::{info, warn};

use super::health::{CAPABILITIES, PROTOCOL};
use super::service::Service;
use crate::backend::StartError;
use crate::http::failure::describe;

const ATTEMPTS: u32 = 3;
const PATIENCE: Duration = Duration::from_secs(3);
const BACK_OFF: Duration = Duration::from_millis(200);

/// What the pool manager is told.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ReadyCallback<'a> {
    worker_id: &'a str,
    model_ref: &'a str,
    memory_bytes: u64,
    vram_bytes: u64,
    memory_architecture: &'a str,
    uri: String,
    worker_type: &'a str,
    capabilities: [&'a str; 1],
    protocol: &'a str,
}

/// Reports that the worker is ready, where there is somebody to report to.
pub async fn report_ready(service: &Service, client: &reqwest::Client, address: SocketAddr) -> Result<(), StartError> {
    let Some(url) = &service.configuration.callback else {
        info!(event = "startup", "Standalone mode: no pool manager");
        return Ok(());
    };
    if is_test_mode(url) {
        info!(event = "startup", "Test mode: skipping pool manager callback");
        return Ok(());
    }
    let model = service.held().description;
    // Finding the route may ask a name server: not on the thread that serves.
    let host = url.clone();
    let reached = tokio::task::spawn_blocking(move || reachable(address, &host)).await.unwrap_or(address);
    let ready = ReadyCallback {
        worker_id: &service.configuration.worker_id,
        model_ref: &service.configuration.model_ref,
        memory_bytes: model.memory_bytes,
        vram_bytes: model.vram_bytes,
        memory_architecture: model.memory_architecture,
        uri: format!("http://{reached}"),
        worker_type: model.worker_type,
        capabilities: CAPABILITIES,
        protocol: PROTOCOL,
    };
    let mut failure = String::new();
    for attempt in 1..=ATTEMPTS {
        match send(service, client, url, &ready).await {
            Ok(()) => {
                info!(event = "startup", uri = ready.uri, attempt, "Callback sent to pool-managerd");
                return Ok(());
            }
            Err(message) => failure = message,
        }
        if attempt < ATTEMPTS {
            warn!(event = "startup", attempt, reason = failure, "Callback not taken, trying again");
            tokio::time::sleep(BACK_OFF * 2u32.pow(attempt - 1)).await;
        }
    }
    let place = place(url);
    Err(StartError::new(
        "CALLBACK_FAILED",
        format!("the pool manager at {place} took no callback in {ATTEMPTS} attempts: {failure}"),
    ))
}

async fn send(service: &Service, client: &reqwest::Client, url: &Url, ready: &ReadyCallback<'_>) -> Result<(), String> {
    let mut request = client.post(url.clone()).timeout(PATIENCE).json(ready);
    if let Some(token) = &service.configuration.spawn_token {
        request = request.bearer_auth(token);
    }
    // Without the URL, which may carry a password.
    let response = request.send().await.map_err(|error| describe(&error.without_url()))?;
    if response.status().is_success() { Ok(()) } else { Err(format!("answered {}", response.status())) }
}

/// Exactly `localhost:9999`, as the URL's parts have it.
pub fn is_test_mode(url: &Url) -> bool {
    url.host_str() == Some("localhost") && url.port() == Some(9999)
}

/// The URL without user, password and query.
fn place(url: &Url) -> String {
    format!("{}:{}{}", url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or_default(), url.path())
}

/// The address under which others reach a worker that listens on `address`: bound to all interfaces, it is the one from
/// which the pool manager is reached.
fn reachable(address: SocketAddr, callback: &Url) -> SocketAddr {
    if !address.ip().is_unspecified() {
        return address;
    }
    let host = callback.host_str().unwrap_or("localhost").trim_start_matches('[').trim_end_matches(']');
    let port = callback.port_or_known_default().unwrap_or(80);
    // Connecting a UDP socket sends nothing: it asks the system for the route.
    let route = std::net::UdpSocket::bind((address.ip(), 0))
        .and_then(|socket| socket.connect((host, port)).and_then(|()| socket.local_addr()));
    SocketAddr::new(route.map_or_else(|_| loopback(address), |route| route.ip()), address.port())
}

/// Where the worker reaches itself.
pub fn loopback(address: SocketAddr) -> IpAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    }
}
