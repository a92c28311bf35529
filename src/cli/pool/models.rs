//! `llorch-pool models …`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::{Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::output::{BAD, Cell, GOOD, PLAIN, clean, styled, table};
use super::{Context, FAILED, Failure, INTERRUPTED, guides};
use crate::pool::catalog::{
    ARCHITECTURE_RULE, Catalog, CatalogError, Format, ID_RULE, Model, REPO_RULE, Store, is_architecture, is_model_id,
    is_repo,
};
use crate::pool::local::download::{self, DownloadError, Progress};
use crate::pool::local::info::Workers;
use crate::pool::local::spawn::{BACKENDS, shell_word};
use crate::pool::local::{files, list};

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Print the catalog: where it lies, whose it is, every entry
    Catalog,
    /// List the models, and whether they are downloaded
    List,
    /// Add a model to the catalog; nothing is downloaded yet
    Register(Register),
    /// Take a model out of the catalog; its files stay
    Unregister { id: String },
    /// Print all that the catalog says about a model
    Info { id: String },
    /// Download a model's files through `hf`, and check them
    #[command(after_long_help = guides::DOWNLOADING)]
    Download {
        id: String,
        /// Look at every file again, although the model is downloaded
        #[arg(long)]
        force: bool,
    },
    /// Read a model's files and compare them with their recorded sizes and digests
    Verify { id: String },
    /// Delete a model's files; its entry stays
    Delete { id: String },
}

#[derive(Debug, clap::Args)]
pub struct Register {
    /// What it is called here
    id: String,
    /// What people call it
    #[arg(long)]
    name: String,
    /// Where it is on the hub: OWNER/NAME
    #[arg(long)]
    repo: String,
    /// gpt2, llama, qwen2, …
    #[arg(long)]
    architecture: String,
    #[arg(long, value_enum, default_value_t)]
    format: FormatName,
    /// What it may run on; may be repeated [default: cpu, cuda and metal]
    #[arg(long = "backend", value_name = "BACKEND", value_parser = BACKENDS)]
    backends: Vec<String>,
    /// The one GGUF file to download, where the repository has several
    #[arg(long, value_name = "NAME")]
    file: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum FormatName {
    #[default]
    Safetensors,
    Gguf,
}

impl From<FormatName> for Format {
    fn from(name: FormatName) -> Format {
        match name {
            FormatName::Safetensors => Format::Safetensors,
            FormatName::Gguf => Format::Gguf,
        }
    }
}

impl Verb {
    pub fn may_take_long(&self) -> bool {
        matches!(self, Verb::Download { .. } | Verb::Verify { .. })
    }

