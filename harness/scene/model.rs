//! Workers on models of the harness's choosing: the same numbers in two forms, hostile files, and models of a size that
//! a case needs.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::job::PATIENCE;
use super::start::{Kind, Launched, Started};
use super::{Held, Scene};
use crate::harness::Finding;
use crate::harness::model_files::{self, Element, Form};
use crate::harness::selection::ModelFormat;
use crate::harness::target::{READY_WITHIN, Start, Worker, free_port, unique};
use crate::harness::{hostile_files, session, tiny_model};
use crate::model::Gpt2Configuration;
use crate::model::recipe::{Recipe, Size};

/// What a scenario compares: two ways to start a worker, and what each then wrote.
#[derive(Default)]
pub struct Compared {
    ways: Vec<(String, Start)>,
    wrote: Vec<Wrote>,
    /// The sizes of the model, where the case goes by them.
    sizes: Option<Gpt2Configuration>,
}

/// Everything that one worker said to the same questions.
#[derive(Clone, Debug, PartialEq)]
struct Wrote {
    tokenizer_kind: String,
    texts: Vec<String>,
    /// Where the worker reports them.
    ids: Vec<Option<Vec<u64>>>,
    tokens_in: f64,
}

/// Prompts with everything a tokenizer can get wrong: blanks in runs, digits, letters of several bytes, contractions.
const PROMPTS: [&str; 4] = ["Hello.", "w1 w22  w3\n\tit's 2026", "naïve 日本語 🤖", "Write a haiku about rain"];

impl Scene {
    /// A folder that lasts as long as the scenario.
    pub(super) fn folder(&mut self) -> Result<PathBuf, Finding> {
        let folder = tempfile::tempdir().map_err(|error| Finding::error("a temporary folder", error.to_string()))?;
        let path = folder.path().to_path_buf();
        self.held.push(Held::Folder(folder));
        Ok(path)
    }

    pub(super) fn recipe_file(&mut self, recipe: &Recipe, form: Form, rounded_to: Element) -> Result<PathBuf, Finding> {
        let folder = self.folder()?.join("recipe");
        let written = std::fs::create_dir(&folder).and_then(|()| model_files::write(recipe, form, rounded_to, &folder));
        written.map_err(|error| Finding::error("a recipe model on disk", error.to_string()))
    }

    pub(super) fn tiny_file(&mut self, format: ModelFormat) -> Result<PathBuf, Finding> {
        let written = tiny_model::write(&self.folder()?, format);
        written.map_err(|error| Finding::error("the tiny model on disk", error.to_string()))
    }

    /// The same numbers stored in this form, and plainly.
    pub fn store_in_two_forms(&mut self, words: &str) -> Result<(), Finding> {
        let form = Form::of(words)?;
        let recipe = recipe(Size::Odd.configuration(), 7)?;
        for (label, form, rounded_to) in [(words, form, form.element), ("plain", Form::PLAIN, form.element)] {
            let path = self.recipe_file(&recipe, form, rounded_to)?;
            let start = self.session.start_on(&path, form.format)?;
            self.compared.ways.push((label.into(), start));
        }
        Ok(())
    }

    pub fn store_haiku_model_in_both_formats(&mut self) -> Result<(), Finding> {
        for (label, format) in [("safetensors", ModelFormat::Safetensors), ("GGUF", ModelFormat::Gguf)] {
            let path = self.tiny_file(format)?;
            let start = self.session.start_on(&path, format)?;
            self.compared.ways.push((label.into(), start));
        }
        Ok(())
    }

    /// One model, started in these two ways.
    pub fn store_for_flags(&mut self, ways: [&str; 2]) -> Result<(), Finding> {
        let path = self.recipe_file(&recipe(Size::Odd.configuration(), 7)?, Form::PLAIN, Element::F32)?;
        for flags in ways {
            let words = shlex::split(flags).unwrap_or_default();
            let start = self.session.start_on(&path, ModelFormat::Safetensors)?.flags(words);
            self.compared.ways.push((flags.into(), start));
        }
        Ok(())
    }

