//! Models on this node: what a `model_ref` means here, whether it is there, and fetching it where that is allowed.

pub mod fetch;
pub mod reference;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tracing::warn;

use super::error::{Code, PoolError};
use super::node::Node;
use super::preparation::StepKind;
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
            if let Some(path) = fetch::fetched(&node.configuration.models_dir, &reference) {
                return Ok(Source::Here(path));
            }
            let permitted = node.configuration.provisioning.permits(pool_id, model_ref);
            permitted.map_err(|refusal| PoolError::refused(Code::ModelNotAvailable, refusal))?;
            Ok(Source::Hub(reference))
        }
        ModelReference::Alias(alias) => {
            let message = format!("this node's catalog has no model {alias}");
            Err(PoolError::refused(Code::ModelNotAvailable, message))
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
    let models = &node.configuration.models_dir;
    if let Some(path) = fetch::fetched(models, reference) {
        return Ok(Some(path));
    }
    let pool = node.registry.find(pool_id).ok_or("this node has no such pool")?;
    let step = pool.preparation.begin(StepKind::ModelFetch, "model", format!("Fetch {reference}"));
    match fetch::fetch(models, reference, &step).await {
        Ok(path) => {
            step.complete();
            Ok(Some(path))
        }
        Err(error) => {
            let message = format!("{reference} can't be fetched: {error}");
            warn!(actor = "pool-managerd", action = "model_fetch_failed", target = pool_id, reason = message);
            step.fail(message.clone());
            Err(message)
        }
    }
}

async fn present(path: &Path) -> Result<PathBuf, String> {
    match tokio::fs::metadata(path).await {
        Ok(_) => Ok(path.to_owned()),
        Err(error) => Err(format!("{} can't be read: {error}", path.display())),
    }
}

/// A client for the world outside: redirects are followed, and https where this build carries TLS.
pub fn client(connect_patience: std::time::Duration) -> Result<reqwest::Client, reqwest::Error> {
    reqwest::Client::builder().connect_timeout(connect_patience).build()
}
