//! `llorch-pool worker …`, and `llorch-pool status`.

use std::fs::File;
use std::io;
use std::time::Duration;

use clap::Subcommand;
use serde_json::{Value, json};

use super::output::{BAD, Cell, GOOD, clean, styled, table};
use super::{Context, Failure, guides, models};
use crate::pool::catalog::Store;
use crate::pool::local::info::{Workers, is_worker_id};
use crate::pool::local::list::{self, Seen, State};
use crate::pool::local::logs;
use crate::pool::local::spawn::{self, BACKENDS, Order};
use crate::pool::local::stop::{self, Stopped};

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Start a worker on a downloaded model, detached from this terminal
    #[command(after_long_help = guides::SPAWNING)]
    Spawn(Spawn),
    /// List the workers; files of those that are gone are shown once, and removed
    List,
    /// Stop a worker: asked first, and made to when it does not end
    Stop { id: String },
    /// Print the last lines of a worker's log
    Logs {
        id: String,
        /// Go on with what is written, until the worker ends
        #[arg(short, long)]
        follow: bool,
        /// How many lines
        #[arg(short = 'n', long, value_name = "N", default_value_t = 100)]
        lines: usize,
    },
}

#[derive(Debug, clap::Args)]
pub struct Spawn {
    /// cpu, cuda or metal
    backend: String,
    /// The model's id in the catalog
    #[arg(long, value_name = "ID")]
    model: String,
    /// The device's index
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=1023))]
    gpu: u16,
    /// [default: 8000 and the device's index]
    #[arg(long, value_name = "P", value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// Until the worker's /health says that it is ready: the default
    #[arg(long)]
    wait: bool,
    /// Only until it is clear that it did not end at once
    #[arg(long, conflicts_with = "wait")]
    no_wait: bool,
    /// How long to wait
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    ready_within: u32,
    /// Further flags for the worker, after --
    #[arg(last = true, value_name = "FLAG")]
    flags: Vec<String>,
}

impl Verb {
    pub fn may_take_long(&self) -> bool {
        matches!(self, Verb::Logs { follow: true, .. })
    }

    pub fn carry_out(self, context: &Context) -> Result<(), Failure> {
        match self {
            Verb::Spawn(spawn) => spawn.carry_out(context),
            Verb::List => show_list(context),
            Verb::Stop { id } => end(context, &id),
            Verb::Logs { id, follow, lines } => show_log(context, &id, follow, lines),
        }
    }
}

impl Spawn {
    fn carry_out(self, context: &Context) -> Result<(), Failure> {
        let order = Order {
            backend: self.backend,
            model_id: self.model,
            gpu: self.gpu,
            port: self.port,
            flags: self.flags,
            wait: (!self.no_wait).then(|| Duration::from_secs(self.ready_within.into())),
        };
        let info = spawn::spawn(&context.pool, &order, &context.programs).map_err(Failure::of)?;
        let state = if self.no_wait { "is starting" } else { "is ready" };
        let words = format!(
            "{} {state}: http://127.0.0.1:{} (pid {}, model {})",
            info.worker_id, info.port, info.process.pid, info.model_id
        );
        context.output.say(words, &json!(info))
    }
}

/// A worker for a script.
fn document(seen: &Seen) -> Value {
    let info = seen.info.as_ref();
    json!({
        "worker_id": seen.worker_id,
        "state": seen.state.word(),
        "remark": seen.state.remark(),
        "pid": seen.process.as_ref().map(|process| process.pid),
        "backend": info.map(|info| &info.backend),
        "gpu": info.map(|info| info.gpu),
        "model_id": info.map(|info| &info.model_id),
        "port": info.map(|info| info.port),
        "started_at": info.map(|info| &info.started_at),
    })
}

fn rows(all: &[Seen]) -> String {
    let row = |seen: &Seen| -> Vec<Cell> {
        let style = if seen.state == State::Running { GOOD } else { BAD };
        let pid = seen.process.as_ref().map(|process| process.pid.to_string()).unwrap_or_default();
        let (port, model, started) = match &seen.info {
            Some(info) => (info.port.to_string(), info.model_id.clone(), info.started_at.clone()),
            None => Default::default(),
        };
        let cells = [pid, port, model, started, seen.state.remark()].map(Cell::from);
        [seen.worker_id.as_str().into(), styled(seen.state.word(), style)].into_iter().chain(cells).collect()
    };
    let rows: Vec<Vec<Cell>> = all.iter().map(row).collect();
    table(&["ID", "STATE", "PID", "PORT", "MODEL", "STARTED", ""], &rows)
}

