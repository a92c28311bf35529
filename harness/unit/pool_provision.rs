//! What a node is told and what it brings: the configuration, builds of an engine, models from the hub.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use llorch::pool::capabilities::{Gpu as Device, gpu};
use llorch::pool::configuration::{Configuration, File};
use llorch::pool::engine::build::{configure, lists, percent};
use llorch::pool::engine::preflight::{Manager, missing, needs};
use llorch::pool::engine::settings::{Gpu, Source};
use llorch::pool::engine::source::{commands, root};
use llorch::pool::models::reference::{HubReference, ModelReference};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::pool_node::{Node, tiny};
use super::serve::serve;

pub const TESTS: &[(&str, fn())] = &[
    ("pool_provision/configuration", configuration),
    ("pool_provision/configuration_refusals", configuration_refusals),
    ("pool_provision/preflight", preflight),
    ("pool_provision/sources", sources),
    ("pool_provision/build", build),
    ("pool_provision/devices", devices),
    ("pool_provision/model_references", model_references),
    ("pool_provision/fetched_through_a_cut", fetched_through_a_cut),
    ("pool_provision/a_wrong_digest_is_refused", a_wrong_digest_is_refused),
];

fn resolve(variables: &[(&str, &str)], yaml: &str) -> Result<Configuration, String> {
    let variables: BTreeMap<String, String> =
        variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let file: File = serde_saphyr::from_str(yaml).map_err(|error| error.to_string())?;
    Configuration::resolve(&variables, file).map_err(|error| error.to_string())
}

fn configuration() {
    let plain = resolve(&[], "{}").unwrap();
    assert_eq!(plain.addr.to_string(), "127.0.0.1:9200");
    assert_eq!(
        (plain.pools.as_slice(), plain.runtime_dir.as_path()),
        (&["pool-0".to_owned()][..], Path::new(".runtime/engines"))
    );
    assert_eq!((plain.watch_interval.as_millis(), plain.heartbeat_interval.as_secs()), (1000, 10));
    assert_eq!(plain.ready_deadline.as_secs(), 60);
    let both = resolve(&[("POOL_MANAGERD_POOLS", "a, b")], "{pools: [c], watch_interval_ms: 50, node_id: n}").unwrap();
    assert_eq!(both.pools, ["a", "b"], "a variable wins over the file");
    assert_eq!((both.watch_interval.as_millis(), both.node_id.as_str()), (50, "n"));
    let token = "0123456789abcdef0123456789abcdef";
    let guarded = resolve(&[("LLORCH_API_TOKEN", token), ("POOL_MANAGERD_ADDR", "0.0.0.0:1")], "{}").unwrap();
    assert_eq!(guarded.node_token.as_deref(), Some(token));
}

