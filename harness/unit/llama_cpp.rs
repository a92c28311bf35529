//! llama.cpp as an engine, where it is built in (feature `llama-cpp`): it gives the committed goldens again, and refuses
//! what it cannot run with a sentence.

use std::path::{Path, PathBuf};

use llorch::parity::golden::Golden;
use llorch::parity::llama_cpp::{Lane, LlamaCppError, Options, capture};

pub const TESTS: &[(&str, fn())] = &[
    ("llama_cpp/gives_the_golden_again", gives_the_golden_again),
    ("llama_cpp/lanes_differ_from_the_gelu_on", lanes_differ_from_the_gelu_on),
    ("llama_cpp/every_layer", every_layer),
    ("llama_cpp/wrong_files", wrong_files),
    ("llama_cpp/wrong_prompts", wrong_prompts),
];

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn tiny() -> PathBuf {
    root("fixtures/tiny/model.gguf")
}

fn gives_the_golden_again() {
    for (lane, engine) in [(Lane::Exact, "llama.cpp"), (Lane::Shipped, "llama.cpp-shipped")] {
        let golden = Golden::read(&root("golden/tiny").join(engine).join("quick-brown")).expect("a golden");
        let manifest = &golden.capture.manifest;
        let options = Options { lane, max_tokens: 12, name: Some("tiny".to_owned()), ..Options::default() };
        let found = capture(&tiny(), &manifest.token_ids, &options).expect("a capture");
        assert_eq!(found.manifest.model_digest, manifest.model_digest);
        assert_eq!(found.manifest.generated_bytes, manifest.generated_bytes);
        assert_eq!(found.manifest.tolerance_profile, manifest.tolerance_profile);
        let cut = golden.cut(&found).expect("the same shapes");
        assert_eq!(cut.tensors.keys().collect::<Vec<_>>(), golden.capture.tensors.keys().collect::<Vec<_>>());
        for (name, expected) in &golden.capture.tensors {
            let pairs = expected.to_f64().into_owned().into_iter().zip(cut.tensors[name].to_f64().into_owned());
            for (expected, found) in pairs {
                // Another processor rounds elsewhere.
                let same = expected == found || (expected - found).abs() <= 2e-5 * expected.abs().max(1.0);
                assert!(same, "{name}: {found}, expected {expected}");
            }
        }
    }
}

fn lanes_differ_from_the_gelu_on() {
    let run = |lane| capture(&tiny(), &[40, 936, 79, 14], &Options { lane, ..Options::default() }).expect("a capture");
    let (exact, shipped) = (run(Lane::Exact), run(Lane::Shipped));
    for name in ["cp00.embed", "cp02.k", "cp05.attn_out", "cp06.c_fc"] {
        assert_eq!(exact.tensors[name], shipped.tensors[name], "{name}");
    }
    for name in ["cp06.gelu", "cp06.c_proj", "cp07.block", "cp08.logits"] {
        assert_ne!(exact.tensors[name], shipped.tensors[name], "{name}");
    }
}

fn every_layer() {
    let options = Options { every_layer: true, max_tokens: 4, ..Options::default() };
    let found = capture(&tiny(), &[72], &options).expect("a capture");
    for layer in ["", ".L01", ".L02"] {
        for name in ["cp01.ln_1", "cp03.step2.v", "cp04.scores_masked", "cp05.attn_out", "cp06.gelu", "cp07.block"] {
            assert!(found.tensors.contains_key(&format!("{name}{layer}")), "{name}{layer}");
        }
    }
}

fn wrong_files() {
    let refused = |path: &str| capture(&root(path), &[1], &Options::default()).expect_err(path);
    assert!(matches!(refused("fixtures/tiny/model.safetensors"), LlamaCppError::NotGguf(_)));
    assert!(matches!(refused("README.md"), LlamaCppError::Model(_)));
    assert!(matches!(refused("no/such/file.gguf"), LlamaCppError::Model(_)));
}

fn wrong_prompts() {
    let refused = |tokens: &[u32], steps, max_tokens| {
        capture(&tiny(), tokens, &Options { steps, max_tokens, ..Options::default() }).expect_err("a wrong prompt")
    };
    assert!(matches!(refused(&[], 0, 1), LlamaCppError::NoTokens));
    assert!(matches!(refused(&[1024], 0, 1), LlamaCppError::UnknownToken { token: 1024, vocab_size: 1024 }));
    assert!(matches!(refused(&[1; 255], 2, 10), LlamaCppError::TooLong { needed: 257, .. }));
    assert!(matches!(refused(&[72], 9, 3), LlamaCppError::TooShort { tokens: 3, steps: 9 }));
}
