//! How often memory is allocated for one request, on each path. Everything runs in this process; the
//! client and the upstream allocate nothing, so what is counted is the gateway's.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{
    alloc::System,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    time::{Duration, Instant},
};

use quartet_gateway::Sources;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const REQUEST: &[u8] = b"GET /guarded/thing HTTP/1.1\r\nHost: a.example\r\nAccept: */*\r\n\
    User-Agent: test\r\nAccept-Encoding: gzip\r\n\r\n";
const RESPONSE: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\nok";
const REQUESTS: u64 = 500;
/// Until caches, buffers and lists have their size.
const WARM_UP: u64 = 200;

/// What a request may allocate on the direct path.
const DIRECT_MAX: u64 = 16;

/// A server on a thread that allocates nothing once a connection is open.
fn upstream() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                let mut buffer = [0; 4096];
                while matches!(stream.read(&mut buffer), Ok(1..)) {
                    stream.write_all(RESPONSE).unwrap();
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
fn allocations(stream: &mut TcpStream, requests: u64) -> u64 {
    let mut buffer = [0; 4096];
    let before = ALLOCATOR.stats();
    for _ in 0..requests {
        stream.write_all(REQUEST).unwrap();
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

#[test]
fn a_request_on_the_direct_path_allocates_little() {
    let directory = tempfile::tempdir().unwrap();
    let (public, admin, upstream) = (free_address(), free_address(), upstream());
    let settings = |direct: bool| {
        format!(
            "shipped_routes = false\n[server]\nlisten = [\"{public}\"]\nadmin_listen = \"{admin}\"\n\
             threads = 1\ndirect_path = {direct}\n[telemetry]\nlog = \"info\"\n\
             [upstreams.u]\naddresses = [\"{upstream}\"]\n\
             [limits.l]\nrequests = 1000000\nwindow_seconds = 60\n\
             [routes.r]\npaths = [\"/guarded/*\"]\nupstream = \"u\"\nauth = \"public\"\nlimit = \"l\"\n"
        )
    };
    let file = directory.path().join("gateway.toml");
    std::fs::write(&file, settings(true)).unwrap();
    let sources = Sources::of_process(Some(file));
    std::thread::spawn(move || quartet_gateway::serve(sources).unwrap());
    let mut stream = connect(public);
    allocations(&mut stream, WARM_UP);
    let direct = allocations(&mut stream, REQUESTS);
    eprintln!("allocations per request on the direct path: {direct}");
    assert!(direct <= DIRECT_MAX, "{direct} allocations");
}