fn configuration_refusals() {
    let refused = |variables: &[(&str, &str)], yaml: &str, words: &[&str]| {
        let message = resolve(variables, yaml).expect_err("it is refused");
        for word in words {
            assert!(message.contains(word), "{word:?} is not in: {message}");
        }
    };
    refused(&[("POOL_MANAGERD_ADDR", "x")], "{}", &["POOL_MANAGERD_ADDR", "'x'", "allowed"]);
    refused(&[("POOL_MANAGERD_ADDR", "0.0.0.0:1")], "{}", &["POOL_MANAGERD_ADDR", "LLORCH_NODE_TOKEN"]);
    refused(&[("POOL_MANAGERD_WATCH_INTERVAL_MS", "0")], "{}", &["POOL_MANAGERD_WATCH_INTERVAL_MS", "'0'"]);
    refused(&[("POOL_MANAGERD_POOLS", "a,a")], "{}", &["POOL_MANAGERD_POOLS", "a,a"]);
    refused(&[("POOL_MANAGERD_POOLS", "..")], "{}", &["POOL_MANAGERD_POOLS"]);
    refused(&[("ORCHESTRATORD_URL", "ftp://x")], "{}", &["ORCHESTRATORD_URL", "ftp://x"]);
    refused(&[("LLORCH_NODE_TOKEN", "shorttoken")], "{}", &["LLORCH_NODE_TOKEN", "32"]);
    let message = resolve(&[("LLORCH_NODE_TOKEN", "shorttoken")], "{}").unwrap_err();
    assert!(!message.contains("shorttoken"), "a secret is not repeated");
    refused(&[], "{watch_interval: 5}", &["watch_interval"]);
    refused(&[], "{workers: [{model_ref: m, pool_id: other}]}", &["other", "pool-0"]);
    refused(&[], "{engine: {source: {git: x}}}", &["engine.source.ref"]);
    refused(&[], "{engine: {source: {git: x, ref: r, pypi: '1'}}}", &["exactly one"]);
    refused(&[], "{engine: {source: {pypi: --evil}}}", &["--evil"]);
    refused(&[], "{engine: {flags: [--port, '1']}}", &["--port"]);
    refused(&[], "{engine: {gpu: abacus}}", &["abacus"]);
    refused(&[], "{engine: {slots: 0}}", &["engine.slots"]);
    // All at once, not the first only.
    refused(&[("POOL_MANAGERD_ADDR", "x"), ("POOL_MANAGERD_NODE_ID", "a/b")], "{}", &["ADDR", "NODE_ID"]);
}

fn preflight() {
    let pypi = Source { pypi: Some("1".into()), ..Source::default() };
    let all = needs(&pypi, Gpu::Cuda);
    assert_eq!(missing(&all, |_| true, false, Manager::Apt), None);
    let without = |gone: &'static [&'static str], manager| missing(&all, |name| !gone.contains(&name), false, manager);
    let sentence = without(&["cmake", "nvcc"], Manager::Apt).unwrap();
    assert_eq!(
        sentence,
        "the build needs cmake, the CUDA toolkit (nvcc). Run: sudo apt-get install -y cmake nvidia-cuda-toolkit"
    );
    assert!(without(&["c++", "g++", "clang++"], Manager::Dnf).unwrap().contains("sudo dnf install -y gcc-c++"));
    assert!(without(&["ninja", "make"], Manager::Pacman).unwrap().contains("sudo pacman -S --needed ninja"));
    assert!(without(&["python3"], Manager::Brew).unwrap().contains("brew install python"));
    assert_eq!(without(&["ninja"], Manager::Apt), None, "make will do");
    let metal = needs(&Source::default(), Gpu::Metal);
    assert!(missing(&metal, |_| true, false, Manager::Apt).unwrap().contains("macOS"));
    assert_eq!(Manager::of("ID=ubuntu\nID_LIKE=debian\n"), Manager::Apt);
    assert_eq!(Manager::of("ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n"), Manager::Dnf);
    assert_eq!(Manager::of("ID=manjaro\nID_LIKE=arch\n"), Manager::Pacman);
}

fn sources() {
    let into = Path::new("/w");
    let lines = |source: Source| commands(&source, into).iter().map(|words| words.join(" ")).collect::<Vec<_>>();
    let git = Source { git: Some("https://example/l.git".into()), reference: Some("b1".into()), ..Source::default() };
    assert_eq!(
        lines(git),
        [
            "git -C /w init --quiet",
            "git -C /w fetch --quiet --depth 1 -- https://example/l.git b1",
            "git -C /w checkout --quiet --detach FETCH_HEAD",
        ]
    );
    assert_eq!(lines(Source { archive: Some("/a.tar.gz".into()), ..Source::default() }), ["tar -xzf /a.tar.gz -C /w"]);
    let pypi = lines(Source { pypi: Some("0.3.36".into()), ..Source::default() });
    assert!(
        pypi[0].ends_with("download --no-deps --no-binary llama-cpp-python --dest /w llama-cpp-python==0.3.36"),
        "{pypi:?}"
    );
    let folder = tempfile::TempDir::new().unwrap();
    assert_eq!(root(folder.path()), None);
    let tree = folder.path().join("pkg-1/vendor/llama.cpp");
    for part in ["ggml", "tools/server"] {
        std::fs::create_dir_all(tree.join(part)).unwrap();
    }
    std::fs::write(tree.join("CMakeLists.txt"), "").unwrap();
    assert_eq!(root(folder.path()), Some(tree));
}

