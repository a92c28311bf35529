//! The CPU engine captured: every tensor of the specification, the same text with and without, and nothing half-written.

use std::fs;
use std::path::{Path, PathBuf};

use llorch::backend::cpu::CpuBackend;
use llorch::backend::generate::Generation;
use llorch::backend::{
    BackendError, BackendKind, CancelFlag, CaptureRequest, InferenceBackend, Job, Prompt, SamplingParameters, Scope,
    Settings, StubPace, TokenSink, load,
};
use llorch::model::Weight;
use llorch::model::recipe::{OutputFormat, Recipe, Size};
use llorch::parity::Log;
use llorch::parity::capture::{Capture, Values};
use llorch::parity::log;
use llorch::sampling::argmax;
use tempfile::TempDir;

pub const TESTS: &[(&str, fn())] = &[
    ("capture_cpu/names_and_shapes", names_and_shapes),
    ("capture_cpu/every_layer", every_layer),
    ("capture_cpu/what_follows_the_pass", what_follows_the_pass),
    ("capture_cpu/steps_are_bounded", steps_are_bounded),
    ("capture_cpu/size_is_known_before", size_is_known_before),
    ("capture_cpu/the_text_is_the_same", the_text_is_the_same),
    ("capture_cpu/memory_is_given_back", memory_is_given_back),
    ("capture_cpu/jobs_write_captures", jobs_write_captures),
    ("capture_cpu/no_room_for_a_capture", no_room_for_a_capture),
    ("capture_cpu/a_cancelled_job_leaves_nothing", a_cancelled_job_leaves_nothing),
    ("capture_cpu/a_failed_job_leaves_what_it_computed", a_failed_job_leaves_what_it_computed),
    ("capture_cpu/one_model_one_digest", one_model_one_digest),
    ("capture_cpu/the_stub_refuses", the_stub_refuses),
    ("capture_cpu/the_log_has_every_tensor", the_log_has_every_tensor),
];

struct Nobody;

impl TokenSink for Nobody {
    fn prompt_read(&mut self, _: u32) {}
    fn piece(&mut self, _: &str, _: &[u32]) {}
}

fn recipe() -> Recipe {
    Recipe::new(Size::Odd.configuration(), 3).expect("sound")
}

fn written(format: OutputFormat) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(if format == OutputFormat::Gguf { "odd.gguf" } else { "odd" });
    recipe().write(&path, format).expect("written");
    (folder, path)
}

fn backend() -> CpuBackend {
    CpuBackend::open(&written(OutputFormat::Safetensors).1, 1, false, &mut |_| {}).expect("opens")
}

fn job(max_tokens: u32) -> Job {
    let sampling =
        SamplingParameters { temperature: 0.0, top_p: 1.0, top_k: 0, min_p: 0.0, repetition_penalty: 1.0, seed: 1 };
    let prompt = Prompt::Text("Hello. w1 w2".to_owned());
    Job { job_id: "a".to_owned(), prompt, max_tokens, sampling, stop: Vec::new(), capture: None }
}

fn captured(scope: Scope, max_tokens: u32) -> (Generation, Capture) {
    backend().capture(&job(max_tokens), scope, &mut Nobody, &CancelFlag::default()).expect("captured")
}

fn f32s<'a>(capture: &'a Capture, name: &str) -> &'a [f32] {
    match &capture.tensors[name].values {
        Values::F32(values) => values,
        other => panic!("{name} is {}", other.dtype()),
    }
}