    /// Starts a worker in each way, and asks it the same.
    pub fn ask_each_for_texts(&mut self) -> Result<(), Finding> {
        for (_, start) in self.compared.ways.clone() {
            let worker = self.session.worker(true, &start)?;
            self.compared.wrote.push(wrote(&worker)?);
        }
        Ok(())
    }

    pub fn both_wrote_the_same(&mut self) -> Result<(), Finding> {
        let ([(one, _), (other, _)], [first, second]) = (&self.compared.ways[..], &self.compared.wrote[..]) else {
            return Err(Finding::error("two workers to compare", format!("{}", self.compared.wrote.len())));
        };
        // What says nothing agrees with everything.
        if first.texts.iter().all(String::is_empty) {
            return Err(Finding::fail("a text from each worker", "no text from either"));
        }
        let same = first.texts == second.texts && first.ids == second.ids && first.tokens_in == second.tokens_in;
        if same {
            return Ok(());
        }
        let found = format!("{one}: {first:?}\n{other}: {second:?}");
        Err(Finding::fail(format!("the same texts, ids and prompt tokens from {one} and {other}"), found))
    }

    pub fn tokenizers_are(&mut self, kinds: &[String]) -> Result<(), Finding> {
        let found: Vec<&str> = self.compared.wrote.iter().map(|wrote| wrote.tokenizer_kind.as_str()).collect();
        if found == kinds {
            return Ok(());
        }
        Err(Finding::fail(format!("tokenizer_kind {}", kinds.join(", ")), found.join(", ")))
    }

    pub fn launch_on_hostile_file(&mut self, name: &str) -> Result<(), Finding> {
        let folder = self.folder()?;
        let file = hostile_files::write(name, &folder);
        let file = file.map_err(|error| Finding::error("a hostile file on disk", error.to_string()))?;
        let format = ModelFormat::of(&file);
        self.launch_on(&file, format)
    }

    pub(super) fn launch_on(&mut self, file: &Path, format: ModelFormat) -> Result<(), Finding> {
        let port = free_port();
        let start = self.session.start_on(file, format)?.port(port);
        let process = self.session.target.launch(&start)?;
        self.launched = Some(Launched { process, ports: vec![("flag", port)], hopeless: true });
        Ok(())
    }

    /// The scenario's worker, on a file that was written for it.
    pub(super) fn start_on(&mut self, path: &Path, format: ModelFormat, flags: &[&str]) -> Result<(), Finding> {
        let start = self.session.start_on(path, format)?.flags(flags.iter().copied());
        self.worker = Some(self.session.worker(true, &start)?);
        self.started = Started { kind: Kind::Computes, start };
        Ok(())
    }

    pub fn start_on_haiku_model(&mut self) -> Result<(), Finding> {
        let path = self.tiny_file(ModelFormat::Safetensors)?;
        self.start_on(&path, ModelFormat::Safetensors, &[])
    }

    pub fn start_on_real_gpt2(&mut self) -> Result<(), Finding> {
        let folder = session::real_gpt2().map_err(|found| Finding::skipped("GPT-2 medium's real weights", found))?;
        self.start_on(&folder, ModelFormat::Safetensors, &[])
    }

    /// A recipe model by its size's name, or one that computes for seconds.
    pub fn start_on_recipe(&mut self, size: &str, seed: u64, flags: &[&str]) -> Result<(), Finding> {
        let configuration = match Size::ALL.into_iter().find(|known| known.name() == size) {
            Some(size) => size.configuration(),
            None if size == "seconds" => model_files::computes_for_seconds(),
            None => return Err(Finding::error("a size of recipe model", size)),
        };
        let recipe = recipe(configuration.clone(), seed)?;
        let path = self.recipe_file(&recipe, Form::PLAIN, Element::F32)?;
        self.compared.sizes = Some(configuration);
        self.start_on(&path, ModelFormat::Safetensors, flags)
    }

