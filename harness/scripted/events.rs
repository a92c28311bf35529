//! What the events say: their data, and the mistakes in it.

use std::time::Duration;

use serde_json::{Value, json};

use super::mistakes::Slip;
use super::oddities::Quirk;
use super::request::Job;
use super::worker::Worker;

pub fn started_data(worker: &Worker, job: &Job) -> Value {
    let now = jiff::Timestamp::now();
    let time = match () {
        () if worker.plays(Slip::StartedAtLocal) => {
            (now + jiff::SignedDuration::from_hours(2)).to_string().replace('Z', "+02:00")
        }
        () if worker.shows(Quirk::OffsetForZ) => now.to_string().replace('Z', "+00:00"),
        () => now.to_string(),
    };
    let mut data = json!({"job_id": job.id, "model": worker.model.name, "started_at": time, "seed": job.sampling.seed});
    match worker.script().mistake {
        Some(Slip::JobIdNotEchoed) => data["job_id"] = json!(uuid::Uuid::new_v4().to_string()),
        Some(Slip::StartedWithoutModel) => remove(&mut data, "model"),
        _ => {}
    }
    data
}

pub fn metrics_data(worker: &Worker, tokens_out: u64, elapsed: Duration) -> Value {
    json!({
        "tokens_per_sec": tokens_out as f64 / elapsed.as_secs_f64().max(1e-6),
        "tokens_out": tokens_out,
        "memory_bytes": worker.model.bytes,
        "vram_bytes": 0,
        "decode_time_ms": milliseconds(worker, elapsed),
    })
}

pub fn end_data(
    worker: &Worker,
    job: &Job,
    tokens_out: u64,
    elapsed: Duration,
    reason: &str,
    matched: Option<String>,
) -> Value {
    let seed = job.sampling.seed;
    let mut data = json!({
        "tokens_out": tokens_out,
        "decode_time_ms": milliseconds(worker, elapsed),
        "stop_reason": reason,
        "stop_sequence_matched": matched,
        "seed": seed,
    });
    match worker.script().mistake {
        Some(Slip::EndWithoutSeed) => remove(&mut data, "seed"),
        Some(Slip::SeedDiffers) => data["seed"] = json!(seed ^ 1),
        Some(Slip::StopReasonMissing) => remove(&mut data, "stop_reason"),
        Some(Slip::StopReasonLowerCase) => data["stop_reason"] = json!(reason.to_lowercase()),
        Some(Slip::StopMatchedMissing) if matched.is_none() => remove(&mut data, "stop_sequence_matched"),
        Some(Slip::DecodeTimeMissing) => remove(&mut data, "decode_time_ms"),
        Some(Slip::TokensOutWrong) => data["tokens_out"] = json!(tokens_out + 1),
        Some(Slip::TokensOutAsText) => data["tokens_out"] = json!(tokens_out.to_string()),
        Some(Slip::EosNotCounted) if reason == "EOS" => data["tokens_out"] = json!(tokens_out - 1),
        _ => {}
    }
    data
}

pub fn error_data(worker: &Worker, code: &str, message: &str) -> Value {
    let mut data = json!({"code": code, "message": message, "retriable": false});
    match worker.script().mistake {
        Some(Slip::ErrorWithoutRetriable) => remove(&mut data, "retriable"),
        Some(Slip::UnknownErrorCode) => data["code"] = json!("cancelled_by_user"),
        _ => {}
    }
    data
}

fn milliseconds(worker: &Worker, elapsed: Duration) -> Value {
    match worker.shows(Quirk::FractionalTimes) {
        true => json!(elapsed.as_secs_f64() * 1000.0),
        false => json!(elapsed.as_millis() as u64),
    }
}

fn remove(data: &mut Value, key: &str) {
    data.as_object_mut().into_iter().for_each(|members| {
        members.shift_remove(key);
    });
}
