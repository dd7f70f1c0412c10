//! A connection to a replica: an idle one, else a new one.

use std::{io, net::SocketAddr};

use tokio::{net::TcpStream, time::Instant};

use super::alarm::Alarm;
use crate::{config::model::Server, edge::socket::tcp_keepalive, upstream::Pool};
use pingora::protocols::l4::ext::set_tcp_keepalive;

/// A connection, and whether it has served a request before.
#[derive(Debug)]
pub(super) struct Connected {
    pub(super) stream: TcpStream,
    pub(super) reused: bool,
    pub(super) at: Instant,
}

/// # Errors
/// When the replica refuses the connection, or does not accept it in time.
pub(super) async fn connect(
    (address, now, until): (SocketAddr, Instant, Instant),
    server: &Server,
    pool: &Pool,
    alarm: &mut Alarm,
) -> io::Result<Connected> {
    if let Some(stream) = pool.take(address, now) {
        return Ok(Connected {
            stream,
            reused: true,
            at: now,
        });
    }
    let stream = alarm
        .bound(Some(until), TcpStream::connect(address))
        .await
        .ok_or(io::ErrorKind::TimedOut)??;
    // A small request must not wait for the acknowledgment of the one before.
    stream.set_nodelay(true)?;
    set_tcp_keepalive(&stream, &tcp_keepalive(server)).map_err(io::Error::other)?;
    Ok(Connected {
        stream,
        reused: false,
        at: Instant::now(),
    })
}
