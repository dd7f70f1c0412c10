//! A NATS server with `JetStream`, whose data outlives its process.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

const START_TIMEOUT: Duration = Duration::from_secs(10);
/// When this variable is set, tests that need NATS are skipped where it is not installed.
const WITHOUT: &str = "QUARTET_TEST_WITHOUT_NATS";

/// A running server, killed when it is dropped.
#[derive(Debug)]
pub struct NatsServer {
    program: &'static str,
    child: Child,
    address: SocketAddr,
    directory: PathBuf,
}

impl NatsServer {
    /// A server without a login. `None` where NATS is not installed and that is expected.
    ///
    /// # Panics
    /// When it does not start, or is missing unexpectedly.
    pub fn start() -> Option<Self> {
        Self::start_with("")
    }

    /// A server with more settings, as they are written in its configuration.
    ///
    /// # Panics
    /// When it does not start, or is missing unexpectedly.
    pub fn start_with(settings: &str) -> Option<Self> {
        let places = [
            "/usr/sbin/nats-server",
            "/usr/bin/nats-server",
            "/usr/local/bin/nats-server",
        ];
        let program = places.into_iter().find(|path| Path::new(path).is_file());
        let Some(program) = program else {
            assert!(
                std::env::var_os(WITHOUT).is_some(),
                "NATS is not installed (Debian: apt-get install nats-server); \
                 with {WITHOUT}=1, its tests are skipped"
            );
            return None;
        };
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|it| it.local_addr());
        let address = free.expect("a free port");
        let id = uuid::Uuid::new_v4().simple();
        let directory = std::env::temp_dir().join(format!("quartet-nats-{id}"));
        fs::create_dir(&directory).expect("a directory for NATS");
        let configuration = format!(
            "listen: \"{address}\"\njetstream {{ store_dir: \"{}\" }}\n{settings}\n",
            directory.display()
        );
        fs::write(directory.join("nats.conf"), configuration).expect("its configuration");
        let child = spawn(program, &directory);
        let mut this = Self {
            program,
            child,
            address,
            directory,
        };
        this.wait();
        Some(this)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
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
        self.child = spawn(self.program, &self.directory);
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

fn spawn(program: &str, directory: &Path) -> Child {
    Command::new(program)
        .arg("-c")
        .arg(directory.join("nats.conf"))
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
        let _ = fs::remove_dir_all(&self.directory);
    }
}
