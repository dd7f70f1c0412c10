//! How often memory is allocated for a request, and how much of it an idle connection keeps.
//! Everything runs in this process; the client and the upstream allocate nothing, so what is counted
//! is the gateway's.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{
    alloc::System,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{LazyLock, Mutex},
    time::{Duration, Instant},
};

use quartet_gateway::Sources;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const REQUEST: &[u8] = b"GET /guarded/thing HTTP/1.1\r\nHost: a.example\r\nAccept: */*\r\n\
    User-Agent: test\r\nAccept-Encoding: gzip\r\n\r\n";
/// As `REQUEST`, but not for the direct path.
const RARE_REQUEST: &[u8] = b"GET /guarded/thing?| HTTP/1.1\r\nHost: a.example\r\nAccept: */*\r\n\
    User-Agent: test\r\nAccept-Encoding: gzip\r\n\r\n";
const RESPONSE: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\nok";
const REQUESTS: u64 = 500;
/// Until caches, buffers and lists have their size.
const WARM_UP: u64 = 200;

/// What a request may allocate on the direct path.
const MAX_DIRECT: u64 = 10;
/// And on the other one, most of it in pingora.
const MAX_GENERAL: u64 = 105;
/// Bytes. Ten thousand `WebSocket`s in 150 MB, with the gateway and what the allocator adds, leave
/// 12 KiB for each.
const MAX_WEBSOCKET: i64 = 5 * 1024;
const MAX_KEPT_ALIVE: i64 = 8 * 1024;

/// A server on a thread that allocates nothing once a connection is open.
fn upstream() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                let mut buffer = [0; 4096];
                while let Ok(received @ 1..) = stream.read(&mut buffer) {
                    let handshake = buffer[..received].starts_with(b"GET /guarded/ws ");
                    let response = if handshake { SWITCHING } else { RESPONSE };
                    stream.write_all(response).unwrap();
                }
            });
        }
    });
    address
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

fn connect(address: SocketAddr) -> TcpStream {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match TcpStream::connect(address) {
            Ok(stream) => return stream,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// Allocations of each of some requests, one after the other on one connection.
fn allocations(stream: &mut TcpStream, request: &[u8], requests: u64) -> u64 {
    let mut buffer = [0; 4096];
    let before = ALLOCATOR.stats();
    for _ in 0..requests {
        stream.write_all(request).unwrap();
        let mut received = 0;
        while !buffer[..received].ends_with(b"\r\n\r\nok") {
            let read = stream.read(&mut buffer[received..]).unwrap();
            assert!(read > 0, "{}", buffer[..received].escape_ascii());
            received += read;
        }
        assert!(buffer.starts_with(b"HTTP/1.1 200 "));
    }
    let after = ALLOCATOR.stats();
    let made = after.allocations - before.allocations + after.reallocations - before.reallocations;
    u64::try_from(made).unwrap() / requests
}

/// Ends when the connection does; a handshake is answered as one.
const HANDSHAKE: &[u8] = b"GET /guarded/ws HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const SWITCHING: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\n\
    upgrade: websocket\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
const CONNECTIONS: usize = 400;

/// One for all tests, since a process starts its log once; one test after the other, since what the
/// process allocates is counted.
static GATEWAY: LazyLock<Mutex<(SocketAddr, tempfile::TempDir)>> =
    LazyLock::new(|| Mutex::new(gateway()));

/// A gateway with one worker thread. The directory holds its configuration.
fn gateway() -> (SocketAddr, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let (public, admin, upstream) = (free_address(), free_address(), upstream());
    let settings = format!(
        "shipped_routes = false\n[server]\nlisten = [\"{public}\"]\nadmin_listen = \"{admin}\"\n\
         threads = 1\n[telemetry]\nlog = \"info\"\n\
         [upstreams.u]\naddresses = [\"{upstream}\"]\n\
         [limits.l]\nrequests = 1000000\nwindow_seconds = 60\n\
         [routes.r]\npaths = [\"/guarded/*\"]\nupstream = \"u\"\nauth = \"public\"\nlimit = \"l\"\n\
         upgrade = true\n"
    );
    let file = directory.path().join("gateway.toml");
    std::fs::write(&file, settings).unwrap();
    let sources = Sources::of_process(Some(file));
    std::thread::spawn(move || quartet_gateway::serve(sources).unwrap());
    (public, directory)
}

/// Sends `request` on this number of connections, and returns them once each was answered with `status`.
fn open(address: SocketAddr, count: usize, request: &[u8], status: &[u8]) -> Vec<TcpStream> {
    let mut buffer = [0; 4096];
    let mut streams = Vec::with_capacity(count);
    for _ in 0..count {
        let mut stream = connect(address);
        stream.write_all(request).unwrap();
        let received = stream.read(&mut buffer).unwrap();
        let received = &buffer[..received];
        assert!(received.starts_with(status), "{}", received.escape_ascii());
        streams.push(stream);
    }
    streams
}

/// What the gateway has allocated and not freed.
fn held() -> i64 {
    let stats = ALLOCATOR.stats();
    let bytes = |bytes: usize| i64::try_from(bytes).unwrap();
    // Reallocations are counted apart, as what they add.
    let added = i64::try_from(stats.bytes_reallocated).unwrap();
    bytes(stats.bytes_allocated) - bytes(stats.bytes_deallocated) + added
}

#[test]
fn requests_allocate_little() {
    let gateway = GATEWAY.lock().unwrap();
    let public = gateway.0;
    let mut stream = connect(public);
    for (path, request, most) in [
        ("direct", REQUEST, MAX_DIRECT),
        ("general", RARE_REQUEST, MAX_GENERAL),
    ] {
        allocations(&mut stream, request, WARM_UP);
        let made = allocations(&mut stream, request, REQUESTS);
        eprintln!("allocations per request on the {path} path: {made}");
        assert!(made <= most, "{made} allocations on the {path} path");
    }
}

#[test]
fn idle_connections_hold_little() {
    let gateway = GATEWAY.lock().unwrap();
    let public = gateway.0;
    // Lists, tables and the buffers of the log have their size then.
    allocations(&mut connect(public), REQUEST, WARM_UP);
    let mut all = Vec::new();
    for (name, request, status, most) in [
        ("WebSocket", HANDSHAKE, &b"HTTP/1.1 101 "[..], MAX_WEBSOCKET),
        ("connection", REQUEST, b"HTTP/1.1 200 ", MAX_KEPT_ALIVE),
    ] {
        all.push(open(public, CONNECTIONS, request, status));
        let before = held();
        all.push(open(public, CONNECTIONS, request, status));
        let each = (held() - before) / i64::try_from(CONNECTIONS).unwrap();
        eprintln!("an idle {name} holds {each} bytes");
        assert!(each <= most, "an idle {name} holds {each} bytes");
    }
    drop(all);
}
