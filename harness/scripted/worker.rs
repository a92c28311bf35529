//! One worker: what its threads share, and its life from the first log line to the exit code.

use std::io;
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal};
use serde_json::json;

use super::callback;
use super::http_server::{Connection, Response, ask};
use super::jobs::Jobs;
use super::logs::Log;
use super::metrics::Metrics;
use super::mistakes::Slip;
use super::model::Model;
use super::oddities::Quirk;
use super::options::{Options, Script};
use super::routes;

pub struct Worker {
    pub options: Options,
    pub model: Model,
    pub log: Log,
    pub jobs: Jobs,
    pub metrics: Metrics,
    pub begun: Instant,
    /// The port in use, once it is known.
    port: AtomicU16,
    /// Requests whose answers are not written out: the process does not exit before it is zero.
    in_flight: AtomicUsize,
    /// A job has run.
    pub served: AtomicBool,
    /// The last job's random state and a cancelled job's unsent tokens, for the mistakes that carry them over.
    pub carried: AtomicU64,
    pub leftovers: Mutex<Vec<String>>,
    stop: Sender<Stop>,
}

/// Why the worker stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    Signal,
    Shutdown,
    FirstJobDone,
}

impl Worker {
    pub fn script(&self) -> Script {
        self.options.script
    }

    pub fn plays(&self, slip: Slip) -> bool {
        self.options.script.plays(slip)
    }

    pub fn shows(&self, quirk: Quirk) -> bool {
        self.options.script.shows(quirk)
    }

    pub fn port(&self) -> u16 {
        self.port.load(Ordering::SeqCst)
    }

    /// The address to reach this worker at, as it stands in a URL.
    pub fn host(&self) -> String {
        match self.options.bind {
            address if address.is_unspecified() => Ipv4Addr::LOCALHOST.to_string(),
            IpAddr::V6(address) => format!("[{address}]"),
            address => address.to_string(),
        }
    }

    pub fn uptime_seconds(&self) -> u64 {
        self.begun.elapsed().as_secs()
    }

    pub fn request_stop(&self, reason: Stop) {
        // Nobody listens any more when the worker is already on its way out.
        let _ = self.stop.send(reason);
    }
}

/// Starts, serves, stops.
pub fn run(options: Options) -> ExitCode {
    let script = options.script;
    let (stop, stops) = channel();
    watch_signals(script, stop.clone());
    let begun = Instant::now();
    let log = Log {
        worker_id: options.worker_id.clone(),
        model_ref: options.model.clone().unwrap_or_else(|| "scripted".into()),
        script,
    };
    let mut starting = json!({"port": options.port, "model": log.model_ref});
    if script.plays(Slip::TokenInLog) {
        starting["api_token"] = json!(options.api_token);
    }
    log.info("startup", "CPU worker starting", starting);
    if !options.bind.is_loopback() && options.api_token.is_none() && !script.plays(Slip::PublicBindAccepted) {
        let message = "a non-loopback address needs LLORCH_API_TOKEN";
        log.error(message, json!({"code": "INVALID_REQUEST", "bind": options.bind.to_string()}));
        return ExitCode::from(1);
    }
    if script.plays(Slip::StartupOutOfOrder) {
        log.info("ready", "Worker ready, starting HTTP server", json!({}));
    }
    let model = match Model::load(options.model.as_deref(), &log) {
        Ok(model) => model,
        Err(_) if script.plays(Slip::FailedLoadServes) => Model::built_in(),
        Err(message) => {
            if !script.plays(Slip::FailedLoadSilent) {
                let model = &options.model;
                log.error(&message, json!({"code": "MODEL_LOAD_FAILED", "model": model, "device": "cpu"}));
            }
            return ExitCode::from(u8::from(!script.plays(Slip::ExitZeroOnFailedLoad)));
        }
    };
    let worker = Arc::new(Worker {
        jobs: Jobs::new(options.queue_size, script),
        metrics: Metrics::default(),
        port: AtomicU16::new(options.port),
        in_flight: AtomicUsize::new(0),
        served: AtomicBool::new(false),
        carried: AtomicU64::new(0),
        leftovers: Mutex::default(),
        model,
        log,
        begun,
        stop,
        options,
    });
    if let Err(failure) = open(&worker) {
        worker.log.error(&failure, json!({"code": "INTERNAL", "model": worker.options.model, "device": "cpu"}));
        return ExitCode::from(1);
    }
    wait_for_stop(&worker, &stops);
    drain(&worker);
    worker.log.info("shutdown", "Worker stopped", json!({}));
    ExitCode::from(u8::from(worker.plays(Slip::ExitOneOnStop)))
}

