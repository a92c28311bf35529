//! `llorch bench`: its statistics, what it reads of others, what it prints, and one small run.

use std::process::Command;
use std::time::Duration;

use llorch::harness::bench::bandwidth::Memory;
use llorch::harness::bench::contender::Dialect;
use llorch::harness::bench::memory::Resident;
use llorch::harness::bench::statistics::Samples;
use llorch::harness::bench::subject::Summary;
use llorch::harness::bench::{Figures, Metric, Results, llama, measure};
use llorch::harness::http::{Headers, Request};
use llorch::harness::transcript::Transcript;
use serde_json::Value;

pub const TESTS: &[(&str, fn())] = &[
    ("bench/samples", samples),
    ("bench/gaps_and_rate", gaps_and_rate),
    ("bench/too_short_an_answer", too_short_an_answer),
    ("bench/arrivals_of_a_worker", arrivals_of_a_worker),
    ("bench/arrivals_of_llama_server", arrivals_of_llama_server),
    ("bench/llama_bench_json", llama_bench_json),
    ("bench/resident_memory", resident_memory),
    ("bench/bandwidth", bandwidth),
    ("bench/ratios_and_table", ratios_and_table),
    ("bench/quick_run", quick_run),
    ("bench/refuses", refuses),
];

fn samples() {
    let samples = Samples::of([5.0, 1.0, f64::NAN, 4.0, 2.0]);
    assert_eq!(samples.values(), [5.0, 1.0, 4.0, 2.0], "in their order, and numbers only");
    assert_eq!((samples.best(true), samples.best(false)), (Some(5.0), Some(1.0)));
    assert_eq!(samples.median(), Some(3.0));
    assert_eq!(Samples::of([3.0, 1.0, 2.0]).median(), Some(2.0));
    let hundred = Samples::of((1..=100).map(f64::from));
    assert_eq!([0.0, 0.5, 0.99, 1.0].map(|share| hundred.percentile(share)), [1.0, 50.0, 99.0, 100.0].map(Some));
    assert_eq!(Samples::of([7.0]).percentile(0.99), Some(7.0));
    let none = Samples::default();
    assert_eq!((none.best(true), none.median(), none.percentile(0.5)), (None, None, None));
}

fn milliseconds(moments: &[u64]) -> Vec<Duration> {
    moments.iter().map(|moment| Duration::from_millis(*moment)).collect()
}

fn gaps_and_rate() {
    let mut figures = Figures::default();
    // Half a second for the first; then one each 10 ms, of which one comes 40 ms late and the next together with it.
    let arrivals = milliseconds(&[500, 510, 520, 530, 540, 590, 590, 600, 610, 620, 630]);
    measure::decode(&arrivals, &mut figures).expect("enough");
    let only = |metric| figures.get(metric).expect("measured").values()[0];
    assert!((only(Metric::Decode) - 10.0 / 0.130).abs() < 1e-9);
    assert_eq!((only(Metric::GapMedian), only(Metric::Gap99)), (10.0, 50.0));
}

fn too_short_an_answer() {
    let mut figures = Figures::default();
    let finding = measure::decode(&milliseconds(&[1, 2, 3]), &mut figures).expect_err("three tokens are no rate");
    assert!(finding.found.contains("after 3"), "{}", finding.found);
    assert!(figures.get(Metric::Decode).is_none());
}

fn transcript(text: &str) -> Transcript {
    Transcript::replay(Request::post("/"), Headers::default(), text.as_bytes())
}

fn arrivals_of_a_worker() {
    let body = "event: started\ndata: {}\n\nevent: token\ndata: {\"t\":\"a\",\"i\":0,\"ids\":[1]}\n\n\
                event: token\ndata: {\"t\":\"bc\",\"i\":1,\"ids\":[2,3]}\n\nevent: token\ndata: {\"t\":\"d\",\"i\":2}\n\n";
    let whole = format!("{body}event: end\ndata: {{}}\n\n");
    assert_eq!(Dialect::Worker.arrivals(&transcript(&whole)).expect("complete").len(), 4);
    Dialect::Worker.arrivals(&transcript(body)).expect_err("it has no end");
    let failed = format!("{body}event: error\ndata: {{\"code\":\"INTERNAL\"}}\n\n");
    Dialect::Worker.arrivals(&transcript(&failed)).expect_err("it failed");
    Dialect::Worker.arrivals(&transcript("event: end\ndata: {}\n\n")).expect_err("no token came");
}

fn arrivals_of_llama_server() {
    let body = "data: {\"content\":\"a\",\"tokens\":[1],\"stop\":false}\n\n\
                data: {\"content\":\"\",\"tokens\":[2,3],\"stop\":false}\n\n";
    let whole = format!("{body}data: {{\"content\":\"\",\"tokens\":[],\"stop\":true}}\n\n");
    assert_eq!(Dialect::LlamaServer.arrivals(&transcript(&whole)).expect("complete").len(), 3);
    Dialect::LlamaServer.arrivals(&transcript(body)).expect_err("it does not stop");
    let failed = format!("{body}data: {{\"error\":{{\"message\":\"no\"}}}}\n\n");
    Dialect::LlamaServer.arrivals(&transcript(&failed)).expect_err("it failed");
}

