//! Child processes: output, signals, exits, and that nothing is left behind.

use std::time::{Duration, Instant};

use llorch::harness::process::{Command, Exit, Output, Process, Signal, kill_all};

pub const TESTS: &[(&str, fn())] = &[
    ("process/lines_and_exit", lines_and_exit),
    ("process/exit_by_signal", exit_by_signal),
    ("process/wait_for_line", wait_for_line),
    ("process/wait_for_exit_times_out", wait_for_exit_times_out),
    ("process/no_such_program", no_such_program),
    ("process/environment", environment),
    ("process/drop_kills_the_group", drop_kills_the_group),
    ("process/own_group_and_parent_death", own_group_and_parent_death),
    ("process/kill_all_kills_every_group", kill_all_kills_every_group),
    ("process/children_die_with_the_harness", children_die_with_the_harness),
    ("process/a_harness_of_its_own", a_harness_of_its_own),
    ("process/cpu_time", cpu_time),
    ("process/cpu_time_of_a_group_of_its_own", cpu_time_of_a_group_of_its_own),
    ("process/last_line_without_an_end", last_line_without_an_end),
    ("process/a_grandchild_keeps_no_exit_waiting", a_grandchild_keeps_no_exit_waiting),
];

const SOON: Duration = Duration::from_secs(20);

fn sh(script: &str) -> Process {
    Process::spawn(Command::new("sh").arguments(["-c", script])).unwrap()
}

fn texts(process: &Process, from: Output) -> Vec<String> {
    process.lines().into_iter().filter(|line| line.from == from).map(|line| line.text).collect()
}

fn lines_and_exit() {
    let process = sh("echo one; echo wrong >&2; printf 'two\\r\\n'; exit 3");
    assert_eq!(process.wait_for_exit(SOON), Ok(Exit::Code(3)));
    assert_eq!(texts(&process, Output::Stdout), ["one", "two"]);
    assert_eq!(texts(&process, Output::Stderr), ["wrong"]);
    assert_eq!(process.exit().unwrap().0.to_string(), "exit code 3");
}

fn exit_by_signal() {
    let process = sh("exec sleep 1000");
    process.signal(Signal::SIGTERM).unwrap();
    let exit = process.wait_for_exit(SOON).unwrap();
    assert_eq!(exit, Exit::Signal(15));
    assert_eq!(exit.to_string(), "ended by SIGTERM");
    // It is unreaped: a signal reaches nobody else.
    process.signal(Signal::SIGTERM).unwrap();
}

fn wait_for_line() {
    let process = sh("echo ready; exec sleep 1000");
    let line = process.wait_for_line("ready", SOON, |line| line.text == "ready").unwrap();
    assert_eq!(line.from, Output::Stdout);
    let ended = sh("echo other; exit 4");
    let finding = ended.wait_for_line("ready", SOON, |line| line.text == "ready").unwrap_err();
    assert!(finding.found.contains("exit code 4"), "{finding:?}");
    assert!(finding.evidence[1].text.contains("other"), "{finding:?}");
}

fn wait_for_exit_times_out() {
    let finding = sh("exec sleep 1000").wait_for_exit(Duration::from_millis(50)).unwrap_err();
    assert_eq!(finding.found, "it still runs");
}

fn no_such_program() {
    let error = Process::spawn(Command::new("/nonexistent/worker")).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
}

fn environment() {
    // Cargo sets variables for tests: they pass. Ours would not; setting one here would race with other tests.
    let command = Command::new("sh").arguments(["-c", "echo $LLORCH_GIVEN $PATH; env"]).variable("LLORCH_GIVEN", "yes");
    let process = Process::spawn(command).unwrap();
    process.wait_for_exit(SOON).unwrap();
    let lines = texts(&process, Output::Stdout);
    assert!(lines[0].starts_with("yes /"), "{}", lines[0]);
    let ours: Vec<_> = lines[1..].iter().filter(|line| line.starts_with("LLORCH_")).collect();
    assert_eq!(ours, ["LLORCH_GIVEN=yes"]);
}

