//! Loopback ports: picking a free one, and naming the process that holds a taken one.

use std::collections::BTreeSet;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Result, bail};
use listeners::Protocol;

/// Below the ports that Linux and macOS use for outgoing connections, which could
/// take a port before the process that it was picked for listens on it.
const FIRST: u16 = 15_000;
const COUNT: u16 = 17_000;
const ATTEMPTS: u32 = 1000;

/// A loopback port that is not in use, never the same one twice in a process.
pub fn free() -> Result<u16> {
    static PICKED: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let mut picked = PICKED.lock().unwrap_or_else(PoisonError::into_inner);
    for _ in 0..ATTEMPTS {
        // The standard library seeds its hash maps at random.
        let random = RandomState::new().build_hasher().finish();
        let offset = u16::try_from(random % u64::from(COUNT))?;
        let port = FIRST + offset;
        if !is_taken(port) && picked.insert(port) {
            return Ok(port);
        }
    }
    bail!("no free port was found")
}

/// Fails unless the port is free; the error names the port and, where the system reveals it, the
/// process that listens on it.
pub fn require_free(port: u16, wanted_by: &str) -> Result<()> {
    if is_taken(port) {
        let holder = listeners::get_process_by_port(port, Protocol::TCP);
        let holder = holder.map(|it| format!(" by {} (process {})", it.name, it.pid));
        let holder = holder.unwrap_or_default();
        bail!("port {port} is taken{holder}, and {wanted_by} needs it");
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use super::{free, is_taken, require_free};

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
        let process = format!("(process {})", std::process::id());
        assert!(message.contains(&process), "{message}");
        drop(listener);
        assert!(!is_taken(port));
    }

    #[test]
    fn free_ports_differ() {
        assert_ne!(free().unwrap(), free().unwrap());
    }
}
