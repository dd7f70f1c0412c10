//! The tiny upstream behind every proxy: the same few bytes for every request, as cheap as possible,
//! because it shares its core with the load. Also serves the JWKS of the issuer,
//! and accepts `WebSockets` that it leaves silent.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};

use anyhow::Context as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const RESPONSE: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 3\r\n\r\nok\n";
/// May be stored for a day.
const CACHED: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\
    cache-control: max-age=86400\r\ncontent-length: 3\r\n\r\nok\n";
/// Of the body that is compressed.
const TEXT_BYTES: usize = 16 * 1024;
const SWITCH: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
    sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
const HEAD_END: &[u8] = b"\r\n\r\n";
/// No benchmark sends longer heads.
const HEAD_LIMIT: usize = 16 * 1024;

/// Serves on a thread until the process ends; returns the port.
pub(crate) fn start(jwks: &str) -> anyhow::Result<u16> {
    let length = jwks.len();
    let jwks = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{jwks}"
    );
    let jwks: Arc<[u8]> = jwks.into_bytes().into();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (ports, port) = channel();
    std::thread::spawn(move || runtime.block_on(serve(&ports, jwks)));
    port.recv().context("the upstream does not listen")
}

async fn serve(ports: &Sender<u16>, jwks: Arc<[u8]>) -> std::io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let text: Arc<[u8]> = text().into();
    let _ = ports.send(listener.local_addr()?.port());
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        // A proxy may close connections at any time.
        tokio::spawn(respond(stream, Arc::clone(&jwks), Arc::clone(&text)));
    }
}

/// A response whose body is about as uniform as JSON is.
fn text() -> Vec<u8> {
    let lines = (0..).map(|number: u64| {
        let value = number.wrapping_mul(2_654_435_761) % 1_000_000;
        format!(
            "{{\"id\":{number},\"name\":\"item {value}\",\"price\":{}}}\n",
            value / 7
        )
    });
    let body: String = lines.take(TEXT_BYTES / 32).collect();
    let body = &body[..TEXT_BYTES];
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {TEXT_BYTES}\r\n\r\n{body}"
    )
    .into_bytes()
}

async fn respond(mut stream: TcpStream, jwks: Arc<[u8]>, text: Arc<[u8]>) -> std::io::Result<()> {
    let mut buffer = Vec::with_capacity(HEAD_LIMIT);
    while stream.read_buf(&mut buffer).await? > 0 {
        // Proxies do not pipeline: what ends like a head is one.
        if !buffer.ends_with(HEAD_END) {
            if buffer.len() >= HEAD_LIMIT {
                break;
            }
            continue;
        }
        let response = if buffer.starts_with(b"GET /.well-known/jwks.json ") {
            &jwks
        } else if buffer.starts_with(b"GET /ws/") {
            SWITCH
        } else if buffer.starts_with(b"GET /cached/") {
            CACHED
        } else if buffer.starts_with(b"GET /text/") {
            &text
        } else {
            RESPONSE
        };
        stream.write_all(response).await?;
        buffer.clear();
    }
    Ok(())
}
