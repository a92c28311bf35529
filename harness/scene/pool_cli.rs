//! The pool's tool at work on a machine of the harness's own: commands, what they left, and what happens between them.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::shows::shows;
use super::{Held, Scene, wait_for};
use crate::harness::Finding;
use crate::harness::chain::mistakes::Slip;
use crate::harness::hub::{Asked, Hub, Mishap};
use crate::harness::pool_machine::{BUILDS, Hf, Machine, Ran, Shape, session_of, start_of};
use crate::harness::process::{Process, Signal};
use crate::harness::sshd::Sshd;

/// After a process was told to end, or its last output was written.
const SOON: Duration = Duration::from_secs(20);
/// Until a download is half-way: the real `hf` takes seconds to begin.
const HALF_WAY: Duration = Duration::from_secs(40);
/// Every how many bytes the catalog is cut: a unit test takes each of them.
const CUT_EVERY: usize = 29;

/// What a scenario about the tool has.
#[derive(Default)]
pub struct PoolCli {
    machine: Option<Machine>,
    pub(super) ran: Vec<Ran>,
    /// One that serves until it is told to stop.
    pub(super) begun: Option<Process>,
    /// The catalog before the last command.
    before: Option<Vec<u8>>,
    pub(super) hub: Option<Hub>,
    sshd: Option<Sshd>,
    /// A worker's number, from before its file was lost.
    last_worker: Option<(String, i32)>,
}

/// What happens to a machine between two commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meanwhile {
    WorkerKilled,
    WorkerFrozen,
    FileLost,
    NumberReused,
    PortTaken,
    WeightsCut,
    WeightsChanged,
    SecondModel,
    PathOutside,
    RepoLost,
    SourcesLost,
}

impl Meanwhile {
    fn of(words: &str) -> Option<Meanwhile> {
        Some(match words {
            "the worker is killed" => Meanwhile::WorkerKilled,
            "the worker is frozen" => Meanwhile::WorkerFrozen,
            "the worker's file is lost" => Meanwhile::FileLost,
            "the worker's number is given to another process" => Meanwhile::NumberReused,
            "another process takes the port" => Meanwhile::PortTaken,
            "the weights are cut" => Meanwhile::WeightsCut,
            "a byte of the weights changes" => Meanwhile::WeightsChanged,
            "a second model comes into its folder" => Meanwhile::SecondModel,
            "the catalog is made to name a folder outside" => Meanwhile::PathOutside,
            "the catalog loses the repo" => Meanwhile::RepoLost,
            "the sources are lost" => Meanwhile::SourcesLost,
            _ => return None,
        })
    }
}

pub(super) fn io_problem(problem: std::io::Error) -> Finding {
    Finding::error("the scenario's files", problem.to_string())
}

impl Scene {
    /// A machine of the scenario's own; `hf` on it does as it is told, or is whatever this machine has.
    pub fn have_pool_machine(&mut self, hf: Option<&str>) -> Result<(), Finding> {
        let mut machine = Machine::new(self.session.llorch()).map_err(io_problem)?;
        if let Some(behaviour) = hf {
            Hf::of(behaviour)?.install(&mut machine)?;
        }
        self.pool.machine = Some(machine);
        Ok(())
    }

    /// One that has the haiku model under this id, registered and downloaded.
    pub fn have_pool_machine_with_model(&mut self, id: &str) -> Result<(), Finding> {
        self.have_pool_machine(Some("brings the haiku model"))?;
        let machine = self.machine()?;
        machine
            .prepare(&format!("llorch-pool models register {id} --name Haiku --repo acme/haiku --architecture gpt2"))?;
        machine.prepare(&format!("llorch-pool models download {id}"))
    }