    pub fn carry_out(self, context: &Context) -> Result<(), Failure> {
        let store = Store::new(&context.pool);
        match self {
            Verb::Catalog => show_catalog(context, &store),
            Verb::List => show_list(context, &store.read().map_err(Failure::of)?),
            Verb::Register(register) => register.carry_out(context, &store),
            Verb::Unregister { id } => unregister(context, &store, &id),
            Verb::Info { id } => info(context, store.read().map_err(Failure::of)?.model(&id).map_err(Failure::of)?),
            Verb::Download { id, force } => bring(context, &id, force),
            Verb::Verify { id } => verify(context, &store, &id),
            Verb::Delete { id } => delete(context, &store, &id),
        }
    }
}

fn show_catalog(context: &Context, store: &Store) -> Result<(), Failure> {
    let catalog = store.read().map_err(Failure::of)?;
    let path = store.path();
    let state = if path.exists() { "" } else { " (not there yet: `models register` begins it)" };
    let mut words = format!("catalog  {}{state}\n", path.display());
    words += &format!("version  {}\npool     {}\n", catalog.version, clean(&catalog.pool_id));
    words += &format!("updated  {}\n", clean(&catalog.updated_at));
    for model in &catalog.models {
        words += &format!("\n{}\n", entry(model));
    }
    context.output.say(words, &json!(catalog))
}

fn show_list(context: &Context, catalog: &Catalog) -> Result<(), Failure> {
    let row = |model: &Model| -> Vec<Cell> {
        let state = if model.downloaded { styled("downloaded", GOOD) } else { styled("not downloaded", PLAIN) };
        let size = if model.downloaded { format!("{:.2} GB", model.size_gb) } else { String::new() };
        let backends = model.backends.join(", ");
        let cells = [model.id.as_str(), &model.name, &model.architecture, model.format.word()].map(Cell::from);
        cells.into_iter().chain([state, size.into(), backends.into()]).collect()
    };
    let rows: Vec<Vec<Cell>> = catalog.models.iter().map(row).collect();
    let words = match rows.is_empty() {
        true => "no models yet: llorch-pool models register --help".to_owned(),
        false => table(&["ID", "NAME", "ARCHITECTURE", "FORMAT", "STATE", "SIZE", "BACKENDS"], &rows),
    };
    context.output.say(words, &json!(catalog.models))
}

/// An entry, line by line.
fn entry(model: &Model) -> String {
    let mut lines = vec![
        ("id", model.id.clone()),
        ("name", model.name.clone()),
        ("repo", model.repo().unwrap_or("none").to_owned()),
        ("path", model.path.display().to_string()),
        ("format", model.format.word().to_owned()),
        ("architecture", model.architecture.clone()),
        ("downloaded", model.downloaded.to_string()),
        ("size", format!("{} GB", model.size_gb)),
        ("backends", model.backends.join(", ")),
    ];
    let rest = model.metadata.iter().filter(|(key, _)| !matches!(key.as_str(), "repo" | "files"));
    lines.extend(rest.map(|(key, value)| (key.as_str(), value.as_str().map_or_else(|| value.to_string(), Into::into))));
    let lines = lines.into_iter().map(|(key, value)| format!("{:<12}  {}", clean(key), clean(&value)));
    let files = files::said_by_catalog(&model.metadata).into_iter().map(|(name, file)| {
        let (size, digest) = (file.size.unwrap_or_default(), file.sha256.unwrap_or_default());
        format!("file          {}, {size} bytes, sha256 {}", clean(&name), clean(&digest))
    });
    lines.chain(files).collect::<Vec<_>>().join("\n")
}

fn info(context: &Context, model: &Model) -> Result<(), Failure> {
    context.output.say(entry(model), &json!(model))
}

impl Register {
    fn carry_out(self, context: &Context, store: &Store) -> Result<(), Failure> {
        let usage =
            |flag: &str, value: &str, rule: &str| Failure::Usage(format!("{flag} {value:?} is refused: {rule}"));
        if !is_model_id(&self.id) {
            return Err(usage("the id", &self.id, ID_RULE));
        }
        if self.name.trim().is_empty() || self.name.chars().any(char::is_control) {
            return Err(usage("--name", &self.name, "at least one character, all of which can be seen"));
        }
        if !is_repo(&self.repo) {
            return Err(usage("--repo", &self.repo, REPO_RULE));
        }
        if !is_architecture(&self.architecture) {
            return Err(usage("--architecture", &self.architecture, ARCHITECTURE_RULE));
        }
        let mut backends = self.backends;
        if backends.is_empty() {
            backends = BACKENDS.map(str::to_owned).to_vec();
        }
        backends.sort();
        backends.dedup();
        let mut model = Model::new(&self.id, &self.name, &self.repo, &self.architecture, self.format.into(), backends);
        if let Some(file) = self.file {
            let fits = self.format == FormatName::Gguf && file.ends_with(".gguf") && !file.starts_with('-');
            if !fits || file.chars().any(|c| c.is_control() || "*?[]\\".contains(c)) {
                return Err(usage("--file", &file, "the name of one .gguf file, with --format gguf"));
            }
            model.metadata.insert("file".to_owned(), file.into());
        }
        let entry = model.clone();
        store.change(|catalog| {
            if catalog.models.iter().any(|other| other.id == model.id) {
                return Err(Failure::of(format!(
                    "there is a model {:?} already. To replace it: llorch-pool models unregister {}",
                    model.id,
                    shell_word(&model.id)
                )));
            }
            catalog.models.push(model);
            Ok(())
        })?;
        let words = format!("{} is registered. Run: llorch-pool models download {}", self.id, shell_word(&self.id));
        context.output.say(words, &json!(entry))
    }
}

impl From<CatalogError> for Failure {
    fn from(problem: CatalogError) -> Failure {
        Failure::of(problem)
    }
}

fn unregister(context: &Context, store: &Store, id: &str) -> Result<(), Failure> {
    refuse_while_served(context, id)?;
    let model = store.change(|catalog| {
        let model = catalog.model(id)?.clone();
        catalog.models.retain(|other| other.id != id);
        Ok::<_, CatalogError>(model)
    })?;
    let path = context.pool.join(&model.path);
    let left = if path.exists() { format!("; its files are still in {}", path.display()) } else { String::new() };
    context.output.say(format!("{id} is no longer registered{left}"), &json!(model))
}

/// What a worker maps must not be taken away under it.
fn refuse_while_served(context: &Context, id: &str) -> Result<(), Failure> {
    let seen = list::all(&Workers::new(&context.pool)).map_err(Failure::of)?;
    let serves =
        |seen: &&list::Seen| seen.state.is_alive() && seen.info.as_ref().is_some_and(|info| info.model_id == id);
    match seen.iter().find(serves) {
        Some(seen) => {
            let worker = &seen.worker_id;
            Err(Failure::of(format!("{worker} serves {id:?}. Stop it first: llorch-pool worker stop {worker}")))
        }
        None => Ok(()),
    }
}

fn bring(context: &Context, id: &str, force: bool) -> Result<(), Failure> {
    let output = &context.output;
    let stop = Arc::new(AtomicBool::new(false));
    stop_on_signals(&stop)?;
    let mut bar = output.bar(None, &format!("downloading {id}"));
    let mut tell = |progress: Progress| match progress {
        Progress::Came(bytes) => bar.set_position(bytes),
        Progress::Failed { attempt, exit, again_in } => {
            output.remark(&bar, &format!("attempt {attempt} failed ({exit}); again in {} s", again_in.as_secs()));
        }
        Progress::Checking(total) => {
            bar.finish_and_clear();
            bar = output.bar(Some(total), &format!("checking {id}"));
        }
        Progress::Checked(bytes) => bar.inc(bytes),
    };
    let outcome = download::download(&context.pool, id, force, &stop, &mut tell);
    bar.finish_and_clear();
    match outcome {
        Ok(model) => {
            let words = format!("{id} is downloaded and checked: {} GB in {}", model.size_gb, model.path.display());
            output.say(words, &json!(model))
        }
        Err(problem @ DownloadError::Interrupted(_)) => {
            eprintln!("llorch-pool: {problem}");
            Err(Failure::Exit(INTERRUPTED))
        }
        Err(problem) => Err(Failure::of(problem)),
    }
}

/// SIGINT and SIGTERM set the flag; whoever looks at it ends what it began.
fn stop_on_signals(stop: &Arc<AtomicBool>) -> Result<(), Failure> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::of)?;
    let flag = Arc::clone(stop);
    let entered = runtime.enter();
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::of)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::of)?;
    drop(entered);
    let wait = move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        });
        flag.store(true, Ordering::Relaxed);
    };
    std::thread::Builder::new().name("signals".into()).spawn(wait).map(drop).map_err(Failure::of)
}

