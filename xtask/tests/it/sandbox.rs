use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread::sleep;
use std::time::{Duration, Instant};

use quartet_devstack::{port, workspace};

use crate::fake;

const TIMEOUT: Duration = Duration::from_mins(1);
/// Of the gateway, its admin side, core, media, links, the store and Postgres.
const USUAL_PORTS: [u16; 7] = [8080, 9080, 8081, 8082, 8083, 9000, 5433];

/// A separate source tree with a copy of xtask and fakes of the services.
pub(crate) struct Sandbox {
    root: PathBuf,
    /// What is added to the usual ports, so that all of them are free.
    pub(crate) offset: u16,
    pub(crate) ports: [u16; 7],
}

impl Sandbox {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("quartet-xtask-{}-{number}", std::process::id());
        let root = std::env::temp_dir().join(name);
        let programs = root.join("target/debug");
        fs::create_dir_all(&programs).unwrap();
        fs::create_dir_all(root.join("db")).unwrap();
        fs::write(root.join("Cargo.lock"), "").unwrap();
        let roles = workspace::root().join("db/roles.sql");
        fs::copy(roles, root.join("db/roles.sql")).unwrap();
        fs::copy(env!("CARGO_BIN_EXE_xtask"), programs.join("xtask")).unwrap();
        for service in ["devstore", "core", "media", "links", "gateway", "documents"] {
            let program = programs.join(format!("quartet-{service}"));
            fs::write(&program, fake::SCRIPT).unwrap();
            fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        }
        loop {
            let offset = port::free().unwrap() - USUAL_PORTS[0];
            let ports = USUAL_PORTS.map(|port| port + offset);
            if !ports.iter().any(|&port| port::is_taken(port)) {
                return Self {
                    root,
                    offset,
                    ports,
                };
            }
        }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.root.join(".quartet")
    }

    /// The listen address of a process: gateway, admin, core, media, links, store, Postgres.
    pub(crate) fn address(&self, process: usize) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.ports[process]).into()
    }

    pub(crate) fn start(&self, arguments: &[&str]) -> Run {
        let mut command = Command::new(self.root.join("target/debug/xtask"));
        command.args(arguments);
        if arguments[0] == "up" && !arguments.contains(&"--port-offset") {
            command.args(["--port-offset", &self.offset.to_string()]);
        }
        // A test may put programs there.
        let programs = std::iter::once(self.root.join("bin"));
        let path = std::env::var_os("PATH").unwrap();
        let path = std::env::join_paths(programs.chain(std::env::split_paths(&path))).unwrap();
        let mut child = command
            .env("PATH", path)
            .env("CARGO_MANIFEST_DIR", &self.root)
            .env("CARGO", "true")
            .env(fake::PROGRAM, std::env::current_exe().unwrap())
            .env_remove("DATABASE_URL")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = channel();
        let output = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        Run { child, lines }
    }

    /// Whether all ports are free.
    pub(crate) fn is_stopped(&self) -> bool {
        !self.ports.iter().any(|&port| port::is_taken(port))
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}

/// A running xtask.
pub(crate) struct Run {
    child: Child,
    lines: Receiver<String>,
}

impl Run {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until the output contains the text; returns the output up to that line.
    pub(crate) fn wait_for(&mut self, text: &str) -> String {
        let mut seen = String::new();
        while !seen.contains(text) {
            match self.lines.recv_timeout(TIMEOUT) {
                Ok(line) => seen = format!("{seen}{line}\n"),
                Err(error) => panic!("{error}: no `{text}` in:\n{seen}\n{}", self.errors()),
            }
        }
        seen
    }

    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args(["-s", name, &self.pid().to_string()])
            .status()
            .unwrap();
        assert!(status.success());
    }

    /// Waits until it ends; returns the status and the standard error.
    pub(crate) fn end(mut self) -> (ExitStatus, String) {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status, self.errors());
            }
            assert!(Instant::now() < deadline, "it does not end");
            sleep(Duration::from_millis(10));
        }
    }

    fn errors(&mut self) -> String {
        // The stream ends only with the process.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let mut text = String::new();
        if let Some(mut errors) = self.child.stderr.take() {
            errors.read_to_string(&mut text).unwrap();
        }
        text
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until the condition holds.
pub(crate) fn eventually(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + TIMEOUT;
    while !condition() {
        assert!(Instant::now() < deadline, "timed out: {what}");
        sleep(Duration::from_millis(20));
    }
}
