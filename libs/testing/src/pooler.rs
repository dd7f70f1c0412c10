//! PgBouncer in transaction mode, in front of a test's database.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use quartet_common::config::Database;

use crate::database::TestDatabase;

/// When this variable is set, whole suites run behind PgBouncer.
pub const POOLED: &str = "TEST_POOLED";
const START_TIMEOUT: Duration = Duration::from_secs(10);
/// When this variable is set, tests that need PgBouncer are skipped where it is not installed.
const WITHOUT: &str = "QUARTET_TEST_WITHOUT_PGBOUNCER";
/// Fewer than the connections of a pool, so that sessions change hands.
const SESSIONS: u32 = 3;
/// It refuses to run as root; any other user will do.
const UNPRIVILEGED: u32 = 65_534;

/// A running PgBouncer, killed when it is dropped.
#[derive(Debug)]
pub struct Pooler {
    child: Child,
    address: SocketAddr,
    directory: PathBuf,
}

impl Pooler {
    /// `None` where PgBouncer is not installed and that is expected.
    ///
    /// # Panics
    /// When it does not start, or is missing unexpectedly.
    pub fn start(database: &TestDatabase) -> Option<Self> {
        let program = [
            "/usr/sbin/pgbouncer",
            "/usr/bin/pgbouncer",
            "/usr/local/bin/pgbouncer",
        ]
        .into_iter()
        .find(|path| Path::new(path).is_file());
        let Some(program) = program else {
            assert!(
                std::env::var_os(WITHOUT).is_some(),
                "PgBouncer is not installed (Debian: apt-get install pgbouncer); \
                 with {WITHOUT}=1, its tests are skipped"
            );
            return None;
        };
        let id = uuid::Uuid::new_v4().simple();
        let directory = std::env::temp_dir().join(format!("quartet-pgbouncer-{id}"));
        let this = write_settings(&directory, database).and_then(|address| {
            let mut command = Command::new(program);
            command.arg(directory.join("pgbouncer.ini"));
            if rustix::process::geteuid().is_root() {
                command.uid(UNPRIVILEGED).gid(UNPRIVILEGED);
            }
            let child = command
                .stdin(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()?;
            Ok(Self {
                child,
                address,
                directory,
            })
        });
        let mut this = this.expect("PgBouncer can be started");
        this.wait();
        Some(this)
    }

    /// Settings of a service that connects through the pooler.
    pub fn settings(&self, database: &TestDatabase) -> Database {
        Database {
            url: self.url(database).into(),
            pooled: true,
            ..database.settings()
        }
    }

    /// The URL of the role that serves, through the pooler.
    pub fn url(&self, database: &TestDatabase) -> String {
        let url = database.url();
        let login = url.rsplit_once('@').map_or("", |(login, _)| login);
        format!("{login}@{}/{}", self.address, database.name)
    }

    fn wait(&mut self) {
        let deadline = Instant::now() + START_TIMEOUT;
        while TcpStream::connect(self.address).is_err() {
            let ended = self.child.try_wait().is_ok_and(|status| status.is_some());
            if ended || Instant::now() > deadline {
                let _ = self.child.kill();
                let mut text = String::new();
                if let Some(stderr) = &mut self.child.stderr {
                    let _ = stderr.read_to_string(&mut text);
                }
                panic!("PgBouncer does not accept connections: {text}");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// No parameter of a start-up is ignored, as in the defaults of PgBouncer.
fn write_settings(directory: &Path, database: &TestDatabase) -> std::io::Result<SocketAddr> {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
    fs::create_dir(directory)?;
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755))?;
    let users = directory.join("users.txt");
    let (role, password) = database.login();
    writeln!(fs::File::create(&users)?, "\"{role}\" \"{password}\"")?;
    let (host, port) = database.server();
    let text = format!(
        "[databases]\n{name} = host={host} port={port}\n\
         [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {free_port}\nunix_socket_dir =\n\
         auth_type = scram-sha-256\nauth_file = {users}\npool_mode = transaction\n\
         default_pool_size = {SESSIONS}\nmax_client_conn = 200\nserver_round_robin = 1\n",
        name = database.name,
        free_port = free.port(),
        users = users.display(),
    );
    fs::write(directory.join("pgbouncer.ini"), text)?;
    Ok(free)
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}
