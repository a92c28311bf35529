//! Parts of the pool's tool: what a folder holds, a process and its double, logs, the line for another machine, and the
//! stream of a job.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use llorch::cli::infer::{Frame, Frames, InferError, Job};
use llorch::cli::pool::remote::{command_line, without_ours};
use llorch::pool::catalog::{Format, Model};
use llorch::pool::local::files::{self, Actual, Expected, FilesError, Mismatch};
use llorch::pool::local::info::{WorkerInfo, Workers};
use llorch::pool::local::list::{self, State};
use llorch::pool::local::process::{Life, ProcessId};
use llorch::pool::local::{download, logs, port};
use proptest::prelude::*;
use serde_json::json;

pub const TESTS: &[(&str, fn())] = &[
    ("pool_cli/one_model", exactly_one_model),
    ("pool_cli/index", an_index_names_files_beside_it),
    ("pool_cli/check", every_byte_is_compared),
    ("pool_cli/hub", what_the_hub_said_is_read_back),
    ("pool_cli/words", the_words_for_hf),
    ("pool_cli/process", a_process_and_another_with_its_number),
    ("pool_cli/list", what_became_of_workers),
    ("pool_cli/port", who_holds_a_port),
    ("pool_cli/tail", the_last_lines),
    ("pool_cli/follow", a_log_is_followed_to_its_end),
    ("pool_cli/line", every_word_survives_a_shell),
    ("pool_cli/line_can_fail", an_unquoted_word_does_not_survive),
    ("pool_cli/ours", our_own_flags_stay_here),
    ("pool_cli/frames", frames_however_they_are_cut),
    ("pool_cli/job", how_a_job_ends),
];

