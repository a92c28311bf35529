//! Quantised files: what candle makes of them, held against llama.cpp on the same file and against the original in f32; whole
//! passes, and each step by itself.

use std::fs;
use std::path::{Path, PathBuf};

use include_dir::{Dir, include_dir};

use super::engines::{self, Compared};
use crate::backend::Prompt;
use crate::harness::Finding;
use crate::harness::ladder::reference::Reference;
use crate::model::configuration::LlamaArchitecture;
use crate::model::file;
use crate::model::recipe::{LlamaSize, Recipe, Size};
use crate::model::weights::element::Element;
use crate::model::{LlamaConfiguration, Weights};
use crate::parity::diff::{Known, Options, diff};
use crate::parity::golden::Golden;
use crate::parity::oracle::{self, Honest, Model, Request};
use crate::parity::{Capture, Scope};

/// By `fixtures/quantised/parity.py`: NAME.gguf, and what llama.cpp computed with it.
static FILES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/fixtures/quantised/parity");

/// Who reads the blocks of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    Right,
    /// Each block of Q8_0 gets the scale of the one after it.
    ScalesOfTheNeighbour,
}

/// Holds candle on the file against both.
pub fn judge(name: &str, reader: Reader) -> Result<(), Finding> {
    engines::needs_candle()?;
    let folder = tempfile::tempdir().map_err(problem("a folder"))?;
    let path = written(name, folder.path())?;
    let golden = Golden::read(&folder.path().join(name)).map_err(problem("llama.cpp's capture"))?;
    let manifest = &golden.capture.manifest;
    let (ids, steps) = (manifest.token_ids.clone(), manifest.steps);

    let reference = Reference::open(&path)?;
    if reader == Reader::ScalesOfTheNeighbour {
        shift_scales(&path)?;
    }
    let scope = Scope { every_layer: false, steps };
    let found = engines::candle(&path, Prompt::Ids(ids.clone()), scope, 4);
    let mut found = found.map_err(|error| Finding::fail("a capture of candle", error.to_string()))?;
    // Whoever reads blocks wrongly does not know it.
    found.manifest.model_digest.clone_from(&manifest.model_digest);

    let cut = golden.cut(&found).map_err(problem("tensors of the golden's shapes"))?;
    let same = Compared {
        subject: format!("{name} as llama.cpp has it"),
        engine: "candle".into(),
        diff: diff(&golden.capture, &cut, Options::default()),
    };
    let known = Known(reference.model());
    let options = Options { allow_different_weights: true, insight: Some(&known), ..Options::default() };
    let original = Compared {
        subject: format!("{name} and its original"),
        engine: "candle".into(),
        diff: diff(&of_original(name, &ids, steps)?, &found, options),
    };
    [same, original].into_iter().try_for_each(|compared| match reader {
        Reader::Right => engines::keep(compared),
        Reader::ScalesOfTheNeighbour => engines::judge(&compared.diff),
    })
}

fn problem<E: std::fmt::Display>(what: &'static str) -> impl Fn(E) -> Finding {
    move |error| Finding::error(what, error.to_string())
}

fn written(name: &str, folder: &Path) -> Result<PathBuf, Finding> {
    FILES.extract(folder).map_err(problem("the quantised files"))?;
    let path = folder.join(format!("{name}.gguf"));
    if path.exists() { Ok(path) } else { Err(Finding::error("a file of fixtures/quantised/parity", name)) }
}

/// The f64 reference on the weights as they were before.
fn of_original(name: &str, ids: &[u32], steps: usize) -> Result<Capture, Finding> {
    let architecture = name.split('.').next().unwrap_or_default();
    let named = LlamaSize::ALL.into_iter().map(|(one, _)| one).find(|one| one.name() == architecture);
    let size = named.and_then(|one: LlamaArchitecture| LlamaSize::of(one, Size::Tiny));
    let size = size.ok_or_else(|| Finding::error("a file whose name begins with its architecture", name))?;
    // As fixtures/quantised/parity.py has them.
    let configuration = LlamaConfiguration {
        n_layer: 1,
        n_embd: 256,
        n_inner: 256,
        n_head: 4,
        n_kv_head: 2,
        head_size: 64,
        vocab_size: 300,
        ..size.configuration
    };
    let recipe = Recipe::llama(LlamaSize { configuration, tied: true }, 1).map_err(problem("a recipe"))?;
    let weights: Weights = recipe.weights();
    let model = Model { configuration: recipe.configuration(), weights: &weights, tokenizer: None };
    let request = Request { tokens: ids, steps, generate: 4, ..Request::default() };
    let run = oracle::run(&model, &request, &Honest).map_err(problem("the reference's run"))?;
    Ok(run.capture(&model))
}

/// Rewrites the file as somebody reads it who is off by one block in the scales. Rows of q and k lie in another order in some
/// files than in memory; they are left as they are.
fn shift_scales(path: &Path) -> Result<(), Finding> {
    let mut bytes = fs::read(path).map_err(problem("the quantised file"))?;
    let model = file::open_stored(path, &mut |_| {}).map_err(problem("a quantised file"))?;
    for (_, weight) in model.weights.iter().filter(|(_, weight)| weight.element() == Element::Q8_0) {
        let blocks = weight.bytes();
        let Some(at) = bytes.windows(blocks.len().min(256)).position(|window| blocks.starts_with(window)) else {
            continue;
        };
        let scales: Vec<[u8; 2]> = blocks.chunks_exact(Q8_0_BLOCK).map(|block| [block[0], block[1]]).collect();
        for (number, block) in bytes[at..at + blocks.len()].chunks_exact_mut(Q8_0_BLOCK).enumerate() {
            block[..2].copy_from_slice(&scales[(number + 1) % scales.len()]);
        }
    }
    drop(model);
    fs::write(path, bytes).map_err(problem("the quantised file, rewritten"))
}

/// A scale in f16, and 32 numbers of 8 bits.
const Q8_0_BLOCK: usize = 34;
