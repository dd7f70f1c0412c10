//! A Postgres for development: named by the caller, found on this machine,
//! installed or downloaded, in this order.

mod cluster;
mod download;
mod install;
mod options;
mod pid_file;
mod place;
mod programs;
mod psql;
mod url;

use std::path::Path;
use std::time::Duration;

use crate::cancel::Cancel;
use crate::error::{Error, Result};
use crate::process::Process;
use crate::progress::{Say, silent};
use crate::user::User;
use crate::{port, secret};

use cluster::Cluster;
use options::ClusterKind;
pub use options::Options;
use programs::{OLDEST_MAJOR, Programs};
use psql::Psql;
pub use url::PostgresUrl;

const STOP_GRACE: Duration = Duration::from_secs(20);

/// A usable Postgres server. One that was started here stops when this is dropped.
#[derive(Debug)]
pub struct Postgres {
    admin: PostgresUrl,
    psql: Psql,
    started: Option<StartedServer>,
}

#[derive(Debug)]
struct StartedServer {
    // Dropped first: the cluster removes the files of a throw-away server.
    server: Option<Process>,
    cluster: Cluster,
}

impl Postgres {
    /// Uses the server that the options name. Otherwise starts the programs found
    /// on this machine, after installing or downloading them if there are none.
    pub fn find_or_start(options: &Options) -> Result<Self> {
        if let Some(admin) = &options.named {
            return Self::named(admin.clone(), options.say);
        }
        let user = User::for_postgres()?;
        let programs = match programs::find_all(user.as_ref()) {
            found if found.is_empty() => vec![install::install(options.say, user.as_ref())?],
            found => found,
        };
        let cluster = create_cluster(options, programs, user)?;
        let server = cluster.start(options.say, &options.cancel)?;
        Ok(Self {
            admin: cluster.admin_url(),
            psql: Psql::find(Some(&cluster.programs))?,
            started: Some(StartedServer {
                server: Some(server),
                cluster,
            }),
        })
    }

    /// A throw-away standby of a server that was started here: it replays what this one writes, and
    /// has the same roles and databases.
    pub fn standby(&self) -> Result<Self> {
        let started = self.started.as_ref();
        let started = started.ok_or_else(|| Error::other("only a server that was started here"))?;
        let scratch = place::throw_away(started.cluster.user.as_ref())?;
        let cluster = started.cluster.standby(scratch)?;
        let server = cluster.start(silent, &Cancel::default())?;
        Ok(Self {
            admin: cluster.admin_url(),
            psql: Psql::find(Some(&cluster.programs))?,
            started: Some(StartedServer {
                server: Some(server),
                cluster,
            }),
        })
    }

    fn named(admin: PostgresUrl, say: Say) -> Result<Self> {
        say(&format!("Postgres: using the server at {}", admin.host()));
        let psql = Psql::find(None)?;
        let version = psql.query(&admin, "SHOW server_version_num")?;
        let major = version.trim().parse::<u32>().unwrap_or_default() / 10_000;
        if major < OLDEST_MAJOR {
            return Err(Error::other(format!(
                "the server at {} is Postgres {major}; {OLDEST_MAJOR} or later is needed",
                admin.host()
            )));
        }
        Ok(Self {
            admin,
            psql,
            started: None,
        })
    }

    /// The administrator's URL, password included. Never print it.
    pub fn admin_url(&self) -> &PostgresUrl {
        &self.admin
    }

    /// Whether the server was started here, and so stops with this value.
    pub fn is_ours(&self) -> bool {
        self.started.is_some()
    }

    /// The process id of a server that was started here, while it runs.
    pub fn pid(&self) -> Option<u32> {
        let server = self.started.as_ref()?.server.as_ref();
        server.map(Process::pid)
    }

    /// The log of a server that was started here.
    pub fn log(&self) -> Option<&Path> {
        self.started
            .as_ref()
            .map(|started| started.cluster.log.as_path())
    }