    /// A hub for the real `hf`, which serves this model as acme/model.
    pub fn have_hub(&mut self, shape: &str, mishap: &str) -> Result<(), Finding> {
        let shape = Shape::of(shape).ok_or_else(|| Finding::error("a model", shape))?;
        let mishap = match mishap {
            "" | "serves it whole" => Mishap::None,
            "cuts the connection once" => Mishap::Cut,
            "falls silent once" => Mishap::Silent,
            "serves other weights than it says" => Mishap::OtherBytes,
            other => return Err(Finding::error("something that happens to a hub", other)),
        };
        self.have_pool_machine(None)?;
        let machine = self.machine()?;
        let folder = machine.path("hub");
        shape.write(&folder)?;
        let hub = Hub::serve("acme/model", &folder, mishap).map_err(io_problem)?;
        machine.set("HF_ENDPOINT", &hub.url());
        self.pool.hub = Some(hub);
        Ok(())
    }

    /// The machine can be reached as another one: over a program that stands in for `ssh`, or over a real server.
    pub fn reach_over_ssh(&mut self, is_real: bool) -> Result<(), Finding> {
        let machine = self.machine()?;
        machine.install_as("llorch-pool", "llorch-pool").map_err(io_problem)?;
        machine.install("sleeper", "#!/bin/sh\nexec sleep 600\n").map_err(io_problem)?;
        if is_real {
            let sshd = Sshd::start(&machine.path("sshd"))?;
            machine.set("LLORCH_SSH_CONFIG", &sshd.client_configuration.display().to_string());
            self.pool.sshd = Some(sshd);
        } else {
            // What sshd does with the line: it gives it to a shell, whole.
            let script = "#!/bin/sh\nprintf '%s\\n' \"$@\" >\"$0.words\"\nfor word in \"$@\"; do line=$word; done\n\
                          exec sh -c \"$line\"\n";
            machine.install("ssh", script).map_err(io_problem)?;
        }
        Ok(())
    }

    pub(super) fn machine(&mut self) -> Result<&mut Machine, Finding> {
        self.pool.machine.as_mut().ok_or_else(|| Finding::error("a pool machine", "the scenario has none"))
    }

    fn ran(&self) -> Result<&Ran, Finding> {
        self.pool.ran.last().ok_or_else(|| Finding::error("a command that was run", "none was"))
    }

    pub fn run_tool(&mut self, line: &str) -> Result<(), Finding> {
        let slip = self.session.slip();
        let machine = self.machine()?;
        if slip == Some(Slip::BuiltAgain) {
            let _ = fs::remove_dir_all(machine.path(BUILDS)); // none before the first
        }
        let before = machine.catalog_bytes();
        let ran = machine.run(line)?;
        self.pool.before = before;
        self.pool.ran = vec![ran];
        Ok(())
    }

    pub fn run_tool_at_once(&mut self, line: &str, times: usize) -> Result<(), Finding> {
        let machine = self.machine()?;
        let begun: Result<Vec<_>, Finding> = (0..times).map(|number| machine.begin(line, number)).collect();
        let ran: Result<Vec<Ran>, Finding> = begun?.into_iter().map(|process| machine.end(process)).collect();
        self.pool.ran = ran?;
        Ok(())
    }

    /// Sends a signal to the tool, or to all of its group, when the download is half-way.
    pub fn run_tool_and_signal(&mut self, line: &str, signal: &str, whom: &str) -> Result<(), Finding> {
        let signal: Signal = signal.parse().map_err(|_| Finding::error("a signal", signal))?;
        let machine = self.pool.machine.as_mut().ok_or_else(|| Finding::error("a pool machine", "none"))?;
        let before = machine.catalog_bytes();
        let process = machine.begin(line, 0)?;
        let hangs = machine.path("bin/hf.hangs");
        let hub = self.pool.hub.as_ref();
        wait_for(HALF_WAY, || {
            // What the hub has sent is half-way when `hf` has written one file, and a part of the other.
            let has_written = machine.has_part_of("m") && machine.path(".test-models/m/config.json").exists();
            let half_way = hangs.exists() || hub.is_some_and(Hub::is_silent) && has_written;
            let early = || process.evidence(Finding::error("a download that is half-way", "it is not"));
            if half_way { Ok(()) } else { Err(early()) }
        })?;
        let sent = if whom == "the tool" { process.signal(signal) } else { process.signal_group(signal) };
        sent.map_err(io_problem)?;
        let ran = machine.end(process)?;
        self.pool.before = before;
        self.pool.ran = vec![ran];
        Ok(())
    }

