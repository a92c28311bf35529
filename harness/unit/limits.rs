//! What a model may ask of the machine, and what may stand where its files should: refused by name, at once, without taking
//! the memory that it asks for.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant};

use llorch::backend::cpu::{CpuBackend, LoadError};
use llorch::backend::{BackendKind, InferenceBackend, Settings, StubPace, load};
use llorch::model::memory;
use llorch::model::recipe::{OutputFormat, Recipe, Size};
use serde_json::{Value, json};
use tempfile::TempDir;

pub const TESTS: &[(&str, fn())] = &[
    ("limits/cache_size_shortens_the_context", cache_size_shortens_the_context),
    ("limits/cache_larger_than_the_machine", cache_larger_than_the_machine),
    ("limits/memory_is_compared", memory_is_compared),
    ("limits/special_ids_outside_the_vocabulary", special_ids_outside_the_vocabulary),
    ("limits/objects_that_are_no_files", objects_that_are_no_files),
    ("limits/tokenizers_that_mean_harm", tokenizers_that_mean_harm),
    ("limits/tokenizers_that_are_right", tokenizers_that_are_right),
];

/// A model with a context of 128: two blocks of the cache.
fn model() -> (TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model");
    let recipe = Recipe::new(Size::Tiny.configuration(), 1).expect("sound");
    recipe.write(&path, OutputFormat::Safetensors).expect("written");
    (folder, path)
}

fn open_within(path: &Path, cache: Option<u64>) -> Result<CpuBackend, LoadError> {
    CpuBackend::open_within(path, 1, false, cache, &mut |_| {})
}

/// 2 layers × 4 heads × 16 wide × 128 positions × keys and values × 4 bytes: 128 KiB.
fn cache_size_shortens_the_context() {
    let (_folder, path) = model();
    let context = |cache| open_within(&path, cache).expect("opens").describe().context_length;
    assert_eq!(
        [None, Some(1 << 30), Some(128 << 10), Some(100 << 10), Some(64 << 10)].map(context),
        [128, 128, 128, 64, 64]
    );
    let refused = open_within(&path, Some(60 << 10)).err().expect("less than a block").to_string();
    assert!(refused.contains("would take 65536 bytes of memory, and 61440 are available"), "{refused}");
    // The flag counts in MiB, and reaches the backend.
    let settings = |kv_cache_size_mb| Settings {
        kind: BackendKind::Cpu,
        model: Some(path.clone()),
        threads: 1,
        kv_cache_size_mb,
        digest: false,
        capture: None,
        parity_log: None,
        stub: StubPace::default(),
    };
    assert!(load(&settings(Some(1)), &mut |_| {}).is_ok());
    assert!(load(&settings(Some(u64::MAX)), &mut |_| {}).is_ok());
}

/// Some ten megabytes of file, nearly all of it a hole, whose context would fill half a terabyte.
fn cache_larger_than_the_machine() {
    let (_folder, path) = model();
    let (layers, width, context) = (1024_usize, 16_usize, 1_usize << 20);
    let configuration = llorch::model::Gpt2Configuration {
        n_layer: layers,
        n_head: 1,
        n_embd: width,
        n_inner: 1,
        n_ctx: context,
        ..Size::Tiny.configuration()
    };
    let (mut header, mut end) = (serde_json::Map::new(), 0);
    for (name, shape) in configuration.tensors() {
        let begin = end;
        end += 4 * shape.iter().product::<usize>();
        header.insert(name, json!({ "dtype": "F32", "shape": shape, "data_offsets": [begin, end] }));
    }
    let mut header = Value::Object(header).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    let file = path.join("model.safetensors");
    fs::write(&file, [&(header.len() as u64).to_le_bytes()[..], &header].concat()).expect("written");
    let hole = fs::OpenOptions::new().write(true).open(&file).expect("opens");
    hole.set_len((8 + header.len() + end) as u64).expect("a sparse file");
    let text = fs::read_to_string(path.join("config.json")).expect("there");
    let mut config: Value = serde_json::from_str(&text).expect("JSON");
    for (key, value) in
        [("n_layer", layers), ("n_head", 1), ("n_embd", width), ("n_inner", 1), ("n_positions", context)]
    {
        config[key] = value.into();
    }
    fs::write(path.join("config.json"), config.to_string()).expect("written");
    let settings = Settings {
        kind: BackendKind::Cpu,
        model: Some(path.clone()),
        threads: 1,
        kv_cache_size_mb: None,
        digest: false,
        capture: None,
        parity_log: None,
        stub: StubPace::default(),
    };
    let needed = 4 * 2 * (layers * width * context) as u64;
    if memory::available().is_some_and(|available| available < needed) {
        let error = load(&settings, &mut |_| {}).err().expect("it cannot fit");
        assert_eq!((error.code, error.required_bytes), ("VRAM_OOM", Some(needed)));
        assert!(error.available_bytes.is_some() && error.message.contains("the key-value cache"), "{error}");
    }
    let small = Settings { kv_cache_size_mb: Some(64), ..settings };
    assert!(load(&small, &mut |_| {}).is_ok(), "a part of the context fits");
}

fn memory_is_compared() {
    assert!(memory::require("it", 10, Some(10)).is_ok() && memory::require("it", u64::MAX, None).is_ok());
    let refused = memory::require("it", 11, Some(10)).expect_err("too much").to_string();
    assert_eq!(refused, "it would take 11 bytes of memory, and 10 are available");
    assert!(memory::available().is_none_or(|bytes| bytes > 1 << 20));
}

