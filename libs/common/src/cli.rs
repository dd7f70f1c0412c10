//! What the command lines of all binaries share: exit codes, SIGHUP, and the health check of
//! containers.

use std::{
    fmt::Display,
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    process::ExitCode,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use clap::ValueEnum;
use signal_hook::{consts::SIGHUP, flag};

use crate::causes::causes;

/// For the whole of a health check.
pub const HEALTHCHECK_TIMEOUT: Duration = Duration::from_secs(3);
/// The rest of a longer response is not read.
const HEALTHCHECK_RESPONSE_BYTES: usize = 8192;

/// Versions of `OpenAPI` that documents are published in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OpenapiVersion {
    #[value(name = "3.1")]
    V3_1,
    #[value(name = "3.0")]
    V3_0,
}

/// The exit code of a result. The error and its causes go to stderr in one line.
pub fn exit(name: &str, result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: {}", causes(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

/// Writes the output of a command to stdout. A reader that has read enough (`| head`) is not an error.
///
/// # Errors
/// When stdout cannot be written.
pub fn print(text: impl Display) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    match write!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

static HANGUP: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// Call it first in `main`: until there is a handler, SIGHUP ends the process, and an operator who
/// asks for a reload cannot know whether the start is over.
///
/// # Errors
/// When the handler cannot be installed.
pub fn catch_hangup() -> io::Result<()> {
    flag::register(SIGHUP, Arc::clone(&HANGUP)).map(drop)
}

/// Whether SIGHUP has arrived since [`catch_hangup`]. Ask once, when reloads are possible.
pub fn was_hung_up() -> bool {
    HANGUP.load(Ordering::Relaxed)
}

/// Sends a request to the service on this machine over plain HTTP.
///
/// # Errors
/// When the response is not 200 within three seconds. The message contains the response.
pub fn healthcheck(listen: SocketAddr, path: &str) -> anyhow::Result<()> {
    use anyhow::Context as _;
    let address = loopback(listen);
    let response = ask(address, path, HEALTHCHECK_TIMEOUT)
        .with_context(|| format!("{address} does not respond"))?;
    let (head, body) = response.split_once("\r\n\r\n").unwrap_or((&response, ""));
    let status = head.lines().next().unwrap_or_default();
    anyhow::ensure!(
        status.split(' ').nth(1) == Some("200"),
        "{address}{path} returned `{status}` {body}"
    );
    Ok(())
}

/// The address under which a process on this machine reaches a listener.
pub fn loopback(listen: SocketAddr) -> SocketAddr {
    let host: IpAddr = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(host, listen.port())
}

/// The whole response, up to a bound, within a limit of time.
fn ask(address: SocketAddr, path: &str, limit: Duration) -> io::Result<String> {
    let deadline = Instant::now() + limit;
    let left = || {
        let left = deadline.checked_duration_since(Instant::now());
        let left = left.filter(|left| !left.is_zero());
        left.ok_or_else(|| io::Error::from(io::ErrorKind::TimedOut))
    };
    let mut stream = TcpStream::connect_timeout(&address, limit)?;
    stream.set_write_timeout(Some(left()?))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n"
    )?;
    let (mut response, mut part) = (Vec::new(), [0; 1024]);
    while response.len() < HEALTHCHECK_RESPONSE_BYTES {
        stream.set_read_timeout(Some(left()?))?;
        match stream.read(&mut part) {
            Ok(0) => break,
            Ok(read) => response.extend_from_slice(&part[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(String::from_utf8_lossy(&response).into_owned())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_response_that_never_ends_is_not_waited_for() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            // Each read of the client succeeds in time.
            while stream.write_all(b"x").is_ok() {
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        let asked = ask(address, "/health", Duration::from_millis(200));
        let error = asked.unwrap_err().kind();
        let expected = [io::ErrorKind::TimedOut, io::ErrorKind::WouldBlock];
        assert!(expected.contains(&error), "{error:?}");
        server.join().unwrap();
    }
}