    /// What the worker says it holds is what the recipe gave in another language.
    pub fn digest_is_recorded(&mut self, size: &str, seed: u64) -> Result<(), Finding> {
        let recorded = recorded_digest(size, seed)?;
        let line = self.worker()?.process()?.wait_for_line("a line with model_digest", READY_WITHIN, |line| {
            serde_json::from_str(&line.text).is_ok_and(|line: Value| line.get("model_digest").is_some())
        })?;
        let line: Value = serde_json::from_str(&line.text).unwrap_or_default();
        if line["model_digest"] == recorded {
            return Ok(());
        }
        Err(Finding::fail(format!("model_digest {recorded}, as recorded for it"), line["model_digest"].to_string()))
    }

    pub fn loading_was_told(&mut self, percents: &[String]) -> Result<(), Finding> {
        let log = self.worker()?.wait_for_log("ready", PATIENCE)?;
        let told: Vec<String> =
            log.events("model_load_progress").filter_map(|line| line.value("percent").map(Value::to_string)).collect();
        if told == percents {
            return Ok(());
        }
        let expected = format!("model_load_progress with percent {}", percents.join(", "));
        Err(log.evidence(Finding::fail(expected, format!("percent {}", told.join(", ")))))
    }

    /// Weights and cache, by the harness's own arithmetic.
    fn held_bytes(&self) -> Result<(u64, u64), Finding> {
        let sizes = self.compared.sizes.as_ref();
        let sizes = sizes.ok_or_else(|| Finding::error("a model whose sizes are known", "none was started"))?;
        let numbers = |shape: &[usize]| shape.iter().product::<usize>() as u64;
        let weights: u64 = sizes.tensors().iter().map(|(_, shape)| 4 * numbers(shape)).sum();
        Ok((weights, 4 * numbers(&[2, sizes.n_layer, sizes.n_ctx, sizes.n_embd])))
    }

    pub fn memory_is_accounted_for(&mut self, percent: u64) -> Result<(), Finding> {
        let (weights, cache) = self.held_bytes()?;
        let health = self.worker()?.health()?;
        let told = health["memory_bytes"].as_u64().unwrap_or_default();
        let held = weights + cache;
        if told.abs_diff(held) * 100 <= held * percent {
            return Ok(());
        }
        let expected = format!("memory_bytes within {percent} % of {held}: weights {weights} and cache {cache}");
        Err(Finding::fail(expected, format!("memory_bytes {told}")))
    }

    /// Loading touches every weight once; the cache may wait for its positions.
    pub fn memory_is_resident(&mut self, percent: u64) -> Result<(), Finding> {
        /// The program itself: its code, its stacks, its allocator.
        const PROGRAM: u64 = 48 << 20;
        let (weights, cache) = self.held_bytes()?;
        let resident = resident_bytes(self.worker()?.process()?.id())?;
        let (least, most) = (weights * (100 - percent) / 100, (weights + cache) * (100 + percent) / 100 + PROGRAM);
        if (least..=most).contains(&resident) {
            return Ok(());
        }
        let expected = format!("between {least} and {most} bytes resident, for weights {weights} and cache {cache}");
        Err(Finding::fail(expected, format!("{resident} bytes")))
    }

    pub fn job_ended_for(&mut self, reason: &str, tokens: u64) -> Result<(), Finding> {
        let job = self.jobs.last_mut().ok_or_else(|| Finding::error("a job", "none was sent"))?;
        let transcript = job.transcript(PATIENCE)?;
        let (found, out) = (transcript.stop_reason().unwrap_or_default(), transcript.tokens_out().unwrap_or_default());
        if found == reason && out == tokens {
            return Ok(());
        }
        let finding = Finding::fail(format!("{reason} after {tokens} tokens"), format!("{found} after {out} tokens"));
        Err(transcript.evidence(finding))
    }

    /// The processor time that the worker still uses from now on, until it rests.
    pub fn processor_rests_after(&mut self, allowed: Duration) -> Result<(), Finding> {
        const RESTING: Duration = Duration::from_millis(300);
        let process = self.worker()?.process()?;
        let used =
            || process.cpu_time().map_err(|error| Finding::error("the worker's processor time", error.to_string()));
        let (first, deadline) = (used()?, Instant::now() + Duration::from_secs(10));
        let (mut last, mut since) = (first, Instant::now());
        while since.elapsed() < RESTING && Instant::now() < deadline {
            std::thread::park_timeout(Duration::from_millis(20));
            let now = used()?;
            if now.saturating_sub(first) > allowed {
                let found = format!("{:.0?}, and it goes on", now.saturating_sub(first));
                return Err(Finding::fail(format!("at most {allowed:.0?} of processor time after the end"), found));
            }
            if now != last {
                (last, since) = (now, Instant::now());
            }
        }
        match since.elapsed() >= RESTING {
            true => Ok(()),
            false => Err(Finding::fail(format!("no work for {RESTING:.0?} within 10 s of the end"), "it never rests")),
        }
    }