    /// Creates a database; fails when it exists.
    pub fn create_database(&self, name: &str) -> Result<PostgresUrl> {
        let sql = format!("CREATE DATABASE \"{}\"", name.replace('"', "\"\""));
        self.query(&self.admin, &sql)?;
        Ok(self.admin.with_database(name))
    }

    /// Creates a database unless it exists.
    pub fn ensure_database(&self, name: &str) -> Result<PostgresUrl> {
        let literal = name.replace('\'', "''");
        let sql = format!("SELECT 1 FROM pg_database WHERE datname = '{literal}'");
        if self.query(&self.admin, &sql)?.trim().is_empty() {
            return self.create_database(name);
        }
        Ok(self.admin.with_database(name))
    }

    /// Runs SQL through psql; returns the rows, unaligned, without a header.
    pub fn query(&self, url: &PostgresUrl, sql: &str) -> Result<String> {
        self.psql.query(url, sql)
    }

    /// Runs a file of psql commands, all in one transaction when `atomic`.
    /// The file reads `environment` by `\getenv`.
    pub fn run_file(
        &self,
        url: &PostgresUrl,
        file: &Path,
        atomic: bool,
        environment: &[(&str, &str)],
    ) -> Result<()> {
        self.psql.run_file(url, file, atomic, environment)
    }

    /// The error of a server that was started here and has exited by itself.
    pub fn failure(&mut self) -> Result<Option<Error>> {
        let Some(server) = self.started.as_mut().and_then(|it| it.server.as_mut()) else {
            return Ok(None);
        };
        let status = server.exited()?;
        Ok(status.map(|status| server.exit_error(status)))
    }

    /// Fast shutdown (SIGINT): sessions are cut, everything is written. The
    /// data of a throw-away server is removed only when this value is dropped.
    pub fn stop(&mut self) -> Result<()> {
        match self.take_server() {
            Some(mut server) => server.stop(STOP_GRACE, &Cancel::default()).map(drop),
            None => Ok(()),
        }
    }

    /// SIGKILL, as in a crash of the server.
    pub fn kill(&mut self) -> Result<()> {
        match self.take_server() {
            // Its backends notice and end by themselves.
            Some(mut server) => server.kill().map(drop),
            None => Ok(()),
        }
    }

    /// Starts a stopped or killed server again: same port, same data.
    pub fn start(&mut self) -> Result<()> {
        match &mut self.started {
            Some(started) if started.server.is_none() => {
                started.server = Some(started.cluster.start(silent, &Cancel::default())?);
                Ok(())
            }
            _ => Err(Error::other(
                "only a server that was started and stopped here can be started again",
            )),
        }
    }

    fn take_server(&mut self) -> Option<Process> {
        self.started.as_mut()?.server.take()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // A failure can be reported to no one here; the server's log has it.
        let _ = self.stop();
    }
}

fn create_cluster(
    options: &Options,
    programs: Vec<Programs>,
    user: Option<User>,
) -> Result<Cluster> {
    let (base, scratch) = match &options.kind {
        ClusterKind::Kept { root, .. } => (place::kept(root, user.as_ref(), options.say)?, None),
        ClusterKind::ThrowAway => {
            let scratch = place::throw_away(user.as_ref())?;
            (scratch.path().to_owned(), Some(scratch))
        }
    };
    let (log, password, port) = match &options.kind {
        ClusterKind::Kept { root, port } => (
            root.join("logs/postgres.log"),
            secret::load_or_create(&root.join("secrets"), "postgres")?,
            *port,
        ),
        ClusterKind::ThrowAway => (
            base.join("postgres.log"),
            secret::random_hex()?,
            port::free()?,
        ),
    };
    let data = base.join("data");
    Ok(Cluster {
        programs: programs::for_data(programs, &data)?,
        user,
        data,
        log,
        port,
        password,
        max_connections: options.max_connections,
        scratch,
        held: options.held.clone(),
    })
}
