//! A DNS server with records set by the test.

use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
};

use tokio::net::UdpSocket;

/// Serves A and SRV records only.
#[derive(Clone)]
pub(crate) struct Dns {
    pub(crate) address: SocketAddr,
    records: Arc<Mutex<Records>>,
}

#[derive(Default)]
struct Records {
    names: HashMap<String, Vec<Ipv4Addr>>,
    services: HashMap<String, Vec<Service>>,
}

/// An SRV record.
#[derive(Clone)]
pub(crate) struct Service {
    pub(crate) priority: u16,
    pub(crate) weight: u16,
    pub(crate) port: u16,
    pub(crate) target: &'static str,
}

impl Dns {
    pub(crate) async fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let records = Arc::<Mutex<Records>>::default();
        let dns = Self { address, records };
        let known = Arc::clone(&dns.records);
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
        let mut records = self.records.lock().unwrap();
        records.names.insert(name.to_owned(), addresses.to_vec());
    }

    pub(crate) fn set_services(&self, name: &str, services: &[Service]) {
        let mut records = self.records.lock().unwrap();
        records.services.insert(name.to_owned(), services.to_vec());
    }

    /// Removes the name.
    pub(crate) fn forget(&self, name: &str) {
        self.records.lock().unwrap().names.remove(name);
    }
}

fn answer(question: &[u8], records: &Records) -> Vec<u8> {
    let mut labels = Vec::new();
    let mut at = 12;
    while question[at] != 0 {
        let length = usize::from(question[at]);
        labels.push(String::from_utf8_lossy(&question[at + 1..=at + length]).to_lowercase());
        at += length + 1;
    }
    let question_end = at + 5;
    let name = labels.join(".");
    let (addresses, services) = (records.names.get(&name), records.services.get(&name));
    let found: Vec<Vec<u8>> = match question[at + 1..at + 3] {
        [0, 1] => addresses
            .into_iter()
            .flatten()
            .map(|it| it.octets().to_vec())
            .collect(),
        [0, 33] => services.into_iter().flatten().map(Service::bytes).collect(),
        _ => Vec::new(),
    };
    let mut answer = question[..2].to_vec();
    let is_known = addresses.is_some() || services.is_some();
    let code = if is_known { 0x80 } else { 0x83 };
    let count = u8::try_from(found.len()).unwrap();
    answer.extend([0x85, code, 0, 1, 0, count, 0, 0, 0, 0]);
    answer.extend(&question[12..question_end]);
    for data in found {
        // The name by a pointer, the type, class IN, ten minutes to live, the length.
        answer.extend([0xc0, 12]);
        answer.extend(&question[at + 1..at + 3]);
        answer.extend([0, 1, 0, 0, 2, 0x58, 0, u8::try_from(data.len()).unwrap()]);
        answer.extend(data);
    }
    answer
}

impl Service {
    fn bytes(&self) -> Vec<u8> {
        let numbers = [self.priority, self.weight, self.port];
        let mut bytes: Vec<u8> = numbers
            .iter()
            .flat_map(|number| number.to_be_bytes())
            .collect();
        for label in self.target.split('.') {
            bytes.push(u8::try_from(label.len()).unwrap());
            bytes.extend(label.as_bytes());
        }
        bytes.push(0);
        bytes
    }
}
