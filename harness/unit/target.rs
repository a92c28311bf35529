//! Targets: command lines that are completed, workers that never come, and the sentence that each gets.

use std::time::{Duration, Instant};

use llorch::harness::http::{Base, Request};
use llorch::harness::target::{ClosedPort, Start, StartError, Target, free_port, unique};
use llorch::harness::{Finding, Verdict};

use super::serve::{answer, serve};

pub const TESTS: &[(&str, fn())] = &[
    ("target/free_ports_differ", free_ports_differ),
    ("target/no_worker_at_a_url", no_worker_at_a_url),
    ("target/url_cannot_start", url_cannot_start),
    ("target/flags_are_added", flags_are_added),
    ("target/flags_are_respected", flags_are_respected),
    ("target/placeholders_are_filled", placeholders_are_filled),
    ("target/bare_command_lines", bare_command_lines),
    ("target/exits_before_it_is_ready", exits_before_it_is_ready),
    ("target/not_a_program", not_a_program),
    ("target/spawned_worker", spawned_worker),
    ("target/port_0_is_read_from_the_log", port_0_is_read_from_the_log),
    ("target/built_in_command_line", built_in_command_line),
    ("target/long_jobs", long_jobs),
    ("target/anothers_worker_on_our_port", anothers_worker_on_our_port),
    ("target/can_cross_threads", can_cross_threads),
];

const SOON: Duration = Duration::from_secs(20);
const HEALTHY: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 20\r\n\r\n{\"status\":\"healthy\"}";

fn free_ports_differ() {
    let mut ports: Vec<u16> = (0..50).map(|_| free_port()).collect();
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), 50);
}