fn verify(context: &Context, store: &Store, id: &str) -> Result<(), Failure> {
    let model = store.read().map_err(Failure::of)?.model(id).map_err(Failure::of)?.clone();
    let again = format!("llorch-pool models download {}", shell_word(id));
    if !model.downloaded {
        return Err(Failure::of(format!("the model {id:?} is not downloaded. Run: {again}")));
    }
    let path = context.pool.join(&model.path);
    let failed =
        |problem: io::Error| Failure::of(format!("{} can't be read: {problem}. Run: {again} --force", path.display()));
    let known = [files::said_by_catalog(&model.metadata), files::said_by_hub(&path)];
    let bar = context.output.bar(Some(files::all(&path).map_err(failed)?.values().sum()), &format!("checking {id}"));
    let (actual, mut wrong) = files::check(&path, &known, &mut |bytes| bar.inc(bytes)).map_err(failed)?;
    bar.finish_and_clear();
    wrong.dedup();
    let mut problems: Vec<String> = wrong.iter().map(ToString::to_string).collect();
    problems.extend(files::find(&path, model.format).err().map(|problem| problem.to_string()));
    // A file that nothing is known about was read, and compared with nothing.
    let compared = actual.keys().filter(|name| known.iter().any(|known| known.contains_key(*name))).count();
    if compared == 0 {
        problems.push("nothing is recorded that the files could be compared with".to_owned());
    }
    let document = json!({ "id": id, "valid": problems.is_empty(), "files": actual.len(), "compared": compared, "problems": problems });
    let mut words = match problems.is_empty() {
        true => format!("{GOOD}valid{GOOD:#}  {id}: {compared} of {} files compared", actual.len()),
        false => format!("{BAD}not valid{BAD:#}  {id}"),
    };
    for problem in &problems {
        words += &format!("\n  {}", clean(problem));
    }
    if !problems.is_empty() {
        words += &format!("\nRun: {again} --force");
    }
    context.output.say(words, &document)?;
    if problems.is_empty() { Ok(()) } else { Err(Failure::Exit(FAILED)) }
}

