//! From a request to its answer: who may ask, which correlation id it has, and everything that is no stream.

use std::io;
use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use super::execute::execute;
use super::http_server::{Connection, Request, Response};
use super::metrics::Gauges;
use super::mistakes::Slip;
use super::oddities::Quirk;
use super::request::{Failure, body_failure, is_job_id, parse_object};
use super::words::{CONTEXT_LENGTH, vocab_size};
use super::worker::{Stop, Worker};

/// Answers one request. True: the connection can serve another.
pub fn answer(worker: &Worker, request: &Request, connection: &mut Connection) -> io::Result<bool> {
    let correlation = correlation(worker, request);
    let route = (request.method.as_str(), request.path.as_str());
    let response = match route {
        ("GET" | "HEAD", "/health") => health(worker, request),
        ("GET", "/metrics") => metrics(worker),
        ("GET", "/openapi.json") => Response::json(200, &super::openapi::document()),
        ("POST", "/execute") => match unauthorized(worker, request, None) {
            Some(refusal) => refusal,
            None => return execute(worker, request, connection, &correlation),
        },
        ("POST", "/cancel") => cancel(worker, request),
        ("POST", "/shutdown") if !worker.plays(Slip::ShutdownMissing) => shutdown(worker, request),
        (_, "/health" | "/metrics" | "/openapi.json" | "/execute" | "/cancel" | "/shutdown") => {
            refusal(405, "INVALID_REQUEST", "this path has another method")
        }
        _ => refusal(404, "INVALID_REQUEST", "there is no such path"),
    };
    respond(worker, request, connection, response, &correlation)
}

/// Writes a whole answer with its correlation id.
pub fn respond(
    worker: &Worker,
    request: &Request,
    connection: &mut Connection,
    mut response: Response,
    correlation: &str,
) -> io::Result<bool> {
    let silent = worker.plays(Slip::CorrelationMissingOnErrors) && response.status >= 400;
    if let (false, Some(id)) = (silent, echoed(worker, correlation)) {
        response = response.with("X-Correlation-Id", id);
    }
    if request.method == "HEAD" {
        response.body.clear();
    }
    let keeps_alive = request.keeps_alive();
    connection.respond(response, keeps_alive)?;
    Ok(keeps_alive)
}

/// The correlation id as the response headers carry it.
pub fn echoed<'a>(worker: &Worker, correlation: &'a str) -> Option<&'a str> {
    (!worker.plays(Slip::CorrelationNotEchoed)).then_some(correlation)
}

/// The client's id where it is one, else a fresh one.
fn correlation(worker: &Worker, request: &Request) -> String {
    let fresh = || match worker.plays(Slip::CorrelationConstant) {
        true => "11111111-1111-4111-8111-111111111111".to_string(),
        false => uuid::Uuid::new_v4().to_string(),
    };
    let allowed =
        |id: &str| (1..=64).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    match request.header("x-correlation-id") {
        Some(_) if worker.plays(Slip::CorrelationReplaced) => fresh(),
        Some(id) if allowed(id) || worker.plays(Slip::CorrelationUnchecked) => id.to_string(),
        _ => fresh(),
    }
}

pub fn refusal(status: u16, code: &str, message: &str) -> Response {
    Response::json(status, &json!({"code": code, "message": message}))
}

/// The 400 form: every failure, one by one.
pub fn bad_request(worker: &Worker, failures: &[Failure]) -> Response {
    let shown = if worker.plays(Slip::FirstErrorOnly) { &failures[..failures.len().min(1)] } else { failures };
    let error = |failure: &Failure| {
        let mut error = json!({"field": failure.field, "constraint": failure.constraint, "message": failure.message});
        if let Some(value) = &failure.value {
            error["value"] = value.clone();
        }
        if worker.plays(Slip::ErrorsWithoutConstraint)
            && let Some(members) = error.as_object_mut()
        {
            members.remove("constraint");
        }
        error
    };
    let code = if worker.plays(Slip::BadRequestOtherCode) { "BAD_REQUEST" } else { "INVALID_REQUEST" };
    let errors: Vec<Value> = shown.iter().map(error).collect();
    let body = json!({"code": code, "message": "the request is not valid", "errors": errors});
    let status = if worker.plays(Slip::BadRequest422) { 422 } else { 400 };
    match worker.plays(Slip::BadRequestAsText) {
        true => Response::text(status, "text/plain", body.to_string()),
        false => Response::json(status, &body),
    }
}

/// The refusal of a request that is not labelled as JSON.
pub fn unsupported(worker: &Worker, request: &Request) -> Option<Response> {
    let labelled = request.header("content-type").and_then(|value| value.split(';').next());
    let json = labelled.is_some_and(|media_type| media_type.trim().eq_ignore_ascii_case("application/json"));
    if json || worker.plays(Slip::ContentTypeUnchecked) {
        return None;
    }
    let failure = body_failure("application/json", "the content type is not application/json");
    let mut response = bad_request(worker, &[failure]);
    if !worker.plays(Slip::ContentType400) {
        let body = json!({"code": "UNSUPPORTED_MEDIA_TYPE", "message": "the content type is not application/json"});
        response = Response::json(415, &body);
    }
    Some(response)
}

