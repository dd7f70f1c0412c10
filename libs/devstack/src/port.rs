//! Loopback ports: picking a free one, and naming the process that holds a taken one.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::ops::RangeInclusive;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::error::{Error, Result};

/// Below the ports that Linux and macOS use for outgoing connections, which could
/// take a port before the process that it was picked for listens on it.
const FREE: RangeInclusive<u16> = 15_000..=32_000;
const ATTEMPTS: u32 = 1000;

/// A loopback port that is not in use, never the same one twice in a process.
pub fn free() -> Result<u16> {
    static PICKED: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let mut picked = PICKED.lock().unwrap_or_else(PoisonError::into_inner);
    for _ in 0..ATTEMPTS {
        let port = random_port();
        if !is_taken(port) && picked.insert(port) {
            return Ok(port);
        }
    }
    Err(Error::other("no free port was found"))
}

fn random_port() -> u16 {
    // The standard library seeds its hash maps at random.
    let random = RandomState::new().build_hasher().finish();
    let count = u64::from(FREE.end() - FREE.start()) + 1;
    let offset = u16::try_from(random % count).expect("less than the count of ports");
    FREE.start() + offset
}

/// Fails unless the port is free; the error names the port and both processes.
pub fn require_free(port: u16, wanted_by: &str) -> Result<()> {
    if !is_taken(port) {
        return Ok(());
    }
    Err(Error::PortTaken {
        port,
        wanted_by: wanted_by.to_owned(),
        holder: holder(port),
    })
}

/// Whether a process listens on the port, on loopback or on every address.
pub fn is_taken(port: u16) -> bool {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    // Binding alone does not see a listener on 0.0.0.0 on every system; connecting
    // alone does not see one whose queue is full.
    if TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_ok() {
        return true;
    }
    TcpListener::bind(address).is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse)
}

/// The listening process, as `name (process 123)`, where the system reveals it.
pub fn holder(port: u16) -> Option<String> {
    if cfg!(target_os = "linux") {
        holder_from_proc(port)
    } else {
        holder_from_lsof(port)
    }
}

fn holder_from_proc(port: u16) -> Option<String> {
    let inodes: HashSet<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| listening_inodes(&table, port))
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    if inodes.is_empty() {
        return None;
    }
    for process in fs::read_dir("/proc").ok()?.flatten() {
        let Ok(pid) = process.file_name().to_string_lossy().parse::<u32>() else {
            continue;
        };
        if holds_one_of(&process.path(), &inodes) {
            let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some(format!("{} (process {pid})", name.trim()));
        }
    }
    None
}

fn listening_inodes(table: &str, port: u16) -> Vec<String> {
    const LISTEN: &str = "0A";
    let suffix = format!(":{port:04X}");
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let columns: Vec<&str> = line.split_ascii_whitespace().collect();
            let listens = columns.get(3) == Some(&LISTEN);
            let here = columns.get(1).is_some_and(|local| local.ends_with(&suffix));
            (listens && here).then(|| columns.get(9).copied().map(str::to_owned))?
        })
        .collect()
}

fn holds_one_of(process: &Path, sockets: &HashSet<String>) -> bool {
    let Ok(descriptors) = fs::read_dir(process.join("fd")) else {
        return false;
    };
    descriptors
        .flatten()
        .filter_map(|descriptor| fs::read_link(descriptor.path()).ok())
        .any(|target| sockets.contains(target.to_string_lossy().as_ref()))
}

fn holder_from_lsof(port: u16) -> Option<String> {
    let output = Command::new("lsof")
        .args(["-nP", "-sTCP:LISTEN", "-Fpc"])
        .arg(format!("-iTCP:{port}"))
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let field = |letter| text.lines().find_map(|line| line.strip_prefix(letter));
    Some(format!("{} (process {})", field('c')?, field('p')?))
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use super::{free, is_taken, listening_inodes, require_free};

    #[test]
    fn a_taken_port_names_port_wanter_and_holder() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let message = require_free(port, "quartet-core").unwrap_err().to_string();
        assert!(
            message.contains(&format!("port {port} is taken")),
            "{message}"
        );
        assert!(message.contains("quartet-core needs it"), "{message}");
        if cfg!(target_os = "linux") {
            let process = format!("(process {})", std::process::id());
            assert!(message.contains(&process), "{message}");
        }
        drop(listener);
        assert!(!is_taken(port));
    }

    #[test]
    fn free_ports_differ() {
        assert_ne!(free().unwrap(), free().unwrap());
    }

    #[test]
    fn reads_the_kernel_table() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
             0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0 0 10 0\n\
             1: 0100007F:1F90 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0 100 0 0 10 0\n";
        assert_eq!(listening_inodes(table, 8080), ["4711"]);
        assert!(listening_inodes(table, 8081).is_empty());
    }
}
