//! The harness on trial: one of its cases judges a worker that is wrong on purpose, or only unusual.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::Scene;
use crate::harness::api::Api;
use crate::harness::catalogue::Catalogue;
use crate::harness::chain::ONE_THREAD;
use crate::harness::chain::mistakes::Mistake;
use crate::harness::cheats::Cheat;
use crate::harness::runner::{Terms, run_collect};
use crate::harness::scripted::{MISTAKES, ODDITIES};
use crate::harness::scripted_engine::MISTAKES as ENGINE_MISTAKES;
use crate::harness::selection::{Selection, TargetKind, TargetRequest};
use crate::harness::session::Session;
use crate::harness::verdict::{Finding, Verdict};
use crate::steps::World;

/// For the cases that need long jobs: eight seconds. No cancel or stop may take as long.
const LONG: [&str; 4] = ["--tokens", "800", "--delay-ms", "10"];
/// For all others.
const BRISK: [&str; 4] = ["--tokens", "80", "--delay-ms", "1"];
/// One trial; less than a case may take, so that it is the trial that says what hung.
const TRIAL: Duration = Duration::from_secs(50);

/// How the scripted engine is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineRole {
    Asked(Api),
    Stand,
}

fn quoted(words: impl IntoIterator<Item = String>) -> String {
    let quote = |word: String| shlex::try_quote(&word).map(|word| word.into_owned()).unwrap_or(word);
    words.into_iter().map(quote).collect::<Vec<_>>().join(" ")
}

fn terms() -> Terms {
    Terms { jobs: 1, deadline: TRIAL, ..Terms::default() }
}

impl Scene {
    /// The one that plays this mistake or oddity, or none.
    pub fn choose_scripted(&mut self, name: Option<&str>) -> Result<(), Finding> {
        self.on_trial = vec!["scripted-worker".into()];
        let Some(name) = name else { return Ok(()) };
        let flag = if MISTAKES.iter().any(|mistake| mistake.name == name) {
            "--mistake"
        } else if ODDITIES.iter().any(|oddity| oddity.name == name) {
            "--oddity"
        } else {
            return Err(Finding::error("a mistake or an oddity of the scripted worker", name));
        };
        self.on_trial.extend([flag.into(), name.into()]);
        Ok(())
    }

    pub fn choose_slip(&mut self, name: &str) -> Result<(), Finding> {
        let mistake = Mistake::named(name).ok_or_else(|| Finding::error("a mistake of an orchestrator", name))?;
        self.slip = Some(mistake.slip);
        Ok(())
    }

    /// `asked as llamacpp`, `asked as openai`, or `in llama-server's place`.
    pub fn choose_engine(&mut self, scripted: bool, role: &str, mistake: &str) -> Result<(), Finding> {
        if !mistake.is_empty() && !ENGINE_MISTAKES.iter().any(|known| known.name == mistake) {
            return Err(Finding::error("a mistake of the scripted engine", mistake));
        }
        self.on_trial = match scripted {
            true => vec![self.session.llorch().display().to_string(), "scripted-engine".into()],
            false => {
                let program = self.llama_program()?.display().to_string();
                let words = [&program, "--parallel", "1", "--no-webui", "--slots"];
                words.into_iter().chain(ONE_THREAD).map(str::to_owned).collect()
            }
        };
        if !mistake.is_empty() {
            self.on_trial.extend(["--mistake".into(), mistake.into()]);
        }
        self.engine_role = match role.strip_prefix("asked as ") {
            None => Some(EngineRole::Stand),
            Some(word) => {
                let api = <Api as clap::ValueEnum>::from_str(word, true);
                Some(EngineRole::Asked(api.map_err(|error| Finding::error("an API", error))?))
            }
        };
        Ok(())
    }

