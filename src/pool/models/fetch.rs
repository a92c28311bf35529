//! Fetching from the hub: its list of files with sizes and digests, then each file in plain ranged requests.
//!
//! A file grows under a name of its own and is renamed once its size and digest are right; a cut is resumed where it
//! was, by this fetch or by a later one. A note, written last, says that a model is whole: without it, it is not there.

use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::header::{CONTENT_RANGE, RANGE};
use reqwest::{Client, StatusCode, Url};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::time::{sleep, timeout};

use super::reference::{HubReference, is_inner_path};
use crate::http::failure::describe;
use crate::pool::preparation::Progress;

const ENDPOINT: &str = "https://huggingface.co";
const ATTEMPTS: u32 = 5;
const BACK_OFF: Duration = Duration::from_millis(500);
const CONNECT_PATIENCE: Duration = Duration::from_secs(15);
/// A transfer that says nothing for so long is cut, and resumed.
const SILENCE: Duration = Duration::from_secs(60);
/// The longest list of files that is read.
const LIST_BYTES: usize = 16 * 1024 * 1024;
const NOTE: &str = ".complete.json";

#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("HF_ENDPOINT: '{0}' is refused; allowed: a complete http:// or https:// URL")]
    Endpoint(String),
    #[error(
        "this build carries no TLS: build llorch with --features https, set HF_ENDPOINT to an http:// mirror, or run \
         llorch-pool models download"
    )]
    NoTls,
    #[error("{0}")]
    Transfer(String),
    #[error("the hub answered {0} for {1}")]
    Status(StatusCode, String),
    #[error("the hub's list of files can't be read: {0}")]
    List(String),
    #[error("{0}")]
    Choice(String),
    #[error("{file}: expected {expected}, found {found}")]
    Wrong { file: String, expected: String, found: String },
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: std::io::Error },
}

impl FetchError {
    /// Whether the same request may do better: a cut, or a hub that is busy.
    fn may_pass(&self) -> bool {
        match self {
            FetchError::Transfer(_) => true,
            FetchError::Status(status, _) => status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS,
            _ => false,
        }
    }
}

/// One file, as the hub lists it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Listed {
    #[serde(rename = "rfilename")]
    name: String,
    #[serde(default)]
    size: Option<u64>,
    #[serde(default)]
    lfs: Option<Lfs>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Lfs {
    sha256: String,
    size: u64,
}

impl Listed {
    fn length(&self) -> Option<u64> {
        self.lfs.as_ref().map(|lfs| lfs.size).or(self.size)
    }
}

#[derive(Deserialize)]
struct Repository {
    sha: String,
    siblings: Vec<Listed>,
}

/// What says that a model is whole.
#[derive(Serialize, Deserialize)]
struct Note {
    reference: String,
    commit: String,
    files: Vec<Listed>,
}

fn folder(models: &Path, reference: &HubReference) -> PathBuf {
    let name = reference.repository.replace('/', "--");
    models.join("hf").join(name).join(reference.revision.replace('/', "--"))
}

fn note_path(folder: &Path, reference: &HubReference) -> PathBuf {
    match &reference.file {
        // One note for each file that was asked for by itself.
        Some(file) => folder.join(format!(".{}{NOTE}", file.replace('/', "--"))),
        None => folder.join(NOTE),
    }
}

/// Where a worker finds it, once it is whole: every file that the note names, of the size that it names.
pub fn fetched(models: &Path, reference: &HubReference) -> Option<PathBuf> {
    let folder = folder(models, reference);
    let note: Note = serde_json::from_slice(&std::fs::read(note_path(&folder, reference)).ok()?).ok()?;
    let whole = |file: &Listed| {
        let length = std::fs::metadata(folder.join(&file.name)).ok().map(|data| data.len());
        is_inner_path(&file.name) && length.is_some() && file.length().is_none_or(|expected| length == Some(expected))
    };
    note.files.iter().all(whole).then(|| entry(&folder, reference))
}

/// What a worker is started on. An absolute path: the worker may run elsewhere.
fn entry(folder: &Path, reference: &HubReference) -> PathBuf {
    let path = match &reference.file {
        Some(file) => folder.join(file),
        None => folder.to_owned(),
    };
    std::path::absolute(&path).unwrap_or(path)
}

