//! Whether a port is free, and who holds it.

use std::net::{Ipv4Addr, TcpListener};

/// True where a worker could listen there now.
pub fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// Who listens on a port, in words: `nginx (pid 812)`, or that it can't be seen.
pub fn holder(port: u16) -> String {
    match find_holder(port) {
        Some((pid, name)) => format!("{name} (pid {pid})"),
        None => "another process, which this user may not see".to_owned(),
    }
}

/// A listening socket has a number in `/proc/net/tcp`; the process that has it open is the holder.
#[cfg(target_os = "linux")]
fn find_holder(port: u16) -> Option<(u32, String)> {
    const LISTEN: &str = "0A";
    let mut sockets = Vec::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let text = std::fs::read_to_string(table).unwrap_or_default();
        // sl, local_address, rem_address, st, queues, tr, retrnsmt, uid, timeout, inode
        for fields in text.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>()) {
            let [_, local, _, state, _, _, _, _, _, inode, ..] = fields[..] else { continue };
            if state == LISTEN && local.ends_with(&format!(":{port:04X}")) {
                sockets.push(format!("socket:[{inode}]"));
            }
        }
    }
    let processes = std::fs::read_dir("/proc").ok()?.flatten();
    processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()).find_map(|pid| {
        let opened = std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?.flatten();
        let links = opened.filter_map(|entry| std::fs::read_link(entry.path()).ok());
        let holds = links.into_iter().any(|link| sockets.iter().any(|socket| link.as_os_str() == socket.as_str()));
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        holds.then(|| (pid, name.trim().to_owned()))
    })
}

#[cfg(not(target_os = "linux"))]
fn find_holder(port: u16) -> Option<(u32, String)> {
    let output = std::process::Command::new("lsof")
        .args(["-nP", "-sTCP:LISTEN", "-Fpc", &format!("-iTCP:{port}")])
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let field = |letter: char| text.lines().find_map(|line| line.strip_prefix(letter)).map(str::to_owned);
    Some((field('p')?.parse().ok()?, field('c')?))
}
