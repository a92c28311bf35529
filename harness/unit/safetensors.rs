//! The safetensors reader and what becomes of a tensor on its way into memory.

use std::fs;
use std::path::Path;

use half::{bf16, f16};
use llorch::model::configuration::ConfigurationFile;
use llorch::model::digest::model_digest;
use llorch::model::file::{self, Format, ModelFile, TokenizerSource};
use llorch::model::recipe::{OutputFormat, Recipe, Size};
use llorch::model::weights::element::Element;

pub const TESTS: &[(&str, fn())] = &[
    ("safetensors/used_in_place", used_in_place),
    ("safetensors/progress_counts_to_100", progress_counts_to_100),
    ("safetensors/unaligned_is_copied", unaligned_is_copied),
    ("safetensors/off_a_cache_line_is_copied", off_a_cache_line_is_copied),
    ("safetensors/ends_of_text", ends_of_text),
    ("safetensors/prefix_is_no_difference", prefix_is_no_difference),
    ("safetensors/every_half_decodes", every_half_decodes),
    ("safetensors/half_precision_kinds", half_precision_kinds),
    ("safetensors/equal_head_is_tied", equal_head_is_tied),
    ("safetensors/other_head_is_kept", other_head_is_kept),
    ("safetensors/unused_are_named", unused_are_named),
    ("safetensors/asked_for_wrongly", asked_for_wrongly),
    ("safetensors/shards_are_one_model", shards_are_one_model),
    ("safetensors/embedded", embedded),
];

pub fn open(path: impl AsRef<Path>) -> ModelFile {
    file::open(path.as_ref(), &mut |_| {}).unwrap_or_else(|error| panic!("{error}"))
}

pub fn hostile(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/hostile").join(name)
}

pub fn tiny() -> Recipe {
    Recipe::new(Size::Tiny.configuration(), 1).expect("the tiny recipe")
}

fn used_in_place() {
    let scratch = tempfile::tempdir().expect("a folder");
    let folder = scratch.path().join("my-model");
    tiny().write(&folder, OutputFormat::Safetensors).expect("written");
    let model = open(&folder);
    assert_eq!(
        (model.name.as_str(), model.format, model.quant_kind.as_str()),
        ("my-model", Format::Safetensors, "F32")
    );
    assert_eq!(model.tokenizer_source, TokenizerSource::HfJson(folder.join("tokenizer.json")));
    assert!(model.weights.iter().all(|(_, weight)| weight.is_mapped()));
    assert_eq!(model.weights.held_bytes(), model.stored_bytes);
    let size = [1024, 64];
    let (one, two) = (model.weights.get("wte.weight", &size), model.weights.get("wte.weight", &size));
    assert!(one.expect("wte").shares_memory_with(&two.expect("wte")));
    assert!(!model.weights.has("lm_head.weight"));
    assert!(model.unused.is_empty());
    assert_eq!(open(folder.join("model.safetensors")).name, "my-model");
}

fn progress_counts_to_100() {
    let scratch = tempfile::tempdir().expect("a folder");
    let folder = scratch.path().join("tiny");
    tiny().write(&folder, OutputFormat::Safetensors).expect("written");
    let mut told = Vec::new();
    file::open(&folder, &mut |percent| told.push(percent)).expect("opens");
    assert_eq!(told, (0..=100).collect::<Vec<u8>>());
}

fn unaligned_is_copied() {
    let aligned = open(hostile("safetensors/valid.safetensors"));
    for pad in 1..4 {
        let copied = open(hostile(&format!("safetensors/valid-unaligned-{pad}.safetensors")));
        assert!(copied.weights.iter().all(|(_, weight)| !weight.is_mapped()));
        assert_eq!(model_digest(&aligned.weights), model_digest(&copied.weights));
    }
}

/// A header that ends inside a cache line, as other writers leave it: the matrices of layers are brought onto one.
fn off_a_cache_line_is_copied() {
    let scratch = tempfile::tempdir().expect("a folder");
    let folder = scratch.path().join("tiny");
    tiny().write(&folder, OutputFormat::Safetensors).expect("written");
    let path = folder.join("model.safetensors");
    let aligned = open(&folder);
    let file = fs::read(&path).expect("the file");
    let length = u64::from_le_bytes(file[..8].try_into().expect("eight bytes"));
    let end = 8 + length as usize;
    let moved = [&(length + 8).to_le_bytes(), &file[8..end], b"        ", &file[end..]].concat();
    fs::remove_file(&path).expect("removed"); // and not written over: it is mapped
    fs::write(&path, moved).expect("written");
    let copied = open(&folder);
    let mapped = |name: &str| copied.weights.iter().any(|(found, weight)| found == name && weight.is_mapped());
    assert!(mapped("wte.weight") && mapped("h.0.ln_1.weight") && !mapped("h.0.mlp.c_fc.weight"));
    assert_eq!(model_digest(&aligned.weights), model_digest(&copied.weights));
}

