//! A DNS server whose records a test sets and changes.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

const TYPE_A: u16 = 1;
const HEADER: usize = 12;
const NO_SUCH_NAME: u8 = 3;

type Names = Arc<Mutex<BTreeMap<String, Vec<Ipv4Addr>>>>;

/// Responds to A queries over UDP until it is dropped.
#[derive(Debug)]
pub(crate) struct Dns {
    address: SocketAddr,
    names: Names,
    silent: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Dns {
    pub(crate) async fn start() -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = socket.local_addr().unwrap();
        let names = Names::default();
        let silent = Arc::<AtomicBool>::default();
        let task = tokio::spawn(serve(socket, Arc::clone(&names), Arc::clone(&silent)));
        Self {
            address,
            names,
            silent,
            task,
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets the IP addresses of a name; may be empty.
    pub(crate) fn set(&self, name: &str, addresses: &[Ipv4Addr]) {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.insert(name.to_owned(), addresses.to_vec());
    }

    /// Whether to ignore queries, as if the server were down.
    pub(crate) fn set_silent(&self, silent: bool) {
        self.silent.store(silent, Ordering::Relaxed);
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(socket: UdpSocket, names: Names, silent: Arc<AtomicBool>) {
    let mut buffer = [0_u8; 1500];
    loop {
        let Ok((length, client)) = socket.recv_from(&mut buffer).await else {
            continue;
        };
        if silent.load(Ordering::Relaxed) {
            continue;
        }
        let answer = {
            let names = names.lock().unwrap_or_else(PoisonError::into_inner);
            answer(&buffer[..length], &names)
        };
        if let Some(answer) = answer {
            // Fails if the client has closed its socket.
            let _ = socket.send_to(&answer, client).await;
        }
    }
}

/// The response to a query with one question (RFC 1035, 4.1); `None` for other messages.
fn answer(query: &[u8], names: &BTreeMap<String, Vec<Ipv4Addr>>) -> Option<Vec<u8>> {
    let (name, end) = read_name(query)?;
    let question = query.get(HEADER..end + 4)?;
    let kind = u16::from_be_bytes([query[end], query[end + 1]]);
    let known = names.get(name.trim_end_matches('.'));
    let addresses = match known {
        Some(addresses) if kind == TYPE_A => addresses.as_slice(),
        _ => &[],
    };
    let code = if known.is_some() { 0 } else { NO_SUCH_NAME };
    let mut reply = Vec::with_capacity(512);
    reply.extend(&query[..2]);
    // Response, authoritative, recursion desired and available.
    reply.extend([0x85, 0x80 | code]);
    reply.extend(1_u16.to_be_bytes());
    reply.extend(u16::try_from(addresses.len()).ok()?.to_be_bytes());
    reply.extend([0; 4]);
    reply.extend(question);
    for address in addresses {
        // The name at offset 12, type A, class IN, a time to live of one hour (which
        // the gateway must ignore), four bytes.
        reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 14, 16, 0, 4]);
        reply.extend(address.octets());
    }
    Some(reply)
}

/// The name of the first question in lower case, and its end.
fn read_name(query: &[u8]) -> Option<(String, usize)> {
    let mut at = HEADER;
    let mut name = String::new();
    loop {
        let length = usize::from(*query.get(at)?);
        at += 1;
        if length == 0 {
            return Some((name, at));
        }
        let label = query.get(at..at + length)?;
        name.push_str(&String::from_utf8_lossy(label).to_ascii_lowercase());
        name.push('.');
        at += length;
    }
}
