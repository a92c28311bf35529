//! Recipe models: the bits that Python makes, and files that are there whole or not at all.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use llorch::cli::recipe as cli;
use llorch::model::Gpt2Configuration;
use llorch::model::configuration::LlamaArchitecture;
use llorch::model::digest::{model_digest, tensor_digests};
use llorch::model::recipe::{LlamaSize, OutputFormat, Recipe, Size};
use llorch::model::weights::{Weight, Weights};
use serde::Deserialize;

use super::safetensors::{open, tiny};

pub const TESTS: &[(&str, fn())] = &[
    ("recipe/bits_of_python_small", bits_of_python_small),
    ("recipe/bits_of_python_full_size", bits_of_python_full_size),
    ("recipe/file_is_the_rule", file_is_the_rule),
    ("recipe/silent_bytes", silent_bytes),
    ("recipe/seeds_differ", seeds_differ),
    ("recipe/tokenizer", tokenizer),
    ("recipe/nothing_is_overwritten", nothing_is_overwritten),
    ("recipe/nothing_is_left_behind", nothing_is_left_behind),
    ("recipe/impossible_sizes", impossible_sizes),
    ("recipe/command_line", command_line),
];

#[derive(Deserialize)]
struct Recorded {
    size: String,
    seed: u64,
    model_digest: String,
    tensors: std::collections::BTreeMap<String, String>,
}

/// What fixtures/recipe/recipe.py wrote down.
fn recorded() -> Vec<Recorded> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/recipe/digests.json");
    serde_json::from_slice(&fs::read(path).expect("the digests")).expect("a list")
}

fn recipe(recorded: &Recorded) -> Recipe {
    let named = |(architecture, size): &(LlamaArchitecture, Size)| {
        format!("{}-{}", architecture.name(), size.name()) == recorded.size
    };
    if let Some((architecture, size)) = LlamaSize::ALL.into_iter().find(named) {
        let size = LlamaSize::of(architecture, size).expect("a size of this family");
        return Recipe::llama(size, recorded.seed).expect("a recipe");
    }
    let size = Size::ALL.into_iter().find(|size| size.name() == recorded.size).expect("a known size");
    Recipe::new(size.configuration(), recorded.seed).expect("a recipe")
}

fn bits_of_python_small() {
    let small: Vec<Recorded> = recorded().into_iter().filter(|model| !model.size.starts_with("gpt2")).collect();
    assert_eq!(small.len(), 7);
    for model in small {
        let weights = recipe(&model).weights();
        let found = tensor_digests(&weights).into_iter().map(|tensor| (tensor.name, tensor.sha256)).collect();
        assert_eq!(model.tensors, found, "{}", model.size);
        assert_eq!(model.model_digest, model_digest(&weights));
    }
}

/// Some tensors of each kind; the script's digests cover all.
fn bits_of_python_full_size() {
    let sampled = [
        "wpe.weight",
        "h.0.ln_1.weight",
        "h.11.attn.c_attn.weight",
        "h.5.attn.c_proj.bias",
        "h.7.mlp.c_proj.weight",
        "ln_f.bias",
    ];
    let large: Vec<Recorded> = recorded().into_iter().filter(|model| model.size.starts_with("gpt2")).collect();
    assert_eq!(large.len(), 2);
    for model in large {
        let recipe = recipe(&model);
        for (name, shape) in recipe.configuration().tensors() {
            assert!(model.tensors.contains_key(&name), "{name}");
            if sampled.contains(&name.as_str()) {
                let mut values = vec![0.0; shape.iter().product()];
                recipe.tensor(&name).fill(0, &mut values);
                let one = Weights::new("", [(name.clone(), Weight::from_vec(shape, values))].into());
                assert_eq!(model.tensors[&name], tensor_digests(&one)[0].sha256, "{} {name}", model.size);
            }
        }
    }
}

fn file_is_the_rule() {
    let scratch = tempfile::tempdir().expect("a folder");
    let folder = scratch.path().join("tiny");
    let bytes = tiny().write(&folder, OutputFormat::Safetensors).expect("written");
    let model = open(&folder);
    assert_eq!(bytes, model.stored_bytes);
    assert_eq!(model.configuration, *tiny().configuration());
    assert_eq!(model_digest(&model.weights), model_digest(&tiny().weights()));
}

fn silent_bytes() {
    let weights = tiny().weights();
    let embedding = weights.get("wte.weight", &[1024, 64]).expect("an embedding");
    for (id, row) in embedding.values().chunks(64).enumerate() {
        let silent = id < 256 && !(b' '..=b'~').contains(&(id as u8));
        assert_eq!(row.iter().all(|&value| value == 0.0), silent, "row {id}");
    }
}

