//! The rungs of the ladder: a worker on a model of the harness's choosing, and what it is asked there.

use std::path::Path;
use std::time::Duration;

use super::Scene;
use crate::harness::Finding;
use crate::harness::checkpoints::captured::{self, Captured, Capturing, TOKENS};
use crate::harness::checkpoints::{judge, models};
use crate::harness::haiku::run::{self, Chain, Wanted};
use crate::harness::ladder::known_answer::{self, Known};
use crate::harness::ladder::reference::Reference;
use crate::harness::ladder::stream::{self, Counted};
use crate::harness::ladder::work;
use crate::harness::ladder::{close_calls, prompts};
use crate::harness::model_files::{self, Element, Form};
use crate::harness::proof::checks::Outcome;
use crate::harness::proof::{self, Judgement};
use crate::harness::selection::ModelFormat;
use crate::harness::target::unique;
use crate::model::recipe::{Recipe, Size};

/// What a climb has at hand.
#[derive(Default)]
pub struct Climb {
    /// Of three haiku: a model may miss its word once in a thousand.
    judgements: Vec<Judgement>,
    reference: Option<Reference>,
    known: Vec<Known>,
    counted: Option<Counted>,
    capturing: Option<Capturing>,
    captured: Option<Captured>,
    computes_for_seconds: bool,
}

/// Seeds and perturbations that are drawn before the harness gives up finding one whose answer is sure.
const DRAWN: usize = 40;

impl Scene {
    /// Rung 1, as a client asks.
    pub fn ask_for_the_haiku(&mut self) -> Result<(), Finding> {
        let (chain, worker);
        let asked: &dyn Chain = if self.has_chain() {
            chain = self.chain_client()?;
            &chain
        } else {
            worker = self.worker()?.clone();
            &*worker
        };
        for _ in 0..3 {
            let record = run::run(asked, &Wanted::default(), &unique("haiku"))?;
            self.climb.judgements.push(proof::judge(&record));
        }
        Ok(())
    }

    /// The pipeline of each, and the word of all but one.
    pub fn haiku_part_holds(&mut self, part: &str) -> Result<(), Finding> {
        let outcome = |judgement: &Judgement| match part {
            "pipeline" => judgement.pipeline,
            _ => judgement.word_rule,
        };
        let broken: Vec<&Judgement> =
            self.climb.judgements.iter().filter(|judgement| outcome(judgement) != Outcome::Pass).collect();
        let allowed = usize::from(part != "pipeline");
        if !self.climb.judgements.is_empty() && broken.len() <= allowed {
            return Ok(());
        }
        let texts: Vec<String> = broken.iter().map(|judgement| format!("{:?}", judgement.text)).collect();
        let mut finding = Finding::fail(format!("the {part} of the haiku to hold"), texts.join(", "));
        for judgement in broken {
            let checks = judgement.checks.iter().filter(|check| check.outcome != Outcome::Pass);
            let told =
                checks.map(|check| format!("{}: expected {}, found {}", check.name, check.expected, check.found));
            finding = finding.with("checks", told.collect::<Vec<_>>().join("\n"));
        }
        Err(finding)
    }

    pub(super) fn reference(&self) -> Result<&Reference, Finding> {
        self.climb.reference.as_ref().ok_or_else(|| Finding::error("a reference", "the scenario has none"))
    }

    /// The target's own model, where the harness knows which file that is.
    pub fn start_on_known_model(&mut self) -> Result<(), Finding> {
        let path = self.session.known_model()?;
        self.climb.reference = Some(Reference::open(&path)?);
        self.start(super::start::Kind::Any, false, &[])
    }

    pub fn texts_are_the_references(&mut self) -> Result<(), Finding> {
        known_answer::greedy_texts(&self.worker()?.clone(), self.reference()?)
    }

    pub fn draws_are_the_references(&mut self) -> Result<(), Finding> {
        known_answer::draws(&self.worker()?.clone(), self.reference()?)
    }

