//! The catalog: names for models, and where each can be had.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::error::{ApiError, Code, Envelope};
use super::nodes::NodeState;
use super::placement;
use super::server::Id;
use super::service::Orchestrator;
use super::store::Record;
use super::task::{Target, now_ms, rfc_3339};
use super::task_request::is_alias;
use crate::http::{body, fields};

/// A retired model takes no tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ModelState {
    Active,
    Retired,
}

/// Whether a node that is online lists the model, as of a moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verification {
    pub at_ms: u64,
    pub available: bool,
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Model {
    pub id: String,
    pub model_ref: String,
    pub context_length: Option<u32>,
    pub state: ModelState,
    pub verification: Option<Verification>,
}

#[derive(Debug, Default)]
pub struct Catalog {
    models: Mutex<BTreeMap<String, Model>>,
}

impl Catalog {
    fn models(&self) -> MutexGuard<'_, BTreeMap<String, Model>> {
        self.models.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn get(&self, id: &str) -> Option<Model> {
        self.models().get(id).cloned()
    }

    pub fn put(&self, model: Model) {
        self.models().insert(model.id.clone(), model);
    }

    pub fn remove(&self, id: &str) -> bool {
        self.models().remove(id).is_some()
    }

    pub fn all(&self) -> Vec<Model> {
        self.models().values().cloned().collect()
    }

    /// Every name under which a node may list the model of a task, the most precise last. A retired one is refused.
    pub fn names(&self, model_ref: &str) -> Result<Vec<String>, ApiError> {
        let mut names = vec![model_ref.to_owned()];
        for model in self.models().values() {
            if model.id != model_ref && model.model_ref != model_ref {
                continue;
            }
            if model.state == ModelState::Retired {
                return Err(ApiError::new(Code::ModelNotAvailable, format!("the model '{}' is retired", model.id)));
            }
            for name in [&model.id, &model.model_ref] {
                if !names.contains(name) {
                    names.push(name.clone());
                }
            }
        }
        if let Some(path) = names.last().and_then(|name| name.strip_prefix("file:")).map(str::to_owned) {
            names.insert(0, path);
        }
        Ok(names)
    }

    /// Whether the catalog lists it, by its name or its reference.
    pub fn lists(&self, model_ref: &str) -> bool {
        self.models().values().any(|model| model.id == model_ref || model.model_ref == model_ref)
    }

    pub fn context_length(&self, model_ref: &str) -> Option<u32> {
        let models = self.models();
        models.values().find(|model| model.id == model_ref || model.model_ref == model_ref)?.context_length
    }

    pub fn count(&self, state: ModelState) -> usize {
        self.models().values().filter(|model| model.state == state).count()
    }
}

/// A model as its routes show it.
#[derive(Debug, Serialize, ToSchema)]
pub struct ModelView {
    id: String,
    model_ref: String,
    #[schema(required)]
    context_length: Option<u32>,
    state: ModelState,
    /// A pool that is ready lists it now.
    available: bool,
    /// Pools of nodes that are online and list it.
    pools: Vec<Target>,
    #[schema(required, format = DateTime)]
    verified_at: Option<String>,
    /// What the last verification found.
    #[schema(required)]
    verified_available: Option<bool>,
}

fn pools(service: &Orchestrator, names: &[String]) -> (bool, Vec<Target>) {
    let state = service.scheduler.state();
    let candidates = placement::candidates(&state.nodes);
    let having = candidates
        .iter()
        .filter(|candidate| candidate.state == NodeState::Online && placement::has_model(candidate.report, names));
    let mut available = false;
    let mut pools: Vec<Target> = having
        .map(|candidate| {
            available |= candidate.report.ready && !candidate.report.draining;
            Target { node_id: candidate.node_id.to_owned(), pool_id: candidate.report.pool_id.clone() }
        })
        .collect();
    pools.sort();
    pools.dedup();
    (available, pools)
}

