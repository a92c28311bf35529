//! Sessions: tasks that belong together, and what they may spend together.
//!
//! A budget counts tokens as they are relayed, and time while tasks run; several tasks of a session spend from the same.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::error::{ApiError, Code, Envelope};
use super::server::Id;
use super::service::Orchestrator;
use super::store::Record;
use super::task::{KvHint, Target, now_ms, rfc_3339};
use crate::http::{body, fields};

/// What is kept of a session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SessionRecord {
    pub session_id: Uuid,
    pub created_at_ms: u64,
    pub tokens_budget: Option<u64>,
    pub time_budget_ms: Option<u64>,
    pub tokens_used: u64,
    pub time_used_ms: u64,
    pub tasks: u64,
    /// Where its last task ran.
    pub last_place: Option<Target>,
}

/// What is set of a session's budgets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Budgets {
    pub tokens: Option<u64>,
    pub time_ms: Option<u64>,
}

impl Budgets {
    pub fn is_empty(&self) -> bool {
        self.tokens.is_none() && self.time_ms.is_none()
    }
}

#[derive(Debug)]
pub struct Session {
    state: Mutex<SessionState>,
}

#[derive(Debug)]
struct SessionState {
    record: SessionRecord,
    /// Since when each of its tasks runs.
    running: HashMap<Uuid, Instant>,
}

/// What is left to spend; `None` is without bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Remaining {
    pub tokens: Option<u64>,
    pub time_ms: Option<u64>,
}

impl Remaining {
    pub fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if let Some(tokens) = self.tokens {
            headers.insert("x-budget-tokens-remaining", tokens.into());
        }
        if let Some(time_ms) = self.time_ms {
            headers.insert("x-budget-time-remaining-ms", time_ms.into());
        }
        headers
    }
}

impl Session {
    pub fn new(record: SessionRecord) -> Self {
        Self { state: Mutex::new(SessionState { record, running: HashMap::new() }) }
    }

    fn state(&self) -> MutexGuard<'_, SessionState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn record(&self) -> SessionRecord {
        self.state().record.clone()
    }

    pub fn budgets(&self) -> Budgets {
        let state = self.state();
        Budgets { tokens: state.record.tokens_budget, time_ms: state.record.time_budget_ms }
    }

    /// Sets what is given, and leaves the rest.
    pub fn set(&self, budgets: Budgets) {
        let mut state = self.state();
        state.record.tokens_budget = budgets.tokens.or(state.record.tokens_budget);
        state.record.time_budget_ms = budgets.time_ms.or(state.record.time_budget_ms);
    }

    pub fn remaining(&self) -> Remaining {
        let state = self.state();
        let running: Duration = state.running.values().map(Instant::elapsed).sum();
        let used_ms = state.record.time_used_ms + running.as_millis() as u64;
        Remaining {
            tokens: state.record.tokens_budget.map(|budget| budget.saturating_sub(state.record.tokens_used)),
            time_ms: state.record.time_budget_ms.map(|budget| budget.saturating_sub(used_ms)),
        }
    }

    /// Whether a task of so many tokens fits into what is left.
    pub fn admits(&self, max_tokens: u32) -> Result<(), ApiError> {
        let Remaining { tokens, time_ms } = self.remaining();
        if let Some(left) = tokens.filter(|left| u64::from(max_tokens) > *left) {
            let message = format!("max_tokens is {max_tokens}, and the session has {left} tokens left");
            return Err(ApiError::new(Code::BudgetExceeded, message));
        }
        if time_ms == Some(0) {
            return Err(ApiError::new(Code::BudgetExceeded, "the session has no time left"));
        }
        Ok(())
    }

    fn is_busy(&self) -> bool {
        !self.state().running.is_empty()
    }

    pub fn task_admitted(&self) {
        self.state().record.tasks += 1;
    }

    pub fn task_started(&self, task_id: Uuid, place: Target) {
        let mut state = self.state();
        state.running.insert(task_id, Instant::now());
        state.record.last_place = Some(place);
    }

    pub fn task_stopped(&self, task_id: Uuid) {
        let mut state = self.state();
        if let Some(since) = state.running.remove(&task_id) {
            state.record.time_used_ms += since.elapsed().as_millis() as u64;
        }
    }

    /// Spends one token, if there is one left.
    pub fn spend_token(&self) -> bool {
        let record = &mut self.state().record;
        if record.tokens_budget.is_some_and(|budget| record.tokens_used >= budget) {
            return false;
        }
        record.tokens_used += 1;
        true
    }

    /// Tokens that no event showed: they were sampled all the same.
    pub fn spend_unseen(&self, tokens: u64) {
        self.state().record.tokens_used += tokens;
    }

    /// Where a task that wants to find its prefix again would run.
    pub fn last_place(&self, hint: Option<KvHint>) -> Option<Target> {
        if hint == Some(KvHint::Reuse) { self.state().record.last_place.clone() } else { None }
    }
}

