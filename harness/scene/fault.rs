//! A mistake put into the reference: where it shows, and what the diagnosis calls it.

use include_dir::{Dir, include_dir};

use super::Scene;
use crate::harness::{Finding, tiny_model};
use crate::model::configuration::LlamaArchitecture;
use crate::model::recipe::{LlamaSize, Recipe, Size};
use crate::model::{Gpt2Configuration, tokenizer};
use crate::parity::Capture;
use crate::parity::diagnose::{self, Diagnosis, diagnose};
use crate::parity::diff::text::TEXT;
use crate::parity::diff::{Options, diff};
use crate::parity::faults::{Fault, Outcome, kills};
use crate::parity::oracle::Model;

/// Captures of transformers with a mistake each, and one without.
static MISTAKES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/fixtures/mistakes");

/// One of them, held against the honest one.
pub struct Transplant {
    first: Option<String>,
    diagnosis: Diagnosis,
}

/// `qwen2/UpActivated` is one of another family's folder; those of GPT-2 are in none.
fn transplant(name: &str) -> Result<Transplant, Finding> {
    let problem = |what: &str| Finding::error(format!("fixtures/mistakes/{name}"), what.to_owned());
    let capture = |name: &str| {
        let file = |file: &str| MISTAKES.get_file(format!("{name}/{file}")).map(include_dir::File::contents);
        let (manifest, tensors) =
            file("manifest.json").zip(file("tensors.safetensors")).ok_or_else(|| problem("it is not there"))?;
        Capture::of_bytes(manifest, tensors).map_err(|error| problem(&error.to_string()))
    };
    let family = name.split_once('/').map_or("", |(family, _)| family);
    let (honest, found) = (capture(format!("{family}/honest").trim_start_matches('/'))?, capture(name)?);
    // as each family's `mistakes.json` says that it was made
    let sizes = honest.manifest.sizes;
    let (recipe, tokenizer) = match family {
        "qwen2" => {
            let size = LlamaSize::of(LlamaArchitecture::Qwen2, Size::Tiny).ok_or_else(|| problem("no such recipe"))?;
            let tokenizer = tiny_model::open().ok().and_then(|tiny| tokenizer::open(&tiny.tokenizer_source, None).ok());
            (Recipe::llama(size, 1), tokenizer)
        }
        _ => {
            let configuration = Gpt2Configuration {
                n_layer: sizes.n_layer,
                n_head: sizes.n_head,
                n_embd: sizes.n_embd,
                n_inner: 4 * sizes.n_embd,
                n_ctx: sizes.n_ctx,
                vocab_size: sizes.vocab_size,
                ..Size::Tiny.configuration()
            };
            (Recipe::new(configuration, 1), None)
        }
    };
    let recipe = recipe.map_err(|error| problem(&error.to_string()))?;
    let (configuration, weights) = (recipe.configuration(), recipe.weights());
    let model = Model { configuration, weights: &weights, tokenizer: tokenizer.as_deref() };
    let diff = diff(&honest, &found, Options::default());
    let text = diff.text.map(|_| TEXT.to_owned());
    let first = diff.first.map(|first| first.place.name()).or(text);
    Ok(Transplant { first, diagnosis: diagnose(&model, Some(&honest), &found) })
}

impl Scene {
    pub fn transplant(&mut self, name: &str) -> Result<(), Finding> {
        self.transplant = Some(transplant(name)?);
        Ok(())
    }

    fn transplanted(&self) -> Result<&Transplant, Finding> {
        self.transplant.as_ref().ok_or_else(|| Finding::error("a capture with a mistake", "none was read"))
    }

    pub fn transplant_parts_first_at(&mut self, tensor: &str) -> Result<(), Finding> {
        let Transplant { first, diagnosis } = self.transplanted()?;
        if first.as_deref() == Some(tensor) {
            return Ok(());
        }
        let finding =
            Finding::fail(format!("the first divergence at {tensor}"), first.clone().unwrap_or_else(|| "none".into()));
        Err(finding.with("diagnosis", diagnosis.to_string()))
    }

    pub fn transplant_is_named(&mut self, fault: &str) -> Result<(), Finding> {
        let Transplant { diagnosis, .. } = self.transplanted()?;
        // several are joined by `+`, in the order in which they show
        let wanted: Vec<&str> = fault.rsplit('/').next().unwrap_or(fault).split('+').collect();
        let is = |(wanted, finding): (&&str, &diagnose::Finding)| {
            finding.faults.iter().any(|named| format!("{:?}", named.fault()) == *wanted)
        };
        let several = wanted.len() > 1 && diagnosis.findings.len() != wanted.len();
        if !several && diagnosis.findings.len() >= wanted.len() && wanted.iter().zip(&diagnosis.findings).all(is) {
            return Ok(());
        }
        Err(Finding::fail(format!("{} as the first mistakes", wanted.join(", ")), diagnosis.to_string()))
    }

    pub fn transplant_is_right(&mut self) -> Result<(), Finding> {
        let Transplant { first, diagnosis } = self.transplanted()?;
        if first.is_none() && diagnosis.findings.is_empty() {
            return Ok(());
        }
        Err(Finding::fail("nothing wrong", format!("first {first:?}; {diagnosis}")))
    }

    /// Runs the reference with the fault on models of several shapes, on the input that reveals it.
    pub fn inject(&mut self, slug: &str) -> Result<(), Finding> {
        let entry = Fault::all().find(|entry| entry.slug() == slug);
        let entry = entry.ok_or_else(|| Finding::error("a fault of the catalogue", slug))?;
        let kills = kills(entry).map_err(|error| Finding::error("the reference with a fault", error.to_string()))?;
        self.kills = kills.to_vec();
        Ok(())
    }

    /// The first tensor that differs, which is never one that the fault leaves alone.
    pub fn fault_shows_first_at(&mut self, tensor: &str) -> Result<(), Finding> {
        for kill in &self.kills {
            // what is written in the feature and what the catalogue says are one
            if kill.entry().shows != tensor {
                return Err(Finding::error(format!("{tensor}, as the catalogue says"), kill.entry().shows));
            }
            let right = !matches!(kill.outcome, Outcome::Survived | Outcome::Misplaced | Outcome::Spilled(_));
            if !right {
                let found = match &kill.outcome {
                    Outcome::Survived => "nothing differs".to_owned(),
                    Outcome::Spilled(place) => {
                        format!("{place} is wrong on its own inputs, which the fault does not touch")
                    }
                    _ => format!("first at {}", kill.first.as_deref().unwrap_or("no tensor")),
                };
                return Err(Finding::fail(
                    format!("{} first at {}, on {}", kill.entry().name, kill.expected, kill.model),
                    found,
                ));
            }
        }
        self.kills.first().map(|_| ()).ok_or_else(|| Finding::error("a fault in the reference", "none was put in"))
    }

    pub fn fault_is_named(&mut self) -> Result<(), Finding> {
        for kill in &self.kills {
            if kill.outcome != Outcome::Killed {
                let finding = Finding::fail(
                    format!("the name {:?}, on {}", kill.entry().name, kill.model),
                    format!("{:?}", kill.outcome),
                );
                return Err(finding.with("diagnosis", kill.diagnosis.to_string()));
            }
        }
        self.kills.first().map(|_| ()).ok_or_else(|| Finding::error("a fault in the reference", "none was put in"))
    }
}