/// Fetches a model, or what is missing of it.
pub async fn fetch(models: &Path, reference: &HubReference, progress: &Progress) -> Result<PathBuf, FetchError> {
    let hub = Hub::of_environment()?;
    progress.phase("list", format!("Asking the hub for {reference}"));
    let repository = hub.list(reference).await?;
    let files = chosen(&repository, reference)?;
    let folder = folder(models, reference);
    let total = files.iter().map(Listed::length).sum::<Option<u64>>();
    let mut done = 0;
    for file in &files {
        progress.phase("download", format!("Fetching {}", file.name));
        let target = folder.join(&file.name);
        let from = hub.file(reference, &repository.sha, &file.name)?;
        let length = transfer(&hub, from, &target, file, &|bytes| progress.bytes(done + bytes, total)).await?;
        done += length;
    }
    let note = Note { reference: reference.to_string(), commit: repository.sha, files };
    let text = serde_json::to_vec_pretty(&note).unwrap_or_default();
    let path = note_path(&folder, reference);
    let written = path.with_extension("tmp");
    std::fs::write(&written, text)
        .and_then(|()| std::fs::rename(&written, &path))
        .map_err(|source| FetchError::Io { path, source })?;
    Ok(entry(&folder, reference))
}

/// What of a repository a worker needs: the one file that was asked for, or weights with what lies beside them.
fn chosen(repository: &Repository, reference: &HubReference) -> Result<Vec<Listed>, FetchError> {
    let refuse = |message: String| Err(FetchError::Choice(message));
    if let Some(strange) = repository.siblings.iter().find(|file| !is_inner_path(&file.name)) {
        return refuse(format!("the hub lists a file outside its repository: {:?}", strange.name));
    }
    let beside = |file: &&Listed| {
        !file.name.contains('/')
            && (file.name.ends_with(".json") || matches!(file.name.as_str(), "tokenizer.model" | "merges.txt"))
    };
    let weights: Vec<&Listed> = match &reference.file {
        Some(name) => match repository.siblings.iter().find(|file| file.name == *name) {
            Some(file) => vec![file],
            None => return refuse(format!("the repository has no file {name}")),
        },
        None => {
            let weights = |file: &&Listed| !file.name.contains('/') && file.name.ends_with(".safetensors");
            repository.siblings.iter().filter(weights).collect()
        }
    };
    if weights.is_empty() {
        let gguf: Vec<&str> =
            repository.siblings.iter().map(|file| file.name.as_str()).filter(|name| name.ends_with(".gguf")).collect();
        return refuse(if gguf.is_empty() {
            "the repository has no .safetensors file".to_owned()
        } else {
            format!("the repository has no .safetensors file; name one with ::file=, such as {}", gguf[0])
        });
    }
    let alone = weights.iter().all(|file| file.name.ends_with(".gguf"));
    let others = repository.siblings.iter().filter(beside).filter(|_| !alone);
    Ok(weights.into_iter().chain(others).cloned().collect())
}

struct Hub {
    client: Client,
    endpoint: Url,
    token: Option<String>,
}

