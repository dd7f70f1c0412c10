//! Redis or Valkey servers on loopback: alone, with sentinels, or as a cluster.

use std::{
    fmt::Write as _,
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

const DEADLINE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);
/// When this variable is set, tests that need a server are skipped where none is installed.
const WITHOUT: &str = "QUARTET_TEST_WITHOUT_REDIS";
/// Names another program, such as valkey-server.
const PROGRAM: &str = "QUARTET_TEST_REDIS_SERVER";

/// A running server without data on a disk, killed when it is dropped.
#[derive(Debug)]
pub struct RedisServer {
    program: PathBuf,
    child: Child,
    address: SocketAddr,
    directory: PathBuf,
    settings: String,
    is_sentinel: bool,
}

impl RedisServer {
    /// A server without a login. `None` where none is installed and that is expected.
    ///
    /// # Panics
    /// When it does not start, or is missing unexpectedly.
    pub fn start() -> Option<Self> {
        Self::start_with("")
    }

    /// A server with more settings, as lines of its configuration.
    ///
    /// # Panics
    /// When it does not start, or is missing unexpectedly.
    pub fn start_with(settings: &str) -> Option<Self> {
        let settings = format!("save \"\"\nappendonly no\n{settings}\n");
        Some(Self::run(program()?, settings, false))
    }

    fn run(program: PathBuf, settings: String, is_sentinel: bool) -> Self {
        let address = free_address();
        let id = uuid::Uuid::new_v4().simple();
        let directory = std::env::temp_dir().join(format!("quartet-redis-{id}"));
        fs::create_dir(&directory).expect("a directory for Redis");
        let child = spawn(&program, &directory, address, &settings, is_sentinel);
        let mut this = Self {
            program,
            child,
            address,
            directory,
            settings,
            is_sentinel,
        };
        this.wait();
        this
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// SIGKILL. All data is lost.
    ///
    /// # Panics
    /// When it is not running.
    pub fn kill(&mut self) {
        self.child.kill().expect("it is running");
        self.child.wait().expect("it has ended");
    }

    /// Starts it again at the same address, without data.
    ///
    /// # Panics
    /// When it does not start.
    pub fn restart(&mut self) {
        let (program, settings) = (&self.program, &self.settings);
        self.child = spawn(
            program,
            &self.directory,
            self.address,
            settings,
            self.is_sentinel,
        );
        self.wait();
    }

    /// SIGSTOP: connections stay open, and nothing is answered.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Ends a pause.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.expect("a process"), signal).expect("it is running");
    }

    /// The reply to a command: the text of a string, or the elements of a list as lines.
    ///
    /// # Panics
    /// When the server does not answer.
    pub fn command(&self, words: &[&str]) -> String {
        ask(self.address, words).expect("the server answers")
    }

    fn wait(&mut self) {
        let deadline = Instant::now() + DEADLINE;
        while ask(self.address, &["PING"]).is_err() {
            let ended = self.child.try_wait().is_ok_and(|status| status.is_some());
            assert!(
                !ended && Instant::now() < deadline,
                "Redis does not accept connections"
            );
            std::thread::sleep(POLL);
        }
    }

    /// Waits until the reply to a command satisfies a condition.
    ///
    /// # Panics
    /// When it does not in time.
    pub fn until(&self, words: &[&str], is_met: impl Fn(&str) -> bool) {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let reply = ask(self.address, words).unwrap_or_default();
            if is_met(&reply) {
                return;
            }
            assert!(Instant::now() < deadline, "{words:?}: {reply}");
            std::thread::sleep(POLL);
        }
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// A primary with two replicas, watched by three sentinels.
#[derive(Debug)]
pub struct RedisSentinels {
    pub primary: RedisServer,
    pub replicas: Vec<RedisServer>,
    pub sentinels: Vec<RedisServer>,
}

impl RedisSentinels {
    /// The name of the primary.
    pub const NAME: &'static str = "limits";

    /// `None` where no server is installed and that is expected.
    ///
    /// # Panics
    /// When they do not start.
    pub fn start() -> Option<Self> {
        let primary = RedisServer::start()?;
        let port = primary.address.port();
        let replica_settings = format!("replicaof 127.0.0.1 {port}\nrepl-diskless-sync-delay 0");
        let replica = |_| RedisServer::start_with(&replica_settings);
        let replicas: Vec<_> = (0..2).filter_map(replica).collect();
        for replica in &replicas {
            replica.until(&["INFO", "replication"], |it| {
                it.contains("master_link_status:up")
            });
        }
        let name = Self::NAME;
        let settings = format!(
            "sentinel monitor {name} 127.0.0.1 {port} 2\n\
             sentinel down-after-milliseconds {name} 500\n\
             sentinel failover-timeout {name} 3000\n\
             sentinel parallel-syncs {name} 2\n"
        );
        let sentinel = |_| Some(RedisServer::run(program()?, settings.clone(), true));
        let sentinels: Vec<_> = (0..3).filter_map(sentinel).collect();
        for sentinel in &sentinels {
            sentinel.until(&["SENTINEL", "CKQUORUM", name], |it| {
                it.starts_with("OK 3 usable")
            });
            sentinel.until(&["SENTINEL", "MASTER", name], |it| {
                it.contains("num-slaves\n2")
            });
        }
        Some(Self {
            primary,
            replicas,
            sentinels,
        })
    }