fn names_and_shapes() {
    let (generation, capture) = captured(Scope::default(), 6);
    let configuration = Size::Odd.configuration();
    let (t, c, h) = (generation.prompt_ids.len(), configuration.n_embd, configuration.n_head);
    let (v, hidden, d) = (configuration.vocab_size, configuration.n_inner, c / h);
    let mut expected: Vec<(String, Vec<usize>)> = [
        ("cp00.embed", vec![t, c]),
        ("cp01.ln_1", vec![t, c]),
        ("cp02.q", vec![t, h, d]),
        ("cp02.k", vec![t, h, d]),
        ("cp02.v", vec![t, h, d]),
        ("cp03.step0.k", vec![t, h, d]),
        ("cp03.step0.v", vec![t, h, d]),
        ("cp03.step1.k", vec![t + 1, h, d]),
        ("cp03.step1.v", vec![t + 1, h, d]),
        ("cp03.step2.k", vec![t + 2, h, d]),
        ("cp03.step2.v", vec![t + 2, h, d]),
        ("cp04.scores", vec![h, t, t]),
        ("cp04.scores_masked", vec![h, t, t]),
        ("cp05.probs", vec![h, t, t]),
        ("cp05.merged", vec![t, c]),
        ("cp05.attn_out", vec![t, c]),
        ("cp06.ln_2", vec![t, c]),
        ("cp06.c_fc", vec![t, hidden]),
        ("cp06.gelu", vec![t, hidden]),
        ("cp06.c_proj", vec![t, c]),
        ("cp07.attn_residual", vec![t, c]),
        ("cp07.block", vec![t, c]),
        ("cp08.ln_f", vec![t, c]),
        ("cp08.logits", vec![t, v]),
        ("cp09.logits", vec![v]),
        ("cp10.argmax", vec![1]),
        ("cp11.probs.t0.5", vec![v]),
        ("cp11.probs.t1.0", vec![v]),
        ("cp11.probs.t2.0", vec![v]),
        ("cp12.ids", vec![6]),
    ]
    .map(|(name, shape)| (name.to_owned(), shape))
    .into();
    expected.extend((0..configuration.n_layer).map(|layer| (format!("cp08.block.{layer:02}"), vec![t, c])));
    expected.sort();
    let found: Vec<_> = capture.tensors.iter().map(|(name, tensor)| (name.clone(), tensor.shape.clone())).collect();
    assert_eq!(found, expected);
    let manifest = &capture.manifest;
    assert_eq!((manifest.engine.as_str(), manifest.steps, manifest.start_pos), ("llorch-cpu", 2, 0));
    assert_eq!(manifest.token_ids, generation.prompt_ids);
    assert_eq!((manifest.sizes.n_layer, manifest.sizes.vocab_size), (configuration.n_layer, v));
    // printf 'Hello. w1 w2' | sha256sum
    assert_eq!(manifest.prompt_sha256, "cbdbc3a2119c4e81d3fc089ac16df6a3bdba0f0e59f5ea27f8b0991253ec1a96");
    assert_eq!((manifest.weights_dtype.as_str(), manifest.compute_dtype.as_str()), ("F32", "F32"));
}

fn every_layer() {
    let (_, first) = captured(Scope { every_layer: false, steps: 1 }, 3);
    let (_, all) = captured(Scope { every_layer: true, steps: 1 }, 3);
    let layers = Size::Odd.configuration().n_layer;
    assert!(layers > 1);
    for (name, tensor) in &first.tensors {
        assert_eq!(*tensor, all.tensors[name], "{name}");
    }
    let of_layers: Vec<&String> = all.tensors.keys().filter(|name| !first.tensors.contains_key(*name)).collect();
    let per_layer = 19; // stations 1 to 7, and the cache after one decode step
    assert_eq!(of_layers.len(), per_layer * (layers - 1), "{of_layers:?}");
    assert!(of_layers.iter().all(|name| name.contains(".L")), "{of_layers:?}");
    assert!(all.tensors.contains_key("cp03.step1.k.L01") && all.tensors.contains_key("cp06.gelu.L01"));
}