fn view(service: &Orchestrator, model: Model) -> ModelView {
    let mut names = vec![model.id.clone(), model.model_ref.clone()];
    names.extend(model.model_ref.strip_prefix("file:").map(str::to_owned));
    let (available, pools) = pools(service, &names);
    ModelView {
        id: model.id,
        model_ref: model.model_ref,
        context_length: model.context_length,
        state: model.state,
        available: available && model.state == ModelState::Active,
        pools,
        verified_at: model.verification.as_ref().map(|verification| rfc_3339(verification.at_ms)),
        verified_available: model.verification.map(|verification| verification.available),
    }
}

fn find(service: &Orchestrator, id: &str) -> Result<Model, ApiError> {
    service.catalog.get(id).ok_or_else(|| ApiError::not_found("model", id))
}

/// A model to list. Listing an id again replaces what it stands for.
#[derive(ToSchema)]
#[schema(example = json!({"id": "tiny", "model_ref": "file:/models/tiny.gguf", "context_length": 128}))]
#[allow(dead_code)] // only its schema is used
pub struct NewModel {
    #[schema(pattern = "^[A-Za-z0-9][A-Za-z0-9._/-]{0,199}$")]
    id: String,
    #[schema(min_length = 1, max_length = 512)]
    model_ref: String,
    #[schema(minimum = 1)]
    context_length: Option<u32>,
    state: Option<ModelState>,
}

const STATES: &[(&str, ModelState)] = &[("active", ModelState::Active), ("retired", ModelState::Retired)];

/// Lists a model under a name.
#[utoipa::path(
    post,
    path = "/v2/catalog/models",
    request_body(content = NewModel, content_type = "application/json"),
    responses((status = 201, description = "Listed", body = ModelView))
)]
pub async fn create(
    State(service): State<Arc<Orchestrator>>,
    request: Request,
) -> Result<(StatusCode, Json<ModelView>), ApiError> {
    let (head, body) = request.into_parts();
    let object = fields::object(&body::read_json(&head.headers, body).await?)?;
    let mut fields = fields::Fields::of(&object, &[]);
    let id = fields.required_text("id").map(str::to_owned);
    if id.as_ref().is_some_and(|id| !is_alias(id)) {
        fields.refuse("id", "pattern", "expected 1 to 200 letters, digits and . _ - /, a letter or digit first");
    }
    let model_ref = fields.model_ref("model_ref");
    let context_length = fields.integer("context_length", 1, u32::MAX.into()).map(|length| length as u32);
    let state = fields.word("state", STATES).unwrap_or(ModelState::Active);
    fields.refuse_unknown(&["id", "model_ref", "context_length", "state"]);
    let (Some(id), Some(model_ref), true) = (id, model_ref, fields.errors.is_empty()) else {
        return Err(ApiError::invalid(&fields.errors));
    };
    let model = Model { id, model_ref, context_length, state, verification: None };
    service.store(&Record::Model(model.clone())).await?;
    service.catalog.put(model.clone());
    Ok((StatusCode::CREATED, Json(view(&service, model))))
}

/// What a name stands for, and where it can be had.
#[utoipa::path(
    get,
    path = "/v2/catalog/models/{id}",
    params(("id" = String, Path, description = "The model's name")),
    responses((status = 200, description = "The model", body = ModelView), (status = 404, description = "No such model", body = Envelope))
)]
pub async fn get(State(service): State<Arc<Orchestrator>>, Id(id): Id) -> Result<Json<ModelView>, ApiError> {
    let model = find(&service, &id)?;
    Ok(Json(view(&service, model)))
}