    /// Where llorch-candled or its device is not part of this build, that is UNIMPLEMENTED, and the tool has to say the same.
    pub fn spawn_for(&mut self, backend: &str, model: &str) -> Result<(), Finding> {
        self.run_tool(&format!("llorch-pool worker spawn {backend} --model {model} --gpu {{gpu}}"))?;
        let ran = self.ran()?.clone();
        let has_candled = self.machine()?.run("llorch llorch-candled --version")?.code() == Some(0);
        let is_candles = ran.output.contains("llorch-candled, the worker for this, is not here");
        match ran.code() {
            Some(0) => Ok(()),
            Some(1) if is_candles && !has_candled => Err(ran.evidence(Finding::unimplemented(
                format!("a worker for {model:?} on {backend}"),
                "llorch-candled is not built into this binary (the features candle, cuda, metal)",
            ))),
            Some(1) if ran.output.contains(&format!("this build has no {backend}: build it with")) => {
                let lacks = format!("this build is without the feature {backend}");
                Err(ran.evidence(Finding::unimplemented(format!("a worker for {model:?} on {backend}"), lacks)))
            }
            _ => Err(ran.evidence(Finding::fail("a worker that is ready", ran.exit.to_string()))),
        }
    }

    pub fn tool_ended(&mut self, code: i32, says: &str) -> Result<(), Finding> {
        let says = self.machine()?.fill(says, 0);
        let ran = self.ran()?;
        if ran.code() != Some(code) {
            return Err(ran.evidence(Finding::fail(format!("exit code {code}"), ran.exit.to_string())));
        }
        let output = match self.session.slip() {
            Some(Slip::ReasonUntold) => ran.output.lines().filter(|line| !line.contains("provision_failed")).collect(),
            Some(Slip::SettingUnnamed) => ["ORCHD_", "ORCHESTRATORD_", "POOL_MANAGERD_", "LLORCH_"]
                .iter()
                .fold(ran.output.clone(), |output, name| output.replace(name, "A_")),
            _ => ran.output.clone(),
        };
        if !output.contains(&says) {
            return Err(ran.evidence(Finding::fail(format!("an output with {says:?}"), output)));
        }
        // Colours and bars are for a terminal, and the harness reads from a pipe.
        if ran.output.contains('\u{1b}') {
            return Err(ran.evidence(Finding::fail("plain text in a pipe", "an escape sequence")));
        }
        Ok(())
    }

    /// Of several at once: so many succeed, and each of the others ends with 1 and says this.
    pub fn tools_ended(&mut self, succeed: usize, says: &str) -> Result<(), Finding> {
        let says = self.machine()?.fill(says, 0);
        let (good, bad): (Vec<&Ran>, Vec<&Ran>) = self.pool.ran.iter().partition(|ran| ran.code() == Some(0));
        if good.len() != succeed {
            let finding = Finding::fail(format!("{succeed} that succeed"), good.len().to_string());
            return Err(bad.first().or(good.first()).map_or(finding.clone(), |ran| ran.evidence(finding)));
        }
        match bad.iter().find(|ran| ran.code() != Some(1) || !ran.output.contains(&says)) {
            Some(odd) => Err(odd.evidence(Finding::fail(format!("exit code 1 and {says:?}"), odd.exit.to_string()))),
            None => Ok(()),
        }
    }

    pub fn output_is_json_with(&mut self, fields: &[(String, String)]) -> Result<(), Finding> {
        let ran = self.ran()?.clone();
        // A remark on stderr stands before or after the document.
        let (Some(from), Some(to)) = (ran.output.find(['{', '[']), ran.output.rfind(['}', ']'])) else {
            return Err(ran.evidence(Finding::fail("a JSON document", &ran.output)));
        };
        let document: Value = serde_json::from_str(&ran.output[from..=to])
            .map_err(|problem| ran.evidence(Finding::fail("a JSON document", problem.to_string())))?;
        self.has_fields(&document, fields).map_err(|finding| ran.evidence(finding))
    }

