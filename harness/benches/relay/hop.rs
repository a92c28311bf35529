//! A program that only copies bytes from one socket to another: the least that a hop can cost.

use std::io;
use std::net::Ipv4Addr;

use tokio::net::TcpStream;

use super::system;

pub async fn serve(to: u16) -> io::Result<()> {
    let listener = system::listen(Ipv4Addr::LOCALHOST)?;
    println!("port {}", listener.local_addr()?.port());
    loop {
        let (mut near, _) = listener.accept().await?;
        tokio::spawn(async move {
            let mut far = TcpStream::connect((Ipv4Addr::LOCALHOST, to)).await?;
            near.set_nodelay(true)?;
            far.set_nodelay(true)?;
            tokio::io::copy_bidirectional(&mut near, &mut far).await
        });
    }
}
