//! Stdout belongs to the process, and telemetry starts once per process: what a test logs is
//! logged by a child, which is this test binary running one ignored test.

#![expect(
    clippy::unwrap_used,
    reason = "only tests call this; a panic fails the test"
)]

use std::{
    io::{BufRead, BufReader, Lines, Write},
    net::TcpListener,
    process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

pub struct Logging {
    child: Child,
    input: Option<ChildStdin>,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Logging {
    /// Starts the ignored test of this name.
    pub fn start(test: &str, variables: &[(&str, &str)]) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--ignored", "--nocapture"])
            .envs(variables.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self {
            input: child.stdin.take(),
            lines: output.lines(),
            child,
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line that is JSON; the test harness writes others.
    pub fn next_line(&mut self) -> Option<Value> {
        loop {
            let line = self.lines.next()?.unwrap();
            if line.starts_with('{') {
                return Some(serde_json::from_str(&line).unwrap());
            }
        }
    }

    /// The next line with this message.
    pub fn find(&mut self, message: &str) -> Value {
        loop {
            let line = self.next_line().unwrap_or_else(|| panic!("no `{message}`"));
            if line["msg"] == message {
                return line;
            }
        }
    }

    /// Waits for a line on stderr without reading stdout.
    pub fn wait_for_error_output(&mut self) {
        let mut errors = BufReader::new(self.child.stderr.as_mut().unwrap());
        errors.read_line(&mut String::new()).unwrap();
    }

    pub fn rest(&mut self) -> Vec<Value> {
        std::iter::from_fn(|| self.next_line()).collect()
    }

    pub fn send(&mut self, text: &str) {
        let input = self.input.as_mut().unwrap();
        input.write_all(text.as_bytes()).unwrap();
    }

    pub fn close_input(&mut self) {
        self.input = None;
    }

    /// Waits for the end of the child without reading its stdout.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(start.elapsed() < limit, "still running");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Logging {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether SIGHUP leaves a command of this binary alone that has not come far: its health check,
/// which waits for a response.
pub fn survives_hangup(program: &str) -> bool {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut child = Command::new(program)
        .arg("healthcheck")
        .env_clear()
        .env("QUARTET_SERVER_LISTEN", address)
        .spawn()
        .unwrap();
    let (mut connection, _) = listener.accept().unwrap();
    let request = BufReader::new(&connection).lines();
    // It has sent its request, and waits.
    assert!(request.map(Result::unwrap).any(|line| line.is_empty()));
    let pid = Pid::from_raw(child.id().try_into().unwrap()).unwrap();
    kill_process(pid, Signal::HUP).unwrap();
    connection.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
    drop(connection);
    child.wait().unwrap().success()
}

/// In the child: waits until the parent sends a line or closes the input.
pub fn wait_for_parent() {
    let _ = std::io::stdin().lock().read_line(&mut String::new());
}
