//! Models of the Llama family in both formats: one model, however it lies in its file.

use std::path::Path;

use llorch::model::configuration::{Configuration, LlamaConfiguration, RopeScaling};
use llorch::model::digest::{model_digest, stored_model_digest};
use llorch::model::file::{self, Format};
use llorch::model::recipe::{LlamaSize, OutputFormat, Recipe, Size};

use super::safetensors::open;

pub const TESTS: &[(&str, fn())] = &[
    ("llama_files/one_model_in_both_formats", one_model_in_both_formats),
    ("llama_files/rows_in_pairs_are_put_back", rows_in_pairs_are_put_back),
    ("llama_files/stored_as_they_are", stored_as_they_are),
    ("llama_files/rotary_frequencies", rotary_frequencies),
    ("llama_files/refused_by_what_runs_gpt2", refused_by_what_runs_gpt2),
];

/// Every size of the family in both formats, under a name of its own.
fn each(check: impl Fn(&Recipe, &Path, &Path)) {
    let scratch = tempfile::tempdir().expect("a folder");
    for (architecture, size) in LlamaSize::ALL {
        let name = format!("{}-{}", architecture.name(), size.name());
        let recipe = Recipe::llama(LlamaSize::of(architecture, size).expect("a size"), 5).expect("a recipe");
        let (folder, gguf) = (scratch.path().join(&name), scratch.path().join(format!("{name}.gguf")));
        recipe.write(&folder, OutputFormat::Safetensors).expect("written");
        recipe.write(&gguf, OutputFormat::Gguf).expect("written");
        check(&recipe, &folder, &gguf);
    }
}

fn llama(configuration: &Configuration) -> &LlamaConfiguration {
    match configuration {
        Configuration::Llama(configuration) => configuration,
        Configuration::Gpt2(_) => panic!("a GPT-2"),
    }
}

fn one_model_in_both_formats() {
    each(|recipe, folder, gguf| {
        let (tensors, gguf) = (open(folder), open(gguf));
        assert_eq!((tensors.format, gguf.format), (Format::Safetensors, Format::Gguf));
        assert_eq!(&tensors.configuration, recipe.configuration());
        let digest = model_digest(&recipe.weights());
        assert_eq!(model_digest(&tensors.weights), digest);
        assert_eq!(model_digest(&gguf.weights), digest);
        assert_eq!(gguf.weights.has("lm_head.weight"), !recipe.is_tied());
        assert!(tensors.unused.is_empty() && gguf.unused.is_empty());
        // What GGUF keeps in f32 or in another form aside, the sizes are the same.
        let (expected, found) = (llama(recipe.configuration()), llama(&gguf.configuration));
        assert!((found.rms_norm_epsilon / expected.rms_norm_epsilon - 1.0).abs() < 1e-6);
        let rope_scaling = expected.rope_scaling.clone();
        let rounded = LlamaConfiguration { rms_norm_epsilon: expected.rms_norm_epsilon, rope_scaling, ..found.clone() };
        assert_eq!(&rounded, expected);
    });
}

/// The file of a Llama holds other rows than the model, that of a Qwen2 the same.
fn rows_in_pairs_are_put_back() {
    each(|recipe, _, gguf| {
        let configuration = llama(recipe.configuration());
        let bytes = std::fs::read(gguf).expect("the file");
        for name in
            ["layers.0.self_attn.q_proj.weight", "layers.0.self_attn.k_proj.weight", "layers.1.mlp.up_proj.weight"]
        {
            let weights = recipe.weights();
            let (_, weight) = weights.iter().find(|(known, _)| *known == name).expect("a tensor");
            let held: Vec<u8> = weight.values().iter().flat_map(|value| value.to_le_bytes()).collect();
            let is_as_held = bytes.windows(held.len()).any(|window| window == held);
            let in_pairs = configuration.architecture.name() == "llama" && name.contains("self_attn");
            assert_eq!(is_as_held, !in_pairs, "{} {name}", configuration.architecture.name());
        }
    });
}