fn delete(context: &Context, store: &Store, id: &str) -> Result<(), Failure> {
    refuse_while_served(context, id)?;
    let model = store.read().map_err(Failure::of)?.model(id).map_err(Failure::of)?.clone();
    let path = context.pool.join(&model.path);
    // The entry first: were it the other way round, a crash between the two would leave a model "downloaded" without files.
    let inside = is_inside(&path, store.folder()).map_err(Failure::of)?;
    if inside == Some(false) {
        let folder = store.folder().display();
        return Err(Failure::of(format!("{} is not in {folder}: it is not deleted from here", path.display())));
    }
    let model = store.change(|catalog| {
        let entry = catalog.model_mut(id)?;
        (entry.downloaded, entry.size_gb) = (false, 0.0);
        entry.metadata.remove("files");
        Ok::<_, CatalogError>(entry.clone())
    })?;
    let removed = match inside {
        Some(true) if path.is_dir() => fs::remove_dir_all(&path),
        Some(true) => fs::remove_file(&path),
        _ => Ok(()),
    };
    removed.map_err(|problem| Failure::of(format!("{} can't be deleted: {problem}", path.display())))?;
    let words = match inside {
        Some(_) => format!("the files of {id} are deleted; its entry stays"),
        None => format!("{id} has no files; its entry stays"),
    };
    context.output.say(words, &json!(model))
}

/// Whether it lies below the folder, links followed; none where it is not there. The catalog is a file that anybody may
/// have written: what it names outside is not ours to delete.
fn is_inside(path: &Path, folder: &Path) -> io::Result<Option<bool>> {
    let real = |path: &Path| -> io::Result<Option<PathBuf>> {
        match path.canonicalize() {
            Ok(path) => Ok(Some(path)),
            Err(problem) if problem.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(problem) => Err(problem),
        }
    };
    let (Some(path), Some(folder)) = (real(path)?, real(folder)?) else { return Ok(None) };
    Ok(Some(path != folder && path.starts_with(&folder)))
}

/// For `status`.
pub fn counts(catalog: &Catalog) -> Value {
    let downloaded = catalog.models.iter().filter(|model| model.downloaded);
    json!({
        "registered": catalog.models.len(),
        "downloaded": downloaded.clone().count(),
        "size_gb": downloaded.map(|model| model.size_gb).sum::<f64>(),
    })
}
