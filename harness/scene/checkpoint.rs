//! Captures of the worker under test, and what is said of them.

use std::path::PathBuf;
use std::sync::Arc;

use super::Scene;
use crate::harness::checkpoints::captured::{self, Captured, TOKENS};
use crate::harness::checkpoints::quantised::{self, Reader};
use crate::harness::checkpoints::{Subject, engines, judge, models, properties};
use crate::harness::ladder::reference::Reference;
use crate::harness::selection::ModelFormat;
use crate::harness::{Finding, Verdict};
use crate::parity::Capture;

/// The captures of a scenario, the first one first, and what they are held against.
#[derive(Default)]
pub struct Captures {
    subject: Option<Subject>,
    model: Option<PathBuf>,
    prompt: String,
    reference: Option<Arc<Reference>>,
    taken: Vec<Arc<Captured>>,
}

impl Scene {
    /// A model on disk, its prompt as a text, and a capture of both.
    pub fn capture_subject(&mut self, name: &str, every_layer: bool, again: bool) -> Result<(), Finding> {
        let subject = Subject::of(name)?;
        let folder = self.folder()?;
        let format = if models::of_name(&subject.model).is_some() {
            ModelFormat::Safetensors
        } else {
            self.session.model_format()
        };
        let path = subject.write_model(&folder, format)?;
        let reference = Arc::new(Reference::open(&path)?);
        let prompt = prompt_of(&subject, &reference)?;
        let key = format!("{name} {every_layer}");
        let start = self.session.start_on(&path, format)?;
        let captured = if again {
            Arc::new(captured::capture(&self.session.target, &start, &prompt, every_layer)?)
        } else {
            self.session.captured(&key, || captured::capture(&self.session.target, &start, &prompt, every_layer))?
        };
        self.captures.taken.push(captured);
        self.captures.subject = Some(subject);
        self.captures.model = Some(path);
        self.captures.prompt = prompt;
        self.captures.reference = Some(reference);
        Ok(())
    }

    fn captured(&self, index: usize) -> Result<&Captured, Finding> {
        self.captures
            .taken
            .get(index)
            .map(|captured| &**captured)
            .ok_or_else(|| Finding::error("a capture", "the scenario has none"))
    }

    fn capture_reference(&self) -> Result<&Reference, Finding> {
        self.captures.reference.as_deref().ok_or_else(|| Finding::error("a reference", "the scenario has none"))
    }

    fn capture_prompt(&mut self, prompt: &str) -> Result<(), Finding> {
        let path = self.captures.model.clone().ok_or_else(|| Finding::error("a model", "the scenario has none"))?;
        self.capture_path(&path, prompt)
    }

    fn capture_path(&mut self, path: &std::path::Path, prompt: &str) -> Result<(), Finding> {
        let format = ModelFormat::of(path);
        let start = self.session.start_on(path, format)?;
        let captured = captured::capture(&self.session.target, &start, prompt, false)?;
        self.captures.taken.push(Arc::new(captured));
        Ok(())
    }

    /// The same prompt with what the model says next.
    pub fn capture_with_first_token(&mut self) -> Result<(), Finding> {
        let reference = self.capture_reference()?;
        let first = reference.greedy(&self.captures.prompt, 1)?.ids;
        let prompt = format!("{}{}", self.captures.prompt, reference.text(&first));
        let expected = [reference.encode(&self.captures.prompt), first].concat();
        if reference.encode(&prompt) != expected {
            return Err(Finding::error("a first token whose text is that token again", format!("{prompt:?}")));
        }
        self.capture_prompt(&prompt)
    }

    /// As many tokens, and only the last another one.
    pub fn capture_with_other_last_token(&mut self) -> Result<(), Finding> {
        let reference = self.capture_reference()?;
        let (text, ids) = (self.captures.prompt.clone(), reference.encode(&self.captures.prompt));
        let same_but_last = |other: &str| {
            let other = reference.encode(other);
            other.len() == ids.len() && other[..ids.len() - 1] == ids[..ids.len() - 1] && other != ids
        };
        // the text of all tokens but the last, and another after it
        let stem = reference.text(&ids[..ids.len() - 1]);
        let candidates =
            (0..reference.file.configuration.vocab_size() as u32).map(|id| format!("{stem}{}", reference.text(&[id])));
        let found = candidates.into_iter().find(|other| same_but_last(other));
        let prompt =
            found.ok_or_else(|| Finding::error("a prompt that differs in its last token only", format!("{text:?}")))?;
        self.capture_prompt(&prompt)
    }

    pub fn capture_with_turned_heads(&mut self) -> Result<(), Finding> {
        let (path, folder) = (self.captures.model.clone().unwrap_or_default(), self.folder()?);
        if ModelFormat::of(&path) == ModelFormat::Gguf {
            return Err(Finding::unimplemented("a model file whose heads can be turned", "a GGUF file"));
        }
        let configuration = self.capture_reference()?.file.configuration.clone();
        let turned = models::rewrite(&path, &folder, |tensors| models::turn_heads(tensors, &configuration))?;
        let prompt = self.captures.prompt.clone();
        self.capture_path(&turned, &prompt)
    }