fn seeds_differ() {
    let [one, two] = [1, 2].map(|seed| Recipe::new(Size::Tiny.configuration(), seed).expect("a recipe").weights());
    for (one, two) in tensor_digests(&one).iter().zip(tensor_digests(&two)) {
        assert_ne!(one.sha256, two.sha256, "{}", one.name);
    }
}

fn tokenizer() {
    let json = tiny().tokenizer_json();
    let tokenizer: tokenizers::Tokenizer = json.parse().expect("a tokenizer");
    assert_eq!(tokenizer.get_vocab_size(true), 1024);
    let ids = |text: &str| tokenizer.encode(text, false).expect("encodes").get_ids().to_vec();
    assert_eq!(ids("Hi w0 w12 w766\n<|endoftext|>"), [72, 105, 257, 269, 1023, 10, 256]);
    for text in ["é ☃ w3w4", " w99999", "tab\there", ""] {
        assert_eq!(tokenizer.decode(&ids(text), false).expect("decodes"), text);
    }
}

fn nothing_is_overwritten() {
    let scratch = tempfile::tempdir().expect("a folder");
    let path = scratch.path().join("model.gguf");
    fs::write(&path, "mine").expect("written");
    let error = tiny().write(&path, OutputFormat::Gguf).expect_err("there is one already");
    assert!(error.to_string().contains("is there already"), "{error}");
    assert_eq!(fs::read(&path).expect("still there"), b"mine");
}

fn nothing_is_left_behind() {
    let scratch = tempfile::tempdir().expect("a folder");
    let missing = scratch.path().join("no-such-folder/model");
    assert!(tiny().write(&missing, OutputFormat::Safetensors).is_err());
    tiny().write(&scratch.path().join("model"), OutputFormat::Safetensors).expect("written");
    let names: Vec<_> =
        fs::read_dir(scratch.path()).expect("a folder").flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(names, ["model"]);
}

fn impossible_sizes() {
    let with = |change: fn(&mut Gpt2Configuration)| {
        let mut configuration = Size::Tiny.configuration();
        change(&mut configuration);
        Recipe::new(configuration, 1).map(|_| ()).map_err(|problem| problem.to_string())
    };
    assert_eq!(with(|_| {}), Ok(()));
    assert_eq!(with(|one| one.n_head = 7), Err("`n_head` is 7, which does not divide n_embd 64".into()));
    assert_eq!(with(|one| one.n_layer = 0), Err("`n_layer` is 0".into()));
    assert_eq!(with(|one| one.vocab_size = 100), Err("`eos_token_id` is 256; the limit is 99".into()));
}

/// `llorch recipe` as it is typed: the sizes given replace the named ones, and what cannot be is exit code 2.
fn command_line() {
    let scratch = tempfile::tempdir().expect("a folder");
    let run = |words: &str, output: &Path| {
        let command = <cli::RecipeArgs as clap::Args>::augment_args(clap::Command::new("recipe"));
        let words = ["recipe"].into_iter().chain(words.split(' ')).map(std::ffi::OsStr::new);
        let words = words.chain(["--output".as_ref(), output.as_os_str()]);
        let matches = command.try_get_matches_from(words).expect("a command line");
        cli::run(&<cli::RecipeArgs as clap::FromArgMatches>::from_arg_matches(&matches).expect("arguments"))
    };
    let output = scratch.path().join("small.gguf");
    let words =
        "--size gpt2-medium --n-layer 1 --n-head 3 --n-embd 9 --n-ctx 8 --vocab-size 300 --seed 5 --format gguf";
    assert_eq!(run(words, &output), ExitCode::SUCCESS);
    let model = open(&output);
    let configuration = model.configuration.gpt2("this case").expect("a GPT-2").clone();
    let sizes = (configuration.n_layer, configuration.head_size(), configuration.n_inner);
    assert_eq!(sizes, (1, 3, 36));
    let recipe = Recipe::new(Gpt2Configuration { layer_norm_epsilon: 1e-5, ..configuration }, 5);
    assert_eq!(model_digest(&model.weights), model_digest(&recipe.expect("a recipe").weights()));
    assert_eq!(run(words, &output), ExitCode::FAILURE); // it is there already
    let none = scratch.path().join("none");
    assert_eq!(run("--size tiny --n-head 3", &none), ExitCode::from(2));
    assert_eq!(run("--size gpt2 --architecture llama", &none), ExitCode::from(2));
    assert_eq!(run("--size tiny --head-size 8", &none), ExitCode::from(2));
    let words = "--size odd --architecture qwen2 --n-head 6 --n-kv-head 3 --n-embd 60 --tied true --format gguf";
    let output = scratch.path().join("qwen2.gguf");
    assert_eq!(run(words, &output), ExitCode::SUCCESS);
    let model = open(&output);
    let configuration = &model.configuration;
    assert_eq!((configuration.architecture(), configuration.head_size(), configuration.n_kv_head()), ("qwen2", 10, 3));
    assert!(!model.weights.has("lm_head.weight"));
}
