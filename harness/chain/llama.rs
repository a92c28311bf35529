//! A real `llama-server`: where it is found, what it is started on, and one that runs already.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::harness::Finding;
use crate::harness::api::slots::Engine;
use crate::harness::chain::{LlamaModel, ONE_THREAD};
use crate::harness::http::{self, Base, Request};
use crate::harness::model_files::{self, Element, Form};
use crate::harness::process::{Command, Process};
use crate::harness::selection::ModelFormat;
use crate::harness::sshd::find_program;
use crate::harness::target::free_port;
use crate::model::error::Problem;
use crate::model::recipe::{LlamaSize, Recipe, Size};
use crate::model::{Gpt2Configuration, LlamaConfiguration};

/// Names the program.
pub const PROGRAM: &str = "LLAMA_SERVER_BIN";
/// Names one that runs already.
pub const RUNNING: &str = "ORCHD_LLAMACPP_URL";
/// Names a model of the user's own.
pub const MODEL: &str = "LLORCH_HAIKU_MODEL";

const READY_WITHIN: Duration = Duration::from_secs(60);

fn named(variable: &str) -> Option<String> {
    std::env::var(variable).ok().filter(|value| !value.is_empty())
}

/// The program, as a node would find it; else the sentence that says how to get one.
pub fn program() -> Result<PathBuf, String> {
    match named(PROGRAM).map(PathBuf::from) {
        Some(path) if path.is_file() => Ok(path),
        Some(path) => Err(format!("{PROGRAM}: there is no {}", path.display())),
        None => find_program("llama-server").ok_or_else(|| {
            format!(
                "there is no llama-server: {PROGRAM} names none and none is on the PATH (.ci/llama-server builds one \
                 from source and prints where it lies)"
            )
        }),
    }
}

/// The file that LLORCH_HAIKU_MODEL names.
pub fn named_model() -> Result<PathBuf, Finding> {
    let skipped = |found: String| Finding::skipped("a model of your own", found);
    let path = named(MODEL).map(PathBuf::from).ok_or_else(|| skipped(format!("{MODEL} names no GGUF file")))?;
    if path.is_file() {
        return Ok(path);
    }
    Err(Finding::fail(format!("the file that {MODEL} names"), format!("there is no {}", path.display())))
}

/// Writes the model, where it is not there.
pub fn model(model: LlamaModel, haiku: PathBuf, folder: &Path) -> Result<PathBuf, Finding> {
    match model {
        LlamaModel::Haiku => Ok(haiku),
        LlamaModel::Named => named_model(),
        LlamaModel::Slow => recipe(Recipe::new(model_files::computes_for_seconds(), 11), folder),
        LlamaModel::Fresh(None) => {
            recipe(Recipe::new(Gpt2Configuration { n_ctx: 256, ..Size::Odd.configuration() }, drawn_seed()), folder)
        }
        LlamaModel::Fresh(Some(architecture)) => {
            let size = LlamaSize::of(architecture, Size::Odd).ok_or_else(|| Finding::error("an odd size", "none"))?;
            let configuration = LlamaConfiguration { n_ctx: 256, ..size.configuration };
            recipe(Recipe::llama(LlamaSize { configuration, ..size }, drawn_seed()), folder)
        }
    }
}

fn drawn_seed() -> u64 {
    uuid::Uuid::new_v4().as_u64_pair().0
}

fn recipe(recipe: Result<Recipe, Problem>, folder: &Path) -> Result<PathBuf, Finding> {
    let recipe = recipe.map_err(|error| Finding::error("a recipe", error.to_string()))?;
    let form = Form { format: ModelFormat::Gguf, ..Form::PLAIN };
    let folder = folder.join("llama");
    let written =
        std::fs::create_dir_all(&folder).and_then(|()| model_files::write(&recipe, form, Element::F32, &folder));
    written.map_err(|error| Finding::error("a recipe model on disk", error.to_string()))
}

/// One that runs already: that of the environment, or one that is started here.
#[derive(Debug)]
pub struct Running {
    pub engine: Engine,
    /// Of one that was started here. It ends with this.
    _process: Option<Process>,
}

impl Running {
    pub fn reach_or_start(program: &Path, model: &Path) -> Result<Running, Finding> {
        if let Some(url) = named(RUNNING) {
            let base = Base::parse(&url)?;
            http::send(&base, &Request::get("/health"), READY_WITHIN)?.expect_status(200)?;
            return Ok(Running { engine: Engine::at(&base), _process: None });
        }
        let base = Base::local(free_port());
        let port = base.port.to_string();
        let model = model.display().to_string();
        let words =
            ["--model", &model, "--host", "127.0.0.1", "--port", &port, "--parallel", "1", "--no-webui", "--slots"]
                .into_iter()
                .chain(ONE_THREAD);
        let process = Process::spawn(Command::new(program).arguments(words));
        let process = process.map_err(|error| Finding::fail("a llama-server that starts", error.to_string()))?;
        let until = Instant::now() + READY_WITHIN;
        loop {
            let answer = http::send(&base, &Request::get("/health"), Duration::from_secs(5));
            if answer.as_ref().is_ok_and(|answer| answer.status == 200) {
                return Ok(Running { engine: Engine::at(&base), _process: Some(process) });
            }
            if process.exit().is_some() || Instant::now() >= until {
                let found = answer.map_or_else(|error| error.to_string(), |answer| format!("status {}", answer.status));
                return Err(process.evidence(Finding::fail("a llama-server that is ready", found)));
            }
            let _ = process.wait_for_exit(Duration::from_millis(50));
        }
    }
}
