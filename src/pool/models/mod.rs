//! Models on this node: what a `model_ref` means here, whether it is there, and fetching it where that is allowed.

pub mod fetch;
pub mod reference;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tracing::warn;

use super::catalog::{CatalogError, Format, Model, Store, is_architecture};
use super::error::{Code, PoolError};
use super::local::files;
use super::node::Node;
use super::preparation::{Progress, StepKind};
use super::workers::routes::refuse_field;
use reference::{HubReference, ModelReference};

/// Where a worker's model comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// The stub needs none.
    None,
    Here(PathBuf),
    /// On the hub, and allowed to be fetched.
    Hub(HubReference),
}

/// What a reference means on this node. One that is not here and may not be fetched is refused.
pub async fn locate(node: &Node, pool_id: &str, model_ref: &str, backend: &str) -> Result<Source, PoolError> {
    if backend == "stub" {
        return Ok(Source::None);
    }
    let store = Store::new(&node.configuration.pool_dir);
    let reference =
        ModelReference::parse(model_ref).map_err(|refusal| refuse_field("model_ref", "pattern", refusal))?;
    match reference {
        ModelReference::File(path) => {
            if tokio::fs::metadata(&path).await.is_err() {
                let message = format!("there is no {} on this node", path.display());
                return Err(PoolError::refused(Code::ModelNotAvailable, message));
            }
            Ok(Source::Here(path))
        }
        ModelReference::Hub(reference) => {
            if let Some(path) = fetch::fetched(store.folder(), &reference) {
                return Ok(Source::Here(path));
            }
            let permitted = node.configuration.provisioning.permits(pool_id, model_ref);
            permitted.map_err(|refusal| PoolError::refused(Code::ModelNotAvailable, refusal))?;
            Ok(Source::Hub(reference))
        }
        ModelReference::Alias(alias) => {
            let path = listed(&store, &alias);
            path.map(Source::Here).map_err(|reason| PoolError::refused(Code::ModelNotAvailable, reason))
        }
    }
}

/// Makes sure that a model is here. The refusal is a sentence.
pub async fn bring(node: &Arc<Node>, pool_id: &str, source: &Source) -> Result<Option<PathBuf>, String> {
    let reference = match source {
        Source::None => return Ok(None),
        Source::Here(path) => return present(path).await.map(Some),
        Source::Hub(reference) => reference,
    };
    let store = Store::new(&node.configuration.pool_dir);
    if let Some(path) = fetch::fetched(store.folder(), reference) {
        return Ok(Some(path));
    }
    let pool = node.registry.find(pool_id).ok_or("this node has no such pool")?;
    let step = pool.preparation.begin(StepKind::ModelFetch, "model", format!("Fetch {reference}"));
    let fetched = fetch_listed(&store, reference, &step).await.map_err(|error| {
        let message = format!("{reference} can't be fetched: {error}");
        warn!(actor = "pool-managerd", action = "model_fetch_failed", target = pool_id, reason = message);
        message
    });
    step.end(fetched).map(Some)
}

/// Where a model of the catalog lies. The refusal is a sentence.
pub fn listed(store: &Store, id: &str) -> Result<PathBuf, String> {
    let catalog = store.read().map_err(|error| error.to_string())?;
    let model = catalog.model(id).map_err(|error| error.to_string())?;
    if !model.downloaded {
        return Err(format!("the model {id} is not downloaded. Run: llorch-pool models download {id}"));
    }
    let pool = store.folder().parent().unwrap_or(Path::new("."));
    let found = files::find(&pool.join(&model.path), model.format).map_err(|error| error.to_string())?;
    std::path::absolute(&found.given).map_err(|error| error.to_string())
}

/// Fetches a model and puts it into the catalog.
pub async fn fetch_listed(store: &Store, reference: &HubReference, progress: &Progress) -> Result<PathBuf, String> {
    let path = fetch::fetch(store.folder(), reference, progress).await.map_err(|error| error.to_string())?;
    let entry = entry(&path, reference)?;
    let written = store.change(|catalog| {
        catalog.models.retain(|model| model.id != entry.id);
        catalog.models.push(entry);
        Ok::<(), CatalogError>(())
    });
    written.map_err(|error| error.to_string())?;
    Ok(path)
}

fn entry(path: &Path, reference: &HubReference) -> Result<Model, String> {
    let gguf = path.extension().is_some_and(|ending| ending == "gguf");
    let format = if gguf { Format::Gguf } else { Format::Safetensors };
    let folder = if path.is_dir() { path } else { path.parent().unwrap_or(path) };
    let configuration = std::fs::read(folder.join("config.json")).unwrap_or_default();
    let configuration: serde_json::Value = serde_json::from_slice(&configuration).unwrap_or_default();
    let architecture = configuration["model_type"].as_str().filter(|word| is_architecture(word)).unwrap_or("unknown");
    let mut id = reference.repository.replace('/', "--");
    if let Some(file) = &reference.file {
        id = format!("{id}--{}", file.replace('/', "--"));
    }
    let found = files::find(path, format).map_err(|error| error.to_string())?;
    let bytes: u64 = found.weights.iter().filter_map(|file| Some(file.metadata().ok()?.len())).sum();
    let mut model =
        Model::new(&id, &reference.to_string(), &reference.repository, architecture, format, vec!["cpu".to_owned()]);
    model.path = path.to_owned();
    model.size_gb = bytes as f64 / 1e9;
    model.downloaded = true;
    Ok(model)
}

async fn present(path: &Path) -> Result<PathBuf, String> {
    match tokio::fs::metadata(path).await {
        Ok(_) => Ok(path.to_owned()),
        Err(error) => Err(format!("{} can't be read: {error}", path.display())),
    }
}

/// A client for the world outside: redirects are followed, and https where this build carries TLS.
#[cfg(not(feature = "https"))]
pub fn client(connect_patience: std::time::Duration) -> Result<reqwest::Client, reqwest::Error> {
    crate::http::client().connect_timeout(connect_patience).build()
}

/// A client for the world outside: redirects are followed, and https with the authorities that the binary carries.
#[cfg(feature = "https")]
pub fn client(connect_patience: std::time::Duration) -> Result<reqwest::Client, reqwest::Error> {
    let authorities: Result<Vec<_>, _> =
        webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().map(|der| reqwest::Certificate::from_der(der)).collect();
    crate::http::client().connect_timeout(connect_patience).tls_certs_only(authorities?).build()
}
