//! A DNS server with records set by the test.

use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
};

use tokio::net::UdpSocket;

/// Serves A records only.
#[derive(Clone)]
pub(crate) struct Dns {
    pub(crate) address: SocketAddr,
    names: Arc<Mutex<HashMap<String, Vec<Ipv4Addr>>>>,
}

impl Dns {
    pub(crate) async fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let names = Arc::<Mutex<HashMap<String, Vec<Ipv4Addr>>>>::default();
        let dns = Self { address, names };
        let known = Arc::clone(&dns.names);
        tokio::spawn(async move {
            let mut packet = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut packet).await {
                let answer = answer(&packet[..length], &known.lock().unwrap());
                let _ = socket.send_to(&answer, from).await;
            }
        });
        dns
    }

    pub(crate) fn set(&self, name: &str, addresses: &[Ipv4Addr]) {
        self.names
            .lock()
            .unwrap()
            .insert(name.to_owned(), addresses.to_vec());
    }

    /// Removes the name.
    pub(crate) fn forget(&self, name: &str) {
        self.names.lock().unwrap().remove(name);
    }
}

fn answer(question: &[u8], names: &HashMap<String, Vec<Ipv4Addr>>) -> Vec<u8> {
    let mut labels = Vec::new();
    let mut at = 12;
    while question[at] != 0 {
        let length = usize::from(question[at]);
        labels.push(String::from_utf8_lossy(&question[at + 1..=at + length]).to_lowercase());
        at += length + 1;
    }
    let question_end = at + 5;
    let wants_a = question[at + 1..at + 3] == [0, 1];
    let known = names.get(&labels.join("."));
    let addresses: &[Ipv4Addr] = known.filter(|_| wants_a).map_or(&[], Vec::as_slice);
    let mut answer = question[..2].to_vec();
    let code = if known.is_some() { 0x80 } else { 0x83 };
    answer.extend([
        0x85,
        code,
        0,
        1,
        0,
        u8::try_from(addresses.len()).unwrap(),
        0,
        0,
        0,
        0,
    ]);
    answer.extend(&question[12..question_end]);
    for address in addresses {
        // The name by a pointer, type A, class IN, ten minutes to live, four bytes.
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 2, 0x58, 0, 4]);
        answer.extend(address.octets());
    }
    answer
}