fn stored_as_they_are() {
    each(|recipe, folder, gguf| {
        let digest = model_digest(&recipe.weights());
        for path in [folder, gguf] {
            let mut told = Vec::new();
            let stored = file::open_stored(path, &mut |percent| told.push(percent)).expect("opens");
            assert_eq!(told, (0..=100).collect::<Vec<u8>>());
            assert_eq!(stored_model_digest(&stored.weights).expect("decodes"), digest);
            let weights = recipe.weights();
            for (name, weight) in weights.iter() {
                let found = stored.weights.get(name, weight.shape()).expect("of this shape");
                assert_eq!(found.element().name(), "F32");
                let bytes: Vec<u8> = weight.values().iter().flat_map(|value| value.to_le_bytes()).collect();
                assert!(found.bytes() == bytes, "{name}");
            }
            assert!(stored.weights.get("norm.weight", &[1]).is_err());
        }
    });
    // A GPT-2 in GGUF is left with its matrices turned round, and decoded to the same model.
    let scratch = tempfile::tempdir().expect("a folder");
    let path = scratch.path().join("odd.gguf");
    let recipe = Recipe::new(Size::Odd.configuration(), 2).expect("a recipe");
    recipe.write(&path, OutputFormat::Gguf).expect("written");
    let stored = file::open_stored(&path, &mut |_| {}).expect("opens");
    assert_eq!(stored_model_digest(&stored.weights).expect("decodes"), model_digest(&recipe.weights()));
    let matrix = stored.weights.get("h.0.mlp.c_fc.weight", &[55, 220]).expect("a matrix");
    assert_eq!(matrix.stored_shape(), [220, 55]);
}

/// As transformers 5.24 computes them, in f32.
fn rotary_frequencies() {
    let expected: [(&str, &[f64]); 4] = [
        ("llama-tiny", &[1.0, 0.3162277638912201, 0.10000000149011612, 0.03162277862429619]),
        ("llama-odd", &[0.5760563611984253, 0.009059744887053967, 0.0006566319498233497, 4.759133298648521e-05]),
        ("qwen2-tiny", &[1.0, 0.17782793939113617, 0.03162277862429619, 0.005623413249850273]),
        ("qwen2-odd", &[0.25, 0.10821903496980667, 0.04684543237090111, 0.020278269425034523]),
    ];
    each(|recipe, folder, gguf| {
        let name = folder.file_name().and_then(|name| name.to_str()).expect("a name");
        let (_, expected) = expected.iter().find(|(known, _)| *known == name).expect("a known size");
        for configuration in [recipe.configuration(), &open(folder).configuration, &open(gguf).configuration] {
            let found = llama(configuration).rotary_frequencies();
            assert_eq!(found.len(), configuration.head_size() / 2);
            for (found, expected) in found.iter().zip(*expected) {
                assert!((found / expected - 1.0).abs() < 1e-6, "{name}: {found}, not {expected}");
            }
        }
        let divisors = matches!(llama(&open(gguf).configuration).rope_scaling, RopeScaling::Divisors(_));
        assert_eq!(divisors, name == "llama-odd");
    });
}

fn refused_by_what_runs_gpt2() {
    let scratch = tempfile::tempdir().expect("a folder");
    let path = scratch.path().join("model.gguf");
    let size = LlamaSize::of(llorch::model::configuration::LlamaArchitecture::Qwen2, Size::Tiny).expect("a size");
    Recipe::llama(size, 1).expect("a recipe").write(&path, OutputFormat::Gguf).expect("written");
    let refused = llorch::backend::cpu::CpuBackend::open(&path, 1, false, &mut |_| {}).err().expect("not its model");
    let said = "architecture `qwen2` is not one that the cpu backend computes; the worker llorch-candled does";
    assert!(refused.to_string().contains(said), "{refused}");
}