    /// A program that llama-server's flags can be given to.
    fn stand_in(&mut self) -> Result<PathBuf, Finding> {
        let problem = |error: std::io::Error| Finding::error("a program on disk", error.to_string());
        let script = format!("#!/bin/sh\nexec {} \"$@\"\n", quoted(self.on_trial.clone()));
        let path = self.folder()?.join("llama-server");
        fs::write(&path, script).map_err(problem)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).map_err(problem)?;
        Ok(path)
    }

    pub fn choose_cheat(&mut self, name: &str) -> Result<(), Finding> {
        let cheat = Cheat::named(name).ok_or_else(|| Finding::error("a cheat of the gallery", name))?;
        self.on_trial = vec!["cheat".into(), cheat.name.into()];
        Ok(())
    }

    /// The rung that the gallery names for it, and no other.
    pub fn judge_by_rung(&mut self, rung: u8) -> Result<(), Finding> {
        let cheat = self.on_trial.get(1).and_then(|name| Cheat::named(name));
        let named = cheat.map(|cheat| cheat.caught_by.number());
        if named != Some(rung) {
            return Err(Finding::error(format!("rung {named:?}, as the gallery says"), rung.to_string()));
        }
        self.judge_scripted(&[format!("haiku/{rung}")])
    }

    /// Runs these cases, or all below an address, against the scripted worker, as `llorch verify --spawn` would.
    pub fn judge_scripted(&mut self, addresses: &[String]) -> Result<(), Finding> {
        let problem = |what: &'static str| move |error: String| Finding::error(what, error);
        let catalogue = Catalogue::embedded().map_err(|error| problem("the features")(error.to_string()))?;
        let selection = Selection { addresses: addresses.to_vec(), ..Selection::default() };
        let script = selection.choose(&catalogue).map_err(|error| problem("a case")(error.to_string()))?;
        let steps = script.features.iter().flat_map(|feature| &feature.scenarios).flat_map(|scenario| &scenario.steps);
        let pace = if steps.into_iter().any(|step| step.value.contains("with long jobs")) { LONG } else { BRISK };

        let llorch = self.session.llorch().clone();
        if let Some(slip) = self.slip {
            let kind = TargetKind::BuiltIn { backend: None };
            let request = TargetRequest { kind, model: None, model_formats: Vec::new(), api: Api::Native, llorch };
            let session = Session::of(request).map_err(|error| problem("the built-in chain")(error.to_string()))?;
            self.outcomes = run_collect::<World>(Arc::new(session.with_slip(slip)), script, terms());
            return Ok(());
        }
        if self.engine_role == Some(EngineRole::Stand) {
            let program = self.stand_in()?;
            let kind = TargetKind::BuiltIn { backend: None };
            let request = TargetRequest { kind, model: None, model_formats: Vec::new(), api: Api::Native, llorch };
            let session = Session::of(request).map_err(|error| problem("the built-in chain")(error.to_string()))?;
            self.outcomes = run_collect::<World>(Arc::new(session.with_llama_server(program)), script, terms());
            return Ok(());
        }
        let api = match self.engine_role {
            Some(EngineRole::Asked(api)) => api,
            _ => Api::Native,
        };
        let is_scripted = self.on_trial.first().is_some_and(|word| word == "scripted-worker");
        let mut words = self.on_trial.clone();
        if self.engine_role.is_none() {
            words.insert(0, llorch.to_string_lossy().into_owned());
        }
        if is_scripted {
            words.extend(pace.map(String::from));
        }
        let command = quoted(words);
        let kind = TargetKind::Spawn { command };
        let request = TargetRequest { kind, model: None, model_formats: Vec::new(), api, llorch };
        let session = Session::of(request).map_err(|error| problem("the scripted worker")(error.to_string()))?;
        // Its flags say how long its jobs are, as the stub's do: no need to measure them.
        let long = json!({ "prompt": "Once upon a time", "max_tokens": 800, "temperature": 1.0, "seed": 1 });
        if is_scripted {
            session.assume_long_job(long.as_object().cloned().unwrap_or_default());
        }
        self.outcomes = run_collect::<World>(Arc::new(session), script, terms());
        Ok(())
    }

    /// The case fails, and says what it expected and found.
    pub fn is_caught(&mut self) -> Result<(), Finding> {
        let broken = |verdict| matches!(verdict, Verdict::Fail | Verdict::NonStrict);
        if self.outcomes.iter().any(|outcome| broken(outcome.verdict)) {
            return Ok(());
        }
        Err(self.trial("a case that fails: the mistake is there to be caught"))
    }

    pub fn is_passed(&mut self) -> Result<(), Finding> {
        if !self.outcomes.is_empty() && self.outcomes.iter().all(|outcome| outcome.verdict == Verdict::Pass) {
            return Ok(());
        }
        Err(self.trial("every case passes: what is only unusual is no mistake"))
    }

    fn trial(&self, expected: &str) -> Finding {
        let mut finding = {
            let verdicts =
                self.outcomes.iter().map(|outcome| format!("{} {}", outcome.case.address, outcome.verdict.word()));
            Finding::fail(expected, verdicts.collect::<Vec<_>>().join(", "))
        };
        for outcome in &self.outcomes {
            finding = finding.with(
                format!("{} {}", outcome.verdict.word(), outcome.case.address),
                match &outcome.finding {
                    Some(found) => format!("expected: {}\nfound: {}", found.expected, found.found),
                    None => String::new(),
                },
            );
        }
        finding
    }
}