/// One id, a list, or none; ids outside the vocabulary end nothing.
fn ends_of_text() {
    for (given, expected) in [("5", vec![5]), ("[5, 4]", vec![5, 4]), ("[50256, 4]", vec![4]), ("[]", vec![])] {
        let configuration = fs::read_to_string(hostile("configuration/valid.json")).expect("the fixture");
        let mut configuration: serde_json::Value = serde_json::from_str(&configuration).expect("JSON");
        configuration["eos_token_id"] = serde_json::from_str(given).expect("JSON");
        let read = ConfigurationFile::parse(&configuration.to_string()).expect("sound");
        assert_eq!(read.configuration.eos_token_id(), expected.first().copied());
        assert_eq!(read.end_of_text, expected);
    }
}

fn prefix_is_no_difference() {
    let [plain, prefixed] =
        ["valid", "valid-prefix"].map(|name| open(hostile(&format!("safetensors/{name}.safetensors"))));
    assert_eq!(model_digest(&plain.weights), model_digest(&prefixed.weights));
}

/// All 65 536 patterns of both 16-bit types, against the crate's one-by-one conversion.
fn every_half_decodes() {
    let stored: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
    let mut values = vec![0.0; 1 << 16];
    let same =
        |found: f32, expected: f32| found.to_bits() == expected.to_bits() || (found.is_nan() && expected.is_nan());
    Element::F16.decode(&stored, &mut values);
    assert!((0..=u16::MAX).zip(&values).all(|(bits, &value)| same(value, f16::from_bits(bits).to_f32())));
    Element::Bf16.decode(&stored, &mut values);
    assert!((0..=u16::MAX).zip(&values).all(|(bits, &value)| same(value, bf16::from_bits(bits).to_f32())));
}

/// The corpus' numbers are sixteenths, exact in all three types: one model, three files.
fn half_precision_kinds() {
    let full = open(hostile("safetensors/valid.safetensors"));
    for (name, kind) in [("valid-f16", "F16"), ("valid-bf16", "BF16")] {
        let model = open(hostile(&format!("safetensors/{name}.safetensors")));
        assert_eq!(model.quant_kind, kind);
        assert_eq!(model_digest(&model.weights), model_digest(&full.weights));
        assert_eq!(model.stored_bytes * 2, model.weights.held_bytes());
    }
}

/// A valid file with a head of its own: the embedding's bytes after `change`.
fn with_head(change: fn(&mut [u8])) -> ModelFile {
    let file = fs::read(hostile("safetensors/valid.safetensors")).expect("the fixture");
    let configuration = fs::read_to_string(hostile("safetensors/config.json")).expect("the fixture");
    let length = u64::from_le_bytes(file[..8].try_into().expect("eight bytes")) as usize;
    let mut header: serde_json::Value = serde_json::from_slice(&file[8..8 + length]).expect("a header");
    let mut data = file[8 + length..].to_vec();
    let mut head = data[..6 * 4 * 4].to_vec(); // wte.weight comes first
    change(&mut head);
    header["lm_head.weight"] =
        serde_json::json!({"dtype": "F32", "shape": [6, 4], "data_offsets": [data.len(), data.len() + head.len()]});
    data.extend(head);
    let header = header.to_string();
    let whole: Vec<u8> = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &data].concat();
    file::from_bytes(std::sync::Arc::<[u8]>::from(whole), &configuration, "{}").expect("opens")
}

fn equal_head_is_tied() {
    let model = with_head(|_| {});
    assert!(!model.weights.has("lm_head.weight"));
    assert_eq!(model_digest(&model.weights), model_digest(&open(hostile("safetensors/valid.safetensors")).weights));
}

fn other_head_is_kept() {
    let model = with_head(|head| head[0] ^= 1);
    let shape = [6, 4];
    let head = model.weights.get("lm_head.weight", &shape).expect("a head");
    assert!(!head.shares_memory_with(&model.weights.get("wte.weight", &shape).expect("an embedding")));
    assert_ne!(model_digest(&model.weights), model_digest(&open(hostile("safetensors/valid.safetensors")).weights));
}

fn unused_are_named() {
    assert_eq!(open(hostile("safetensors/valid-unused.safetensors")).unused, ["of.no.use"]);
}

fn asked_for_wrongly() {
    let model = open(hostile("safetensors/valid.safetensors"));
    let missing = model.weights.get("h.7.ln_1.bias", &[4]).expect_err("there is no block 7").to_string();
    assert!(missing.contains("valid.safetensors: the model needs tensor `h.7.ln_1.bias`"), "{missing}");
    let shape = model.weights.get("wte.weight", &[4, 6]).expect_err("transposed").to_string();
    assert!(shape.contains("`wte.weight` has shape [6, 4], the configuration says [4, 6]"), "{shape}");
}

fn shards_are_one_model() {
    let whole = open(hostile("safetensors/valid.safetensors"));
    assert_eq!(model_digest(&open(hostile("index/valid")).weights), model_digest(&whole.weights));
}

fn embedded() {
    let bytes: &'static [u8] = include_bytes!("../../fixtures/hostile/safetensors/valid.safetensors");
    let configuration = include_str!("../../fixtures/hostile/safetensors/config.json");
    let model = file::from_bytes(bytes, configuration, "{}").expect("opens");
    assert_eq!(model.tokenizer_source, TokenizerSource::HfJsonText("{}".into()));
    assert_eq!(model_digest(&model.weights), model_digest(&open(hostile("safetensors/valid.safetensors")).weights));
}
