//! What a mistake is looked for with: each probe drives a worker and tells what it saw. An honest worker and one that
//! makes the probe's mistakes must tell different stories.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use regex::{Captures, Regex};

use super::play::{Open, PATIENCE, Play, Script, status_of, text_of, wait};

const SEEDED: &str = ",\"seed\":7,\"max_tokens\":12";
const LONG: &[&str] = &["--tokens", "300", "--delay-ms", "5"];
const SHORT: Duration = Duration::from_millis(300);

pub fn stream(script: &Script) -> String {
    script.start(&[]).job("a", SEEDED).within(Duration::from_secs(1))
}

/// The same with the chunks' boundaries and the shape of numbers left as they are; only digits are one.
pub fn exact_stream(script: &Script) -> String {
    let raw = script.start(&[]).job("a", SEEDED).unsteady();
    let volatile = Regex::new(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|\r\n[0-9a-f]{2,}\r\n|\.?[0-9]+").unwrap();
    volatile.replace_all(&raw, |found: &Captures| if found[0].starts_with('.') { ".N" } else { "N" }).into_owned()
}

/// What the first read brings.
pub fn first_bytes(script: &Script) -> String {
    let play = script.start(&[]);
    let mut answer = play.job("a", SEEDED);
    answer.until("HTTP", PATIENCE);
    answer.so_far().contains("\r\n\r\n").to_string()
}

pub fn silence(script: &Script) -> String {
    let play = script.start(LONG);
    let _first = running(&play, "a");
    play.job("b", SEEDED).until("\n: ", SHORT).to_string()
}

pub fn silent_cancel(script: &Script) -> String {
    let play = script.start(LONG);
    let _first = running(&play, "a");
    let mut second = play.job("b", SEEDED);
    let opened = second.until("HTTP", SHORT);
    play.cancel("b");
    format!("{opened} {}", second.outline())
}

pub fn null(script: &Script) -> String {
    status_of(&script.start(&[]).job("a", ",\"top_k\":null,\"max_tokens\":1").all())
}

pub fn busy(script: &Script) -> String {
    let play = script.start(&[LONG, &["--queue-size", "0"]].concat());
    let _first = running(&play, "a");
    play.job("b", SEEDED).all()
}

pub fn end_of_text(script: &Script) -> String {
    script.start(&["--tokens", "6"]).job("a", ",\"seed\":7").all()
}

/// Do tokens arrive while others are still computed?
pub fn pace(script: &Script) -> String {
    let play = script.start(&["--delay-ms", "30"]);
    let begun = Instant::now();
    let mut answer = play.job("a", SEEDED);
    let came = answer.until("\"i\":0", PATIENCE);
    let first = begun.elapsed();
    answer.until("event: end", PATIENCE);
    format!("{came} {}", first * 2 < begun.elapsed())
}

pub fn health(script: &Script) -> String {
    let play = script.start(&[]);
    let before = play.get("/health");
    play.text(SEEDED);
    format!("{before}\n{}", play.get("/health"))
}

pub fn health_while_generating(script: &Script) -> String {
    let play = script.start(LONG);
    let mut job = running(&play, "a");
    let answered = play.request("GET", "/health", "", "").within(SHORT);
    format!("{} {}", status_of(&answered), job.until("event: end", Duration::from_millis(1)))
}

pub fn uptime(script: &Script) -> String {
    let play = script.start(&[]);
    let health = || play.request("GET", "/health", "", "").unsteady();
    let grown = wait(Duration::from_secs(3), || (!health().contains("\"uptime_seconds\":0,")).then_some(()));
    grown.is_some().to_string()
}

fn running(play: &Play, id: &str) -> Open {
    let mut job = play.job(id, "");
    assert!(job.until("\"t\":", PATIENCE), "no token of {id}: {}", job.so_far());
    job
}

pub fn cancel(script: &Script) -> String {
    let play = script.start(LONG);
    let job = running(&play, "a");
    let first = play.cancel("a");
    let outline = job.outline();
    let counted = metric(&play, "worker_requests_total");
    format!("{first} {outline} {} {} {counted}", play.cancel("a"), play.cancel("unknown"))
}

pub fn cancel_another(script: &Script) -> String {
    let play = script.start(LONG);
    let job = running(&play, "a");
    play.cancel("b");
    format!("{} {}", job.outline(), play.job("b", SEEDED).outline())
}

pub fn after_cancel(script: &Script) -> String {
    let play = script.start(LONG);
    let job = running(&play, "a");
    play.cancel("a");
    job.outline();
    play.text(SEEDED)
}

pub fn disconnect(script: &Script) -> String {
    let play = script.start(LONG);
    drop(running(&play, "a"));
    play.job("b", SEEDED).until("event: started", SHORT).to_string()
}

fn waiting(play: &Play, id: &str) -> Open {
    let mut job = play.job(id, SEEDED);
    assert!(job.until("\r\n\r\n", PATIENCE));
    job
}

pub fn queue(script: &Script) -> String {
    let play = script.start(&[LONG, &["--queue-size", "2"]].concat());
    let first = running(&play, "a");
    let mut second = waiting(&play, "b");
    let silent = !second.until("event: ", SHORT);
    let duplicate = play.job("a", SEEDED).within(SHORT);
    let third = waiting(&play, "c");
    let refused = play.job("d", SEEDED).within(SHORT);
    drop(first);
    second.all();
    third.all();
    wait(PATIENCE, || (play.log().matches("execute_end").count() >= 3).then_some(()));
    let log = play.log();
    let begins = |id: &str| {
        let starts = |line: &&str| line.contains("execute_start") && line.contains(&format!("\"job_id\":\"{id}\""));
        log.lines().position(|line| starts(&line))
    };
    let in_order = begins("b") < begins("c");
    format!("{silent} {in_order}\n{duplicate}\n{refused}\n{}", play.job("b", SEEDED).outline())
}

pub fn waiting_cancel(script: &Script) -> String {
    let play = script.start(LONG);
    let _first = running(&play, "a");
    let second = waiting(&play, "b");
    play.cancel("b");
    second.outline()
}

pub fn sampling(script: &Script) -> String {
    let play = script.start(&["--delay-ms", "0"]);
    let text = |more: &str| play.text(&format!(",\"max_tokens\":20{more}"));
    let seven = text(",\"seed\":7");
    let greedy = text(",\"temperature\":0,\"seed\":1");
    let other = play.post("/execute", "{\"job_id\":\"o\",\"prompt\":\"otherwise\",\"seed\":7,\"max_tokens\":20}").all();
    let drawn = || play.job("a", ",\"max_tokens\":1").unsteady();
    let seed_of = |raw: String| raw.split("\"seed\":").nth(1).and_then(|rest| rest.split('}').next().map(String::from));
    [
        ("same seed, same text", seven == text(",\"seed\":7")),
        ("another seed", seven == text(",\"seed\":8")),
        ("greedy", greedy == text(",\"temperature\":0,\"seed\":1")),
        ("greedy with another seed", greedy == text(",\"temperature\":0,\"seed\":2")),
        ("one candidate", greedy == text(",\"top_k\":1")),
        ("no mass", greedy == text(",\"top_p\":0")),
        ("only the likeliest", greedy == text(",\"min_p\":1")),
        ("repetition penalised", greedy == text(",\"temperature\":0,\"seed\":1,\"repetition_penalty\":2")),
        ("hot", greedy == seven),
        ("another prompt", seven == text_of(&other)),
        ("two drawn seeds", seed_of(drawn()) == seed_of(drawn())),
        ("a great seed", play.job("a", ",\"seed\":9007199254740993").all().contains("9007199254740993")),
    ]
    .map(|(name, holds)| format!("{name}: {holds}"))
    .join("\n")
}

pub fn limits(script: &Script) -> String {
    let play = script.start(&["--delay-ms", "0"]);
    let count = |more: &str| play.job("a", more).all().matches("\"i\":").count();
    format!("{} {}", count(",\"seed\":7,\"max_tokens\":5"), count(",\"seed\":7"))
}

pub fn stops(script: &Script) -> String {
    let play = script.start(&["--delay-ms", "0"]);
    let greedy = ",\"temperature\":0,\"seed\":1,\"max_tokens\":12";
    let plain = Script(Vec::new()).start(&["--delay-ms", "0"]).text(greedy);
    let words: Vec<&str> = plain.split(' ').collect();
    let across = format!("{} {}", words[3], words[4]);
    let inner = words[4].to_string();
    let last = plain.chars().last().unwrap();
    let stop = |stops: &[&str]| play.job("a", &format!("{greedy},\"stop\":{}", serde_json::json!(stops))).all();
    [stop(&[&across, &inner]), stop(&[&format!("{last} and no more")])].join("\n")
}

pub fn refusals(script: &Script) -> String {
    let play = script.start(&["--delay-ms", "0"]);
    let good = "\"job_id\":\"a\",\"prompt\":\"x\",\"max_tokens\":1";
    let bodies = [
        "{\"job_id\":\"a b\",\"prompt\":\"x\",\"max_tokens\":1,\"seed\":1}".to_string(),
        "{\"job_id\":\"a\\n\\nevent: end\",\"prompt\":\"x\",\"max_tokens\":1,\"seed\":1}".to_string(),
        "{\"prompt\":\"x\",\"max_tokens\":1,\"seed\":1}".to_string(),
        format!("{{{good},\"seed\":1,\"temperature\":3,\"top_p\":-1}}"),
        format!("{{{good},\"seed\":1,\"temperature\":\"0.5\"}}"),
        format!("{{{good},\"seed\":1,\"temperature\":1e400}}"),
        format!("{{{good},\"seed\":1,\"flavour\":\"vanilla\"}}"),
        format!("{{{good},\"seed\":1,\"stop\":[\"1\",\"2\",\"3\",\"4\",\"5\"]}}"),
        format!("{{{good},\"seed\":1}} and more"),
        format!("{{{good},\"seed\":1,\"padding\":\"{}\"}}", "x".repeat(1 << 20)),
        format!("{{\"job_id\":\"a\",\"max_tokens\":1,\"seed\":1,\"prompt\":\"{}\"}}", "é".repeat(20_000)),
        format!("{{\"job_id\":\"a\",\"max_tokens\":1,\"seed\":1,\"prompt\":\"{}\"}}", "x ".repeat(10_000)),
        "{".to_string(),
    ];
    let mut story: Vec<String> = bodies.iter().map(|body| play.post("/execute", body).all()).collect();
    story.push(
        play.request("POST", "/execute", "Content-Type: text/plain\r\n", &format!("{{{good},\"seed\":1}}")).all(),
    );
    story.join("\n")
}

pub fn access(script: &Script) -> String {
    let play = script.start_with(&[], &[("LLORCH_API_TOKEN", "sesame")]);
    let body = "{\"job_id\":\"a\",\"prompt\":\"x\",\"max_tokens\":1,\"seed\":1}";
    let ask = |method: &str, path: &str, bearer: &str| {
        let headers = format!("Content-Type: application/json\r\n{bearer}");
        play.request(method, path, &headers, body).all()
    };
    let stories = [
        ask("POST", "/execute", ""),
        ask("POST", "/execute", "Authorization: Bearer wrong\r\n"),
        ask("POST", "/execute", "Authorization: Bearer sesame street\r\n"),
        ask("POST", "/execute", "Authorization: Bearer sesame\r\n"),
        ask("POST", "/cancel", ""),
        ask("GET", "/health", ""),
        ask("POST", "/shutdown", ""),
    ];
    stories.join("\n")
}

/// An address that no machine has, so that not even the mistake opens a port to others.
pub fn public_bind(script: &Script) -> String {
    let mut play = script.spawn(&["--bind", "192.0.2.1"], &[]);
    let exit = play.exit(PATIENCE);
    play.log_says("192.0.2.1");
    format!("{exit} {}", play.log())
}

pub fn correlation(script: &Script) -> String {
    let play = script.start(&[]);
    let ask = |path: &str, id: &str| play.request("GET", path, id, "").unsteady();
    let id_of = |raw: String| raw.split("X-Correlation-Id: ").nth(1).map(|rest| rest[..8].to_string());
    let fresh = id_of(ask("/health", "")) == id_of(ask("/health", ""));
    let sent = ask("/health", "X-Correlation-Id: mine-12345678\r\n").contains("mine-12345678");
    let bad = ask("/health", "X-Correlation-Id: <b>bad</b> one\r\n").contains("<b>");
    format!("{fresh} {sent} {bad} {}", ask("/nowhere", "").contains("X-Correlation-Id"))
}

fn metric(play: &Play, name: &str) -> String {
    play.get("/metrics").lines().filter(|line| line.starts_with(name)).collect::<Vec<_>>().join("\n")
}

pub fn metrics(script: &Script) -> String {
    let play = script.start(&[]);
    let first = play.get("/metrics");
    let idle = first == play.get("/metrics");
    play.text(SEEDED);
    play.text(SEEDED);
    format!("{idle}\n{first}\n{}", play.get("/metrics"))
}

pub fn log(script: &Script) -> String {
    let mut play = script.start_with(&[], &[("LLORCH_API_TOKEN", "sesame")]);
    wait(PATIENCE, || (play.log().matches("Worker ready").count() == 2).then_some(()));
    let body = "{\"job_id\":\"a\",\"prompt\":\"by the river\",\"max_tokens\":4,\"seed\":1}";
    let headers = "Content-Type: application/json\r\nAuthorization: Bearer sesame\r\n";
    play.request("POST", "/execute", headers, body).all();
    play.signal(Signal::SIGTERM);
    play.exit(PATIENCE);
    play.log_says("Worker stopped");
    play.log()
}

/// The process under a test-mode URL, or one that only resembles it.
pub fn test_mode(script: &Script) -> String {
    let ending = |url: &str| {
        let mut play = script.spawn(&["--callback-url", url], &[]);
        let ready =
            wait(PATIENCE, || (!play.is_running() || play.log().contains("\"ready\"")).then(|| play.is_running()));
        format!("{ready:?} {}", play.log().contains("skipping pool manager callback"))
    };
    format!("{} {}", ending("http://localhost:9999/ready"), ending("http://localhost:99990/ready"))
}

pub fn failed_load(script: &Script) -> String {
    let mut play = script.spawn(&["--model", "/nowhere/model.gguf"], &[]);
    let exit = play.exit(Duration::from_secs(1));
    let said = wait(SHORT, || play.log().contains("MODEL_LOAD_FAILED").then_some(()));
    format!("{exit} {}", said.is_some())
}

pub fn bad_flag(script: &Script) -> String {
    script.spawn(&["--no-such-flag"], &[]).exit(Duration::from_secs(1))
}

pub fn stop_idle(script: &Script) -> String {
    let ending = |signal| {
        let mut play = script.start(&[]);
        play.log_says("Worker ready\"");
        play.signal(signal);
        play.exit(Duration::from_secs(1))
    };
    let mut play = script.start(&[]);
    let answer = play.post("/shutdown", "").all();
    let shut = play.exit(Duration::from_secs(1));
    format!("{} {} {shut}\n{answer}", ending(Signal::SIGTERM), ending(Signal::SIGINT))
}

pub fn drain(script: &Script) -> String {
    let mut play = script.start(LONG);
    let (first, second) = (running(&play, "a"), waiting(&play, "b"));
    play.signal(Signal::SIGTERM);
    play.log_says("Draining");
    let refused = match std::net::TcpStream::connect(("127.0.0.1", play.port)) {
        Ok(_) => play.job("c", SEEDED).within(SHORT),
        Err(_) => "refused".into(),
    };
    format!("{} {} {refused} {}", first.outline(), second.outline(), play.exit(PATIENCE))
}

/// SIGTERM that drops the job leaves nothing to drain: no log line is waited for.
pub fn drop_on_signal(script: &Script) -> String {
    let play = script.start(LONG);
    let first = running(&play, "a");
    play.signal(Signal::SIGTERM);
    first.outline()
}

pub fn drain_deadline(script: &Script) -> String {
    let play = script.start(&[LONG, &["--drain-sec", "0"]].concat());
    let first = running(&play, "a");
    play.signal(Signal::SIGTERM);
    first.outline()
}

pub fn second_signal(script: &Script) -> String {
    let mut play = script.start(LONG);
    let _first = running(&play, "a");
    play.signal(Signal::SIGTERM);
    play.log_says("Draining");
    play.signal(Signal::SIGTERM);
    play.exit(SHORT * 3)
}

pub fn one_shot(script: &Script) -> String {
    let mut play = script.start(&[]);
    play.text(SEEDED);
    play.exit(SHORT * 2)
}
