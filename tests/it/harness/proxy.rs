//! A proxy between a client and a server that injects faults.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// The fault of one request.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// The connection breaks before the server receives the request.
    CutBefore,
    /// The server receives half of the request; there is no response.
    CutRequest,
    /// The request takes effect; the connection breaks in the middle of the response.
    CutResponse,
    /// The request takes effect; there is no response.
    LoseResponse,
    /// The proxy responds instead of the server: status, headers.
    Respond(u16, &'static str),
    /// The request is delayed.
    Delay(Duration),
    /// There is never a response.
    Silence,
}

/// Listens until it is dropped.
pub(crate) struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    target: Option<SocketAddr>,
    /// Faults for the next requests whose first line contains a text.
    faults: VecDeque<(String, Fault)>,
    /// The first lines of all requests.
    seen: Vec<String>,
    tunnels: Vec<tokio::task::AbortHandle>,
}

impl Proxy {
    /// Listens immediately; requests are forwarded once there is a target.
    pub(crate) async fn listen() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let task = tokio::spawn({
            let shared = Arc::clone(&shared);
            async move {
                while let Ok((client, _)) = listener.accept().await {
                    tokio::spawn(serve(client, Arc::clone(&shared)));
                }
            }
        });
        Self {
            address,
            shared,
            task,
        }
    }

    pub(crate) async fn before(target: SocketAddr) -> Self {
        let proxy = Self::listen().await;
        proxy.set_target(target);
        proxy
    }

    pub(crate) fn set_target(&self, target: SocketAddr) {
        self.shared.lock().target = Some(target);
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Adds a fault for the next request whose first line contains `what`.
    pub(crate) fn next(&self, what: &str, fault: Fault) {
        self.shared
            .lock()
            .faults
            .push_back((what.to_owned(), fault));
    }

    /// The number of requests with this text in their first line.
    pub(crate) fn count(&self, what: &str) -> usize {
        let state = self.shared.lock();
        state.seen.iter().filter(|line| line.contains(what)).count()
    }

    /// Fails the test if a fault was not used.
    #[track_caller]
    pub(crate) fn expect_all_faults_used(&self) {
        let state = self.shared.lock();
        assert!(state.faults.is_empty(), "{:?}", state.faults);
    }

    /// Cuts every `WebSocket`.
    pub(crate) fn cut_tunnels(&self) {
        for tunnel in self.shared.lock().tunnels.drain(..) {
            tunnel.abort();
        }
    }

    /// The number of open tunnels.
    pub(crate) fn tunnels(&self) -> usize {
        let state = self.shared.lock();
        state.tunnels.iter().filter(|it| !it.is_finished()).count()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
        self.cut_tunnels();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records a request and takes its fault.
    fn record(&self, line: &str) -> (Option<SocketAddr>, Option<Fault>) {
        let mut state = self.lock();
        state.seen.push(line.to_owned());
        let place = state
            .faults
            .iter()
            .position(|(what, _)| line.contains(what));
        let fault = place.and_then(|place| state.faults.remove(place));
        (state.target, fault.map(|(_, fault)| fault))
    }
}

/// Serves one request per connection, so that a fault does not affect the next one.
async fn serve(mut client: TcpStream, shared: Arc<Shared>) {
    let Some(mut request) = read_head(&mut client).await else {
        return;
    };
    let head = String::from_utf8_lossy(&request.head).into_owned();
    let line = head.lines().next().unwrap_or_default();
    let (Some(target), fault) = shared.record(line) else {
        return;
    };
    if header(&head, "upgrade").is_some() {
        if fault.is_none() {
            tunnel(client, target, request.whole(), &shared).await;
        }
        return;
    }
    let cut_early = matches!(fault, Some(Fault::CutRequest));
    let length = header(&head, "content-length").and_then(|it| it.parse().ok());
    let length: usize = length.unwrap_or_default();
    let expected = if cut_early { length / 2 } else { length };
    if request.read_body(&mut client, expected).await.is_none() {
        return;
    }
    match fault {
        Some(Fault::CutBefore) => return,
        Some(Fault::Silence) => return std::future::pending().await,
        Some(Fault::Delay(pause)) => tokio::time::sleep(pause).await,
        Some(Fault::Respond(status, headers)) => {
            let answer = format!(
                "HTTP/1.1 {status} Fault\r\n{headers}content-length: 0\r\nconnection: close\r\n\r\n"
            );
            let _ = client.write_all(answer.as_bytes()).await;
            return;
        }
        _ => {}
    }
    let Some(answer) = forward(target, &request, cut_early).await else {
        return;
    };
    let shown = match fault {
        Some(Fault::LoseResponse) => 0,
        // At least the last byte is missing.
        Some(Fault::CutResponse) => answer.len() - 1,
        _ => answer.len(),
    };
    let _ = client.write_all(&answer[..shown]).await;
    let _ = client.shutdown().await;
}

struct Request {
    head: Vec<u8>,
    body: Vec<u8>,
}

impl Request {
    fn whole(&self) -> Vec<u8> {
        [self.head.as_slice(), &self.body].concat()
    }

    async fn read_body(&mut self, client: &mut TcpStream, length: usize) -> Option<()> {
        let mut buffer = vec![0; 64 * 1024];
        while self.body.len() < length {
            match client.read(&mut buffer).await {
                Ok(0) | Err(_) => return None,
                Ok(count) => self.body.extend_from_slice(&buffer[..count]),
            }
        }
        Some(())
    }
}

async fn read_head(client: &mut TcpStream) -> Option<Request> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let count = client
            .read(&mut buffer)
            .await
            .ok()
            .filter(|&count| count > 0)?;
        bytes.extend_from_slice(&buffer[..count]);
        if let Some(end) = bytes.windows(4).position(|it| it == b"\r\n\r\n") {
            let body = bytes.split_off(end + 4);
            return Some(Request { head: bytes, body });
        }
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = head.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = lines.find(|(found, _)| found.eq_ignore_ascii_case(name))?;
    Some(value.trim())
}

/// The complete response, after which both sides close.
async fn forward(target: SocketAddr, request: &Request, cut: bool) -> Option<Vec<u8>> {
    let mut server = TcpStream::connect(target).await.ok()?;
    let head = String::from_utf8_lossy(&request.head);
    let head = head.replacen("\r\n", "\r\nconnection: close\r\n", 1);
    server.write_all(head.as_bytes()).await.ok()?;
    server.write_all(&request.body).await.ok()?;
    if cut {
        return None;
    }
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).await.ok()?;
    Some(answer)
}

async fn tunnel(mut client: TcpStream, target: SocketAddr, first: Vec<u8>, shared: &Shared) {
    let Ok(mut server) = TcpStream::connect(target).await else {
        return;
    };
    if server.write_all(&first).await.is_err() {
        return;
    }
    let task = tokio::spawn(async move {
        let _ = copy_bidirectional(&mut client, &mut server).await;
    });
    shared.lock().tunnels.push(task.abort_handle());
}