/// Libraries write 50256 where nobody said otherwise, however small the vocabulary.
fn special_ids_outside_the_vocabulary() {
    let (_folder, path) = model();
    let with = |eos: Value| {
        let text = fs::read_to_string(path.join("config.json")).expect("there");
        let mut config: Value = serde_json::from_str(&text).expect("JSON");
        config["eos_token_id"] = eos.clone();
        config["bos_token_id"] = eos;
        fs::write(path.join("config.json"), config.to_string()).expect("written");
        llorch::model::file::open(&path, &mut |_| {}).map(|model| model.configuration.eos_token_id())
    };
    assert_eq!(with(json!(1023)).expect("opens"), Some(1023));
    assert_eq!(with(json!(1024)).expect("opens"), None);
    assert_eq!(with(json!(50256)).expect("opens"), None);
    assert_eq!(with(Value::Null).expect("opens"), None);
    assert_eq!(with(json!([50256, 7, 8])).expect("opens"), Some(7));
    for refused in [json!(-1), json!([1, "2"]), json!("1"), json!(1u64 << 40)] {
        assert!(with(refused.clone()).is_err_and(|error| error.to_string().contains("eos_token_id")), "{refused}");
    }
}

type Place = fn(&Path);

/// Pipes, devices, folders, loops and links to nowhere, in the place of each file of a model.
fn objects_that_are_no_files() {
    let objects: [(&str, Place, &str); 5] = [
        (
            "pipe",
            |path| assert!(std::process::Command::new("mkfifo").arg(path).status().is_ok_and(|s| s.success())),
            "is not a regular file",
        ),
        ("device", |path| symlink("/dev/zero", path).expect("linked"), "is not a regular file"),
        ("folder", |path| fs::create_dir(path).expect("made"), "is not a regular file"),
        ("loop", |path| symlink(path, path).expect("linked"), "ymbolic link"),
        ("nowhere", |path| symlink("/nowhere/at/all", path).expect("linked"), "No such file"),
    ];
    for file in ["config.json", "tokenizer.json", "model.safetensors"] {
        for (what, place, reason) in objects {
            let (_folder, path) = model();
            fs::remove_file(path.join(file)).expect("removed");
            place(&path.join(file));
            let began = Instant::now();
            let error = open_within(&path, None).err().expect("no file").to_string();
            // A link to nowhere under a model's name leaves a folder without a model.
            let right = error.contains(reason) || (file == "model.safetensors" && error.contains("no model here"));
            assert!(right && error.contains(file) || error.contains("no model here"), "{what} for {file}: {error}");
            assert!(began.elapsed() < Duration::from_secs(5), "{what} for {file} took {:?}", began.elapsed());
        }
    }
}

fn with_tokenizer(change: impl Fn(&mut Value)) -> Result<(), String> {
    let (_folder, path) = model();
    let file = path.join("tokenizer.json");
    let mut tokenizer: Value = serde_json::from_str(&fs::read_to_string(&file).expect("there")).expect("JSON");
    change(&mut tokenizer);
    fs::write(&file, tokenizer.to_string()).expect("written");
    open_within(&path, None).map(drop).map_err(|error| error.to_string())
}

fn split(regex: &str, behavior: &str) -> Value {
    json!({ "type": "Sequence", "pretokenizers": [
        { "type": "Split", "pattern": { "Regex": regex }, "behavior": behavior, "invert": false },
        { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false },
    ]})
}

fn tokenizers_that_mean_harm() {
    let refused = |change: &dyn Fn(&mut Value), reason: &str| {
        let error = with_tokenizer(change).expect_err(reason);
        assert!(error.contains("the tokenizer cannot be used") && error.contains(reason), "{reason}: {error}");
    };
    // One letter that becomes a hundred thousand, twice over: ten gigabytes from one letter of a prompt.
    let replace = json!({ "type": "Replace", "pattern": { "String": "a" }, "content": "a".repeat(100_000) });
    let twice = json!({ "type": "Sequence", "normalizers": [replace, replace] });
    refused(&|file| file["normalizer"] = replace.clone(), "normalizer \"Replace\"");
    refused(&|file| file["normalizer"] = twice.clone(), "normalizer \"Replace\"");
    refused(&|file| file["normalizer"] = json!({ "type": "Lowercase" }), "normalizer \"Lowercase\"");
    refused(&|file| file["normalizer"] = json!({ "types": 1 }), "normalizer \"without a type\"");
    refused(&|file| file["pre_tokenizer"] = json!({ "type": "Whitespace" }), "pre-tokenizer \"Whitespace\"");
    refused(&|file| file["pre_tokenizer"] = split("a", "Removed"), "Removed");
    refused(&|file| file["pre_tokenizer"] = split("((((", "Isolated"), "tokenizer.json");
    refused(&|file| file["pre_tokenizer"] = split("(((a{1000}){1000}){1000}){1000}", "Isolated"), "tokenizer.json");
    refused(&|file| file["added_tokens"][0]["id"] = json!(4_294_967_295_u32), "the ids reach up to 4294967295");
    refused(&|file| file["model"]["merges"] = json!([["zz", "qq"]]), "which is no token");
    refused(&|file| file["model"]["merges"] = json!([["a", "b", "c"]]), "tokenizer.json");
    refused(&|file| file["model"]["vocab"] = json!({}), "no token stands for the single byte");
}

fn tokenizers_that_are_right() {
    assert_eq!(with_tokenizer(|_| {}), Ok(()));
    assert_eq!(with_tokenizer(|file| file["normalizer"] = json!({ "type": "NFC" })), Ok(()));
    assert_eq!(with_tokenizer(|file| file["normalizer"] = json!({ "type": "Sequence", "normalizers": [] })), Ok(()));
    assert_eq!(with_tokenizer(|file| file["pre_tokenizer"] = split(r"\p{N}{1,3}", "Isolated")), Ok(()));
}