    pub fn catalog_says(&mut self, fields: &[(String, String)]) -> Result<(), Finding> {
        let catalog = self.machine()?.catalog()?;
        self.has_fields(&catalog, fields).map_err(|finding| finding.with("catalog", format!("{catalog:#}")))
    }

    /// The sizes and digests are those of the files as they lie there, and their sum is the model's size.
    pub fn catalog_records_files(&mut self, id: &str) -> Result<(), Finding> {
        let machine = self.machine()?;
        let catalog = machine.catalog()?;
        let folder = machine.path(".test-models").join(id);
        let (mut files, mut bytes) = (serde_json::Map::new(), 0);
        for path in fs::read_dir(&folder).map_err(io_problem)?.flatten().map(|entry| entry.path()) {
            if path.is_file() {
                let content = fs::read(&path).map_err(io_problem)?;
                let sha256: String = Sha256::digest(&content).iter().map(|byte| format!("{byte:02x}")).collect();
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                files.insert(name, json!({ "size": content.len(), "sha256": sha256 }));
                bytes += content.len();
            }
        }
        let entry = catalog["models"].as_array().into_iter().flatten().find(|entry| entry["id"] == id);
        let entry = entry.ok_or_else(|| Finding::fail(format!("an entry {id:?}"), catalog.to_string()))?;
        let expected = json!([true, bytes as f64 / 1e9, Value::Object(files)]);
        let found = json!([entry["downloaded"], entry["size_gb"], entry["metadata"]["files"]]);
        if found == expected { Ok(()) } else { Err(Finding::fail(expected.to_string(), found.to_string())) }
    }

    fn has_fields(&mut self, document: &Value, fields: &[(String, String)]) -> Result<(), Finding> {
        let machine = self.machine()?;
        let filled: Vec<_> = fields.iter().map(|(pointer, cell)| (pointer.clone(), machine.fill(cell, 0))).collect();
        shows(document, &filled)
    }

