//! What a scenario knows: its scene. The steps run on cucumber's one task, the scene works on blocking sockets: so each
//! step hands the scene to a thread that may block and takes it back.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use cucumber::gherkin::Step;

use crate::harness::scene::Scene;
use crate::harness::{Finding, Settle};

#[derive(cucumber::World, Debug, Default)]
pub struct World {
    scene: Option<Scene>,
}

impl World {
    /// Called by the runner before the first step.
    pub fn enter(&mut self, scene: Scene) {
        self.scene = Some(scene);
    }

    /// Called by the runner after the last step, whatever came of it.
    pub async fn leave(&mut self) {
        if let Some(scene) = self.scene.take() {
            let _ = tokio::task::spawn_blocking(move || scene.end()).await;
        }
    }

    /// One action of a step: done where blocking is allowed, and settled here.
    pub async fn act<T: Send + 'static>(
        &mut self,
        action: impl FnOnce(&mut Scene) -> Result<T, Finding> + Send + 'static,
    ) -> T {
        let Some(mut scene) = self.scene.take() else {
            Finding::error("a scene that the runner has set", "a scenario without one").raise()
        };
        let done = tokio::task::spawn_blocking(move || {
            let result = catch_unwind(AssertUnwindSafe(|| action(&mut scene)));
            (scene, result)
        });
        let (scene, result) = match done.await {
            Ok(done) => done,
            Err(error) => Finding::error("a step that ends", error.to_string()).raise(),
        };
        self.scene = Some(scene);
        result.unwrap_or_else(|panic| resume_unwind(panic)).settle()
    }
}

/// The rows of a step's table, without its heading.
pub fn rows(step: &Step) -> Vec<Vec<String>> {
    step.table.as_ref().map(|table| table.rows.iter().skip(1).cloned().collect()).unwrap_or_default()
}

/// The rows of a table of two columns.
pub fn pairs(step: &Step) -> Vec<(String, String)> {
    rows(step).into_iter().filter_map(|row| Some((row.first()?.clone(), row.get(1)?.clone()))).collect()
}

/// `a, b, c` as a list.
pub fn list(text: &str) -> Vec<String> {
    text.split(',').map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
}
