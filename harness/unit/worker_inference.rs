//! The inference thread with backends that fail: the worker outlives them, and every stream ends exactly once.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use axum::http::HeaderMap;
use llorch::backend::stub::Stub;
use llorch::backend::{
    BackendError, CancelFlag, Description, Encode, Finished, InferenceBackend, Job, StopReason, StubPace, TokenSink,
};
use llorch::worker::configuration::{Configuration, Sources};
use llorch::worker::correlation::CorrelationId;
use llorch::worker::daemon::CPUD;
use llorch::worker::error::{ApiError, Code};
use llorch::worker::events::{Cause, Ending, Event};
use llorch::worker::inference;
use llorch::worker::jobs::Outlet;
use llorch::worker::metrics::Metrics;
use llorch::worker::service::Service;
use llorch::worker::shutdown::Shutdown;
use llorch::worker::validate;

pub const TESTS: &[(&str, fn())] = &[
    ("worker_inference/a_panic_ends_the_job_and_not_the_worker", a_panic_ends_the_job_and_not_the_worker),
    ("worker_inference/out_of_memory_is_unhealthy_until_a_success", out_of_memory_is_unhealthy_until_a_success),
    ("worker_inference/a_slow_client_loses_no_token", a_slow_client_loses_no_token),
    ("worker_inference/a_client_that_reads_nothing_can_be_cancelled", a_client_that_reads_nothing_can_be_cancelled),
    ("worker_inference/a_late_cancel_still_counts", a_late_cancel_still_counts),
    ("worker_inference/a_job_that_takes_too_long_is_stopped", a_job_that_takes_too_long_is_stopped),
    ("worker_inference/the_queue_keeps_its_rules", the_queue_keeps_its_rules),
    ("worker_inference/captures_are_asked_of_the_first_sixteen", captures_are_asked_of_the_first_sixteen),
    ("worker_inference/a_raised_flag_ends_a_wait_at_once", a_raised_flag_ends_a_wait_at_once),
];

const PATIENCE: Duration = Duration::from_secs(20);

type Run = dyn FnMut(&Job, &mut dyn TokenSink, &CancelFlag) -> Result<Finished, BackendError> + Send;

/// A backend that does what a test says.
struct Scripted(Box<Run>);

impl InferenceBackend for Scripted {
    fn describe(&self) -> Description {
        Stub::new(StubPace::default()).describe()
    }

    fn tokenizer(&self) -> Option<Arc<dyn Encode>> {
        None
    }

    fn run(&mut self, job: &Job, sink: &mut dyn TokenSink, cancel: &CancelFlag) -> Result<Finished, BackendError> {
        (self.0)(job, sink, cancel)
    }
}

fn finished(tokens_out: u32) -> Result<Finished, BackendError> {
    Ok(Finished { tokens_out, decode_time_ms: 0, stop_reason: StopReason::Eos, stop_sequence_matched: None })
}

/// A service with its inference thread, and a runtime for the streams' side.
struct Bench {
    service: Arc<Service>,
    runtime: tokio::runtime::Runtime,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Bench {
    fn new(
        flags: &[(&str, &str)],
        run: impl FnMut(&Job, &mut dyn TokenSink, &CancelFlag) -> Result<Finished, BackendError> + Send + 'static,
    ) -> Self {
        let mut sources = Sources::default();
        sources.flags.insert("backend".to_owned(), "stub".to_owned());
        sources.flags.extend(flags.iter().map(|(flag, value)| ((*flag).to_owned(), (*value).to_owned())));
        let configuration = Configuration::resolve(&CPUD, &sources).unwrap();
        let mut backend = Scripted(Box::new(run));
        let (held, metrics) = (inference::held(&backend), Metrics::new().unwrap());
        let service = Arc::new(Service::new(configuration, held, None, metrics, Shutdown::default(), Instant::now()));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (served, handle) = (service.clone(), runtime.handle().clone());
        let thread = Some(std::thread::spawn(move || inference::serve(&mut backend, &served, &handle)));
        Self { service, runtime, thread }
    }

    fn admit(&self, job_id: &str) -> Result<Outlet, ApiError> {
        let body = serde_json::json!({"job_id": job_id, "prompt": "p"}).to_string();
        let job = validate::job(body.as_bytes(), &self.service.limits, None)?;
        self.service.jobs.admit(job, CorrelationId::of(&HeaderMap::new()))
    }

    /// The texts of a stream, and its ending.
    fn read(&self, mut outlet: Outlet) -> (Vec<String>, Ending) {
        self.runtime.block_on(async {
            tokio::time::timeout(PATIENCE, async {
                let mut texts = Vec::new();
                while let Some(event) = outlet.events.recv().await {
                    if let Event::Token(token) = event {
                        assert_eq!(token.i as usize, texts.len(), "events are counted without gaps");
                        texts.push(token.t);
                    }
                }
                (texts, outlet.ending.await.expect("every stream has an ending"))
            })
            .await
            .expect("the stream ends")
        })
    }

    fn run(&self, job_id: &str) -> (Vec<String>, Ending) {
        self.read(self.admit(job_id).unwrap())
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.service.drain();
        self.service.jobs.stop_running(Cause::Draining);
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "the inference thread outlives its jobs");
        }
    }
}