fn is_alive(id: &str) -> bool {
    // A zombie that init has not reaped yet is dead enough.
    std::fs::read_to_string(format!("/proc/{id}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

fn until(condition: impl Fn() -> bool) -> bool {
    let began = Instant::now();
    while began.elapsed() < SOON {
        if condition() {
            return true;
        }
        std::thread::yield_now();
    }
    false
}

fn drop_kills_the_group() {
    let process = sh("sleep 1000 & echo $!; trap '' TERM; wait");
    let grandchild = process.wait_for_line("its id", SOON, |_| true).unwrap().text;
    let child = process.id().to_string();
    assert!(is_alive(&grandchild) && is_alive(&child));
    drop(process);
    assert!(!is_alive(&child), "reaped");
    assert!(until(|| !is_alive(&grandchild)));
}

fn own_group_and_parent_death() {
    let process = sh("exec sleep 1000");
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.id())).unwrap();
    let group = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(2).unwrap().to_string();
    assert_eq!(group, process.id().to_string());
    // Spawned from a thread that has ended: a parent-death signal that followed it would have come.
    let spawned_elsewhere = std::thread::spawn(|| sh("echo up; exec sleep 1000")).join().unwrap();
    spawned_elsewhere.wait_for_line("up", SOON, |_| true).unwrap();
    assert!(spawned_elsewhere.wait_for_exit(Duration::from_millis(100)).is_err());
}

/// Runs this test program again, so that it can be killed; it writes its children's ids into a file.
fn harness_with(end: &str) -> (Process, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ids");
    let command = Command::new(std::env::current_exe().unwrap())
        .arguments(["unit/process/a_harness_of_its_own"])
        .variable("HARNESS_IDS", &file.to_string_lossy())
        .variable("HARNESS_END", end);
    let harness = Process::spawn(command).unwrap();
    let ids = || std::fs::read_to_string(&file).unwrap_or_default();
    assert!(until(|| ids().ends_with("end\n")), "{}", harness.log_tail(20));
    let ids = ids().lines().filter(|line| *line != "end").map(str::to_string).collect();
    (harness, ids)
}

fn a_harness_of_its_own() {
    let Ok(file) = std::env::var("HARNESS_IDS") else { return };
    let process = sh("sleep 1000 & echo $!; wait");
    let grandchild = process.wait_for_line("an id", SOON, |_| true).unwrap().text;
    std::fs::write(file, format!("{}\n{grandchild}\nend\n", process.id())).unwrap();
    if std::env::var("HARNESS_END").unwrap() == "kill_all" {
        kill_all();
        // Gone without a drop, as a command line is that was interrupted.
        std::process::exit(130);
    }
    let _ = process.wait_for_exit(Duration::from_secs(600));
}

fn kill_all_kills_every_group() {
    let (harness, ids) = harness_with("kill_all");
    assert_eq!(harness.wait_for_exit(SOON), Ok(Exit::Code(130)));
    assert_eq!(ids.len(), 2);
    assert!(until(|| !ids.iter().any(|id| is_alive(id))), "{ids:?}");
}

fn children_die_with_the_harness() {
    let (harness, ids) = harness_with("killed");
    assert!(is_alive(&ids[0]));
    harness.signal(Signal::SIGKILL).unwrap();
    assert!(until(|| !is_alive(&ids[0])), "the parent-death signal came");
    // What the child had started itself is no longer in anybody's hand: this test ends it.
    let orphan = nix::unistd::Pid::from_raw(ids[0].parse().unwrap());
    let _ = nix::sys::signal::killpg(orphan, Signal::SIGKILL);
}

fn cpu_time() {
    let process = sh("i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; echo done; exec sleep 1000");
    process.wait_for_line("done", SOON, |_| true).unwrap();
    let used = process.cpu_time().unwrap();
    assert!(used >= Duration::from_millis(20) && used < SOON, "{used:?}");
    let idle = sh("echo up; exec sleep 1000");
    idle.wait_for_line("up", SOON, |_| true).unwrap();
    assert!(idle.cpu_time().unwrap() < used);
}

/// What a worker starts computes for it, wherever it hides.
fn cpu_time_of_a_group_of_its_own() {
    let process = sh("setsid sh -c 'i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; echo done; exec sleep 5'; exit");
    process.wait_for_line("done", SOON, |_| true).unwrap();
    assert!(process.cpu_time().unwrap() >= Duration::from_millis(20), "{:?}", process.cpu_time());
}

fn last_line_without_an_end() {
    let process = sh("printf 'no end'");
    process.wait_for_exit(SOON).unwrap();
    assert_eq!(texts(&process, Output::Stdout), ["no end"]);
}

fn a_grandchild_keeps_no_exit_waiting() {
    let began = Instant::now();
    let process = sh("sleep 1000 & exit 5");
    assert_eq!(process.wait_for_exit(SOON), Ok(Exit::Code(5)));
    assert!(began.elapsed() < Duration::from_secs(10));
}
