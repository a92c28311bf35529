//! A real `sshd` on loopback with keys of its own, for the commands that go to another machine.

use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::Finding;
use super::process::{Command, Process};
use super::target::free_port;

const READY_WITHIN: Duration = Duration::from_secs(10);
/// Where the server is, which is seldom on a user's `PATH`.
const PLACES: [&str; 3] = ["/usr/sbin/sshd", "/usr/local/sbin/sshd", "/sbin/sshd"];

#[derive(Debug)]
pub struct Sshd {
    process: Process,
    /// For `ssh -F`: the host `machine` is this server.
    pub client_configuration: PathBuf,
}

/// Why this machine can't have one, and how it could.
pub fn missing() -> Result<PathBuf, String> {
    let on_path = |name: &str| find_program(name).is_some();
    let server = PLACES.iter().map(PathBuf::from).find(|path| path.is_file()).or_else(|| find_program("sshd"));
    let Some(server) = server.filter(|_| on_path("ssh") && on_path("ssh-keygen")) else {
        return Err("there is no sshd, ssh or ssh-keygen (apt-get install openssh-server openssh-client)".into());
    };
    // Where it runs as root it wants this folder, which a service manager makes.
    if nix::unistd::geteuid().is_root() && server.starts_with("/usr") && !Path::new("/run/sshd").is_dir() {
        return Err("sshd has no folder to separate its privileges in (mkdir -p /run/sshd)".into());
    }
    Ok(server)
}

/// A program of this name on the `PATH`.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

impl Sshd {
    /// Starts it with its keys in this folder.
    pub fn start(folder: &Path) -> Result<Sshd, Finding> {
        let server = missing().map_err(|reason| Finding::skipped("a real sshd", reason))?;
        let failed = |problem: std::io::Error| Finding::error("a real sshd", problem.to_string());
        fs::create_dir_all(folder).map_err(failed)?;
        let file = |name: &str| folder.join(name).display().to_string();
        for key in ["host", "user"] {
            let words = ["-q", "-t", "ed25519", "-N", "", "-f"].map(str::to_owned);
            let generate = Process::spawn(Command::new("ssh-keygen").arguments(words).arguments([file(key)]));
            generate.map_err(failed)?.wait_for_exit(READY_WITHIN)?;
        }
        let port = free_port();
        let public = |key: &str| fs::read_to_string(folder.join(format!("{key}.pub"))).map_err(failed);
        fs::write(folder.join("authorized_keys"), public("user")?).map_err(failed)?;
        fs::write(folder.join("known_hosts"), format!("[127.0.0.1]:{port} {}", public("host")?)).map_err(failed)?;
        let configuration = format!(
            "ListenAddress 127.0.0.1\nPort {port}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nStrictModes no\n\
             PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\n",
            file("host"),
            file("authorized_keys")
        );
        fs::write(folder.join("sshd_config"), configuration).map_err(failed)?;
        let user = nix::unistd::User::from_uid(nix::unistd::geteuid()).ok().flatten().map(|user| user.name);
        let client = format!(
            "Host machine\n  HostName 127.0.0.1\n  Port {port}\n  User {}\n  IdentityFile {}\n  IdentitiesOnly yes\n  \
             UserKnownHostsFile {}\n  StrictHostKeyChecking yes\n  LogLevel ERROR\n",
            user.unwrap_or_else(|| "root".into()),
            file("user"),
            file("known_hosts")
        );
        let client_configuration = folder.join("ssh_config");
        fs::write(&client_configuration, client).map_err(failed)?;
        let command = Command::new(server).arguments(["-D".to_owned(), "-e".into(), "-f".into(), file("sshd_config")]);
        let process = Process::spawn(command).map_err(failed)?;
        let until = Instant::now() + READY_WITHIN;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            if process.exit().is_some() || Instant::now() >= until {
                return Err(process.evidence(Finding::error("sshd to listen", "it does not")));
            }
            std::thread::park_timeout(Duration::from_millis(10));
        }
        Ok(Sshd { process, client_configuration })
    }

    /// What it logged, for evidence.
    pub fn log(&self) -> String {
        self.process.log_tail(20)
    }
}
