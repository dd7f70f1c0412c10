//! A fake of every service: this test program itself, started again.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

/// Names the program that the fakes run.
pub(crate) const PROGRAM: &str = "XTASK_TEST_FAKE";
const LISTENS: [&str; 3] = [
    "QUARTET_SERVER_LISTEN",
    "QUARTET_SERVER_ADMIN_LISTEN",
    "QUARTET_DEVSTORE_LISTEN",
];

/// Takes the place of a service's binary.
pub(crate) const SCRIPT: &str = r#"#!/bin/sh
case "${0##*/}" in
  quartet-documents)
    for service in core media links; do echo "quartet-$service openapi" > "$1/$service.json"; done
    exit 0 ;;
esac
case "$1" in
  migrate) exit 0 ;;
  openapi | config | graphql-schema | problems) echo "${0##*/} $1"; exit 0 ;;
esac
exec "$XTASK_TEST_FAKE" --exact fake::serve --nocapture
"#;

/// As a test it does nothing; as a fake it responds 200 until it is stopped, and crashes on a request
/// for /crash.
#[test]
fn serve() {
    if std::env::var_os(PROGRAM).is_none() {
        return;
    }
    let threads: Vec<_> = LISTENS
        .iter()
        .filter_map(|name| std::env::var(name).ok())
        .map(|address| std::thread::spawn(move || respond(&address)))
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
}

fn respond(address: &str) {
    let listener = TcpListener::bind(address).unwrap();
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        let mut request = [0; 1024];
        let length = stream.read(&mut request).unwrap_or(0);
        if request[..length].starts_with(b"GET /crash") {
            eprintln!("the disk is on fire");
            std::process::exit(7);
        }
        let _ = stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nready");
    }
}