fn failure(ending: &Ending) -> Code {
    match ending {
        Ending::Error(failure) => failure.code,
        Ending::End(end) => panic!("expected an error, found {end:?}"),
    }
}

fn is_success(ending: &Ending) -> bool {
    matches!(ending, Ending::End(_))
}

fn a_panic_ends_the_job_and_not_the_worker() {
    let bench = Bench::new(&[], |job, sink, _| {
        sink.piece("x", &[1]);
        if job.job_id == "bad" { std::panic::resume_unwind(Box::new("scripted")) } else { finished(1) }
    });
    let (texts, ending) = bench.run("bad");
    assert_eq!((texts.len(), failure(&ending)), (1, Code::Internal));
    assert!(is_success(&bench.run("bad-next").1));
    assert!(bench.service.is_healthy());
}

fn out_of_memory_is_unhealthy_until_a_success() {
    let bench = Bench::new(&[], |job, _, _| match job.job_id.as_str() {
        "large" => Err(BackendError::OutOfMemory { required: 2, available: 1 }),
        "broken" => Err(BackendError::Internal("scripted".to_owned())),
        _ => finished(0),
    });
    assert_eq!(failure(&bench.run("large").1), Code::VramOom);
    assert!(!bench.service.is_healthy());
    assert_eq!(failure(&bench.run("broken").1), Code::Internal);
    assert!(!bench.service.is_healthy(), "a failure is no success");
    assert!(is_success(&bench.run("small").1));
    assert!(bench.service.is_healthy());
}

fn a_slow_client_loses_no_token() {
    let (wrote, has_written) = channel();
    let bench = Bench::new(&[], move |_, sink, _| {
        for index in 0..2000 {
            sink.piece(&index.to_string(), &[index]);
            let _ = wrote.send(index);
        }
        finished(2000)
    });
    let outlet = bench.admit("slow").unwrap();
    // The backend is held up by the full channel before anybody reads.
    while has_written.recv_timeout(Duration::from_millis(200)).is_ok() {}
    let (texts, ending) = bench.read(outlet);
    assert!(is_success(&ending));
    assert!(texts.iter().enumerate().all(|(index, text)| *text == index.to_string()));
    assert_eq!(texts.len(), 2000);
}

fn a_client_that_reads_nothing_can_be_cancelled() {
    let (begin, begun) = channel();
    let bench = Bench::new(&[], move |job, sink, cancel| {
        if job.job_id == "next" {
            return finished(0);
        }
        let _ = begin.send(());
        while !cancel.is_raised() {
            sink.piece("x", &[1]);
        }
        Err(BackendError::Cancelled)
    });
    let outlet = bench.admit("unread").unwrap();
    let next = bench.admit("next").unwrap();
    begun.recv_timeout(PATIENCE).unwrap();
    assert!(bench.service.jobs.stop("unread", Cause::Cancelled).is_none(), "it runs, so nothing is handed back");
    assert!(is_success(&bench.read(next).1), "the next job does not wait for a reader");
    assert_eq!(failure(&bench.read(outlet).1), Code::Cancelled);
}