    pub fn close_calls_are_right(&mut self) -> Result<(), Finding> {
        close_calls::are_right(&self.worker()?.clone(), self.reference()?)
    }

    pub fn drawn_texts_are_the_references(&mut self) -> Result<(), Finding> {
        let worker = self.worker()?.clone();
        known_answer::drawn_texts(&worker, self.reference()?)?;
        known_answer::draws_answer_their_prompts(&worker, self.reference()?)
    }

    pub fn seed_repeats(&mut self) -> Result<(), Finding> {
        known_answer::seed_repeats(&self.worker()?.clone())
    }

    pub fn start_capturing(&mut self) -> Result<(), Finding> {
        let path = self.session.known_model()?;
        self.climb.reference = Some(Reference::open(&path)?);
        let start = self.session.start(false)?;
        self.climb.capturing = Some(captured::start_capturing(&self.session.target, &start, false)?);
        Ok(())
    }

    pub fn probe(&mut self) -> Result<(), Finding> {
        let capturing =
            self.climb.capturing.as_ref().ok_or_else(|| Finding::error("a worker that captures", "none"))?;
        self.climb.captured = Some(capturing.run(&prompts::unseen())?);
        Ok(())
    }

    pub fn probe_is_the_references(&mut self) -> Result<(), Finding> {
        let captured = self.climb.captured.as_ref().ok_or_else(|| Finding::error("a capture", "none was taken"))?;
        let manifest = &captured.capture.manifest;
        let reference = self.reference()?.capture(&manifest.token_ids, manifest.steps, TOKENS)?;
        (1..=9).try_for_each(|checkpoint| judge::agrees(&captured.capture, &reference, checkpoint))
    }

    /// A recipe model from a seed that was drawn now.
    pub fn start_on_fresh_weights(&mut self) -> Result<(), Finding> {
        for _ in 0..DRAWN {
            let seed = uuid::Uuid::new_v4().as_u64_pair().0;
            let recipe = Recipe::new(Size::Odd.configuration(), seed)
                .map_err(|error| Finding::error("a recipe", error.to_string()))?;
            let format = self.session.model_format();
            let form = Form { format, ..Form::PLAIN };
            let path = self.recipe_file(&recipe, form, Element::F32)?;
            let reference = Reference::open(&path)?;
            let known = known_answer::question(&reference, prompts::unseen().chars().take(12).collect())?;
            if let Some(known) = known {
                return self.climb_on(&path, format, reference, known);
            }
        }
        Err(Finding::error("fresh weights whose greedy text is sure", format!("none among {DRAWN} seeds")))
    }

    /// A copy of the known model in which a few weights are others, so that its text is another.
    pub fn start_on_perturbed_weights(&mut self) -> Result<(), Finding> {
        let path = self.session.known_model()?;
        let original = Reference::open(&path)?;
        if ModelFormat::of(&path) == ModelFormat::Gguf {
            return Err(Finding::unimplemented(
                "a model file that the harness can change a few weights of",
                "a GGUF file",
            ));
        }
        for _ in 0..DRAWN {
            let prompt = prompts::unseen();
            let Some(before) = known_answer::question(&original, prompt.clone())? else { continue };
            let folder = self.folder()?;
            let drawn = uuid::Uuid::new_v4().as_u64_pair().0;
            let changed = models::rewrite(&path, &folder, |tensors| models::perturb(tensors, drawn))?;
            let reference = Reference::open(&changed)?;
            let Some(after) = known_answer::question(&reference, prompt)? else { continue };
            if !before.text.starts_with(&after.text) && !after.text.starts_with(&before.text) {
                return self.climb_on(&changed, ModelFormat::Safetensors, reference, after);
            }
        }
        Err(Finding::error("perturbed weights that change the text", format!("none among {DRAWN}")))
    }