/// As many sessions are remembered; the oldest whose tasks are over make room.
const REMEMBERED: usize = 20_000;

/// All sessions.
#[derive(Debug, Default)]
pub struct Sessions {
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    sessions: HashMap<Uuid, Arc<Session>>,
    /// The oldest first; those that were forgotten on demand may still be in it.
    order: VecDeque<Uuid>,
}

impl Table {
    fn insert(&mut self, session: Arc<Session>) {
        let id = session.record().session_id;
        if self.sessions.insert(id, session).is_none() {
            self.order.push_back(id);
        }
    }
}

impl Sessions {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn get(&self, id: Uuid) -> Option<Arc<Session>> {
        self.table().sessions.get(&id).cloned()
    }

    /// The session, or a new one with these budgets; and whether it is new.
    pub fn get_or_create(&self, session_id: Uuid, budgets: Budgets) -> (Arc<Session>, bool) {
        let mut table = self.table();
        if let Some(session) = table.sessions.get(&session_id) {
            return (session.clone(), false);
        }
        let session = Arc::new(Session::new(SessionRecord {
            session_id,
            created_at_ms: now_ms(),
            tokens_budget: budgets.tokens,
            time_budget_ms: budgets.time_ms,
            tokens_used: 0,
            time_used_ms: 0,
            tasks: 0,
            last_place: None,
        }));
        table.insert(session.clone());
        (session, true)
    }

    pub fn restore(&self, record: SessionRecord) {
        let mut table = self.table();
        table.sessions.remove(&record.session_id);
        table.insert(Arc::new(Session::new(record)));
    }

    pub fn remove(&self, id: Uuid) -> bool {
        self.table().sessions.remove(&id).is_some()
    }

    /// Those that make room: the oldest that no task runs in.
    pub fn make_room(&self) -> Vec<Uuid> {
        let mut table = self.table();
        let mut gone = Vec::new();
        for _ in 0..table.order.len() {
            if table.sessions.len() <= REMEMBERED {
                break;
            }
            let Some(id) = table.order.pop_front() else { break };
            match table.sessions.get(&id) {
                Some(session) if session.is_busy() => table.order.push_back(id),
                Some(_) => {
                    table.sessions.remove(&id);
                    gone.push(id);
                }
                None => {}
            }
        }
        gone
    }
}

/// A session as its route shows it.
#[derive(Debug, Serialize, ToSchema)]
pub struct SessionView {
    session_id: Uuid,
    #[schema(format = DateTime)]
    created_at: String,
    /// Tasks admitted so far.
    tasks: u64,
    tokens_used: u64,
    time_used_ms: u64,
    #[schema(required)]
    tokens_budget: Option<u64>,
    #[schema(required)]
    time_budget_ms: Option<u64>,
    #[schema(required)]
    tokens_remaining: Option<u64>,
    #[schema(required)]
    time_remaining_ms: Option<u64>,
    /// Where its last task ran.
    #[schema(required)]
    last_place: Option<Target>,
}