fn build() {
    let words = configure(Path::new("/s"), Path::new("/b"), Gpu::Cuda, true).join(" ");
    for word in ["-S /s -B /b", "-DGGML_CUDA=ON", "-DLLAMA_BUILD_UI=OFF", "-DLLAMA_OPENSSL=OFF", "-G Ninja"] {
        assert!(words.contains(word), "{word} is not in {words}");
    }
    let plain = configure(Path::new("/s"), Path::new("/b"), Gpu::None, false).join(" ");
    assert!(!plain.contains("GGML_CUDA") && !plain.contains("Ninja"));
    assert_eq!(percent("[1/4] a\n[3/4] b\nwarning: c\n"), Some(75));
    assert_eq!(percent("[ 12%] Building\n"), Some(12));
    assert_eq!(percent("nothing [of] that\n[9/3] kind\n"), None);
}

fn devices() {
    let list = "Available devices:\n  CUDA0: NVIDIA H200 (143771 MiB, 143000 MiB free)\n";
    assert!(lists(list, Gpu::Cuda));
    assert!(!lists(list, Gpu::Vulkan));
    assert!(!lists("Available devices:\n", Gpu::Cuda));
    assert!(!lists("ggml_cuda: no CUDA device found\n", Gpu::Cuda), "a remark is no device");
    assert_eq!(
        gpu("0, NVIDIA H200, 143771, 9.0"),
        Some(Device {
            device_id: 0,
            name: "NVIDIA H200".into(),
            vram_total_bytes: 143_771 << 20,
            compute_capability: "9.0".into(),
        })
    );
    assert_eq!(gpu("No devices were found"), None);
}

fn model_references() {
    let hub = |repository: &str, revision: &str, file: Option<&str>| {
        Ok(ModelReference::Hub(HubReference {
            repository: repository.into(),
            revision: revision.into(),
            file: file.map(str::to_owned),
        }))
    };
    assert_eq!(ModelReference::parse("hf:o/r"), hub("o/r", "main", None));
    assert_eq!(ModelReference::parse("hf:o/r@v1::file=a/b.gguf"), hub("o/r", "v1", Some("a/b.gguf")));
    assert_eq!(ModelReference::parse("hf:o/r::file=m@2.gguf"), hub("o/r", "main", Some("m@2.gguf")));
    assert_eq!(ModelReference::parse("file:/m"), Ok(ModelReference::File("/m".into())));
    assert_eq!(ModelReference::parse("tiny model"), Ok(ModelReference::Alias("tiny model".into())));
    for bad in ["", "file:m", "hf:r", "hf:o/r::file=../x", "hf:o/r::file=/x", "hf:../r", "hf:o/r@a/../b", "s3:x", "a/b"]
    {
        assert!(ModelReference::parse(bad).is_err(), "{bad}");
    }
}