fn show_list(context: &Context) -> Result<(), Failure> {
    let workers = Workers::new(&context.pool);
    let all = list::all(&workers).map_err(Failure::of)?;
    let words = if all.is_empty() { "no workers: llorch-pool worker spawn --help".to_owned() } else { rows(&all) };
    context.output.say(words, &all.iter().map(document).collect())?;
    for seen in &all {
        if list::clean(&workers, seen).map_err(Failure::of)? {
            eprintln!("llorch-pool: the file of {} is removed: {}", seen.worker_id, clean(&seen.state.remark()));
        }
    }
    Ok(())
}

fn end(context: &Context, id: &str) -> Result<(), Failure> {
    let id = checked(id)?;
    let stopped = stop::stop(&Workers::new(&context.pool), id).map_err(Failure::of)?;
    let (word, words) = match stopped {
        Stopped::Gracefully => ("stopped", format!("{id} is stopped")),
        Stopped::Killed { waited } => {
            ("killed", format!("{id} did not end within {} s and was killed", waited.as_secs()))
        }
        Stopped::WasDead => ("was dead", format!("{id} was dead already; its file is removed")),
    };
    context.output.say(words, &json!({ "worker_id": id, "outcome": word }))
}

/// An id becomes the name of a file.
fn checked(id: &str) -> Result<&str, Failure> {
    match is_worker_id(id) {
        true => Ok(id),
        false => Err(Failure::of(format!("there is no worker {id:?} here. Run: llorch-pool worker list"))),
    }
}

fn show_log(context: &Context, id: &str, follow: bool, lines: usize) -> Result<(), Failure> {
    let id = checked(id)?;
    let workers = Workers::new(&context.pool);
    let path = workers.log_path(id);
    let mut file = match File::open(&path) {
        Ok(file) => file,
        Err(problem) if problem.kind() == io::ErrorKind::NotFound => {
            return Err(Failure::of(format!("the worker {id:?} has no log here. Run: llorch-pool worker list")));
        }
        Err(problem) => return Err(Failure::of(format!("{} can't be read: {problem}", path.display()))),
    };
    let is_over = || !matches!(list::one(&workers, id), Ok(Some(seen)) if seen.state.is_alive());
    context.output.write(|out| match follow {
        true => logs::follow(&path, lines, out, &is_over),
        false => out.write_all(&logs::tail(&mut file, lines)?),
    })
}

/// Models, workers and what they answer.
pub fn status(context: &Context) -> Result<(), Failure> {
    let catalog = Store::new(&context.pool).read().map_err(Failure::of)?;
    let all = list::all(&Workers::new(&context.pool)).map_err(Failure::of)?;
    let mut documents = Vec::new();
    for seen in &all {
        let mut document = document(seen);
        let health = seen.info.as_ref().filter(|_| seen.state.is_alive()).and_then(|info| spawn::health(info.port));
        let is_own = |health: &Value| health["worker_id"] == seen.worker_id.as_str();
        document["health"] = health.filter(is_own).map_or(Value::Null, |health| health["status"].clone());
        documents.push(document);
    }
    let models = models::counts(&catalog);
    let programs: serde_json::Map<String, Value> = ["llorch-cpud", "llorch-candled"]
        .into_iter()
        .map(|name| {
            (name.to_owned(), context.programs.find(name).ok().map(|found| found.path.display().to_string()).into())
        })
        .collect();
    let mut words = format!(
        "pool     {}\nmodels   {} registered, {} downloaded, {:.2} GB\nworkers  {} running, {} in all\n",
        clean(&catalog.pool_id),
        models["registered"],
        models["downloaded"],
        models["size_gb"].as_f64().unwrap_or_default(),
        all.iter().filter(|seen| seen.state == State::Running).count(),
        all.len(),
    );
    for (name, path) in &programs {
        words += &format!("{name:<15}  {}\n", path.as_str().unwrap_or("not here"));
    }
    for (seen, document) in all.iter().zip(&documents) {
        let health = document["health"].as_str().unwrap_or("no answer");
        words += &format!("{:<15}  {}, {}\n", seen.worker_id, seen.state.word(), clean(health));
    }
    let document = json!({
        "pool_id": catalog.pool_id, "models": models, "workers": documents, "programs": programs, "backends": BACKENDS,
    });
    context.output.say(words, &document)
}