/// Holds a backend up in each job, until it is told to go on.
struct Gate {
    go: Sender<()>,
    begun: Receiver<()>,
}

fn gated() -> (Gate, Box<Run>) {
    let (go, gate) = channel::<()>();
    let (begin, begun) = channel();
    let run = move |_: &Job, _: &mut dyn TokenSink, _: &CancelFlag| {
        let _ = begin.send(());
        let _ = gate.recv_timeout(PATIENCE);
        finished(0)
    };
    (Gate { go, begun }, Box::new(run))
}

fn a_late_cancel_still_counts() {
    let (gate, run) = gated();
    let bench = Bench::new(&[], run);
    let outlet = bench.admit("late").unwrap();
    gate.begun.recv_timeout(PATIENCE).unwrap();
    assert!(bench.service.jobs.stop("late", Cause::Cancelled).is_none());
    gate.go.send(()).unwrap();
    assert_eq!(failure(&bench.read(outlet).1), Code::Cancelled, "202 was answered, so it ends as cancelled");
    assert!(bench.service.jobs.stop("late", Cause::Cancelled).is_none(), "over is as good as unknown");
}

fn a_job_that_takes_too_long_is_stopped() {
    let bench = Bench::new(&[("inference-timeout-sec", "1")], |_, _, cancel| {
        assert!(cancel.wait(PATIENCE), "stopped by the alarm");
        Err(BackendError::Cancelled)
    });
    let started = Instant::now();
    assert_eq!(failure(&bench.run("long").1), Code::InferenceTimeout);
    assert!(started.elapsed() >= Duration::from_secs(1));
}

fn the_queue_keeps_its_rules() {
    let (gate, run) = gated();
    let bench = Bench::new(&[("queue-size", "2")], run);
    let running = bench.admit("a").unwrap();
    gate.begun.recv_timeout(PATIENCE).unwrap();
    let (second, third) = (bench.admit("b").unwrap(), bench.admit("c").unwrap());
    let refused = |job_id: &str| bench.admit(job_id).expect_err("refused").code();
    assert_eq!(refused("d"), Code::Busy);
    assert_eq!(refused("a"), Code::DuplicateJob, "running counts as active");
    assert_eq!(refused("c"), Code::DuplicateJob, "waiting counts as active");
    assert_eq!(bench.service.jobs.waiting(), 2);
    let waited = bench.service.jobs.stop("b", Cause::Cancelled).expect("it waited, so it is handed back");
    bench.service.end_unstarted(waited, Cause::Cancelled);
    let (texts, ending) = bench.read(second);
    assert_eq!((texts.len(), failure(&ending)), (0, Code::Cancelled));
    assert!(bench.admit("b").is_ok(), "its id and its place are free");
    bench.service.drain();
    assert_eq!(refused("e"), Code::Draining);
    assert_eq!(failure(&bench.read(third).1), Code::Cancelled);
    gate.go.send(()).unwrap();
    assert!(is_success(&bench.read(running).1), "the running job may end");
}

fn captures_are_asked_of_the_first_sixteen() {
    let (tell, told) = channel();
    let bench = Bench::new(&[("checkpoint-dir", "captures")], move |job, _, _| {
        let _ = tell.send(job.capture.as_ref().map(|capture| capture.directory.clone()));
        finished(0)
    });
    for index in 0..18 {
        bench.run(&format!("job-{index}"));
        let directory = told.recv_timeout(PATIENCE).unwrap();
        let expected = (index < 16).then(|| std::path::Path::new("captures").join(format!("job-{index}")));
        assert_eq!(directory, expected);
    }
}

fn a_raised_flag_ends_a_wait_at_once() {
    let flag = CancelFlag::default();
    assert!(!flag.wait(Duration::from_millis(1)));
    let (raiser, started) = (flag.clone(), Instant::now());
    let thread = std::thread::spawn(move || raiser.raise());
    assert!(flag.wait(PATIENCE));
    assert!(started.elapsed() < PATIENCE / 2);
    thread.join().unwrap();
    assert!(flag.wait(PATIENCE), "raised stays raised");
}
