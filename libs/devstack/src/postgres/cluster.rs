//! A database cluster: its files, their initialization, the start of its server.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;

use super::pid_file;
use super::programs::Programs;
use super::url::PostgresUrl;
use crate::cancel::Cancel;
use crate::command::{remove_settings, stdout_of};
use crate::error::{Doing as _, Error, Result};
use crate::lifeline::{Lifeline, Shutdown};
use crate::process::{POLL, Process, Spawn};
use crate::progress::Say;
use crate::user::User;
use crate::{port, secret};

const SUPERUSER: &str = "postgres";
const START_TIMEOUT: Duration = Duration::from_mins(1);
/// Fast, then immediate shutdown. Only the postmaster is signaled: it stops its own children.
const SHUTDOWN: Shutdown = Shutdown {
    first: Signal::INT,
    last: Signal::QUIT,
    grace: Duration::from_secs(20),
    group: false,
};
const INITDB_SHUTDOWN: Shutdown = Shutdown {
    first: Signal::KILL,
    last: Signal::KILL,
    grace: Duration::from_secs(1),
    group: true,
};

/// A cluster that can be started and stopped many times.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) programs: Programs,
    pub(crate) user: Option<User>,
    pub(crate) data: PathBuf,
    pub(crate) log: PathBuf,
    pub(crate) port: u16,
    pub(crate) password: String,
    pub(crate) max_connections: u32,
    /// Set for a throw-away cluster: contains all of its files.
    pub(crate) scratch: Option<TempDir>,
    pub(crate) held: Option<Arc<File>>,
}

impl Cluster {
    pub(crate) fn admin_url(&self) -> PostgresUrl {
        PostgresUrl::local(SUPERUSER, &self.password, self.port, "postgres")
    }

    /// A standby of this running server: a copy of its files that follows it.
    pub(crate) fn standby(&self, scratch: TempDir) -> Result<Self> {
        let data = scratch.path().join("data");
        let mut private = fs::DirBuilder::new();
        private
            .mode(0o700)
            .create(&data)
            .doing(|| format!("create {}", data.display()))?;
        if let Some(user) = &self.user {
            user.own(&data)?;
        }
        let mut command = self.command("pg_basebackup");
        command
            .env("PGPASSWORD", &self.password)
            .args(["--host=127.0.0.1", "--username", SUPERUSER, "--no-password"])
            .arg(format!("--port={}", self.port))
            .args(["--write-recovery-conf", "--checkpoint=fast", "--no-sync"])
            .arg("--pgdata")
            .arg(&data);
        let output = command.output();
        stdout_of(
            "pg_basebackup",
            output.doing(|| "start pg_basebackup".to_owned())?,
        )?;
        Ok(Self {
            programs: self.programs.clone(),
            user: self.user.clone(),
            log: scratch.path().join("postgres.log"),
            data,
            port: port::free()?,
            password: self.password.clone(),
            max_connections: self.max_connections,
            scratch: Some(scratch),
            held: self.held.clone(),
        })
    }

    /// Initializes the data if there is none, starts the server and waits until
    /// it accepts connections.
    pub(crate) fn start(&self, say: Say, cancel: &Cancel) -> Result<Process> {
        let major = self.programs.major;
        if !self.data.join("PG_VERSION").exists() {
            say(&format!(
                "Postgres {major}: creating a database in {}",
                self.data.display()
            ));
            self.initialize()?;
        }
        pid_file::stop_leftover(&self.data, say)?;
        port::require_free(self.port, "Postgres")?;
        say(&format!("Postgres {major}: starting on port {}", self.port));
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            match self.start_once(deadline, cancel) {
                // Backends of a killed server hold its memory a moment longer.
                Err(Error::Exited { lines, .. })
                    if lines.contains("shared memory block") && Instant::now() < deadline =>
                {
                    sleep(POLL);
                }
                other => return other,
            }
        }
    }

    fn start_once(&self, deadline: Instant, cancel: &Cancel) -> Result<Process> {
        let spawn = Spawn {
            name: "Postgres",
            log: &self.log,
            shutdown: SHUTDOWN,
            scratch: self.scratch.as_ref().map(TempDir::path),
            held: self.held.as_deref(),
        };
        let mut server = spawn.spawn(self.server_command())?;
        let pid = server.pid();
        let timeout = deadline.saturating_duration_since(Instant::now());
        server.wait_ready(timeout, cancel, || {
            pid_file::is_ready(&self.data, pid)
                .then_some(())
                .ok_or_else(|| "it accepts no connections".to_owned())
        })?;
        Ok(server)
    }

    fn server_command(&self) -> Command {
        let mut command = self.command("postgres");
        command.arg("-D").arg(&self.data);
        let mut set = |name: &str, value: &str| {
            command.arg("-c").arg(format!("{name}={value}"));
        };
        set("port", &self.port.to_string());
        set("listen_addresses", "127.0.0.1");
        // Loopback is enough, and socket paths have a limit of about 100 bytes.
        set("unix_socket_directories", "");
        set("max_connections", &self.max_connections.to_string());
        set("timezone", "UTC");
        set("log_timezone", "UTC");
        if self.scratch.is_some() {
            set("fsync", "off");
            set("synchronous_commit", "off");
            set("full_page_writes", "off");
        }
        command
    }

    /// Fills a directory beside the final one and renames it, so that a cluster
    /// exists completely or not at all.
    fn initialize(&self) -> Result<()> {
        let parent = self.data.parent().unwrap_or(Path::new("/"));
        let fresh = parent.join("data.new");
        remove_if_exists(&fresh)?;
        remove_if_exists(&self.data)?;
        fs::create_dir(&fresh).doing(|| format!("create {}", fresh.display()))?;
        let password_file = parent.join("first-password");
        secret::write(&password_file, &self.password)?;
        if let Some(user) = &self.user {
            user.own(&fresh)?;
            user.own(&password_file)?;
        }
        let outcome = self.run_initdb(&fresh, &password_file);
        let _ = fs::remove_file(&password_file);
        outcome?;
        fs::rename(&fresh, &self.data).doing(|| format!("rename {}", fresh.display()))
    }

    fn run_initdb(&self, data: &Path, password_file: &Path) -> Result<()> {
        let mut command = self.command("initdb");
        command
            .arg("-D")
            .arg(data)
            .arg(format!("--pwfile={}", password_file.display()))
            .args(["--username", SUPERUSER, "--encoding=UTF8", "--locale=C"]);
        if self.scratch.is_some() {
            // Sent in clear over loopback: with hundreds of short connections
            // the clients' share of SCRAM would cost more than the tests.
            command.args(["--auth=password", "--no-sync"]);
        } else {
            command.arg("--auth=scram-sha-256");
        }
        let child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .doing(|| "start initdb".to_owned())?;
        let scratch = self.scratch.as_ref().map(TempDir::path);
        let lifeline =
            Lifeline::attach(child.id(), INITDB_SHUTDOWN, scratch, self.held.as_deref())?;
        let output = child.wait_with_output();
        lifeline.release();
        stdout_of("initdb", output.doing(|| "wait for initdb".to_owned())?).map(drop)
    }

    /// One of the server's programs, without the caller's settings, as the right user.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.program(program));
        remove_settings(&mut command, &["PG"]);
        command
            .env("LC_ALL", "C")
            .current_dir("/")
            .stdin(Stdio::null());
        if let Some(user) = &self.user {
            user.apply(&mut command);
        }
        command
    }
}

fn remove_if_exists(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).doing(|| format!("remove {}", path.display()))
        }
        _ => Ok(()),
    }
}
