//! An engine that speaks as `llama-server` does and computes nothing: one event a second on every stream, with the time
//! at which it was written. It has a slot for everybody.

use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep_until};

use super::system;

const PERIOD: Duration = Duration::from_secs(1);

pub async fn serve(slots: usize) -> io::Result<()> {
    let listener = system::listen(Ipv4Addr::LOCALHOST)?;
    println!("port {}", listener.local_addr()?.port());
    accept(listener, slots).await
}

async fn accept(listener: TcpListener, slots: usize) -> io::Result<()> {
    loop {
        let (socket, _) = listener.accept().await?;
        tokio::spawn(async move {
            let _ = converse(socket, slots).await; // a client that goes away has heard enough
        });
    }
}

async fn converse(mut socket: TcpStream, slots: usize) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let mut bytes = Vec::new();
    loop {
        let Some((head, body)) = system::message(&mut socket, &mut bytes).await? else { return Ok(()) };
        let path = head.split(' ').nth(1).unwrap_or_default();
        let answer = match path {
            "/completion" => return stream(&mut socket, &body).await,
            "/props" => json!({
                "default_generation_settings": {"n_ctx": 4096}, "total_slots": slots, "model_alias": "clockwork",
                "build_info": "1",
            }),
            "/v1/models" => json!({"data": [{"meta": {"n_vocab": 256}}]}),
            "/tokenize" => json!({"tokens": [1, 2, 3]}),
            "/slots" => json!([]),
            _ => json!({"status": "ok"}),
        };
        let answer = answer.to_string();
        let head =
            format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", answer.len());
        socket.write_all(format!("{head}{answer}").as_bytes()).await?;
    }
}

async fn stream(socket: &mut TcpStream, body: &[u8]) -> io::Result<()> {
    let job: Value = serde_json::from_slice(body)?;
    let events = job["n_predict"].as_u64().unwrap_or(1);
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
    socket.write_all(head.as_bytes()).await?;
    let began = Instant::now();
    for i in 0..events {
        sleep_until(began + PERIOD * i as u32).await;
        let data = json!({"content": format!("@{i}:{};", system::now()), "tokens": [7], "stop": false});
        send(socket, &data).await?;
    }
    let timings = json!({"predicted_ms": began.elapsed().as_millis() as u64});
    let end = json!({
        "content": "", "tokens": [], "stop": true, "stop_type": "limit", "tokens_predicted": events, "timings": timings,
    });
    send(socket, &end).await?;
    socket.write_all(b"0\r\n\r\n").await?;
    // The reader closes: a reset would take the end with it.
    socket.read(&mut [0; 1]).await.map(drop)
}

async fn send(socket: &mut TcpStream, data: &Value) -> io::Result<()> {
    let frame = format!("data: {data}\n\n");
    socket.write_all(format!("{:x}\r\n{frame}\r\n", frame.len()).as_bytes()).await
}
