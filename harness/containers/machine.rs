//! One machine: a container with the program in it.

use std::path::Path;
use std::time::{Duration, Instant};

use testcontainers::bollard::Docker;
use testcontainers::bollard::models::{NetworkConnectRequest, NetworkDisconnectRequest};
use testcontainers::bollard::query_parameters::KillContainerOptionsBuilder;
use testcontainers::core::client::docker_client_instance;
use testcontainers::core::{ContainerPort, Mount, WaitFor};
use testcontainers::runners::SyncRunner as _;
use testcontainers::{Container, GenericImage, ImageExt as _, TestcontainersError};
use tokio::runtime::Builder;

use crate::harness::Finding;
use crate::harness::process::{Command, Exit, Line, Output, Signal};
use crate::harness::target::free_port;

const IMAGE: (&str, &str) = ("llorch", "containers");
/// The program in the image.
pub const PROGRAM: &str = "/llorch";
const READY_LINE: &str = "\"event\":\"ready\"";
/// How long Docker may take over anything.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(20);

/// A daemon in a container. Dropped, the container goes, and with the last one their network.
#[derive(Debug)]
pub struct Machine {
    /// There until it is dropped.
    container: Option<Container<GenericImage>>,
    /// Its name is the machine's host name.
    name: String,
    network: String,
    /// On this machine's loopback.
    pub port: u16,
}

impl Machine {
    /// Starts the program with the command's words and variables, and waits until it is ready. It listens on `port` of its
    /// machine, sees `shared` under its own path, and works in `folder`, which is below that.
    pub fn start(
        network: &str,
        name: &str,
        command: &Command,
        port: u16,
        shared: &Path,
        folder: &Path,
    ) -> Result<Machine, Finding> {
        let outside = free_port();
        let path = shared.display().to_string();
        let ready = WaitFor::message_on_stdout(READY_LINE);
        let image = GenericImage::new(IMAGE.0, IMAGE.1).with_wait_for(ready);
        let mut request = image
            .with_cmd(&command.arguments)
            .with_container_name(name)
            .with_hostname(name)
            .with_network(network)
            .with_mapped_port(outside, ContainerPort::Tcp(port))
            .with_mount(Mount::bind_mount(&path, &path))
            .with_working_dir(folder.display().to_string())
            .with_startup_timeout(PATIENCE);
        for (variable, value) in &command.environment {
            request = request.with_env_var(variable, value);
        }
        let container = aside(|| request.start()).map_err(|error| problem("a daemon in a container", error))?;
        Ok(Machine { container: Some(container), name: name.to_owned(), network: network.to_owned(), port: outside })
    }

    fn ask<T: Send>(
        &self,
        what: &str,
        ask: impl FnOnce(&Container<GenericImage>) -> Result<T, TestcontainersError> + Send,
    ) -> Result<T, Finding> {
        let container = self.container.as_ref().ok_or_else(|| problem(what, "the container is gone"))?;
        aside(|| ask(container)).map_err(|error| problem(what, error))
    }

    pub fn is_alive(&self) -> bool {
        self.ask("whether it runs", Container::is_running).unwrap_or(false)
    }

    pub fn signal(&self, signal: Signal) -> Result<(), Finding> {
        let options = KillContainerOptionsBuilder::default().signal(signal.as_str()).build();
        docker(async |docker| docker.kill_container(&self.name, Some(options)).await)
    }

    pub fn wait_for_exit(&self, deadline: Duration) -> Result<Exit, Finding> {
        let until = Instant::now() + deadline;
        while self.is_alive() {
            if Instant::now() >= until {
                return Err(Finding::fail(format!("{} ends within {deadline:.1?}", self.name), "it still runs"));
            }
            std::thread::park_timeout(LOOK);
        }
        match self.ask("an exit code", Container::exit_code)? {
            Some(code) if code > 128 => Ok(Exit::Signal((code - 128) as i32)),
            Some(code) => Ok(Exit::Code(code as i32)),
            None => Err(problem("an exit code", "it has none")),
        }
    }

    /// Its next life, with the files of the one before, and waits until it is ready.
    pub fn start_again(&self) -> Result<(), Finding> {
        let lives = self.lives();
        self.ask("a container that starts again", Container::start)?;
        let until = Instant::now() + PATIENCE;
        while self.lives() == lives {
            if Instant::now() >= until || !self.is_alive() {
                return Err(Finding::fail(format!("{} is ready again", self.name), "it is not"));
            }
            std::thread::park_timeout(LOOK);
        }
        Ok(())
    }

    fn lives(&self) -> usize {
        self.lines().iter().filter(|line| line.text.contains(READY_LINE)).count()
    }

    /// Everything that it has written, in all of its lives.
    pub fn lines(&self) -> Vec<Line> {
        let text = self.ask("its log", Container::stdout_to_vec).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        text.lines().map(|line| Line { text: line.into(), from: Output::Stdout, at: Duration::ZERO }).collect()
    }

    /// Takes it off the network, without a word to whoever speaks to it.
    pub fn cut_off(&self) -> Result<(), Finding> {
        let request = NetworkDisconnectRequest { container: self.name.clone(), force: Some(true) };
        docker(async |docker| docker.disconnect_network(&self.network, request).await)
    }

    /// Puts it back.
    pub fn join(&self) -> Result<(), Finding> {
        let request = NetworkConnectRequest { container: self.name.clone(), endpoint_config: None };
        docker(async |docker| docker.connect_network(&self.network, request).await)
    }
}

/// Why this machine can't have containers, and how it could.
pub fn missing() -> Option<String> {
    let image = format!("{}:{}", IMAGE.0, IMAGE.1);
    if let Err(finding) = docker(async |docker| docker.version().await.map(drop)) {
        return Some(format!("there is no Docker daemon (.ci/docker starts one): {}", finding.found));
    }
    let found = docker(async |docker| docker.inspect_image(&image).await.map(drop));
    found.is_err().then(|| format!("Docker has no image {image} (.ci/image builds it)"))
}

impl Drop for Machine {
    fn drop(&mut self) {
        let container = self.container.take();
        aside(|| drop(container));
    }
}

/// Everything that speaks to Docker blocks on a runtime, and whoever asks may be in one: so on a thread beside it.
fn aside<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| scope.spawn(work).join()).unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn docker<T: Send>(
    ask: impl AsyncFnOnce(&Docker) -> Result<T, testcontainers::bollard::errors::Error> + Send,
) -> Result<T, Finding> {
    aside(|| {
        let runtime = Builder::new_current_thread().enable_all().build();
        runtime.map_err(|error| problem("a runtime", error))?.block_on(async {
            let docker = docker_client_instance().await.map_err(|error| problem("Docker", error))?;
            ask(&docker).await.map_err(|error| problem("Docker does as it is told", error))
        })
    })
}

fn problem(expected: &str, error: impl std::fmt::Display) -> Finding {
    Finding::error(expected, error.to_string())
}