    pub fn catalog_is_unchanged(&mut self) -> Result<(), Finding> {
        let now = self.machine()?.catalog_bytes();
        if now == self.pool.before {
            return Ok(());
        }
        let text = |bytes: &Option<Vec<u8>>| match bytes {
            Some(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            None => "(none)".to_owned(),
        };
        let finding = Finding::fail("the catalog as it was", "another one").with("before", text(&self.pool.before));
        Err(finding.with("now", text(&now)))
    }

    pub fn catalog_has(&mut self, models: usize) -> Result<(), Finding> {
        let catalog = self.machine()?.catalog()?;
        let found = catalog["models"].as_array().map_or(0, Vec::len);
        if found == models { Ok(()) } else { Err(Finding::fail(format!("{models} models"), found.to_string())) }
    }

    /// The catalog is cut again and again; a command that would write has to refuse it and to leave it alone.
    pub fn every_cut_is_refused(&mut self) -> Result<(), Finding> {
        let machine = self.machine()?;
        let whole = machine.catalog_bytes().ok_or_else(|| Finding::error("a catalog to cut", "there is none"))?;
        for length in (0..whole.len()).step_by(CUT_EVERY).chain([whole.len() - 1]) {
            fs::write(machine.catalog_path(), &whole[..length]).map_err(io_problem)?;
            let ran = machine.run("llorch-pool models register other --name O --repo a/b --architecture gpt2")?;
            let refused = ran.code() == Some(1) && ran.output.contains("is damaged");
            if !refused || machine.catalog_bytes().as_deref() != Some(&whole[..length]) {
                let expected = format!("a catalog that was cut after {length} bytes refused, and left as it is");
                return Err(ran.evidence(Finding::fail(expected, ran.exit.to_string())));
            }
        }
        fs::write(machine.catalog_path(), &whole).map_err(io_problem)
    }

    pub fn was_run_with(&mut self, program: &str, words: &[String]) -> Result<(), Finding> {
        let machine = self.machine()?;
        let recorded = fs::read_to_string(machine.path("bin").join(format!("{program}.words")))
            .map_err(|problem| Finding::fail(format!("{program} was run"), problem.to_string()))?;
        let words: Vec<String> = words.iter().map(|word| machine.fill(word, 0)).collect();
        let found: Vec<&str> = recorded.lines().collect();
        if found == words { Ok(()) } else { Err(Finding::fail(format!("{words:?}"), format!("{found:?}"))) }
    }

    pub fn hf_was_run(&mut self, times: usize) -> Result<(), Finding> {
        let runs = fs::read(self.machine()?.path("bin/hf.runs")).unwrap_or_default().len();
        if runs == times {
            Ok(())
        } else {
            Err(Finding::fail(format!("hf run {times} times"), format!("{runs} times")))
        }
    }

    /// What is resumed is not fetched again: after the first request for the weights came one for their rest.
    pub fn hub_was_asked_for_a_rest(&mut self) -> Result<(), Finding> {
        let hub = self.pool.hub.as_ref().ok_or_else(|| Finding::error("a hub", "the scenario has none"))?;
        let asked = hub.asked();
        let of_weights = asked.iter().filter(|asked| asked.method == "GET" && asked.path.ends_with(".safetensors"));
        let rest = |range: &str| range.starts_with("bytes=") && range.ends_with('-') && range != "bytes=0-";
        if of_weights.clone().any(|asked| asked.range.as_deref().is_some_and(rest)) {
            return Ok(());
        }
        let found: Vec<String> = of_weights.map(|asked| format!("{asked:?}")).collect();
        Err(Finding::fail("a request for the rest of the weights", found.join("\n")))
    }

    /// What was whole is not fetched again, and halves do not stay.
    pub fn only_the_rest_was_fetched(&mut self, whole: &str) -> Result<(), Finding> {
        let hub = self.pool.hub.as_ref().ok_or_else(|| Finding::error("a hub", "the scenario has none"))?;
        let asked = hub.asked();
        let is_of = |asked: &&Asked| asked.method == "GET" && asked.path.ends_with(&format!("/{whole}"));
        let times = asked.iter().filter(is_of).count();
        if times != 1 {
            return Err(Finding::fail(format!("{whole} fetched once"), format!("{times} times")));
        }
        match self.machine()?.has_part_of("m") {
            true => Err(Finding::fail("no half of a file", "it is there")),
            false => Ok(()),
        }
    }

    fn cpu_worker(&mut self) -> Result<String, Finding> {
        Ok(self.machine()?.worker_id("cpu"))
    }

    pub fn meanwhile(&mut self, words: &str) -> Result<(), Finding> {
        let what = Meanwhile::of(words).ok_or_else(|| Finding::error("something that may happen", words))?;
        let id = self.cpu_worker()?;
        let port = self.machine()?.port();
        let machine = self.pool.machine.as_mut().ok_or_else(|| Finding::error("a pool machine", "none"))?;
        let weights = machine.path(".test-models/haiku/model.safetensors");
        let signal = |pid: i32, signal| {
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).map_err(|error| io_problem(error.into()))
        };
        match what {
            Meanwhile::WorkerKilled => {
                let pid = machine.pid(&id)?;
                signal(pid, Signal::SIGKILL)?;
                wait_for(SOON, || match start_of(pid) {
                    None => Ok(()),
                    Some(_) => Err(Finding::error("the killed worker to be gone", "it is not")),
                })?;
            }
            Meanwhile::WorkerFrozen => signal(machine.pid(&id)?, Signal::SIGSTOP)?,
            Meanwhile::FileLost => {
                self.pool.last_worker = Some((id.clone(), machine.pid(&id)?));
                fs::remove_file(machine.info_path(&id)).map_err(io_problem)?;
            }
            Meanwhile::NumberReused => {
                // Ours: whoever signalled it would end this run.
                let mut info = machine.info(&id)?;
                info["pid"] = std::process::id().into();
                fs::write(machine.info_path(&id), info.to_string()).map_err(io_problem)?;
            }
            Meanwhile::PortTaken => {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(io_problem)?;
                self.held.push(Held::Listener(listener));
            }
            Meanwhile::WeightsCut => {
                let file = fs::File::options().write(true).open(&weights).map_err(io_problem)?;
                file.set_len(4096).map_err(io_problem)?;
            }
            Meanwhile::WeightsChanged => {
                let mut bytes = fs::read(&weights).map_err(io_problem)?;
                if let Some(last) = bytes.last_mut() {
                    *last ^= 1;
                }
                fs::write(&weights, bytes).map_err(io_problem)?;
            }
            Meanwhile::SecondModel => {
                fs::copy(&weights, weights.with_file_name("another.safetensors")).map(drop).map_err(io_problem)?;
            }
            Meanwhile::PathOutside => {
                let outside = machine.path("precious");
                fs::create_dir_all(&outside).map_err(io_problem)?;
                let mut catalog = machine.catalog()?;
                catalog["models"][0]["path"] = outside.display().to_string().into();
                fs::write(machine.catalog_path(), catalog.to_string()).map_err(io_problem)?;
            }
            Meanwhile::RepoLost => {
                let mut catalog = machine.catalog()?;
                catalog["models"][0]["metadata"]["repo"] = Value::Null;
                fs::write(machine.catalog_path(), catalog.to_string()).map_err(io_problem)?;
            }
            Meanwhile::SourcesLost => fs::remove_dir_all(machine.path("sources")).map_err(io_problem)?,
        }
        Ok(())
    }

