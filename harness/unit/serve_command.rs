//! `llorch serve`: everything up in one command, everything gone after it, and each thing in its way told as it is.

use std::path::Path;
use std::time::{Duration, Instant};

use llorch::harness::http::{Base, Request, send};
use llorch::harness::process::{Command, Exit, Process};
use nix::sys::signal::Signal;

pub const TESTS: &[(&str, fn())] = &[
    ("serve_command/what_is_in_its_way_is_told", what_is_in_its_way_is_told),
    ("serve_command/a_signal_at_any_moment_leaves_nothing", a_signal_at_any_moment_leaves_nothing),
];

const PATIENCE: Duration = Duration::from_secs(60);

fn serve(temporary: &Path, words: &[&str]) -> Process {
    let command = Command::new(env!("CARGO_BIN_EXE_llorch")).arguments(["serve"]).arguments(words.iter().copied());
    Process::spawn(command.variable("TMPDIR", temporary.to_str().unwrap())).unwrap()
}

fn refused(temporary: &Path, words: &[&str], says: &str) {
    let process = serve(temporary, words);
    let exit = process.wait_for_exit(PATIENCE).unwrap();
    let output = process.log_tail(60);
    assert_eq!(exit, Exit::Code(1), "{words:?}: {output}");
    assert!(output.contains(says), "{words:?} does not say {says:?}: {output}");
}

/// Where the orchestrator listens.
fn ready(process: &Process) -> Base {
    let line = process.wait_for_line("ready", PATIENCE, |line| line.text.starts_with("ready: ")).unwrap();
    Base::parse(line.text.split(' ').nth(2).unwrap()).unwrap()
}

fn what_is_in_its_way_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("no-model.safetensors"), "no model").unwrap();
    std::fs::write(path("a-file"), "").unwrap();
    let kept = path("kept");
    let first = serve(folder.path(), &["--port", "0", "--keep", &kept]);
    let base = ready(&first);
    let port = base.authority().rsplit(':').next().unwrap().to_owned();
    refused(folder.path(), &["--port", &port], &format!("port {port} can't be had"));
    refused(folder.path(), &["--port", "0", "--keep", &kept], "another llorch serve uses");
    refused(folder.path(), &["--port", "0", "--keep", &path("a-file/below")], "a-file/below can't be used");
    refused(folder.path(), &["--port", "0", "--model", &path("nowhere")], "there is no ");
    refused(folder.path(), &["--port", "0", "--model", &path("no-model.safetensors")], "no-model.safetensors");
    refused(folder.path(), &["--port", "0", "--backend", "abacus"], "abacus");
    let health = send(&base, &Request::get("/health"), PATIENCE).unwrap();
    assert_eq!(health.status, 200, "the first one goes on");
    first.signal(Signal::SIGINT).unwrap();
    assert_eq!(first.wait_for_exit(PATIENCE).unwrap(), Exit::Code(0));
    // What it kept is there, and in nobody's way.
    let again = serve(folder.path(), &["--port", "0", "--keep", &kept]);
    ready(&again);
}

fn a_signal_at_any_moment_leaves_nothing() {
    for (delay, signals) in [(0, 1), (20, 1), (120, 2), (300, 1), (700, 2), (1500, 1)] {
        let temporary = tempfile::tempdir().unwrap();
        let process = serve(temporary.path(), &["--port", "0"]);
        std::thread::park_timeout(Duration::from_millis(delay)); // the moment that is tried, not a wait for something
        for _ in 0..signals {
            // Not SIGINT: what a shell starts in the background is born deaf to that, until it listens.
            let _ = process.signal(Signal::SIGTERM);
        }
        process.wait_for_exit(PATIENCE).unwrap();
        let until = Instant::now() + PATIENCE;
        loop {
            let left = std::fs::read_dir(temporary.path()).unwrap().count();
            let processes = that_mention(temporary.path());
            if left == 0 && processes.is_empty() {
                break;
            }
            assert!(Instant::now() < until, "{signals} signals after {delay} ms: {left} entries, {processes:?}");
            std::thread::park_timeout(Duration::from_millis(10));
        }
    }
}

/// Processes that have this folder in their command line.
fn that_mention(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = entries.filter_map(|entry| std::fs::read_to_string(entry.path().join("cmdline")).ok());
    lines.filter(|line| line.contains(folder.to_str().unwrap())).map(|line| line.replace('\0', " ")).collect()
}