    /// The primary, by the word of a sentinel.
    pub fn named_primary(&self) -> SocketAddr {
        let words = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", Self::NAME];
        let reply = self.sentinels[0].command(&words);
        let port = reply.lines().nth(1).and_then(|port| port.parse().ok());
        (Ipv4Addr::LOCALHOST, port.unwrap_or_default()).into()
    }
}

/// Three primaries, each with a replica.
#[derive(Debug)]
pub struct RedisCluster {
    pub primaries: Vec<RedisServer>,
    pub replicas: Vec<RedisServer>,
}

impl RedisCluster {
    const SLOTS: usize = 16_384;

    /// `None` where no server is installed and that is expected.
    ///
    /// # Panics
    /// When they do not start.
    pub fn start() -> Option<Self> {
        program()?;
        let node = |_| {
            let bus = free_address().port();
            let node = RedisServer::start_with(&format!(
                "cluster-enabled yes\ncluster-port {bus}\ncluster-node-timeout 1000\n\
                 cluster-replica-validity-factor 0\nrepl-diskless-sync-delay 0\n\
                 cluster-announce-ip 127.0.0.1\ncluster-require-full-coverage no"
            ));
            node.map(|node| (node, bus.to_string()))
        };
        let primaries: Vec<_> = (0..3).filter_map(node).collect();
        let replicas: Vec<_> = (0..3).filter_map(node).collect();
        for (place, (node, _)) in primaries.iter().enumerate() {
            let first = (place * Self::SLOTS / 3).to_string();
            let last = ((place + 1) * Self::SLOTS / 3 - 1).to_string();
            node.command(&["CLUSTER", "ADDSLOTSRANGE", &first, &last]);
        }
        let all = primaries.iter().chain(&replicas);
        let (first, _) = &primaries[0];
        for (node, bus) in all.clone().skip(1) {
            let port = node.address.port().to_string();
            first.command(&["CLUSTER", "MEET", "127.0.0.1", &port, bus]);
        }
        for (node, _) in all {
            node.until(&["CLUSTER", "INFO"], |it| {
                it.contains("cluster_state:ok") && it.contains("cluster_known_nodes:6")
            });
        }
        for ((replica, _), (primary, _)) in replicas.iter().zip(&primaries) {
            let id = primary.command(&["CLUSTER", "MYID"]);
            replica.until(&["CLUSTER", "REPLICATE", &id], |it| it == "OK");
            replica.until(&["INFO", "replication"], |it| {
                it.contains("master_link_status:up")
            });
        }
        let nodes = |nodes: Vec<(RedisServer, String)>| nodes.into_iter().map(|it| it.0).collect();
        Some(Self {
            primaries: nodes(primaries),
            replicas: nodes(replicas),
        })
    }
}

/// The server of this machine. `None` where none is installed and that is expected.
fn program() -> Option<PathBuf> {
    if let Some(program) = std::env::var_os(PROGRAM) {
        return Some(program.into());
    }
    let places = ["/usr/bin", "/usr/sbin", "/usr/local/bin"];
    let names = ["redis-server", "valkey-server"];
    let mut paths = places
        .iter()
        .flat_map(|place| names.map(|name| Path::new(place).join(name)));
    let program = paths.find(|path| path.is_file());
    assert!(
        program.is_some() || std::env::var_os(WITHOUT).is_some(),
        "Redis is not installed (Debian: apt-get install redis-server); \
         with {WITHOUT}=1, its tests are skipped"
    );
    program
}

fn free_address() -> SocketAddr {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|it| it.local_addr());
    free.expect("a free port")
}

fn spawn(
    program: &Path,
    directory: &Path,
    address: SocketAddr,
    settings: &str,
    is_sentinel: bool,
) -> Child {
    let file = directory.join("redis.conf");
    let (ip, port) = (address.ip(), address.port());
    let text = format!("bind {ip}\nport {port}\nprotected-mode no\n{settings}\n");
    fs::write(&file, text).expect("its configuration");
    let mut command = Command::new(program);
    command.arg(&file).current_dir(directory);
    if is_sentinel {
        command.arg("--sentinel");
    }
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("Redis can be started")
}

/// Sends a command, on a connection of its own.
fn ask(address: SocketAddr, words: &[&str]) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut request = format!("*{}\r\n", words.len());
    for word in words {
        let _ = write!(request, "${}\r\n{word}\r\n", word.len());
    }
    stream.write_all(request.as_bytes())?;
    reply(&mut BufReader::new(stream))
}

fn reply(from: &mut BufReader<TcpStream>) -> std::io::Result<String> {
    let mut line = String::new();
    from.read_line(&mut line)?;
    let (kind, rest) = line.trim_end().split_at_checked(1).unwrap_or_default();
    let length = || rest.parse::<usize>().unwrap_or(0);
    match kind {
        "$" => {
            let mut text = vec![0; length() + 2];
            from.read_exact(&mut text)?;
            text.truncate(text.len() - 2);
            Ok(String::from_utf8_lossy(&text).into_owned())
        }
        "*" => {
            let elements: std::io::Result<Vec<String>> =
                (0..length()).map(|_| reply(from)).collect();
            Ok(elements?.join("\n"))
        }
        "" => Err(std::io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(rest.to_owned()),
    }
}