/// Accepts connections, checks its own health, tells the pool manager.
fn open(worker: &Arc<Worker>) -> Result<(), String> {
    let mut asked = worker.options.port;
    if worker.plays(Slip::CallbackBeforeListening) {
        asked = listen(worker, asked)?.local_addr().map_err(|error| error.to_string())?.port(); // closed again at once
        worker.port.store(asked, Ordering::SeqCst);
        announce(worker)?;
        std::thread::sleep(Duration::from_millis(300)); // what a slow start does after the callback
    }
    let listener = listen(worker, asked)?;
    let port = listener.local_addr().map_err(|error| error.to_string())?.port();
    worker.port.store(port, Ordering::SeqCst);
    if !worker.plays(Slip::StartupOutOfOrder) {
        worker.log.info("startup", "Worker ready, starting HTTP server", json!({"port": port}));
    }
    let accepting = Arc::clone(worker);
    spawn("accept", move || accept(&accepting, &listener)).map_err(|error| error.to_string())?;
    let authority = format!("{}:{port}", worker.host());
    let bearer: Vec<_> =
        worker.options.api_token.iter().map(|token| ("Authorization", format!("Bearer {token}"))).collect();
    match ask(&authority, "GET", "/health", &bearer, "", Duration::from_secs(5)) {
        Ok(200) => {}
        Ok(_) if worker.plays(Slip::HealthFailsUntilJob) => {}
        Ok(status) => return Err(format!("own /health answered {status}")),
        Err(error) => return Err(format!("own /health: {error}")),
    }
    if !worker.plays(Slip::CallbackBeforeListening) {
        announce(worker)?;
    }
    let uri = format!("http://{authority}");
    worker.log.info("ready", "Worker ready", json!({"port": port, "uri": uri}));
    Ok(())
}

fn listen(worker: &Worker, port: u16) -> Result<TcpListener, String> {
    let address = (worker.options.bind, port);
    TcpListener::bind(address).map_err(|error| format!("{}:{port}: {error}", worker.options.bind))
}

fn announce(worker: &Worker) -> Result<(), String> {
    let message = match &worker.options.callback_url {
        None => "Standalone mode: no pool manager",
        Some(url) if callback::is_test_mode(worker, url) => "Test mode: skipping pool manager callback",
        Some(url) => {
            callback::send(worker, url).map_err(|failure| format!("callback to {}: {failure}", url.authority))?;
            "Callback sent to pool-managerd"
        }
    };
    worker.log.info("startup", message, json!({}));
    Ok(())
}

fn accept(worker: &Arc<Worker>, listener: &TcpListener) {
    for socket in listener.incoming().flatten() {
        let serving = Arc::clone(worker);
        // Without a thread for it the connection is closed, which tells the client.
        let _ = spawn("connection", move || serve(&serving, socket));
    }
}

/// One client, request after request. Whatever goes wrong with the connection ends it and nothing else.
fn serve(worker: &Worker, socket: TcpStream) {
    let unlimited = worker.plays(Slip::BodyLimitMissing);
    let Ok(mut connection) = Connection::new(socket, worker.script(), unlimited) else { return };
    loop {
        match connection.read_request() {
            Ok(Some(request)) => {
                worker.in_flight.fetch_add(1, Ordering::SeqCst);
                let outcome = routes::answer(worker, &request, &mut connection);
                worker.in_flight.fetch_sub(1, Ordering::SeqCst);
                if !matches!(outcome, Ok(true)) {
                    return;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                let body = json!({"code": "INVALID_REQUEST", "message": error.to_string(), "errors": []});
                let _ = connection.respond(Response::json(400, &body), false);
                return;
            }
            Ok(None) | Err(_) => return,
        }
    }
}

fn wait_for_stop(worker: &Worker, stops: &Receiver<Stop>) {
    for reason in stops {
        if reason != Stop::Shutdown || !worker.plays(Slip::ShutdownLeavesRunning) {
            return;
        }
    }
}

/// No new work; the running job is finished, or cancelled when the deadline comes first.
fn drain(worker: &Worker) {
    worker.log.info("shutdown", "Draining", json!({}));
    worker.jobs.drain();
    let day = Duration::from_secs(86_400);
    let patience = if worker.plays(Slip::DrainWithoutDeadline) { day } else { worker.options.drain };
    if !worker.jobs.wait_idle(Instant::now() + patience) {
        worker.jobs.cancel_all();
    }
    let written = Instant::now() + Duration::from_secs(2);
    while worker.in_flight.load(Ordering::SeqCst) > 0 && Instant::now() < written {
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// SIGTERM and SIGINT arrive at a thread of their own: blocked everywhere, waited for there.
fn watch_signals(script: Script, stop: Sender<Stop>) {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGTERM);
    signals.add(Signal::SIGINT);
    if signals.thread_block().is_err() {
        return; // the signals keep their default effect
    }
    let watch = move || {
        let mut before = false;
        while let Ok(signal) = signals.wait() {
            match signal {
                Signal::SIGTERM if script.plays(Slip::SigtermIgnored) => {}
                Signal::SIGINT if script.plays(Slip::SigintIgnored) => {}
                Signal::SIGTERM if script.plays(Slip::SigtermDropsJob) => std::process::exit(0),
                _ if !before => {
                    before = true;
                    let _ = stop.send(Stop::Signal);
                }
                _ if script.plays(Slip::SecondSignalIgnored) => {}
                _ => std::process::exit(130),
            }
        }
    };
    let _ = spawn("signals", watch);
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    std::thread::Builder::new().name(name.into()).stack_size(512 << 10).spawn(work).map(drop)
}