    fn climb_on(
        &mut self,
        path: &Path,
        format: ModelFormat,
        reference: Reference,
        known: Known,
    ) -> Result<(), Finding> {
        self.climb.known = vec![known];
        self.climb.reference = Some(reference);
        self.start_on(path, format, &[])
    }

    /// The one prompt whose answer was computed before the worker was started.
    pub fn answers_as_computed(&mut self) -> Result<(), Finding> {
        let worker = self.worker()?.clone();
        self.climb.known.iter().try_for_each(|known| known_answer::answers(&worker, known))
    }

    /// A model file of the right form that no worker can load.
    pub fn launch_on_broken_model(&mut self) -> Result<(), Finding> {
        let folder = self.folder()?;
        let recipe =
            Recipe::new(Size::Odd.configuration(), 3).map_err(|error| Finding::error("a recipe", error.to_string()))?;
        let format = self.session.model_format();
        let path = model_files::write(&recipe, Form { format, ..Form::PLAIN }, Element::F32, &folder);
        let path = path.map_err(|error| Finding::error("a model on disk", error.to_string()))?;
        let whole = std::fs::metadata(&path).map(|file| file.len()).unwrap_or_default();
        let cut = std::fs::File::options().write(true).open(&path).and_then(|file| file.set_len(whole / 2));
        cut.map_err(|error| Finding::error("half of a model on disk", error.to_string()))?;
        self.launch_on(&path, format)
    }

    /// Some ten milliseconds a token: large enough to tell work from its absence.
    pub fn start_on_model_of_milliseconds(&mut self) -> Result<(), Finding> {
        let recipe = Recipe::new(model_files::computes_for_seconds(), 11)
            .map_err(|error| Finding::error("a recipe", error.to_string()))?;
        let format = self.session.model_format();
        let path = self.recipe_file(&recipe, Form { format, ..Form::PLAIN }, Element::F32)?;
        self.climb.computes_for_seconds = true;
        self.start_on(&path, format, &[])
    }

    pub(super) fn computes_for_seconds(&self) -> bool {
        self.climb.computes_for_seconds
    }

    pub fn work_grows(&mut self) -> Result<(), Finding> {
        work::grows(&self.worker()?.clone())
    }

    pub fn repeats_cost_the_same(&mut self) -> Result<(), Finding> {
        work::repeats_cost_the_same(&self.worker()?.clone())
    }

    pub fn run_counted(&mut self) -> Result<(), Finding> {
        let worker = self.worker()?.clone();
        let run = if self.session.api().is_native() { stream::run } else { stream::run_uncounted };
        self.climb.counted = Some(run(&worker)?);
        Ok(())
    }

    pub fn stream_is_honest(&mut self, of: &str) -> Result<(), Finding> {
        let counted = self.climb.counted.as_ref().ok_or_else(|| Finding::error("a job", "none was run"))?;
        match of {
            "arrivals" => stream::arrives_as_computed(counted),
            "counts" => stream::counts_agree(counted),
            _ => stream::times_agree(counted),
        }
    }

    pub fn idle_counts_nothing(&mut self) -> Result<(), Finding> {
        stream::idle_counts_nothing(&self.worker()?.clone())
    }

    /// The next job starts as if the cancelled one had never been.
    pub fn next_job_starts_within(&mut self, within: Duration) -> Result<(), Finding> {
        let worker = self.worker()?.clone();
        let job = serde_json::json!({ "job_id": unique("next"), "prompt": " w3", "max_tokens": 1, "temperature": 0.0 });
        let transcript = worker.run(&job, Duration::from_secs(60))?;
        transcript.completed()?;
        let started = transcript.events("started").next().map(|frame| frame.at).unwrap_or(transcript.ended_at);
        if started <= within {
            return Ok(());
        }
        Err(transcript
            .evidence(Finding::fail(format!("a next job that starts within {within:.0?}"), format!("{started:.0?}"))))
    }
}
