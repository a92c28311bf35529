//! The socket: connections and their limits, whatever the routes behind them.
//!
//! The loop accepts until it is told to close, which is later than the stop: a daemon that drains still answers.

use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

const BACKLOG: u32 = 1024;
/// How long a client may take over the head of a request, idle time between two included.
const HEAD_PATIENCE: Duration = Duration::from_secs(30);
/// What a closing daemon leaves to connections that are still being written to.
const CLOSING_PATIENCE: Duration = Duration::from_millis(300);
/// After a failure to accept, such as no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

pub fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// A connection, or every one of a listener, which its connections inherit this from, ends by itself when the other side
/// has said nothing for so long, its system included: a machine that was cut off sends no goodbye, and what it asked for
/// would go on for as long as the kernel tries.
pub fn notice_the_lost(socket: &impl AsFd, after: Duration) -> std::io::Result<()> {
    let socket = SockRef::from(socket);
    let probe = after / 4;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(probe).with_interval(probe).with_retries(3))?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(after))?;
    Ok(())
}

/// Serves until `closing` turns true, then lets open connections finish what they are writing. `most` connections may be
/// open; further ones wait in the system's backlog.
pub async fn serve(listener: TcpListener, router: Router, most: usize, mut closing: watch::Receiver<bool>) {
    // A permit for each connection, returned by dropping it.
    let permits = Arc::new(Semaphore::new(most));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &permits) => accepted,
            _ = closing.wait_for(|closing| *closing) => break,
        };
        let Some((stream, permit)) = accepted else { continue };
        let (router, closing) = (router.clone(), closing.clone());
        connections.spawn(async move {
            converse(stream, router, closing).await;
            drop(permit);
        });
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    let _ = tokio::time::timeout(CLOSING_PATIENCE, async { while connections.join_next().await.is_some() {} }).await;
}

async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> Option<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let permit = permits.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, permit)),
        Err(_) => {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

/// One connection to its end. How it ends is the client's affair: a failure here has nobody to be told to.
async fn converse(stream: TcpStream, router: Router, mut closing: watch::Receiver<bool>) {
    let _ = stream.set_nodelay(true); // frames leave as they are written
    let mut connection = std::pin::pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_PATIENCE)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
    );
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = closing.wait_for(|closing| *closing) => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}
