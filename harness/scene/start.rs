//! Starting and stopping workers: for the scenarios that need one, and for those that are about starting itself.

use std::net::TcpListener;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::model::recipe;
use super::{Held, Scene, wait_for};
use crate::harness::http::{self, Base, Request};
use crate::harness::model_files::{self, Element, Form};
use crate::harness::process::{Exit, Process, Signal};
use crate::harness::session::{API_TOKEN, SPAWN_TOKEN};
use crate::harness::target::{READY_WITHIN, Start, Target, free_port};
use crate::harness::{Finding, recognise};

/// What a scenario needs its worker for.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Kind {
    #[default]
    Any,
    /// Jobs that last long enough to do something meanwhile.
    LongJobs,
    /// Text that depends on the request.
    Computes,
    /// Our own stub backend, whatever the target's.
    Stub,
}

impl Kind {
    pub fn of(words: &str) -> Kind {
        match words {
            " with long jobs" => Kind::LongJobs,
            " that computes" => Kind::Computes,
            _ => Kind::Any,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Way {
    Signal(Signal),
    Request,
}

impl Way {
    pub fn of(words: &str) -> Way {
        match words {
            "SIGTERM" => Way::Signal(Signal::SIGTERM),
            "SIGINT" => Way::Signal(Signal::SIGINT),
            _ => Way::Request,
        }
    }
}

/// Whom a worker is told to call back.
#[derive(Clone, Debug, PartialEq)]
pub enum Called {
    PoolManager,
    Address(String),
}

/// How the scenario's worker was started.
#[derive(Clone, Debug, Default)]
pub struct Started {
    pub kind: Kind,
    pub start: Start,
}

/// A worker that was started and not waited for.
pub struct Launched {
    pub process: Process,
    /// The ports it may have been told, each under the source that told it.
    pub ports: Vec<(&'static str, u16)>,
    /// It has to leave before it ever serves.
    pub hopeless: bool,
}

/// The stub's pace where a scenario needs long jobs: four seconds in all, and many tokens to be cancelled between.
const LONG_STUB: (u32, Duration) = (400, Duration::from_millis(10));

impl Scene {
    pub fn start(&mut self, kind: Kind, fresh: bool, flags: &[String]) -> Result<(), Finding> {
        let start = self.session.start(kind == Kind::Stub)?.flags(flags.iter().cloned());
        self.start_so(kind, fresh, start)
    }

    fn start_so(&mut self, kind: Kind, fresh: bool, mut start: Start) -> Result<(), Finding> {
        if let (Kind::LongJobs, Target::BuiltIn { .. }) = (kind, &self.session.target) {
            let paced = Start::paced_stub(LONG_STUB.0, LONG_STUB.1);
            start = Start { stub: paced.stub, model: None, ..start };
        }
        if kind == Kind::LongJobs && self.session.computes_what_lasts() && start.model.is_some() {
            let recipe = recipe(model_files::computes_for_seconds(), 11)?;
            start.model = Some(self.recipe_file(&recipe, Form::PLAIN, Element::F32)?);
        }
        self.worker = Some(self.session.worker(fresh, &start)?);
        self.started = Started { kind, start };
        if kind == Kind::Computes {
            self.session.needs_computing(self.worker()?)?;
        }
        Ok(())
    }

    /// Ends the worker and starts another one in the same way.
    pub fn restart(&mut self) -> Result<(), Finding> {
        self.worker = None;
        let Started { kind, start } = self.started.clone();
        self.start_so(kind, true, start)
    }

    pub fn start_with_token(&mut self) -> Result<(), Finding> {
        let start = self.session.start(false)?.token(API_TOKEN);
        self.start_so(Kind::Any, true, start)
    }

    pub fn start_with_callback(&mut self, stub: bool, token: bool) -> Result<(), Finding> {
        let mut start = self.session.start(stub)?.callback(self.pool_manager_url()?);
        if token {
            start = start.variable("LLORCH_SPAWN_TOKEN", SPAWN_TOKEN);
        }
        self.start_so(Kind::Any, true, start)
    }

    pub(super) fn pool_manager_url(&self) -> Result<String, Finding> {
        let missing = || Finding::error("a pool manager that the scenario has", "it has none");
        Ok(self.pool_manager.as_ref().ok_or_else(missing)?.callback_url().to_owned())
    }

    /// Starts the worker with these flags and waits for nothing.
    pub fn launch(&mut self, flags: &[String]) -> Result<(), Finding> {
        let port = free_port();
        let start = self.session.start(false)?.flags(flags.iter().cloned()).port(port);
        self.launch_so(&start, vec![("flag", port)])
    }

    fn launch_so(&mut self, start: &Start, ports: Vec<(&'static str, u16)>) -> Result<(), Finding> {
        let process = self.session.target.launch(start)?;
        self.launched = Some(Launched { process, ports, hopeless: start.callback_url.is_none() });
        Ok(())
    }

    pub fn launch_without_model(&mut self) -> Result<(), Finding> {
        let start = Start { model: Some(missing_model()), stub: None, ..self.session.start(false)? };
        if self.session.target_brings("--model") {
            let found = "the command brings its own --model";
            return Err(Finding::unimplemented("a worker that is started on a model of the harness's choosing", found));
        }
        let port = free_port();
        self.launch_so(&start.port(port), vec![("flag", port)])
    }

    pub fn launch_on_taken_port(&mut self) -> Result<(), Finding> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(cannot("a port taken by the harness"))?;
        let port = listener.local_addr().map_err(cannot("the port's number"))?.port();
        self.held.push(Held::Listener(listener));
        let start = self.session.start(false)?.port(port);
        self.launch_so(&start, Vec::new())
    }

    /// `flag and the environment and the file`: each source named tells another port.
    pub fn launch_with_ports_from(&mut self, sources: &str) -> Result<(), Finding> {
        let plain = self.session.start(false)?;
        let mut flags = vec!["--worker-id".to_owned(), "precedence".to_owned()];
        match (&self.session.target, plain.model) {
            (Target::BuiltIn { .. }, _) => flags.extend(["--backend".into(), "stub".into()]),
            (Target::Spawn { command }, _)
                if command.iter().any(|word| word.contains("--port") || word.contains('{')) =>
            {
                let found = "the command brings its own";
                return Err(Finding::unimplemented("a command whose flags the harness can choose", found));
            }
            (_, Some(model)) => flags.extend(["--model".into(), model.to_string_lossy().into_owned()]),
            (_, None) => {}
        }
        let mut start = Start::bare(flags);
        let mut ports = Vec::new();
        for source in ["flag", "environment", "file"].into_iter().filter(|source| sources.contains(source)) {
            let port = free_port();
            match source {
                "flag" => start = start.flags(["--port".to_owned(), port.to_string()]),
                "environment" => start = start.variable("LLORCH_PORT", &port.to_string()),
                _ => {
                    let folder = tempfile::tempdir().map_err(cannot("a temporary folder"))?;
                    let file = folder.path().join("worker.yaml");
                    std::fs::write(&file, format!("port: {port}\n")).map_err(cannot("a configuration file"))?;
                    start = start.flags(["--config".to_owned(), file.to_string_lossy().into_owned()]);
                    self.held.push(Held::Folder(folder));
                }
            }
            ports.push((source, port));
        }
        self.launch_so(&start, ports)
    }

    /// The worker chooses its port: what it tells its pool manager is then all that anybody knows.
    pub fn launch_with_callback_on_free_port(&mut self) -> Result<(), Finding> {
        let start = self.session.start(false)?.callback(self.pool_manager_url()?).port(0);
        self.launch_so(&start, Vec::new())
    }

    pub fn launch_with_callback(&mut self, called: Called) -> Result<(), Finding> {
        let url = match called {
            Called::PoolManager => self.pool_manager_url()?,
            Called::Address(url) => url,
        };
        let port = free_port();
        let start = self.session.start(false)?.callback(url).port(port);
        self.launch_so(&start, vec![("flag", port)])
    }

    pub fn stop(&mut self, way: Way) -> Result<(), Finding> {
        match way {
            Way::Signal(signal) => {
                self.worker()?.signal(signal)?;
                // Signals of one kind merge while they wait: the next step must see this one's effect first.
                Ok(())
            }
            Way::Request => {
                let answer = self.worker()?.shutdown()?;
                self.answers.push(answer);
                Ok(())
            }
        }
    }

    /// The worker drains once it refuses a job with DRAINING.
    pub fn wait_for_drain(&mut self) -> Result<(), Finding> {
        self.send_while_draining()?;
        let answer = self.answer()?;
        if answer.status == 503 {
            return Ok(());
        }
        let finding = Finding::fail("a worker that drains: 503 DRAINING", format!("status {}", answer.status));
        Err(answer.evidence(finding))
    }

    pub fn exits(&mut self, code: Option<i32>, within: Duration) -> Result<(), Finding> {
        let process = self.process()?;
        let expected = match code {
            Some(code) => format!("exit code {code} within {within:.0?}"),
            None => format!("an exit code other than 0 within {within:.0?}"),
        };
        let until = Instant::now() + within;
        let exit = loop {
            let left = until.saturating_duration_since(Instant::now());
            let waited = process.wait_for_exit(left.min(Duration::from_millis(200)));
            let found = match (waited, self.runs_on()) {
                (Ok(exit), _) => break exit,
                (Err(_), Some(reason)) => reason,
                (Err(_), None) if left.is_zero() => "it still runs".into(),
                (Err(_), None) => continue,
            };
            return Err(process.evidence(Finding::fail(expected, found)));
        };
        let right = match (code, exit) {
            (Some(code), Exit::Code(found)) => code == found,
            (None, Exit::Code(found)) => found != 0,
            (_, Exit::Signal(_)) => false,
        };
        if right { Ok(()) } else { Err(process.evidence(Finding::fail(expected, exit.to_string()))) }
    }

    /// What shows already that the process won't leave as it has to, if anything does: nobody needs to wait then.
    fn runs_on(&self) -> Option<String> {
        if let Some(launched) = self.launched.as_ref().filter(|launched| launched.hopeless)
            && let Some((_, port)) = launched.ports.first()
            && let Ok(answer) = http::send(&Base::local(*port), &Request::get("/health"), Duration::from_secs(1))
            && answer.status == 200
        {
            return Some(format!("it serves: GET /health on port {port} answers 200"));
        }
        self.calls_without_end()
    }

    pub fn answers(&mut self) -> Result<(), Finding> {
        if self.launched.is_none() {
            return self.worker()?.health().map(drop);
        }
        let port = self.launched()?.ports.first().map(|(_, port)| *port).unwrap_or_default();
        self.answers_on(port)
    }

    pub fn answers_on_port_from(&mut self, winner: &str) -> Result<(), Finding> {
        let port = self.launched()?.ports.iter().find(|(source, _)| *source == winner).map(|(_, port)| *port);
        let ports = format!("the ports were told by {:?}", self.launched()?.ports);
        self.answers_on(port.unwrap_or_default()).map_err(|finding| finding.with("ports", ports))
    }

    fn launched(&self) -> Result<&Launched, Finding> {
        self.launched.as_ref().ok_or_else(|| Finding::error("a worker that was started", "none was"))
    }

    fn answers_on(&self, port: u16) -> Result<(), Finding> {
        let base = Base::local(port);
        let process = self.process()?;
        wait_for(READY_WITHIN, || {
            if let Some((exit, _)) = process.exit() {
                return Ok(Err(Finding::fail(format!("a worker that answers on port {port}"), exit.to_string())));
            }
            let answer = http::send(&base, &Request::get("/health"), Duration::from_secs(5))?;
            answer.expect_status(200).map(|_| Ok(()))
        })
        .and_then(|outcome| outcome)
        .map_err(|finding| process.evidence(finding))
    }

    pub fn log_names_its_port(&mut self) -> Result<(), Finding> {
        let process = self.process()?;
        let named = |text: &str| -> Option<u16> {
            let line: serde_json::Value = serde_json::from_str(text).ok()?;
            line.get("port")?.as_u64().and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0)
        };
        let line =
            process.wait_for_line("a line with the chosen port", READY_WITHIN, |line| named(&line.text).is_some())?;
        self.answers_on(named(&line.text).unwrap_or_default())
    }

    pub fn output_mentions(&mut self, text: &str) -> Result<(), Finding> {
        let process = self.process()?;
        let mentioned = process.lines().iter().any(|line| line.text.contains(text));
        let finding = || Finding::fail(format!("output that mentions {text:?}"), "output that does not");
        if mentioned { Ok(()) } else { Err(process.evidence(finding())) }
    }

    /// An error line that names the model file, whatever its keys.
    pub fn output_names_the_model(&mut self) -> Result<(), Finding> {
        let name = missing_model().file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let process = self.process()?;
        // Other lines may name it too: the one that counts says that something is wrong.
        let wrong = ["error", "fail", "cannot", "can't", "could not", "unable", "no such", "not found", "missing"];
        let tells = |line: &str| {
            let rest = line.replace(&name, "").to_lowercase();
            line.contains(&name) && wrong.iter().any(|word| rest.contains(word))
        };
        let told = process.lines().iter().any(|line| tells(&line.text));
        let finding = || Finding::fail(format!("an error line that names the model {name:?}"), "no such line");
        if told { Ok(()) } else { Err(process.evidence(finding())) }
    }

    pub fn is_recognised_as_stub(&mut self) -> Result<(), Finding> {
        let seen = recognise::look(self.worker()?)?;
        let finding = || Finding::fail("a worker that the harness recognises as a stub", seen.sentence());
        if seen.is_stub() { Ok(()) } else { Err(finding()) }
    }

    pub fn uptime_grows(&mut self, within: Duration) -> Result<(), Finding> {
        let worker = self.worker()?.clone();
        let uptime = || {
            let health = worker.health()?;
            health["uptime_seconds"].as_f64().ok_or_else(|| {
                Finding::fail("health.uptime_seconds, a number", format!("{}", health["uptime_seconds"]))
            })
        };
        let first = uptime()?;
        wait_for(within, || match uptime()? {
            later if later > first => Ok(()),
            later => Err(Finding::fail(
                format!("an uptime above {first} within {within:.0?}"),
                format!("{later} all the while"),
            )),
        })
    }
}

fn missing_model() -> PathBuf {
    std::env::temp_dir().join("llorch-absent-model.safetensors")
}

fn cannot(what: &'static str) -> impl Fn(std::io::Error) -> Finding {
    move |error| Finding::error(what, error.to_string())
}
