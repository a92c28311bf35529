//! The ready callback: three attempts, each with a time-out and a short pause after it.

use std::time::Duration;

use serde_json::json;

use super::http_server::ask;
use super::mistakes::Slip;
use super::options::CallbackUrl;
use super::worker::Worker;

const PATIENCE: Duration = Duration::from_secs(2);

pub fn is_test_mode(worker: &Worker, url: &CallbackUrl) -> bool {
    if worker.plays(Slip::TestModeCalls) {
        return false;
    }
    url.authority == "localhost:9999"
        || (worker.plays(Slip::TestModeByPrefix) && url.authority.starts_with("localhost:9999"))
}

/// Tells the pool manager where this worker is; an error says why it would not listen.
pub fn send(worker: &Worker, url: &CallbackUrl) -> Result<(), String> {
    let body = body(worker);
    let mut headers = Vec::new();
    if let Some(token) = &worker.options.spawn_token
        && !worker.plays(Slip::CallbackWithoutBearer)
    {
        headers.push(("Authorization", format!("Bearer {token}")));
    }
    let method = if worker.plays(Slip::CallbackByGet) { "GET" } else { "POST" };
    let patience = if worker.plays(Slip::CallbackWithoutTimeout) { Duration::from_secs(86_400) } else { PATIENCE };
    let attempts = match () {
        () if worker.plays(Slip::CallbackOnce) => 1,
        () if worker.plays(Slip::CallbackEndless) => u32::MAX,
        () => 3,
    };
    let mut failure = String::new();
    for attempt in 0..attempts {
        if attempt > 0 {
            std::thread::sleep(Duration::from_millis(100 << attempt.min(4)));
        }
        failure = match ask(&url.authority, method, &url.path, &headers, &body, patience) {
            Ok(200) => return again(worker, url, &headers, &body),
            Ok(201..300) if !worker.plays(Slip::CallbackOnly200) => return again(worker, url, &headers, &body),
            Ok(status) => format!("answered {status}"),
            Err(error) => error.to_string(),
        };
    }
    match worker.plays(Slip::CallbackFailureIgnored) {
        true => Ok(()),
        false => Err(failure),
    }
}

/// After an accepted callback there is nothing more to do, but for the mistake that sends it again.
fn again(worker: &Worker, url: &CallbackUrl, headers: &[(&str, String)], body: &str) -> Result<(), String> {
    if worker.plays(Slip::CallbackTwice) {
        let _ = ask(&url.authority, "POST", &url.path, headers, body, PATIENCE);
    }
    Ok(())
}

fn body(worker: &Worker) -> String {
    let port = if worker.plays(Slip::CallbackOtherPort) { worker.options.port } else { worker.port() };
    let host = match worker.plays(Slip::CallbackWildcardUri) {
        true => "0.0.0.0".to_string(),
        false => worker.host(),
    };
    let mut body = json!({
        "worker_id": worker.options.worker_id,
        "model_ref": worker.model.name,
        "memory_bytes": worker.model.bytes,
        "vram_bytes": 0,
        "memory_architecture": "cpu",
        "uri": format!("http://{host}:{port}"),
        "worker_type": "cpu",
        "capabilities": ["text-gen"],
        "protocol": "sse",
    });
    if worker.plays(Slip::CallbackOtherWorker) {
        body["worker_id"] = json!("worker-0");
    }
    if worker.plays(Slip::CallbackFieldsMissing)
        && let Some(members) = body.as_object_mut()
    {
        members.retain(|key, _| key != "protocol" && key != "capabilities");
    }
    body.to_string()
}