fn what_follows_the_pass() {
    let (generation, capture) = captured(Scope::default(), 5);
    let logits = f32s(&capture, "cp09.logits");
    let all = f32s(&capture, "cp08.logits");
    assert_eq!(logits, &all[all.len() - logits.len()..]);
    assert_eq!(capture.tensors["cp10.argmax"].values, Values::I64(vec![argmax(logits).into()]));
    assert_eq!(generation.ids[0], argmax(logits), "greedy");
    let ids: Vec<i64> = generation.ids.iter().map(|id| i64::from(*id)).collect();
    assert_eq!(capture.tensors["cp12.ids"].values, Values::I64(ids));
    let highest = logits.iter().copied().fold(f32::MIN, f32::max);
    for (name, temperature) in [("cp11.probs.t0.5", 0.5), ("cp11.probs.t1.0", 1.0), ("cp11.probs.t2.0", 2.0)] {
        let exact: Vec<f64> =
            logits.iter().map(|x| ((f64::from(*x) - f64::from(highest)) / temperature).exp()).collect();
        let sum: f64 = exact.iter().sum();
        for (found, exact) in f32s(&capture, name).iter().zip(&exact) {
            assert!((f64::from(*found) - exact / sum).abs() < 1e-6, "{name}");
        }
    }
    let prefill = capture.tensors["cp03.step0.k"].to_f64().into_owned();
    assert_eq!(prefill, *capture.tensors["cp02.k"].to_f64(), "the cache returns what was put in");
    assert_eq!(capture.tensors["cp03.step2.k"].to_f64()[..prefill.len()], prefill[..]);
}

fn steps_are_bounded() {
    let steps = |steps, max_tokens| {
        let (_, capture) = captured(Scope { every_layer: false, steps }, max_tokens);
        let caches = capture.tensors.keys().filter(|name| name.starts_with("cp03.") && name.ends_with(".k")).count();
        (capture.manifest.steps, caches)
    };
    assert_eq!(steps(0, 5), (0, 1));
    assert_eq!(steps(2, 1), (0, 1), "no step was computed");
    assert_eq!(steps(2, 3), (2, 3));
    assert_eq!(steps(9, 5), (4, 5));
}

fn size_is_known_before() {
    for scope in [Scope { every_layer: false, steps: 0 }, Scope { every_layer: true, steps: 3 }] {
        let (generation, capture) = captured(scope, 6);
        let of_the_pass = |name: &str| !["cp10", "cp11", "cp12"].iter().any(|after| name.starts_with(after));
        let kept = capture.tensors.iter().filter(|(name, _)| of_the_pass(name));
        let bytes: usize = kept.map(|(_, tensor)| 4 * tensor.count()).sum();
        assert_eq!(scope.bytes(&Size::Odd.configuration().into(), generation.prompt_ids.len()), bytes as u64);
    }
    let huge = Scope { every_layer: true, steps: usize::MAX };
    assert_eq!(huge.bytes(&Size::Odd.configuration().into(), 1 << 40), u64::MAX, "said, not wrapped");
}

fn the_text_is_the_same() {
    let folder = tempfile::tempdir().unwrap();
    for temperature in [0.0, 1.0] {
        let mut job = job(20);
        job.sampling.temperature = temperature;
        let ids = |backend: &mut CpuBackend, job: &Job| {
            let mut sink = Heard::default();
            backend.run(job, &mut sink, &CancelFlag::default()).expect("runs");
            sink
        };
        let mut plain = backend();
        let without = ids(&mut plain, &job);
        assert!(!without.text.is_empty());
        let mut watched = backend();
        let log = folder.path().join(format!("{temperature}.jsonl"));
        watched.start_log(&settings(&log)).expect("logs");
        for (number, every_layer) in [false, true].into_iter().enumerate() {
            let directory = folder.path().join(format!("{temperature}-{number}"));
            job.capture = Some(CaptureRequest { directory: directory.clone(), scope: Scope { every_layer, steps: 3 } });
            assert_eq!(ids(&mut watched, &job), without, "captured and logged");
            let capture = Capture::read(&directory).expect("a capture");
            assert!(capture.manifest.generated_text.starts_with(&without.text));
        }
        job.capture = None;
        assert_eq!(ids(&mut watched, &job), without, "logged");
    }
}

#[derive(Default, PartialEq, Debug)]
struct Heard {
    text: String,
    ids: Vec<u32>,
}

