//! Ports that no other test process on this machine uses at the same time.

use std::fs::{self, File, OpenOptions};
use std::sync::{Mutex, PoisonError};

use quartet_devstack::port;

/// Below the ports that Linux and macOS use for outgoing connections.
const FIRST: u16 = 15_000;
const BLOCK: u16 = 25;
const BLOCKS: u16 = 600;

/// Ports of this process. The locked file reserves them until the process ends.
struct Block {
    _lock: File,
    next: u16,
    end: u16,
}

/// A port for a server of a test, usable on every loopback address, never returned twice.
pub(crate) fn take() -> u16 {
    static OWNED: Mutex<Option<Block>> = Mutex::new(None);
    let mut owned = OWNED.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let block = owned.get_or_insert_with(claim);
        while block.next < block.end {
            let port = block.next;
            block.next += 1;
            if !port::is_taken(port) {
                return port;
            }
        }
        // Keeps the lock, since dropping it would release the ports.
        std::mem::forget(owned.take());
    }
}

fn claim() -> Block {
    let directory = std::env::temp_dir().join("quartet-e2e-ports");
    fs::create_dir_all(&directory).unwrap();
    for number in 0..BLOCKS {
        let path = directory.join(number.to_string());
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)
            .unwrap();
        if lock.try_lock().is_ok() {
            let next = FIRST + number * BLOCK;
            return Block {
                _lock: lock,
                next,
                end: next + BLOCK,
            };
        }
    }
    panic!("all {BLOCKS} blocks of ports are in use by other tests");
}