/// A hub with one repository of one file. The first answer about the file is cut in the middle.
fn hub(bytes: Vec<u8>, sha256: String, ranges: Arc<AtomicU32>) -> llorch::harness::http::Base {
    serve(move |mut socket, request| {
        let path = request.split(' ').nth(1).unwrap_or_default();
        if path.starts_with("/api/models/o/r/revision/main") {
            let size = bytes.len();
            let list = json!({
                "sha": "c0ffee",
                "siblings": [
                    {"rfilename": "README.md", "size": 1},
                    {"rfilename": "m.gguf", "size": size, "lfs": {"sha256": sha256, "size": size}},
                ],
            })
            .to_string();
            let _ = write!(socket, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{list}", list.len());
            return;
        }
        assert_eq!(path, "/o/r/resolve/c0ffee/m.gguf");
        let from =
            request.lines().find_map(|line| line.to_lowercase().strip_prefix("range: bytes=").map(str::to_owned));
        let from: Option<usize> = from.and_then(|range| range.trim_end_matches('-').parse().ok());
        let (status, from, to) = match from {
            Some(from) => {
                ranges.fetch_add(1, Ordering::SeqCst);
                (
                    format!("206 Partial Content\r\nContent-Range: bytes {from}-{}/{}", bytes.len() - 1, bytes.len()),
                    from,
                    bytes.len(),
                )
            }
            None => ("200 OK".to_owned(), 0, bytes.len() / 2),
        };
        let _ = write!(socket, "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", bytes.len() - from);
        let _ = socket.write_all(&bytes[from..to]);
    })
}

fn tiny_gguf() -> Vec<u8> {
    std::fs::read(tiny("model.gguf").trim_start_matches("file:")).unwrap()
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn node_of(hub: &llorch::harness::http::Base) -> Node {
    Node::start(json!({"provisioning": {"allow": "any"}}), &[("HF_ENDPOINT", &hub.to_string())])
}

fn fetched_through_a_cut() {
    let (bytes, ranges) = (tiny_gguf(), Arc::new(AtomicU32::new(0)));
    let node = node_of(&hub(bytes.clone(), sha256(&bytes), ranges.clone()));
    let answer = node.post("/pools/pool-0/preload", json!({"model_ref": "hf:o/r::file=m.gguf"}));
    assert_eq!(answer.status, 202, "{}", answer.text());
    let pool = node.wait_until_ready();
    assert_eq!(ranges.load(Ordering::SeqCst), 1, "the rest was asked for, not the whole");
    assert_eq!(pool["models"].as_array().unwrap().last().unwrap()["id"], "hf:o/r::file=m.gguf");
    let step = &pool["preparation"]["steps"][0];
    assert_eq!(
        (&step["kind"], &step["status"], &step["bytes_done"]),
        (&json!("model_fetch"), &json!("completed"), &json!(bytes.len()))
    );
    let catalog = std::fs::read_to_string(node.folder.path().join(".test-models/catalog.json")).unwrap();
    let catalog: Value = serde_json::from_str(&catalog).unwrap();
    assert_eq!(
        (&catalog["models"][0]["id"], &catalog["models"][0]["downloaded"]),
        (&json!("o--r--m.gguf"), &json!(true))
    );
    // Now it is here: under its catalog's id too, and without another word to the hub.
    let answer = node.post("/v2/workers/start", json!({"model_ref": "o--r--m.gguf"}));
    assert_eq!(answer.status, 200, "{}", answer.text());
    node.wait("/v2/state", "both run", |state| {
        state["workers"].as_array().unwrap().iter().filter(|worker| worker["status"] == "ready").count() == 2
    });
    assert_eq!(ranges.load(Ordering::SeqCst), 1);
}

fn a_wrong_digest_is_refused() {
    let bytes = tiny_gguf();
    let node = node_of(&hub(bytes, "0".repeat(64), Arc::default()));
    let answer = node.post("/pools/pool-0/preload", json!({"model_ref": "hf:o/r::file=m.gguf"}));
    let worker = answer.json().unwrap()["workers"][0].as_str().unwrap().to_owned();
    let failed = node.wait(&format!("/v2/workers/{worker}"), "failed", |worker| worker["status"] == "failed");
    assert!(failed["error"].as_str().unwrap().contains("SHA-256"), "{failed}");
    assert!(!node.folder.path().join(".test-models/catalog.json").exists());
    let step = &node.get("/pools/pool-0/status")["preparation"]["steps"][0];
    assert_eq!((&step["kind"], &step["status"]), (&json!("model_fetch"), &json!("failed")));
}