    pub fn checkpoint_agrees(&mut self, checkpoint: u8, with: &str) -> Result<(), Finding> {
        let found = &self.captured(0)?.capture;
        if let Some(engine) = with.strip_prefix("the golden of ") {
            let subject = self.captures.subject.as_ref().ok_or_else(|| Finding::error("a subject", "none"))?;
            return judge::agrees_with_golden(found, &subject.golden(engine.trim_matches('"'))?, checkpoint);
        }
        let reference = self.capture_reference()?.capture(&found.manifest.token_ids, found.manifest.steps, TOKENS)?;
        judge::agrees(found, &reference, checkpoint)
    }

    pub fn engines_agree(&mut self, engine: &str, reference: &str, subject: &str) -> Result<(), Finding> {
        engines::agree(engine, reference, &Subject::of(subject)?)
    }

    /// Read rightly it agrees; read wrongly it must not.
    pub fn quantised_file(&mut self, file: &str, rightly: bool) -> Result<(), Finding> {
        if rightly {
            return quantised::judge(file, Reader::Right);
        }
        match quantised::judge(file, Reader::ScalesOfTheNeighbour) {
            Ok(()) => Err(Finding::fail("a wrong reader that is caught", "it passed")),
            Err(finding) if finding.verdict == Verdict::Fail => Ok(()),
            Err(other) => Err(other),
        }
    }

    pub fn checkpoint_follows(&mut self, checkpoint: u8) -> Result<(), Finding> {
        judge::follows(&self.captured(0)?.capture, self.capture_reference()?, checkpoint)
    }

    pub fn captures_are_same(&mut self, checkpoint: u8) -> Result<(), Finding> {
        let captures: Vec<&Capture> = self.captures.taken.iter().map(|captured| &captured.capture).collect();
        judge::same_bits(&captures, checkpoint)
    }

    pub fn same_before_last_position(&mut self) -> Result<(), Finding> {
        properties::same_before_last(&self.captured(0)?.capture, &self.captured(1)?.capture)
    }

    pub fn tensor_is(&mut self, tensor: &str, property: &str) -> Result<(), Finding> {
        properties::check(tensor, property, &self.captured(0)?.capture, self.capture_reference()?)
    }

    pub fn tensors_are_alike(&mut self, first: &str, second: &str) -> Result<(), Finding> {
        judge::alike(&self.captured(0)?.capture, first, &self.captured(1)?.capture, second)
    }

    /// Each token once more, from its prefix alone.
    pub fn ids_are_recomputed(&mut self) -> Result<(), Finding> {
        let captured = self.captured(0)?;
        let reference = self.capture_reference()?;
        let ids = generated(&captured.capture)?;
        let path = self.captures.model.clone().unwrap_or_default();
        let format = ModelFormat::of(&path);
        let worker = self.session.worker(true, &self.session.start_on(&path, format)?)?;
        let prompt_ids = &captured.capture.manifest.token_ids;
        let mut judged = 0;
        for step in 0..ids.len() {
            let prefix = format!("{}{}", self.captures.prompt, reference.text(&ids[..step]));
            // a prefix that reads as other tokens is another question
            if reference.encode(&prefix) != [&prompt_ids[..], &ids[..step]].concat() {
                continue;
            }
            let job = serde_json::json!({
                "job_id": crate::harness::target::unique("prefix"), "prompt": prefix, "max_tokens": 1, "temperature": 0.0,
            });
            let transcript = worker.run(&job, std::time::Duration::from_secs(60))?;
            let (text, expected) = (transcript.completed()?.text(), reference.text(&ids[step..=step]));
            if text != expected {
                let expected = format!("token {step} as it was generated with the cache: {expected:?}");
                return Err(transcript.evidence(Finding::fail(expected, format!("{text:?}"))));
            }
            judged += 1;
        }
        if judged >= 3 {
            Ok(())
        } else {
            Err(Finding::error("three prefixes that read as their own tokens", judged.to_string()))
        }
    }

    pub fn streamed_is_captured(&mut self) -> Result<(), Finding> {
        let Captured { capture, transcript } = self.captured(0)?;
        let (streamed, kept) = (transcript.text(), &capture.manifest.generated_text);
        let count = generated(capture)?.len() as u64;
        if streamed == *kept && transcript.tokens_out() == Some(count) {
            return Ok(());
        }
        let expected = format!("{streamed:?} and {:?} tokens, as they were streamed", transcript.tokens_out());
        Err(Finding::fail(expected, format!("{kept:?} and {count} ids in the capture")))
    }
}

fn generated(capture: &Capture) -> Result<Vec<u32>, Finding> {
    let ids = capture
        .tensors
        .get("cp12.ids")
        .ok_or_else(|| Finding::fail("the tensor cp12.ids", "the capture does not have it"))?;
    Ok(ids.to_f64().iter().map(|id| *id as u32).collect())
}

/// The text that the worker is asked with: it must become the subject's ids.
fn prompt_of(subject: &Subject, reference: &Reference) -> Result<String, Finding> {
    let (text, ids) = subject.asked();
    let text = match (text, &ids) {
        (Some(text), _) => text.to_owned(),
        (None, Some(ids)) => reference.text(ids),
        (None, None) => return Err(Finding::error("a prompt", subject.name())),
    };
    match ids {
        Some(ids) if reference.encode(&text) != ids => {
            Err(Finding::error(format!("a text that becomes {ids:?}"), format!("{text:?}")))
        }
        _ => Ok(text),
    }
}