fn folder_with(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

fn exactly_one_model() {
    let find = |files: &[(&str, &str)], format| files::find(folder_with(files).path(), format);
    let found = |files, format| -> Vec<String> {
        let name = |path: &std::path::PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
        find(files, format).unwrap().weights.iter().map(name).collect()
    };
    let index = r#"{"weight_map": {"a": "1.safetensors", "b": "2.safetensors", "c": "1.safetensors"}}"#;
    let sharded = [("model.safetensors.index.json", index), ("1.safetensors", "x"), ("2.safetensors", "y")];
    assert_eq!(found(&[("model.safetensors", "x"), ("config.json", "{}")], Format::Safetensors), ["model.safetensors"]);
    assert_eq!(found(&[("q.gguf", "x"), ("model.safetensors", "x")], Format::Gguf), ["q.gguf"]);
    assert_eq!(found(&sharded, Format::Safetensors), ["1.safetensors", "2.safetensors"]);

    assert!(matches!(find(&[("a.gguf", "x"), ("b.gguf", "x")], Format::Gguf), Err(FilesError::Several { .. })));
    let beside: Vec<_> = sharded.into_iter().chain([("consolidated.safetensors", "z")]).collect();
    assert!(matches!(find(&beside, Format::Safetensors), Err(FilesError::Several { .. })));
    assert!(matches!(find(&sharded[..2], Format::Safetensors), Err(FilesError::ShardsMissing { .. })));
    assert!(matches!(find(&[("config.json", "{}")], Format::Safetensors), Err(FilesError::NoModel { .. })));
    assert!(matches!(find(&[("model.safetensors", "")], Format::Safetensors), Err(FilesError::Empty { .. })));
    assert!(matches!(files::find(Path::new("/nowhere"), Format::Gguf), Err(FilesError::Io { .. })));
    let one = folder_with(&[("a.gguf", "x"), ("b.gguf", "x")]);
    assert_eq!(files::find(&one.path().join("a.gguf"), Format::Gguf).unwrap().given, one.path().join("a.gguf"));
}

fn an_index_names_files_beside_it() {
    let texts = [
        "",
        "[]",
        "{}",
        r#"{"weight_map": {}}"#,
        r#"{"weight_map": {"a": 1}}"#,
        r#"{"weight_map": {"a": ""}}"#,
        r#"{"weight_map": {"a": "../up.safetensors"}}"#,
        r#"{"weight_map": {"a": "/etc/passwd"}}"#,
        r#"{"weight_map": {"a": ".."}}"#,
    ];
    for text in texts {
        let folder = folder_with(&[("model.safetensors.index.json", text), ("model.safetensors", "x")]);
        let problem = files::find(folder.path(), Format::Safetensors).unwrap_err();
        assert!(matches!(problem, FilesError::Index { .. }), "{text}: {problem}");
    }
}

fn every_byte_is_compared() {
    let folder =
        folder_with(&[("a", "abc"), ("deep/b", "hello"), (".cache/huggingface/download/x.incomplete", "1234567")]);
    assert_eq!(files::all(folder.path()).unwrap(), [("a".to_owned(), 3), ("deep/b".to_owned(), 5)].into());
    assert_eq!(files::bytes_so_far(folder.path()), 15);
    let mut read = 0;
    let (actual, wrong) = files::check(folder.path(), &[], &mut |bytes| read += bytes).unwrap();
    assert_eq!((read, wrong), (8, vec![]));
    let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(actual["a"], Actual { size: 3, sha256: abc.into() });

    let expect = |name: &str, size, sha256: Option<&str>| {
        let expected = Expected { size, sha256: sha256.map(str::to_owned) };
        let known = [[(name.to_owned(), expected)].into()];
        files::check(folder.path(), &known, &mut |_| {}).unwrap().1
    };
    assert_eq!(expect("a", Some(3), Some(abc)), []);
    assert!(matches!(expect("a", Some(4), Some(abc))[..], [Mismatch::Size { expected: 4, found: 3, .. }]));
    assert!(matches!(expect("a", Some(3), Some(&abc.replace('b', "c")))[..], [Mismatch::Digest { .. }]));
    assert!(matches!(expect("c", None, None)[..], [Mismatch::Missing { .. }]));
    // What was recorded is what is compared later.
    let metadata = json!({ "files": files::record(&actual) });
    let known = [files::said_by_catalog(metadata.as_object().unwrap())];
    assert_eq!(files::check(folder.path(), &known, &mut |_| {}).unwrap().1, []);
    fs::write(folder.path().join("a"), "abd").unwrap();
    assert!(matches!(files::check(folder.path(), &known, &mut |_| {}).unwrap().1[..], [Mismatch::Digest { .. }]));
}

fn what_the_hub_said_is_read_back() {
    let (commit, digest) = ("1".repeat(40), "A".repeat(64));
    let tree = json!({ "format_version": 1, "files": {
        "w.safetensors": { "size": 9, "blob_id": "x", "lfs_sha256": "b".repeat(64), "lfs_size": 10 },
        "config.json": { "size": 2, "blob_id": "y" },
    }});
    let folder = folder_with(&[
        (".cache/huggingface/download/w.safetensors.metadata", &format!("{commit}\n{digest}\n1.5\n")),
        (".cache/huggingface/download/config.json.metadata", &format!("{commit}\n{}\n1.5\n", "2".repeat(40))),
        (".cache/huggingface/download/broken.metadata", "one line"),
        (".cache/huggingface/download/other.metadata", "../../x\nnothing\n"),
        (&format!(".cache/huggingface/trees/{commit}.json"), &tree.to_string()),
    ]);
    let said = files::said_by_hub(folder.path());
    assert_eq!(said["w.safetensors"], Expected { size: Some(10), sha256: Some("a".repeat(64)) });
    assert_eq!(said["config.json"], Expected { size: Some(2), sha256: None });
    assert_eq!(said["other"], Expected::default());
    assert!(!said.contains_key("broken"));
}

fn the_words_for_hf() {
    let mut model = Model::new("m", "M", "acme/m", "llama", Format::Gguf, vec![]);
    assert_eq!(
        download::arguments(&model, "acme/m"),
        ["download", "acme/m", "--include", "*.gguf", "--local-dir", ".test-models/m"]
    );
    model.metadata.insert("file".into(), "m.Q4.gguf".into());
    assert_eq!(download::arguments(&model, "acme/m")[3], "m.Q4.gguf");
    model.format = Format::Safetensors;
    let words = download::arguments(&model, "acme/m");
    // One pattern to each flag: a second word behind a pattern would be taken for the name of a file.
    for (at, word) in words.iter().enumerate().filter(|(_, word)| *word == "--include") {
        assert!(words[at + 2].starts_with("--"), "{word} {words:?}");
    }
}

fn a_process_and_another_with_its_number() {
    let own = ProcessId::of(std::process::id()).unwrap();
    assert_eq!(own.life(), Life::Alive);
    let double = ProcessId { process_started: "another time".into(), ..own.clone() };
    assert_eq!(double.life(), Life::Reused);
    // A signal to the double reaches nobody: were it sent, this run would end here.
    double.signal(nix::sys::signal::Signal::SIGKILL).unwrap();
    let mut child = Command::new("sleep").arg("600").spawn().unwrap();
    let id = ProcessId::of(child.id()).unwrap();
    assert!(!id.wait_for_end(Duration::from_millis(30)));
    id.signal(nix::sys::signal::Signal::SIGTERM).unwrap();
    // Ended, and not yet reaped: gone all the same.
    assert!(id.wait_for_end(Duration::from_secs(20)));
    assert_eq!(id.life(), Life::Gone);
    child.wait().unwrap();
    assert_eq!(id.life(), Life::Gone);
}

fn what_became_of_workers() {
    let folder = tempfile::tempdir().unwrap();
    let workers = Workers::new(folder.path());
    assert!(list::all(&workers).unwrap().is_empty());
    let own = ProcessId::of(std::process::id()).unwrap();
    let info = |id: &str, process: ProcessId| WorkerInfo {
        worker_id: id.into(),
        process,
        started_at: "now".into(),
        backend: "cpu".into(),
        gpu: 0,
        model_id: "m".into(),
        port: 1,
        drain_sec: 30,
    };
    workers.write(&info("worker-a-0", own.clone())).unwrap();
    workers.write(&info("worker-b-0", ProcessId { pid: i32::MAX as u32, ..own.clone() })).unwrap();
    workers.write(&info("worker-c-0", ProcessId { process_started: "x".into(), ..own.clone() })).unwrap();
    fs::write(workers.info_path("worker-d-0"), "{").unwrap();
    fs::copy(workers.info_path("worker-a-0"), workers.info_path("worker-e-0")).unwrap();
    let seen = list::all(&workers).unwrap();
    let states: Vec<&State> = seen.iter().map(|seen| &seen.state).collect();
    assert!(
        matches!(states[..], [State::Running, State::Dead, State::Reused, State::Unreadable(_), State::Unreadable(_)]),
        "{states:?}"
    );
    let cleaned: Vec<bool> = seen.iter().map(|seen| list::clean(&workers, seen).unwrap()).collect();
    assert_eq!(cleaned, [false, true, true, true, true]);
    assert_eq!(workers.ids().unwrap(), ["worker-a-0"]);
}

fn who_holds_a_port() {
    let listener = std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).unwrap();
    let number = listener.local_addr().unwrap().port();
    assert!(!port::is_free(number));
    assert!(port::holder(number).contains(&format!("(pid {})", std::process::id())), "{}", port::holder(number));
    drop(listener);
    assert!(port::is_free(number));
    assert!(port::holder(number).contains("another process"));
}