impl Hub {
    fn of_environment() -> Result<Self, FetchError> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let text = variable("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.to_owned());
        let endpoint = Url::parse(&text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        let endpoint = endpoint.ok_or(FetchError::Endpoint(text))?;
        if endpoint.scheme() == "https" && !cfg!(feature = "https") {
            return Err(FetchError::NoTls);
        }
        let client = super::client(CONNECT_PATIENCE).map_err(|error| FetchError::Transfer(describe(&error)))?;
        Ok(Self { client, endpoint, token: variable("HF_TOKEN") })
    }

    fn url(&self, parts: &[&str], rest: &[&str]) -> Result<Url, FetchError> {
        let mut url = self.endpoint.clone();
        let parts = parts.iter().flat_map(|part| part.split('/')).chain(rest.iter().flat_map(|part| part.split('/')));
        url.path_segments_mut()
            .map_err(|()| FetchError::Endpoint(self.endpoint.to_string()))?
            .pop_if_empty()
            .extend(parts);
        Ok(url)
    }

    fn file(&self, reference: &HubReference, commit: &str, name: &str) -> Result<Url, FetchError> {
        self.url(&[&reference.repository, "resolve", commit], &[name])
    }

    fn get(&self, url: Url) -> reqwest::RequestBuilder {
        match &self.token {
            Some(token) => self.client.get(url).bearer_auth(token),
            None => self.client.get(url),
        }
    }

    async fn list(&self, reference: &HubReference) -> Result<Repository, FetchError> {
        let mut url = self.url(&["api", "models", &reference.repository, "revision"], &[])?;
        // A revision may hold slashes, which here are part of one segment.
        url.path_segments_mut().map_err(|()| FetchError::NoTls)?.push(&reference.revision);
        url.set_query(Some("blobs=true"));
        let mut failure = None;
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                sleep(BACK_OFF * 2u32.pow(attempt - 1)).await;
            }
            match self.list_once(url.clone(), reference).await {
                Err(error) if error.may_pass() => failure = Some(error),
                outcome => return outcome,
            }
        }
        Err(failure.unwrap_or(FetchError::Transfer("no attempt was made".to_owned())))
    }

    async fn list_once(&self, url: Url, reference: &HubReference) -> Result<Repository, FetchError> {
        let mut answer = send(self.get(url)).await?;
        if !answer.status().is_success() {
            return Err(FetchError::Status(answer.status(), reference.to_string()));
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = next_chunk(&mut answer).await? {
            if bytes.len() + chunk.len() > LIST_BYTES {
                return Err(FetchError::List(format!("it is longer than {LIST_BYTES} bytes")));
            }
            bytes.extend_from_slice(&chunk);
        }
        let repository: Repository =
            serde_json::from_slice(&bytes).map_err(|error| FetchError::List(error.to_string()))?;
        let is_commit = !repository.sha.is_empty() && repository.sha.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if is_commit { Ok(repository) } else { Err(FetchError::List("it names no commit".to_owned())) }
    }
}

async fn send(request: reqwest::RequestBuilder) -> Result<reqwest::Response, FetchError> {
    match timeout(SILENCE, request.send()).await {
        Ok(answer) => answer.map_err(|error| FetchError::Transfer(describe(&error.without_url()))),
        Err(_) => Err(FetchError::Transfer(format!("no answer within {} s", SILENCE.as_secs()))),
    }
}

async fn next_chunk(answer: &mut reqwest::Response) -> Result<Option<axum::body::Bytes>, FetchError> {
    match timeout(SILENCE, answer.chunk()).await {
        Ok(chunk) => chunk.map_err(|error| FetchError::Transfer(describe(&error.without_url()))),
        Err(_) => Err(FetchError::Transfer(format!("nothing came for {} s", SILENCE.as_secs()))),
    }
}

/// Brings one file whole to its place; gives its length.
async fn transfer(
    hub: &Hub,
    from: Url,
    target: &Path,
    file: &Listed,
    told: &(dyn Fn(u64) + Sync),
) -> Result<u64, FetchError> {
    let io = |source| FetchError::Io { path: target.to_owned(), source };
    if let Ok(data) = std::fs::metadata(target)
        && file.length() == Some(data.len())
        && check(target, file).await.is_ok()
    {
        told(data.len());
        return Ok(data.len());
    }
    let folder = target.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(io)?;
    let mut name = target.file_name().unwrap_or_default().to_owned();
    name.push(".partial");
    let partial = target.with_file_name(name);
    let mut attempt = 0;
    loop {
        let before = std::fs::metadata(&partial).map_or(0, |data| data.len());
        match append(hub, from.clone(), &partial, file, told).await {
            Ok(()) => break,
            Err(error) if error.may_pass() => {
                // A cut that brought something is not one of the attempts that count.
                let grew = std::fs::metadata(&partial).map_or(0, |data| data.len()) > before;
                attempt = if grew { 0 } else { attempt + 1 };
                if attempt >= ATTEMPTS {
                    return Err(error);
                }
                sleep(BACK_OFF * 2u32.pow(attempt)).await;
            }
            Err(error) => return Err(error),
        }
    }
    if let Err(wrong) = check(&partial, file).await {
        // Resuming it would not mend it.
        let _ = std::fs::remove_file(&partial);
        return Err(wrong);
    }
    std::fs::rename(&partial, target).map_err(io)?;
    Ok(std::fs::metadata(target).map_or(0, |data| data.len()))
}

