//! What every route and every task shares.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::catalog::Catalog;
use super::configuration::Configuration;
use super::error::{ApiError, Code};
use super::metrics::Metrics;
use super::scheduler::{Lease, Scheduler};
use super::sessions::{Session, Sessions};
use super::store::{Record, StoreError, TaskStore};
use super::task::{Cause, Task};
use super::tasks::Tasks;
use super::upstream::Upstream;
use super::upstream::llamacpp::{self, Binding};
use super::upstream::node::NodePool;
use crate::http::shutdown::Shutdown;

pub struct Orchestrator {
    pub configuration: Configuration,
    pub tasks: Tasks,
    pub sessions: Sessions,
    pub catalog: Catalog,
    pub scheduler: Arc<Scheduler>,
    pub store: Arc<dyn TaskStore>,
    pub metrics: Arc<Metrics>,
    /// Speaks to nodes: no proxy, no redirect.
    pub client: reqwest::Client,
    pub shutdown: Shutdown,
    /// The engine at `ORCHD_LLAMACPP_URL`.
    pub binding: Option<Arc<Binding>>,
}

impl Orchestrator {
    /// Stores a record and waits until it is.
    pub async fn store(&self, record: &Record) -> Result<(), ApiError> {
        let (done, stored) = oneshot::channel();
        self.store.append(record, Box::new(move |outcome| drop(done.send(outcome))));
        let outcome = stored.await.unwrap_or(Err(StoreError::Closed));
        outcome.map_err(|error| ApiError::new(Code::Internal, format!("failed to store: {error}")))
    }

    /// Stores a record that nobody waits for.
    pub fn store_later(&self, record: &Record) {
        self.store.append(record, Box::new(|_| {})); // the store logs its failures
    }

    /// Where a lease leads.
    pub fn upstream(&self, lease: &Lease) -> Arc<dyn Upstream> {
        if let Some(binding) = self.binding.as_ref().filter(|_| lease.node_id == llamacpp::NODE) {
            return binding.clone();
        }
        let token = self.configuration.node_bearer.clone();
        Arc::new(NodePool::new(self.client.clone(), &lease.address, &lease.pool_id, token))
    }

    /// A session is to be found as it is now after a restart, unless it is forgotten.
    pub fn session_changed(&self, session: &Session) {
        let record = session.record();
        if self.sessions.get(record.session_id).is_some() {
            self.store_later(&Record::Session(record));
        }
    }

    /// A task is over: what it makes room of is forgotten, here and in the store.
    pub fn finished(&self, task: &Task) {
        for task_id in self.tasks.finished(task) {
            self.store_later(&Record::TaskForgotten { task_id });
        }
        for session_id in self.sessions.make_room() {
            self.store_later(&Record::SessionGone { session_id });
        }
    }

    /// Nobody reads this task's stream any more. It ends, unless somebody comes back in time.
    pub fn deserted(self: &Arc<Self>, task: Arc<Task>, mark: u64) {
        let grace: Duration = self.configuration.disconnect_grace;
        let service = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(grace).await;
            // A stop closes every stream, and means nobody's task.
            if task.log.is_deserted_since(mark) && service.scheduler.is_dispatching() {
                task.stop(Cause::Disconnected);
            }
        });
    }
}
