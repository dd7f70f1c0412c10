//! One cluster: its files, its first initialisation, its start.

use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::place::Scratch;
use super::programs::Programs;
use super::server::{self, Server};
use super::{PostgresUrl, SUPERUSER};
use crate::error::{Doing as _, Error, Result};
use crate::lifeline::{Ending, Lifeline};
use crate::user::User;
use crate::{Cancel, Say, logfile, port, secret};

const START_TIMEOUT: Duration = Duration::from_mins(1);
const POLL: Duration = Duration::from_millis(20);

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
    /// Set for a throw-away cluster: everything lies in it.
    pub(crate) scratch: Option<Scratch>,
    pub(crate) held: Option<Arc<File>>,
}

impl Cluster {
    pub(crate) fn admin_url(&self) -> PostgresUrl {
        PostgresUrl::local(SUPERUSER, &self.password, self.port, "postgres")
    }

    /// Initialises the data when there is none, then starts the server and
    /// waits until it accepts connections.
    pub(crate) fn start(&self, say: Say, cancel: &Cancel) -> Result<Server> {
        if !self.data.join("PG_VERSION").exists() {
            say(&format!(
                "Postgres {}: making a new database in {}",
                self.programs.major,
                self.data.display()
            ));
            self.initialise()?;
        }
        server::end_leftover(&self.data, say)?;
        port::require_free(self.port, "Postgres")?;
        say(&format!(
            "Postgres {}: starting on port {}",
            self.programs.major, self.port
        ));
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            match self.start_once(deadline, cancel) {
                // Backends of a killed server may hold its memory for a moment longer.
                Err(Error::Exited { lines, .. })
                    if lines.contains("shared memory block") && Instant::now() < deadline =>
                {
                    sleep(POLL);
                }
                other => return other,
            }
        }
    }

    fn start_once(&self, deadline: Instant, cancel: &Cancel) -> Result<Server> {
        let mut server = Server::spawn(self)?;
        loop {
            if let Some(failure) = server.failure(self)? {
                return Err(failure);
            }
            if server::is_ready(&self.data, server.pid()) {
                return Ok(server);
            }
            if cancel.is_set() {
                return Err(Error::Cancelled);
            }
            if Instant::now() >= deadline {
                return Err(Error::NotReady {
                    service: "Postgres".to_owned(),
                    seconds: START_TIMEOUT.as_secs(),
                    why: "it accepts no connections".to_owned(),
                    log: self.log.clone(),
                    lines: logfile::block(&self.log, logfile::LAST_LINES),
                });
            }
            sleep(POLL);
        }
    }

    /// The server command, run as the right user.
    pub(crate) fn server_command(&self) -> Command {
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

    fn initialise(&self) -> Result<()> {
        let parent = self.data.parent().unwrap_or(Path::new("/"));
        let fresh = parent.join("data.new");
        remove_if_there(&fresh)?;
        remove_if_there(&self.data)?;
        fs::create_dir(&fresh).doing(|| format!("make {}", fresh.display()))?;
        let password_file = parent.join("first-password");
        secret::write(&password_file, &self.password)?;
        if let Some(user) = &self.user {
            user.own(&fresh)?;
            user.own(&password_file)?;
        }
        let outcome = self.run_initdb(&fresh, &password_file);
        let _ = fs::remove_file(&password_file);
        outcome?;
        // A cluster is there whole or not at all.
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
        let ending = Ending {
            signal: "KILL",
            grace: Duration::from_secs(1),
            group: true,
        };
        let scratch = self.scratch.as_ref().map(Scratch::path);
        let lifeline = Lifeline::attach(child.id(), ending, scratch, self.held.as_deref())?;
        let output = child.wait_with_output();
        lifeline.release();
        let output = output.doing(|| "wait for initdb".to_owned())?;
        if output.status.success() {
            return Ok(());
        }
        Err(Error::Program {
            program: "initdb".to_owned(),
            status: output.status,
            output: String::from_utf8_lossy(&[output.stdout, output.stderr].concat())
                .trim_end()
                .to_owned(),
        })
    }

    /// One of the server's programs, in a plain environment, as the right user.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.program(program));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("PG") {
                command.env_remove(&name);
            }
        }
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

fn remove_if_there(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).doing(|| format!("remove {}", path.display()))
        }
        _ => Ok(()),
    }
}