/// Takes a model off the list.
#[utoipa::path(
    delete,
    path = "/v2/catalog/models/{id}",
    params(("id" = String, Path, description = "The model's name")),
    responses((status = 204, description = "Not listed any more"), (status = 404, description = "No such model", body = Envelope))
)]
pub async fn delete(State(service): State<Arc<Orchestrator>>, Id(id): Id) -> Result<StatusCode, ApiError> {
    if !service.catalog.remove(&id) {
        return Err(ApiError::not_found("model", &id));
    }
    service.store(&Record::ModelGone { id }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Looks for the model in what the nodes that are online list, and notes what was found.
#[utoipa::path(
    post,
    path = "/v2/catalog/models/{id}/verify",
    params(("id" = String, Path, description = "The model's name")),
    responses((status = 202, description = "The model, with what was found", body = ModelView), (status = 404, description = "No such model", body = Envelope))
)]
pub async fn verify(
    State(service): State<Arc<Orchestrator>>,
    Id(id): Id,
) -> Result<(StatusCode, Json<ModelView>), ApiError> {
    let mut model = find(&service, &id)?;
    let available = !view(&service, model.clone()).pools.is_empty();
    service.metrics.verified(if available { "available" } else { "missing" });
    model.verification = Some(Verification { at_ms: now_ms(), available });
    service.store(&Record::Model(model.clone())).await?;
    service.catalog.put(model.clone());
    Ok((StatusCode::ACCEPTED, Json(view(&service, model))))
}

/// The state to set.
#[derive(ToSchema)]
#[allow(dead_code)] // only its schema is used
pub struct NewState {
    state: ModelState,
}

/// Retires a model, or takes it back into use.
#[utoipa::path(
    post,
    path = "/v2/catalog/models/{id}/state",
    params(("id" = String, Path, description = "The model's name")),
    request_body(content = NewState, content_type = "application/json"),
    responses((status = 202, description = "The model as it is now", body = ModelView), (status = 404, description = "No such model", body = Envelope))
)]
pub async fn set_state(
    State(service): State<Arc<Orchestrator>>,
    Id(id): Id,
    request: Request,
) -> Result<(StatusCode, Json<ModelView>), ApiError> {
    let (head, body) = request.into_parts();
    let object = fields::object(&body::read_json(&head.headers, body).await?)?;
    let mut fields = fields::Fields::of(&object, &[]);
    if fields.get("state").is_none() {
        fields.refuse("state", "required", "state is missing");
    }
    let state = fields.word("state", STATES);
    fields.refuse_unknown(&["state"]);
    let (Some(state), true) = (state, fields.errors.is_empty()) else {
        return Err(ApiError::invalid(&fields.errors));
    };
    let model = Model { state, ..find(&service, &id)? };
    service.store(&Record::Model(model.clone())).await?;
    service.catalog.put(model.clone());
    Ok((StatusCode::ACCEPTED, Json(view(&service, model))))
}

/// Every model that can be asked for: those of the catalog, and those that nodes list besides.
#[derive(Debug, Serialize, ToSchema)]
pub struct Availability {
    models: Vec<ModelView>,
}

/// Where every model can be had now.
#[utoipa::path(
    get,
    path = "/v2/catalog/availability",
    responses((status = 200, description = "All models", body = Availability))
)]
pub async fn availability(State(service): State<Arc<Orchestrator>>) -> Json<Availability> {
    let mut listed = service.catalog.all();
    let mut names: Vec<String> = listed.iter().flat_map(|model| [model.id.clone(), model.model_ref.clone()]).collect();
    names.extend(
        listed.iter().filter_map(|model| model.model_ref.strip_prefix("file:")).map(str::to_owned).collect::<Vec<_>>(),
    );
    let reported: Vec<(String, Option<u32>)> = {
        let state = service.scheduler.state();
        let candidates = placement::candidates(&state.nodes);
        let online = candidates.iter().filter(|candidate| candidate.state == NodeState::Online);
        let models = online.flat_map(|candidate| &candidate.report.models);
        models.map(|model| (model.id.clone(), model.context_length)).collect()
    };
    for (id, context_length) in reported {
        if !names.contains(&id) {
            names.push(id.clone());
            let state = ModelState::Active;
            listed.push(Model { model_ref: id.clone(), id, context_length, state, verification: None });
        }
    }
    Json(Availability { models: listed.into_iter().map(|model| view(&service, model)).collect() })
}