    pub fn worker_is(&mut self, words: &str) -> Result<(), Finding> {
        let id = self.cpu_worker()?;
        let last = self.pool.last_worker.clone();
        let machine = self.machine()?;
        match words {
            "runs in a session of its own" => {
                let pid = machine.pid(&id)?;
                match session_of(pid) {
                    Some(session) if session == pid => Ok(()),
                    found => Err(Finding::fail(format!("the session {pid} of its own"), format!("{found:?}"))),
                }
            }
            "left no file" => match machine.info_path(&id).exists() {
                false => Ok(()),
                true => Err(Finding::fail(format!("no file of {id}"), "it is there")),
            },
            "is gone" => {
                let pid = last.filter(|(of, _)| *of == id).map(|(_, pid)| pid);
                let port = machine.port();
                wait_for(SOON, || match (pid.and_then(start_of), TcpListener::bind((Ipv4Addr::LOCALHOST, port))) {
                    (None, Ok(_)) => Ok(()),
                    (process, bound) => {
                        let found = format!("process {process:?}, port {port}: {:?}", bound.err());
                        Err(Finding::fail("the worker gone, and its port free", found))
                    }
                })
            }
            other => Err(Finding::error("something that a worker can be", other)),
        }
    }

    /// A file or folder of the machine, by its name there.
    pub fn machine_has(&mut self, name: &str, is_there: bool) -> Result<(), Finding> {
        let path = self.machine()?.path(name);
        if path.exists() == is_there {
            return Ok(());
        }
        let words = |is_there| if is_there { "it is there" } else { "it is not there" };
        Err(Finding::fail(format!("{name}: {}", words(is_there)), words(!is_there)))
    }

    /// The first run pays for reading the binary from the disk; the best of five counts.
    pub fn tool_starts_within(&mut self, most: Duration) -> Result<(), Finding> {
        let machine = self.machine()?;
        let mut best = Duration::MAX;
        for _ in 0..5 {
            let since = Instant::now();
            let process = machine.begin("llorch-pool models list", 0)?;
            process.wait_for_exit(SOON)?;
            best = best.min(process.exit().map_or(since.elapsed(), |(_, at)| at));
        }
        if best <= most {
            Ok(())
        } else {
            Err(Finding::fail(format!("a start within {most:.0?}"), format!("{best:.1?}")))
        }
    }
}

impl PoolCli {
    pub(super) fn folder(&self) -> Result<&std::path::Path, Finding> {
        self.machine
            .as_ref()
            .map(Machine::folder)
            .ok_or_else(|| Finding::error("a pool machine", "the scenario has none"))
    }
}

impl Drop for PoolCli {
    /// The server over which commands came goes first, and what serves; then the machine with its workers.
    fn drop(&mut self) {
        self.sshd = None;
        self.begun = None;
        self.hub = None;
        self.machine = None;
    }
}
