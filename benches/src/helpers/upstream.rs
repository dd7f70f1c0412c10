//! The tiny upstream behind every proxy: the same few bytes to every request, as cheap
//! as can be, because it shares its core with the load. Also the issuer's JWKS address.

use std::net::Ipv4Addr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 3\r\n\r\nok\n";
const HEAD_END: &[u8] = b"\r\n\r\n";
/// Longer heads are no part of any benchmark.
const HEAD_LIMIT: usize = 16 * 1024;

pub(super) fn run(words: &[String]) -> anyhow::Result<()> {
    let (port, jwks) = super::port_and_file(words)?;
    let jwks: Arc<[u8]> = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{jwks}",
        jwks.len()
    )
    .into_bytes()
    .into();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            // A connection that breaks is the proxy's business.
            tokio::spawn(answer(stream, Arc::clone(&jwks)));
        }
    })
}

async fn answer(mut stream: TcpStream, jwks: Arc<[u8]>) -> std::io::Result<()> {
    let mut buffer = Vec::with_capacity(HEAD_LIMIT);
    while stream.read_buf(&mut buffer).await? > 0 {
        // Proxies do not pipeline: what ends like a head is one.
        if !buffer.ends_with(HEAD_END) {
            if buffer.len() >= HEAD_LIMIT {
                break;
            }
            continue;
        }
        let is_jwks = buffer.starts_with(b"GET /.well-known/jwks.json ");
        stream
            .write_all(if is_jwks { &jwks } else { ANSWER })
            .await?;
        if closes(&buffer) {
            break;
        }
        buffer.clear();
    }
    Ok(())
}

/// Only those who ask once say so, and they say it like this.
fn closes(head: &[u8]) -> bool {
    let line = head.split(|&byte| byte == b'\r').next().unwrap_or(head);
    line.ends_with(b"HTTP/1.0")
}