/// The refusal of a request without the token. `open` is the mistake that leaves this one door open.
fn unauthorized(worker: &Worker, request: &Request, open: Option<Slip>) -> Option<Response> {
    let token = worker.options.api_token.as_deref()?;
    let shown = request.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
    let right = shown.is_some_and(|shown| {
        equal_in_constant_time(shown.as_bytes(), token.as_bytes())
            || (worker.plays(Slip::TokenPrefixAccepted) && shown.starts_with(token))
    });
    if right || worker.plays(Slip::TokenUnchecked) || open.is_some_and(|slip| worker.plays(slip)) {
        return None;
    }
    let message = match worker.plays(Slip::UnauthorizedTells) && shown.is_some() {
        true => "this token is wrong",
        false => "a bearer token is required",
    };
    let status = if worker.plays(Slip::Unauthorized403) { 403 } else { 401 };
    Some(refusal(status, "UNAUTHORIZED", message).with("WWW-Authenticate", "Bearer"))
}

fn equal_in_constant_time(left: &[u8], right: &[u8]) -> bool {
    let differing = left.iter().zip(right).fold(0, |difference, (a, b)| difference | (a ^ b));
    left.len() == right.len() && std::hint::black_box(differing) == 0
}

fn health(worker: &Worker, request: &Request) -> Response {
    if worker.plays(Slip::HealthLocked)
        && let Some(refusal) = unauthorized(worker, request, None)
    {
        return refusal;
    }
    if worker.plays(Slip::HealthFailsUntilJob) && !worker.served.load(Ordering::SeqCst) {
        return refusal(500, "INTERNAL", "not warmed up");
    }
    if worker.plays(Slip::HealthBlocks) {
        worker.jobs.wait_idle(std::time::Instant::now() + std::time::Duration::from_secs(60));
    }
    let mut body = json!({
        "status": "healthy",
        "model_loaded": true,
        "model": worker.model.name,
        "resident": true,
        "quant_kind": "F32",
        "memory_bytes": worker.model.bytes,
        "vram_bytes": 0,
        "vram_bytes_used": 0,
        "memory_type": "cpu",
        "memory_architecture": "cpu",
        "capabilities": ["text-gen"],
        "protocol": "sse",
        "worker_type": "cpu",
        "tokenizer_kind": "hf-json",
        "vocab_size": vocab_size(),
        "context_length": CONTEXT_LENGTH,
        "uptime_seconds": worker.uptime_seconds(),
        "worker_id": worker.options.worker_id,
        "version": env!("CARGO_PKG_VERSION"),
    });
    match worker.script().mistake {
        Some(Slip::HealthFieldMissing) => body.as_object_mut().into_iter().for_each(|body| {
            body.remove("context_length");
        }),
        Some(Slip::HealthWrongType) => body["memory_bytes"] = json!(worker.model.bytes.to_string()),
        Some(Slip::HealthOtherStatus) => body["status"] = json!("ok"),
        Some(Slip::HealthOtherWorker) => body["worker_id"] = json!("worker-0"),
        Some(Slip::HealthNoMemory) => body["memory_bytes"] = json!(0),
        Some(Slip::HealthFrozenClock) => body["uptime_seconds"] = json!(0),
        Some(Slip::HealthAsText) => return Response::text(200, "text/plain", body.to_string()),
        _ => {}
    }
    if worker.shows(Quirk::HealthExtras) {
        body["x_build"] = json!({"commit": "none", "flags": []});
    }
    Response::json(200, &body)
}

fn metrics(worker: &Worker) -> Response {
    let gauges = Gauges {
        memory_bytes: worker.model.bytes,
        uptime_seconds: worker.uptime_seconds(),
        queue_depth: worker.jobs.waiting(),
    };
    worker.metrics.scrape(&gauges, worker.script())
}

fn cancel(worker: &Worker, request: &Request) -> Response {
    let refused = unauthorized(worker, request, Some(Slip::CancelOpen)).or_else(|| unsupported(worker, request));
    if let Some(refusal) = refused {
        return refusal;
    }
    let members = match parse_object(&request.body, worker.script()) {
        Ok(members) => members,
        Err(failures) => return bad_request(worker, &failures),
    };
    match members.get("job_id").and_then(Value::as_str) {
        Some(id) if is_job_id(id) => Response::json(worker.jobs.cancel(id), &json!({"job_id": id})),
        _ => {
            let failure = Failure {
                field: "job_id",
                constraint: "[A-Za-z0-9._:-]{1,128}".into(),
                message: "missing, or not a job id".into(),
                value: None,
            };
            bad_request(worker, &[failure])
        }
    }
}

fn shutdown(worker: &Worker, request: &Request) -> Response {
    if let Some(refusal) = unauthorized(worker, request, Some(Slip::ShutdownOpen)) {
        return refusal;
    }
    worker.request_stop(Stop::Shutdown);
    Response::json(202, &json!({"status": "draining"}))
}
