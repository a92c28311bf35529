//! The GGUF reader: the same model as from safetensors, and ggml's blocks to the bit.

use std::fs;
use std::path::{Path, PathBuf};

use llorch::model::digest::model_digest;
use llorch::model::file::{Format, TokenizerSource, name_in_gguf};
use llorch::model::recipe::{OutputFormat, Recipe, Size};
use llorch::model::weights::element::Element;
use llorch::model::weights::gguf;

use super::safetensors::{hostile, open};

pub const TESTS: &[(&str, fn())] = &[
    ("gguf/same_model_as_safetensors", same_model_as_safetensors),
    ("gguf/tokenizer", tokenizer),
    ("gguf/quantised_blocks_are_ggmls", quantised_blocks_are_ggmls),
    ("gguf/mixed_types_from_another_writer", mixed_types_from_another_writer),
    ("gguf/variants_are_one_model", variants_are_one_model),
    ("gguf/names", names),
    ("gguf/arrays_of_arrays", arrays_of_arrays),
];

fn same_model_as_safetensors() {
    let scratch = tempfile::tempdir().expect("a folder");
    for size in [Size::Tiny, Size::Odd] {
        let recipe = Recipe::new(size.configuration(), 3).expect("a recipe");
        let path = scratch.path().join(format!("{}.gguf", size.name()));
        recipe.write(&path, OutputFormat::Gguf).expect("written");
        let model = open(&path);
        assert_eq!((model.name.as_str(), model.format), (size.name(), Format::Gguf));
        assert_eq!(model.quant_kind, "F32");
        // Rounded to f32 in the file, as ggml keeps it.
        let mut configuration = model.configuration.gpt2("this case").expect("a GPT-2").clone();
        assert!((configuration.layer_norm_epsilon - 1e-5).abs() < 1e-12);
        configuration.layer_norm_epsilon = 1e-5;
        assert_eq!(configuration, size.configuration());
        assert_eq!(model_digest(&model.weights), model_digest(&recipe.weights()));
        // Matrices had to be turned round, all else is used in place.
        let mapped = |name: &str| model.weights.iter().any(|(found, weight)| found == name && weight.is_mapped());
        assert!(mapped("wte.weight") && mapped("ln_f.bias") && !mapped("h.0.mlp.c_fc.weight"));
    }
}

fn tokenizer() {
    let TokenizerSource::Gguf(tokenizer) = open(hostile("gguf/valid.gguf")).tokenizer_source else {
        panic!("no tokenizer");
    };
    assert_eq!((tokenizer.model.as_str(), tokenizer.pre.as_deref()), ("gpt2", Some("gpt-2")));
    assert_eq!(tokenizer.tokens, ["a", "b", "c", "Ġ", "ab", "<|endoftext|>"]);
    assert_eq!(tokenizer.token_types, [1, 1, 1, 1, 1, 3]);
    assert_eq!(tokenizer.merges, ["a b"]);
    assert_eq!((tokenizer.eos_token_id, tokenizer.bos_token_id), (Some(5), None));
    assert_eq!(open(hostile("gguf/valid-no-tokenizer.gguf")).tokenizer_source, TokenizerSource::Absent);
}

fn bytes_of(hex: &serde_json::Value) -> Vec<u8> {
    let hex = hex.as_str().expect("hex");
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex")).collect()
}

fn quantised(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/quantised").join(name)
}

fn vectors() -> serde_json::Value {
    serde_json::from_slice(&fs::read(quantised("vectors.json")).expect("the vectors")).expect("JSON")
}

/// Every type in one file, most of them turned round, with the digest that numpy gives.
fn mixed_types_from_another_writer() {
    let model = open(quantised("mixed.gguf"));
    assert_eq!((model.name.as_str(), model.quant_kind.as_str()), ("mixed", "Q4_K_M"));
    assert_eq!(vectors()["mixed_model_digest"], model_digest(&model.weights));
    assert!(model.unused.is_empty());
}

/// Against vectors of the reference implementation, fixtures/quantised/make.py.
fn quantised_blocks_are_ggmls() {
    let file = vectors();
    let all = [
        Element::Q4_0,
        Element::Q4_1,
        Element::Q5_0,
        Element::Q5_1,
        Element::Q8_0,
        Element::Q2K,
        Element::Q3K,
        Element::Q4K,
        Element::Q5K,
        Element::Q6K,
    ];
    for element in all {
        let vector = &file["vectors"][element.name()];
        let (stored, expected) = (bytes_of(&vector["stored"]), bytes_of(&vector["values"]));
        let mut values = vec![f32::NAN; expected.len() / 4];
        element.decode(&stored, &mut values);
        for (index, (value, expected)) in values.iter().zip(expected.as_chunks::<4>().0).enumerate() {
            let expected = f32::from_le_bytes(*expected);
            assert_eq!(value.to_bits(), expected.to_bits(), "{} at {index}: {value}, not {expected}", element.name());
        }
    }
}

fn variants_are_one_model() {
    let digest = |name: &str| model_digest(&open(hostile(&format!("gguf/{name}.gguf"))).weights);
    for variant in ["version-2", "alignment-8", "alignment-1", "no-tokenizer", "head-repeated", "without-last-padding"]
    {
        assert_eq!(digest("valid"), digest(&format!("valid-{variant}")), "{variant}");
    }
    // The corpus holds the same model in both formats.
    assert_eq!(digest("valid"), model_digest(&open(hostile("safetensors/valid.safetensors")).weights));
}

fn names() {
    assert_eq!(name_in_gguf("wte.weight"), "token_embd.weight");
    assert_eq!(name_in_gguf("ln_f.bias"), "output_norm.bias");
    assert_eq!(name_in_gguf("h.11.attn.c_proj.bias"), "blk.11.attn_output.bias");
    assert_eq!(name_in_gguf("h.0.mlp.c_proj.weight"), "blk.0.ffn_down.weight");
}

fn arrays_of_arrays() {
    let file = fs::read(hostile("gguf/valid-array-of-arrays.gguf")).expect("the fixture");
    let header = gguf::read(&file).expect("a header");
    let array = header.get("x").and_then(|value| value.as_array()).expect("an array");
    assert_eq!((array.count, array.element), (2, gguf::ValueType::Array));
    assert!(header.strings("x").is_err() && header.strings("absent").is_ok_and(|none| none.is_none()));
}
