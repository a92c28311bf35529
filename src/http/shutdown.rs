//! The one idea of a stop: it is asked for once, by a signal or by `POST /shutdown`, and everybody can wait for it.

use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

#[derive(Clone, Debug)]
pub struct Shutdown {
    asked: Arc<watch::Sender<bool>>,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self { asked: Arc::new(watch::Sender::new(false)) }
    }
}

impl Shutdown {
    pub fn ask(&self) {
        self.asked.send_replace(true);
    }

    pub async fn asked(&self) {
        let mut asked = self.asked.subscribe();
        // The sender lives as long as `self`, so this ends only because a stop was asked for.
        let _ = asked.wait_for(|asked| *asked).await;
    }

    /// Listens from here on: the first SIGTERM or SIGINT asks for a stop, the second calls `at_once`.
    pub fn on_signals(&self, at_once: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let shutdown = self.clone();
        tokio::spawn(async move {
            let mut next = async || {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
            };
            next().await;
            shutdown.ask();
            next().await;
            at_once();
        });
        Ok(())
    }
}