fn the_last_lines() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let tail = |text: &str, lines: usize| {
        fs::write(&path, text).unwrap();
        String::from_utf8(logs::tail(&mut File::open(&path).unwrap(), lines).unwrap()).unwrap()
    };
    assert_eq!(tail("a\nb\nc\n", 2), "b\nc\n");
    assert_eq!(tail("a\nb\nc", 2), "b\nc");
    assert_eq!(tail("a\nb\n", 9), "a\nb\n");
    assert_eq!(tail("a\n\n\n", 2), "\n\n");
    assert_eq!((tail("a\nb\n", 0), tail("", 3)), (String::new(), String::new()));
    let long: String = (0..40_000).map(|number| format!("line {number}\n")).collect();
    assert_eq!(tail(&long, 2), "line 39998\nline 39999\n");
    assert_eq!(tail(&long, 30_000).lines().count(), 30_000);
}

fn a_log_is_followed_to_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    fs::write(&path, "old\nfirst\n").unwrap();
    let over = AtomicBool::new(false);
    let mut shown = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut log = File::options().append(true).open(&path).unwrap();
            log.write_all(b"second\n").unwrap();
            // Begun anew, as when the worker is started again.
            fs::rename(&path, path.with_extension("old")).unwrap();
            fs::write(&path, "third\n").unwrap();
            over.store(true, Ordering::Relaxed);
        });
        logs::follow(&path, 1, &mut shown, &|| over.load(Ordering::Relaxed)).unwrap();
    });
    let shown = String::from_utf8(shown).unwrap();
    assert!(shown.ends_with("third\n") && !shown.contains("old"), "{shown}");
}

/// What a shell makes of a line, word by word.
fn words_after_a_shell(line: &OsString) -> Vec<Vec<u8>> {
    let output = Command::new("sh").arg("-c").arg(line).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    output.stdout.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect()
}

fn survives(words: &[OsString]) -> bool {
    use std::os::unix::ffi::OsStrExt as _;
    let mut given = vec![OsString::from("%s\\0")];
    given.extend(words.iter().cloned());
    let mut found = words_after_a_shell(&command_line("printf".as_ref(), &given));
    // Behind the last mark is nothing.
    found.pop();
    let wanted: Vec<Vec<u8>> = words.iter().map(|word| word.as_bytes().to_vec()).collect();
    found == wanted
}