impl TokenSink for Heard {
    fn prompt_read(&mut self, _: u32) {}

    fn piece(&mut self, text: &str, ids: &[u32]) {
        self.text.push_str(text);
        self.ids.extend(ids);
    }
}

fn memory_is_given_back() {
    let mut backend = backend();
    let before = backend.held_bytes();
    backend.capture(&job(3), Scope::default(), &mut Nobody, &CancelFlag::default()).expect("captured");
    assert_eq!(backend.held_bytes(), before);
}

fn jobs_write_captures() {
    let folder = tempfile::tempdir().unwrap();
    let mut backend = backend();
    let directory = folder.path().join("a");
    let job = Job { capture: Some(CaptureRequest { directory: directory.clone(), scope: Scope::default() }), ..job(4) };
    backend.run(&job, &mut Nobody, &CancelFlag::default()).expect("runs");
    let written = Capture::read(&directory).expect("a capture");
    let (_, in_memory) = backend.capture(&job, Scope::default(), &mut Nobody, &CancelFlag::default()).unwrap();
    assert_eq!(written.manifest, in_memory.manifest);
    assert!(written.tensors == in_memory.tensors, "no NaN, so equal means equal");
    // the same id once more: the first one stays, and the job goes on
    let before = fs::metadata(directory.join("manifest.json")).unwrap().modified().unwrap();
    backend.run(&job, &mut Nobody, &CancelFlag::default()).expect("runs all the same");
    assert_eq!(fs::metadata(directory.join("manifest.json")).unwrap().modified().unwrap(), before);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    // a place that cannot be written to
    let nowhere = Some(CaptureRequest { directory: "/dev/null/a".into(), scope: Scope::default() });
    backend.run(&Job { capture: nowhere, ..job }, &mut Nobody, &CancelFlag::default()).expect("runs all the same");
}

/// A capture that memory has no room for is left out, and the job goes on.
fn no_room_for_a_capture() {
    let folder = tempfile::tempdir().unwrap();
    let scope = Scope { every_layer: true, steps: usize::MAX };
    let capture = Some(CaptureRequest { directory: folder.path().join("a"), scope });
    let finished = backend().run(&Job { capture, ..job(u32::MAX) }, &mut Nobody, &CancelFlag::default());
    assert!(finished.expect("runs").tokens_out > 4, "to the end of the context");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    let refused = backend().capture(&job(u32::MAX), scope, &mut Nobody, &CancelFlag::default());
    assert!(refused.expect_err("said to who asks for nothing else").to_string().contains("bytes of memory"));
}

struct CancelsAtOnce(CancelFlag);

impl TokenSink for CancelsAtOnce {
    fn prompt_read(&mut self, _: u32) {}

    fn piece(&mut self, _: &str, _: &[u32]) {
        self.0.raise();
    }
}

fn a_cancelled_job_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let capture = Some(CaptureRequest { directory: folder.path().join("a"), scope: Scope::default() });
    let flag = CancelFlag::default();
    let result = backend().run(&Job { capture, ..job(20) }, &mut CancelsAtOnce(flag.clone()), &flag);
    assert!(matches!(result, Err(BackendError::Cancelled)));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// Logits that are NaN end a job; where they come from is in its capture.
fn a_failed_job_leaves_what_it_computed() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = recipe();
    let path = folder.path().join("odd");
    recipe.write(&path, OutputFormat::Safetensors).unwrap();
    let mut file = llorch::model::file::open(&path, &mut |_| {}).unwrap();
    let width = Size::Odd.configuration().n_embd;
    file.weights = file.weights.with("ln_f.bias", Weight::from_vec(vec![width], vec![f32::NAN; width]));
    let mut backend = CpuBackend::new(file, 1).unwrap();
    let directory = folder.path().join("capture");
    let capture = Some(CaptureRequest { directory: directory.clone(), scope: Scope::default() });
    let result = backend.run(&Job { capture, ..job(4) }, &mut Nobody, &CancelFlag::default());
    assert!(matches!(result, Err(BackendError::Internal(_))));
    let capture = Capture::read(&directory).expect("a capture");
    assert!(f32s(&capture, "cp09.logits").iter().all(|logit| logit.is_nan()));
    assert!(f32s(&capture, "cp07.block").iter().all(|value| value.is_finite()));
    assert!(!capture.tensors.contains_key("cp12.ids"), "nothing was generated");
}