fn llama_bench_json() {
    let json = "[{\"n_prompt\": 512, \"n_gen\": 0, \"avg_ts\": 497.5, \"samples_ts\": [ 497.5 ]},\n\
                 {\"n_prompt\": 0, \"n_gen\": 128, \"avg_ts\": 24.6}]";
    let mut figures = Figures::default();
    llama::read(json, &mut figures).expect("two tests");
    assert_eq!(figures.get(Metric::Prefill).and_then(Samples::highest), Some(497.5));
    assert_eq!(figures.get(Metric::Decode).and_then(Samples::highest), Some(24.6));
    for wrong in
        ["", "[]", "{}", "[{\"n_prompt\": 512, \"n_gen\": 0, \"avg_ts\": 1.0}]", "[{\"n_prompt\": 1, \"n_gen\": 0}]"]
    {
        llama::read(wrong, &mut Figures::default()).expect_err(wrong);
    }
}

fn resident_memory() {
    let status = "Name:\tworker\nVmPeak:\t  900000 kB\nVmHWM:\t  524288 kB\nVmRSS:\t  131072 kB\nThreads:\t3\n";
    assert_eq!(Resident::parse(status), Some(Resident { now: 128.0, peak: 512.0 }));
    assert_eq!(Resident::parse("Name:\tworker\n"), None, "a process that has ended has no memory");
    if cfg!(target_os = "linux") {
        let own = Resident::of(std::process::id()).expect("this process");
        assert!(own.now > 1.0 && own.peak >= own.now, "{own:?}");
    }
}

fn bandwidth() {
    for threads in [1, 3] {
        let rate = Memory::new(8 << 20).unwrap().gigabytes_per_second(threads);
        assert!((0.01..10_000.0).contains(&rate), "{rate} GB/s on {threads} threads");
    }
}

fn results() -> Results {
    let figures = |values: &[(Metric, &[f64])]| {
        let mut figures = Figures::default();
        values.iter().for_each(|(metric, values)| values.iter().for_each(|value| figures.add(*metric, *value)));
        figures
    };
    let ours = figures(&[
        (Metric::Ready, &[0.5, 0.4]),
        (Metric::FirstToken, &[50.0, 60.0]),
        (Metric::Decode, &[30.0, 28.0]),
        (Metric::LoadRate, &[31.0]),
    ]);
    let other = figures(&[(Metric::Ready, &[2.0]), (Metric::FirstToken, &[75.0]), (Metric::Decode, &[20.0, 24.0])]);
    let columns =
        vec![("built-in worker".into(), ours), ("/a/very/long/path/to/some/other-worker --port {port}".into(), other)];
    let subject = Summary {
        model: "recipe-gpt2".into(),
        quant_kind: "F32".into(),
        file_bytes: 500 << 20,
        read_per_token: Some(500_000_000),
        short_prompt_tokens: 16,
        long_prompt_tokens: 512,
    };
    Results { subject, threads: 1, clients: 2, columns, bandwidth: Samples::of([16.0, 15.0]) }
}

fn ratios_and_table() {
    let results = results();
    insta::assert_snapshot!("bench_table", results.table());
    let json = results.json();
    let other = &json["targets"][1];
    assert_eq!(other["first_is_better_by"]["decode_tokens_per_second"], 1.25);
    assert_eq!(other["first_is_better_by"]["ready_seconds"], 5.0, "less is better");
    assert_eq!(other["first_is_better_by"].get("load_tokens_per_second"), None, "it was not asked for that");
    assert_eq!(json["targets"][0]["share_of_read_bandwidth"], 30.0 * 0.5 / 16.0);
    assert_eq!(json["targets"][0]["metrics"]["first_token_ms"]["median"], 55.0);
}

fn llorch(arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_llorch"));
    command.arg("bench").args(arguments).env_remove("LLAMA_SERVER_BIN").env_remove("LLAMA_BENCH_BIN");
    let output = command.output().expect("it runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn quick_run() {
    let (code, out, err) = llorch(&["--quick", "--format", "json"]);
    assert_eq!(code, Some(0), "{err}");
    let report: Value = serde_json::from_str(&out).expect("JSON and nothing else");
    let metrics = report["targets"][0]["metrics"].as_object().expect("metrics");
    for metric in Metric::ALL {
        let is_load = matches!(metric, Metric::LoadRate | Metric::LoadFirstToken);
        let is_memory = matches!(metric, Metric::ResidentReady | Metric::ResidentPeak);
        if is_load || (is_memory && !cfg!(target_os = "linux")) {
            continue;
        }
        let best = metrics.get(metric.key()).and_then(|figure| figure["best"].as_f64());
        // The tiny model's tokens may come several at a time, even all of them.
        let is_rate = matches!(metric, Metric::Decode | Metric::GapMedian | Metric::Gap99);
        assert!(best.is_some_and(|best| best > 0.0) || is_rate, "{}: {best:?}", metric.key());
    }
}

fn refuses() {
    let (code, _, err) = llorch(&["--url", "http://127.0.0.1:9"]);
    assert_eq!(code, Some(2), "whose tokens nobody knows: {err}");
    let (code, _, err) = llorch(&["--model", "/nowhere/model.gguf"]);
    assert_ne!(code, Some(0));
    assert!(err.contains("/nowhere/model.gguf"), "{err}");
    let (code, _, err) = llorch(&["--quick", "--no-built-in"]);
    assert_eq!(code, Some(4), "{err}");
    let (code, _, err) = llorch(&["--quick", "--no-built-in", "--spawn", "sh -c 'exit 3'"]);
    assert_eq!(code, Some(96), "{err}");
    assert!(err.contains("exit code 3"), "{err}");
}