    /// The same job alone, and again while it waits behind and before others.
    pub fn run_alone_and_among_others(&mut self) -> Result<(), Finding> {
        let worker = self.worker()?.clone();
        let job = |prompt: &str, seed: u64| json!({ "job_id": unique("among"), "prompt": prompt, "max_tokens": 20, "temperature": 1.0, "seed": seed });
        let alone = worker.run(&job(PROMPTS[0], 5), PATIENCE)?;
        let others = [(PROMPTS[1], 6), (PROMPTS[0], 5), (PROMPTS[2], 7), (PROMPTS[0], 5)];
        let waiting: Vec<_> = others
            .into_iter()
            .map(|(prompt, seed)| {
                let (worker, body) = (worker.clone(), job(prompt, seed));
                std::thread::spawn(move || worker.run(&body, PATIENCE))
            })
            .collect();
        let mut texts = vec![alone.completed()?.text()];
        for (run, (prompt, _)) in waiting.into_iter().zip(others) {
            let run = run.join().map_err(|_| Finding::error("jobs at once", "one of them panicked"))??;
            if prompt == PROMPTS[0] {
                texts.push(run.completed()?.text());
            }
        }
        if texts.iter().all(|text| *text == texts[0] && !text.is_empty()) {
            return Ok(());
        }
        Err(Finding::fail("the same text alone and among waiting jobs", format!("{texts:?}")))
    }
}

pub(super) fn recipe(configuration: Gpt2Configuration, seed: u64) -> Result<Recipe, Finding> {
    Recipe::new(configuration, seed).map_err(|problem| Finding::error("a recipe model", problem.to_string()))
}

fn wrote(worker: &Worker) -> Result<Wrote, Finding> {
    let (mut texts, mut ids) = (Vec::new(), Vec::new());
    for (prompt, temperature) in PROMPTS.iter().flat_map(|prompt| [(prompt, 0.0), (prompt, 1.0)]) {
        let job = json!({
            "job_id": unique("form"), "prompt": prompt, "max_tokens": 12, "temperature": temperature, "seed": 11,
        });
        let transcript = worker.run(&job, PATIENCE)?;
        transcript.completed()?;
        texts.push(transcript.text());
        ids.push(transcript.token_ids());
    }
    let health = worker.health()?;
    Ok(Wrote {
        tokenizer_kind: health["tokenizer_kind"].as_str().unwrap_or_default().into(),
        texts,
        ids,
        tokens_in: worker.metrics()?.value("worker_tokens_in_total", &[])?,
    })
}

/// As `fixtures/recipe/recipe.py` gave it.
fn recorded_digest(size: &str, seed: u64) -> Result<String, Finding> {
    let table: Vec<Value> = serde_json::from_str(include_str!("../../fixtures/recipe/digests.json"))
        .map_err(|error| Finding::error("the table of digests", error.to_string()))?;
    let entry = table.iter().find(|entry| entry["size"] == size && entry["seed"] == seed);
    let digest = entry.and_then(|entry| entry["model_digest"].as_str()).map(str::to_owned);
    digest.ok_or_else(|| Finding::error(format!("a recorded digest of {size} with seed {seed}"), "none"))
}

fn resident_bytes(process: u32) -> Result<u64, Finding> {
    let text = std::fs::read_to_string(format!("/proc/{process}/status"));
    let text = text.map_err(|error| Finding::unimplemented("the worker's resident memory", error.to_string()))?;
    let kibibytes = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = kibibytes.and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kibibytes.map(|kibibytes| kibibytes * 1024).ok_or_else(|| Finding::error("a line VmRSS", text))
}
