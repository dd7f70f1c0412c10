//! A NATS server with `JetStream`, whose data outlives its process.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

const START_TIMEOUT: Duration = Duration::from_secs(10);

/// A running server, killed when it is dropped.
#[derive(Debug)]
pub struct NatsServer {
    program: &'static str,
    child: Child,
    address: SocketAddr,
    directory: PathBuf,
}

impl NatsServer {
    /// `None`, with a message on stderr, where it is not installed.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start() -> Option<Self> {
        let places = [
            "/usr/sbin/nats-server",
            "/usr/bin/nats-server",
            "/usr/local/bin/nats-server",
        ];
        let program = places.into_iter().find(|path| Path::new(path).is_file());
        let Some(program) = program else {
            eprintln!("skipped: NATS is not installed (Debian: apt-get install nats-server)");
            return None;
        };
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|it| it.local_addr());
        let address = free.expect("a free port");
        let id = uuid::Uuid::new_v4().simple();
        let directory = std::env::temp_dir().join(format!("quartet-nats-{id}"));
        let child = spawn(program, address, &directory);
        let mut this = Self {
            program,
            child,
            address,
            directory,
        };
        this.wait();
        Some(this)
    }

    /// Where it listens, without a login.
    pub fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    /// SIGKILL.
    ///
    /// # Panics
    /// When it is not running.
    pub fn kill(&mut self) {
        self.child.kill().expect("it is running");
        self.child.wait().expect("it has ended");
    }

    /// Starts it again, at the same address and with the same data.
    ///
    /// # Panics
    /// When it does not start.
    pub fn restart(&mut self) {
        self.child = spawn(self.program, self.address, &self.directory);
        self.wait();
    }

    fn wait(&mut self) {
        let deadline = Instant::now() + START_TIMEOUT;
        while TcpStream::connect(self.address).is_err() {
            let ended = self.child.try_wait().is_ok_and(|status| status.is_some());
            assert!(
                !ended && Instant::now() < deadline,
                "NATS does not accept connections"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn spawn(program: &str, address: SocketAddr, directory: &Path) -> Child {
    Command::new(program)
        .args([
            "-js",
            "-a",
            "127.0.0.1",
            "-p",
            &address.port().to_string(),
            "-sd",
        ])
        .arg(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("NATS can be started")
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}