fn one_model_one_digest() {
    let digest = |format| {
        let (_folder, path) = written(format);
        CpuBackend::open(&path, 1, false, &mut |_| {}).unwrap().model_digest().to_owned()
    };
    assert_eq!(digest(OutputFormat::Safetensors), digest(OutputFormat::Gguf));
    assert_eq!(digest(OutputFormat::Gguf).len(), 64);
}

fn the_stub_refuses() {
    let settings = Settings {
        kind: BackendKind::Stub,
        model: None,
        threads: 1,
        kv_cache_size_mb: None,
        digest: false,
        capture: Some(Scope::default()),
        parity_log: None,
        stub: StubPace::default(),
    };
    let refusal = |settings: &Settings| load(settings, &mut |_| {}).err().expect("refused").to_string();
    let text = refusal(&settings);
    assert!(text.contains("--checkpoint-dir") && text.contains("stub"), "{text}");
    let parity_log = Some(self::settings(Path::new("log")));
    assert!(refusal(&Settings { capture: None, parity_log, ..settings }).contains("ORCH_LOG_FILE"));
}

fn settings(file: &Path) -> log::Settings {
    log::Settings { file: file.to_path_buf(), team: "blue".to_owned(), values: 3 }
}

fn the_log_has_every_tensor() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.jsonl");
    let mut backend = backend();
    let scope = Scope { every_layer: true, steps: 3 };
    let (_, capture) = backend.capture(&job(4), scope, &mut Nobody, &CancelFlag::default()).unwrap();
    backend.start_log(&settings(&path)).unwrap();
    for _ in 0..2 {
        backend.run(&job(4), &mut Nobody, &CancelFlag::default()).unwrap();
    }
    drop(backend); // what waits is written
    let log = Log::read(&path).expect("a log");
    assert_eq!((log.runs.len(), log.dropped), (2, 0));
    let (one, other) = (&log.runs[0], &log.runs[1]);
    assert_eq!(one.meta.model_digest, capture.manifest.model_digest);
    assert_eq!((one.meta.team.as_str(), one.meta.engine.as_str()), ("blue", "llorch-cpu"));
    assert!(one.records.keys().eq(other.records.keys()), "the two jobs can be joined");
    let prompt = capture.manifest.token_ids.len();
    let mut positions: Vec<usize> = one.records.keys().map(|key| key.token_idx).collect();
    positions.dedup();
    assert_eq!(positions, [0, prompt, prompt + 1, prompt + 2]);
    let summaries = capture.summaries();
    let mut joined = 0;
    for summary in summaries.iter().filter(|summary| summary.name.as_str() < "cp10") {
        let token_idx = if summary.step == 0 { 0 } else { prompt + summary.step - 1 };
        let checkpoint = match summary.name.trim_end_matches(&format!(".L{:02}", summary.layer)) {
            name if name.starts_with("cp03") => format!("cp03.{}", &name[name.len() - 1..]),
            name if name.starts_with("cp08.block") => "cp08.block".to_owned(),
            name => name.to_owned(),
        };
        let key = log::Key { token_idx, checkpoint, layer: summary.layer };
        let record = one.records.get(&key).unwrap_or_else(|| panic!("{key:?}"));
        assert_eq!((&record.digest, &record.shape), (&summary.sha256, &summary.shape), "{key:?}");
        assert_eq!(record.statistics, summary.statistics);
        assert_eq!(record.values[..], summary.head[..3]);
        assert_eq!((record.source.as_str(), record.dtype.as_str()), ("llorch-cpu/a", "F32"));
        joined += 1;
    }
    assert!(joined > 60, "{joined}");
}