fn view(session: &Session) -> (HeaderMap, Json<SessionView>) {
    let (record, remaining) = (session.record(), session.remaining());
    let view = SessionView {
        session_id: record.session_id,
        created_at: rfc_3339(record.created_at_ms),
        tasks: record.tasks,
        tokens_used: record.tokens_used,
        time_used_ms: record.time_used_ms,
        tokens_budget: record.tokens_budget,
        time_budget_ms: record.time_budget_ms,
        tokens_remaining: remaining.tokens,
        time_remaining_ms: remaining.time_ms,
        last_place: record.last_place,
    };
    (remaining.headers(), Json(view))
}

fn session_id(text: &str) -> Result<Uuid, ApiError> {
    Uuid::parse_str(text).map_err(|_| ApiError::not_found("session", text))
}

/// What a session has spent, and what is left.
#[utoipa::path(
    get,
    path = "/v2/sessions/{id}",
    params(("id" = Uuid, Path, description = "The session's UUID")),
    responses((status = 200, description = "The session", body = SessionView), (status = 404, description = "No such session", body = Envelope))
)]
pub async fn get(
    State(service): State<Arc<Orchestrator>>,
    Id(id): Id,
) -> Result<(HeaderMap, Json<SessionView>), ApiError> {
    let session = service.sessions.get(session_id(&id)?).ok_or_else(|| ApiError::not_found("session", &id))?;
    Ok(view(&session))
}

/// Forgets a session: its budgets, and what it has spent. Its tasks go on.
#[utoipa::path(
    delete,
    path = "/v2/sessions/{id}",
    params(("id" = Uuid, Path, description = "The session's UUID")),
    responses((status = 204, description = "Forgotten"), (status = 404, description = "No such session", body = Envelope))
)]
pub async fn delete(State(service): State<Arc<Orchestrator>>, Id(id): Id) -> Result<StatusCode, ApiError> {
    let session_id = session_id(&id)?;
    if !service.sessions.remove(session_id) {
        return Err(ApiError::not_found("session", &id));
    }
    service.store(&Record::SessionGone { session_id }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The budgets of a session: what is given is set, the rest stays.
#[derive(ToSchema)]
#[allow(dead_code)] // only its schema is used
pub struct SessionBudgets {
    tokens_budget: Option<u64>,
    time_budget_ms: Option<u64>,
}

/// Sets budgets, also while tasks run. A session that is not there yet is made.
#[utoipa::path(
    put,
    path = "/v2/sessions/{id}",
    params(("id" = Uuid, Path, description = "The session's UUID")),
    request_body(content = SessionBudgets, content_type = "application/json"),
    responses((status = 200, description = "The session as it is now", body = SessionView))
)]
pub async fn put(
    State(service): State<Arc<Orchestrator>>,
    Id(id): Id,
    request: Request,
) -> Result<(HeaderMap, Json<SessionView>), ApiError> {
    let (head, body) = request.into_parts();
    let object = fields::object(&body::read_json(&head.headers, body).await?)?;
    let mut fields = fields::Fields::of(&object, &[]);
    let budgets = Budgets {
        tokens: fields.integer("tokens_budget", 0, u64::MAX),
        time_ms: fields.integer("time_budget_ms", 0, u64::MAX),
    };
    fields.refuse_unknown(&["tokens_budget", "time_budget_ms"]);
    let session_id = Uuid::parse_str(&id);
    if session_id.is_err() {
        fields.refuse("id", "format", "the session's id must be a UUID");
    }
    let (Ok(session_id), true) = (session_id, fields.errors.is_empty()) else {
        return Err(ApiError::invalid(&fields.errors));
    };
    let (session, _) = service.sessions.get_or_create(session_id, budgets);
    session.set(budgets);
    service.store(&Record::Session(session.record())).await?;
    Ok(view(&session))
}