fn no_worker_at_a_url() {
    let closed = ClosedPort::hold().unwrap();
    let silent = serve(|mut socket, _| {
        let _ = std::io::Read::read(&mut socket, &mut [0]);
    });
    let html = answer(*b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 15\r\n\r\n<html>hi</html>");
    let missing = answer(*b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    let ssh = answer(*b"SSH-2.0-OpenSSH_9.6\r\n");
    let table = [
        (Base::local(closed.port().unwrap()), "refused the connection"),
        (silent, "accepted the connection and never answered"),
        (html, "text/html"),
        (missing, "404"),
        (ssh, "does not speak HTTP"),
    ];
    for (base, sentence) in table {
        let began = Instant::now();
        let error = Target::url(&base.to_string()).unwrap().start(&Start::default()).unwrap_err();
        assert!(matches!(error, StartError::NoWorker { .. }), "{error:?}");
        assert!(error.to_string().contains(sentence), "{error}");
        assert!(began.elapsed() < Duration::from_secs(8));
    }
    assert!(Target::url("https://a").is_err());
}

fn url_cannot_start() {
    let base = answer(HEALTHY);
    let target = Target::url(&base.to_string()).unwrap();
    assert!(!target.starts_fresh());
    let worker = target.start(&Start::default()).unwrap();
    assert_eq!(worker.health().unwrap()["status"], "healthy");
    for finding in [
        Finding::from(target.start(&Start::stub()).unwrap_err()),
        target.launch(&Start::default()).unwrap_err(),
        worker.log().unwrap_err(),
        worker.terminate(SOON).unwrap_err(),
    ] {
        assert_eq!(finding.verdict, Verdict::Unimplemented);
        assert!(finding.found.contains("was given as a URL"), "{finding:?}");
    }
}

/// What `sh` is given after the script: the words that the harness adds.
fn words(command: &str, start: &Start) -> Vec<String> {
    let process = Target::spawn(command).unwrap().launch(start).unwrap();
    process.wait_for_exit(SOON).unwrap();
    process.lines().into_iter().map(|line| line.text).collect()
}

const ECHO: &str = "sh -c 'for word; do echo \"$word\"; done' sh";

fn flags_are_added() {
    let start =
        Start::model("/m/tiny").worker_id("w-9").port(4711).callback("http://127.0.0.1:1/r").flags(["--threads", "2"]);
    let found = words(ECHO, &start);
    let wanted = "--threads 2 --worker-id w-9 --port 4711 --model /m/tiny --callback-url http://127.0.0.1:1/r";
    assert_eq!(found.join(" "), wanted);
}

fn flags_are_respected() {
    let start = Start::model("/m/tiny").worker_id("w-9");
    let found = words(&format!("{ECHO} --port=4712 --worker-id own --model mine"), &start);
    assert_eq!(found.join(" "), "--port=4712 --worker-id own --model mine");
    // A flag that only begins alike is another one.
    let found = words(&format!("{ECHO} --portal 1"), &Start::default().port(4713).worker_id("w"));
    assert_eq!(found.join(" "), "--portal 1 --worker-id w --port 4713");
}

fn placeholders_are_filled() {
    let start = Start::model("/m/tiny").worker_id("w-9").port(4711);
    let found = words(&format!("{ECHO} listen:{{port}} -m {{model}}"), &start);
    assert_eq!(found.join(" "), "listen:4711 -m /m/tiny --worker-id w-9");
    let found = words(&format!("{ECHO} --port {{port}} --worker-id={{worker_id}}"), &start);
    assert_eq!(found.join(" "), "--port 4711 --worker-id=w-9 --model /m/tiny");
}

fn bare_command_lines() {
    assert_eq!(words(ECHO, &Start::bare(["--port", "x", ""])), ["--port", "x", ""]);
}

fn exits_before_it_is_ready() {
    let error =
        Target::spawn("sh -c 'echo no model here >&2; exit 7' sh").unwrap().start(&Start::default()).unwrap_err();
    assert!(matches!(error, StartError::Exited { .. }) && error.to_string().contains("exit code 7"), "{error:?}");
    let finding = Finding::from(error);
    assert_eq!(finding.verdict, Verdict::Fail);
    assert!(finding.evidence[0].text.contains("no model here"), "{finding:?}");
    // A port that is taken is tried again with another; this one says so each time.
    let taken = Target::spawn("sh -c 'echo Address already in use; exit 1' sh").unwrap();
    assert!(matches!(taken.start(&Start::default()), Err(StartError::Exited { .. })));
}

fn not_a_program() {
    for wrong in ["", "a 'b", "/nonexistent/worker --x"] {
        let started = Target::spawn(wrong).and_then(|target| target.start(&Start::default()));
        assert!(matches!(started, Err(StartError::NotStarted { .. })), "{wrong}");
    }
}

/// The process is a shell, the port that it is told is served by a thread here.
fn spawned_worker() {
    let base = answer(HEALTHY);
    let target = Target::spawn("sh -c 'echo \"{\\\"event\\\":\\\"ready\\\"}\"; exec sleep 1000' sh").unwrap();
    let worker = target.start(&Start::default().port(base.port).token("t-1")).unwrap();
    assert_eq!(worker.base(), &base);
    assert!(worker.worker_id().is_some());
    assert_eq!(worker.wait_for_log("ready", SOON).unwrap().lines.len(), 1);
    assert!(worker.authorized(Request::get("/")).headers.get("authorization").is_some());
    assert_eq!(worker.terminate(SOON).unwrap().to_string(), "ended by SIGTERM");
}

fn port_0_is_read_from_the_log() {
    let base = answer(HEALTHY);
    let script = format!("echo '{{\"port\":0}}'; echo '{{\"port\":{}}}'; exec sleep 1000", base.port);
    let target = Target::Spawn { command: vec!["sh".into(), "-c".into(), script, "sh".into()] };
    assert_eq!(target.start(&Start::default().port(0)).unwrap().base(), &base);
}

fn built_in_command_line() {
    let folder = tempfile::tempdir().unwrap();
    let binary = |name: &str| {
        use std::os::unix::fs::PermissionsExt;
        let path = folder.path().join(name);
        std::fs::write(&path, "#!/bin/sh\nfor word; do echo \"$word\"; done\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        Target::built_in(path)
    };
    let lines = |target: Target| {
        let start = Start::paced_stub(9, Duration::from_millis(20)).port(5).worker_id("w");
        let process = target.launch(&start).unwrap();
        process.wait_for_exit(SOON).unwrap();
        process.lines().into_iter().map(|line| line.text).collect::<Vec<_>>().join(" ")
    };
    let rest = "--backend stub --stub-tokens 9 --stub-delay-ms 20 --worker-id w --port 5";
    assert_eq!(lines(binary("llorch")), format!("llorch-cpud {rest}"));
    assert_eq!(lines(binary("llorch-cpud")), rest);
    let foreign = Target::spawn("true").unwrap().launch(&Start::stub()).unwrap_err();
    assert_eq!(foreign.verdict, Verdict::Unimplemented);
}

fn long_jobs() {
    // A worker that needs ten seconds for any job, and one that is done at once.
    let worker = |milliseconds: u64| {
        let base = serve(move |mut socket, request| {
            use std::io::Write;
            let _ = if request.starts_with("GET /health") {
                socket.write_all(HEALTHY)
            } else {
                let _ = socket.write_all(
                    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\nevent: started\ndata: {}\n\n",
                );
                std::thread::park_timeout(Duration::from_millis(milliseconds));
                socket.write_all(b"event: end\ndata: {}\n\n")
            };
        });
        Target::url(&base.to_string()).unwrap().start(&Start::default()).unwrap()
    };
    let slow = worker(10_000);
    let first = slow.long_job(Duration::from_millis(200)).unwrap();
    let second = slow.long_job(Duration::from_millis(100)).unwrap();
    assert_eq!(first["seed"], second["seed"]);
    assert_ne!(first["job_id"], second["job_id"]);
    let finding = worker(0).long_job(Duration::from_millis(500)).unwrap_err();
    assert_eq!(finding.verdict, Verdict::Unimplemented);
    assert!(finding.found.contains("the longest jobs"), "{finding:?}");
    assert_ne!(unique("a"), unique("a"));
}

fn anothers_worker_on_our_port() {
    // The port answers as another worker; ours ends a moment later, since it could not bind.
    let other = answer(*b"HTTP/1.1 200 OK\r\nContent-Length: 21\r\n\r\n{\"worker_id\":\"other\"}");
    let ours = Target::spawn("sh -c 'sleep 0.2; echo cannot bind; exit 1' sh").unwrap();
    let error = ours.start(&Start::default().port(other.port)).unwrap_err();
    assert!(matches!(error, StartError::Exited { .. }), "{error:?}");
}

/// Steps run on whatever thread the runner has: what they hold must be able to move there.
fn can_cross_threads() {
    fn crosses<T: Send + Sync>() {}
    crosses::<llorch::harness::target::Worker>();
    crosses::<llorch::harness::stream::Stream>();
    crosses::<llorch::harness::pool_manager::PoolManager>();
    crosses::<llorch::harness::transcript::Transcript>();
}