/// Asks for what is missing, and appends it.
async fn append(
    hub: &Hub,
    from: Url,
    partial: &Path,
    file: &Listed,
    told: &(dyn Fn(u64) + Sync),
) -> Result<(), FetchError> {
    use std::io::Write as _;
    let io = |source| FetchError::Io { path: partial.to_owned(), source };
    let mut have = std::fs::metadata(partial).map_or(0, |data| data.len());
    if file.length().is_some_and(|length| have > length) {
        have = 0;
    }
    if have > 0 && file.length() == Some(have) {
        return Ok(());
    }
    let request = hub.get(from);
    let request = if have > 0 { request.header(RANGE, format!("bytes={have}-")) } else { request };
    let mut answer = send(request).await?;
    match answer.status() {
        StatusCode::PARTIAL_CONTENT => {
            let range = answer.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok()).unwrap_or_default();
            if !range.starts_with(&format!("bytes {have}-")) {
                let (expected, found) = (format!("bytes from {have} on"), format!("'{range}'"));
                return Err(FetchError::Wrong { file: file.name.clone(), expected, found });
            }
        }
        StatusCode::OK => have = 0,
        // What is there is already all, where the hub did not say how long the file is.
        StatusCode::RANGE_NOT_SATISFIABLE if file.length().is_none() => return Ok(()),
        status => return Err(FetchError::Status(status, file.name.clone())),
    }
    let mut options = std::fs::OpenOptions::new();
    let mut out = options.create(true).write(true).truncate(false).open(partial).map_err(io)?;
    out.set_len(have).map_err(io)?;
    std::io::Seek::seek(&mut out, std::io::SeekFrom::Start(have)).map_err(io)?;
    told(have);
    while let Some(chunk) = next_chunk(&mut answer).await? {
        have += chunk.len() as u64;
        if let Some(length) = file.length().filter(|length| have > *length) {
            let (expected, found) = (format!("{length} bytes"), "more".to_owned());
            return Err(FetchError::Wrong { file: file.name.clone(), expected, found });
        }
        out.write_all(&chunk).map_err(io)?;
        told(have);
    }
    match file.length() {
        Some(length) if have < length => Err(FetchError::Transfer(format!("cut after {have} of {length} bytes"))),
        _ => Ok(()),
    }
}

/// Size, and digest where the hub gave one. Hashing takes its time: not on the thread that serves.
async fn check(path: &Path, file: &Listed) -> Result<(), FetchError> {
    let (path, file) = (path.to_owned(), file.clone());
    let checked = tokio::task::spawn_blocking(move || {
        let io = |source| FetchError::Io { path: path.clone(), source };
        let mut from = std::fs::File::open(&path).map_err(io)?;
        from.sync_all().map_err(io)?;
        let found = from.metadata().map_err(io)?.len();
        let wrong = |expected: String, found: String| FetchError::Wrong { file: file.name.clone(), expected, found };
        if let Some(expected) = file.length().filter(|expected| *expected != found) {
            return Err(wrong(format!("{expected} bytes"), format!("{found}")));
        }
        if let Some(lfs) = &file.lfs {
            let mut hash = Sha256::new();
            let mut buffer = vec![0; 1 << 20];
            loop {
                let count = std::io::Read::read(&mut from, &mut buffer).map_err(io)?;
                if count == 0 {
                    break;
                }
                hash.update(&buffer[..count]);
            }
            let found: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
            if !found.eq_ignore_ascii_case(&lfs.sha256) {
                return Err(wrong(format!("SHA-256 {}", lfs.sha256), found));
            }
        }
        Ok(())
    });
    checked.await.unwrap_or_else(|_| Err(FetchError::Transfer("the check ended early".to_owned())))
}