fn every_word_survives_a_shell() {
    let hostile =
        ["", "'", "a b", "; touch x", "$(id)", "`id`", "$HOME", "*", "~", "#", "-n", "\n", "\\", "''", "é", "!", "a=b"];
    assert!(survives(&hostile.map(OsString::from)));
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(40));
    let words = prop::collection::vec("[^\u{0}]{0,12}", 1..6);
    runner
        .run(&words, |words| {
            let words: Vec<OsString> = words.into_iter().map(OsString::from).collect();
            prop_assert!(survives(&words));
            Ok(())
        })
        .unwrap();
}

/// The word of an id, put into the line as it is: the shell makes two commands of it, and the test above would see that.
fn an_unquoted_word_does_not_survive() {
    let id = "a; printf '%s\\0' b";
    let naive = OsString::from(format!("printf '%s\\0' {id}"));
    assert_ne!(words_after_a_shell(&naive)[0], id.as_bytes());
    assert!(survives(&[id.into()]));
}

fn our_own_flags_stay_here() {
    let kept = |line: &str| -> Vec<String> {
        let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        without_ours(&words).into_iter().map(|word| word.into_string().unwrap()).collect()
    };
    assert_eq!(kept("models info x --host h"), ["models", "info", "x"]);
    assert_eq!(kept("--host h models list --json"), ["models", "list", "--json"]);
    assert_eq!(kept("models info --host=h --timeout-sec 3 x"), ["models", "info", "x"]);
    assert_eq!(kept("worker spawn cpu --ssh-config f --remote-program=p -C d"), ["worker", "spawn", "cpu", "-C", "d"]);
    assert_eq!(kept("worker spawn cpu --connect-timeout-sec 2"), ["worker", "spawn", "cpu"]);
    assert_eq!(kept("worker spawn cpu -- --host h"), ["worker", "spawn", "cpu", "--", "--host", "h"]);
    assert_eq!(kept("models info --hostile x"), ["models", "info", "--hostile", "x"]);
}

const STREAM: &str = ": hello\n\nevent: started\ndata: {}\n\nevent: token\r\ndata: {\"t\":\"a\"}\r\n\r\n\
                      id: 7\nevent:token\ndata:{\"t\":\ndata: \"b\"}\n\nevent: end\rdata: {}\r\r";

fn frames_however_they_are_cut() {
    let frame = |event: &str, data: &str| Frame { event: event.into(), data: data.into() };
    let whole = [
        frame("started", "{}"),
        frame("token", "{\"t\":\"a\"}"),
        frame("token", "{\"t\":\n\"b\"}"),
        frame("end", "{}"),
    ];
    for size in 1..STREAM.len() {
        let mut frames = Frames::default();
        let found: Vec<Frame> = STREAM.as_bytes().chunks(size).flat_map(|bytes| frames.take(bytes).unwrap()).collect();
        assert_eq!(found, whole, "in pieces of {size}");
    }
    let endless = vec![b'x'; (1 << 20) + 1];
    assert!(matches!(Frames::default().take(&endless), Err(InferError::NotUnderstood(_))));
}

fn how_a_job_ends() {
    let hear = |events: &[(&str, &str)]| {
        let (mut job, mut out) = (Job::default(), Vec::new());
        let mut outcome = Err(InferError::CutShort);
        for (event, data) in events {
            let frame = Frame { event: (*event).into(), data: (*data).into() };
            match job.hear(&frame, &mut out) {
                Ok(false) => {}
                Ok(true) => outcome = job.conclude(&mut out),
                Err(problem) => outcome = Err(problem),
            }
        }
        (outcome, String::from_utf8(out).unwrap())
    };
    let token = ("token", "{\"t\":\"Hi\",\"i\":0}");
    let (outcome, text) = hear(&[("started", "{}"), token, ("metrics", "x"), token, ("end", "{}")]);
    assert!(outcome.is_ok() && text == "HiHi\n");
    assert_eq!(hear(&[("token", "{\"t\":\"a\\n\"}"), ("end", "{}")]).1, "a\n");
    assert!(matches!(hear(&[("started", "{}"), ("end", "{}")]).0, Err(InferError::NoToken)));
    let failed = hear(&[token, ("error", "{\"code\":\"CANCELLED\",\"message\":\"m\"}")]);
    assert!(matches!(&failed.0, Err(InferError::Failed { code, .. }) if code == "CANCELLED"));
    assert_eq!(failed.1, "Hi\n");
    assert!(matches!(hear(&[token]).0, Err(InferError::CutShort)));
    assert!(matches!(hear(&[("token", "{}")]).0, Err(InferError::NotUnderstood(_))));
    assert!(matches!(hear(&[("token", "no JSON")]).0, Err(InferError::NotUnderstood(_))));
}
