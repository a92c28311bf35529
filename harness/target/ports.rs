//! Ports of the loopback interface: free ones for workers, and ones that stay closed.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Mutex, PoisonError};

/// Below the range from which the kernel takes the ports of outgoing connections: there, any request of a parallel test
/// may take a port between our look and the worker's bind.
const RANGE: std::ops::Range<u16> = 15_000..32_000;

/// A port that nobody listens on, given out once by this process. Other processes may choose the same one, seldom: who
/// starts a worker tries again when the worker says that it is taken.
pub fn free_port() -> u16 {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    let random = RandomState::new().build_hasher().finish();
    let length = RANGE.end - RANGE.start;
    let begin = (random % u64::from(length)) as u16;
    for step in 0..length {
        let port = RANGE.start + (begin + step) % length;
        if !given.contains(&port) && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            given.insert(port);
            return port;
        }
    }
    // Everything was given out once: begin anew.
    given.clear();
    RANGE.start + begin
}

/// A port that is held and refuses connections, as long as this lives: bound, and never listened on.
#[derive(Debug)]
pub struct ClosedPort {
    socket: tokio::net::TcpSocket,
}

impl ClosedPort {
    pub fn hold() -> io::Result<ClosedPort> {
        let socket = tokio::net::TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        Ok(ClosedPort { socket })
    }

    pub fn port(&self) -> io::Result<u16> {
        Ok(self.socket.local_addr()?.port())
    }
}
