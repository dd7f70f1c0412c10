//! A Postgres for development: named by the caller, found on this machine,
//! installed or downloaded, in this order.

mod cluster;
mod install;
mod options;
mod pid_file;
mod place;
mod programs;
mod psql;
mod url;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use crate::cancel::Cancel;
use crate::service::Service;
use crate::user::User;

use cluster::Cluster;
pub use options::Options;
use programs::OLDEST_MAJOR;
pub use url::PostgresUrl;

/// Receives one line of progress at a time.
pub type Say = fn(&str);

/// A usable Postgres server. One that was started here stops when this is dropped.
#[derive(Debug)]
pub struct Postgres {
    admin: PostgresUrl,
    psql: PathBuf,
    // Dropped first: the cluster removes the files of a throw-away server.
    server: Option<Service>,
    /// Set if the server was started here.
    cluster: Option<Cluster>,
}

impl Postgres {
    /// Uses the server that the options name. Otherwise starts the programs found
    /// on this machine, after installing or downloading them if there are none.
    pub fn find_or_start(options: &Options) -> Result<Self> {
        if let Some(admin) = &options.named {
            return Self::named(admin.clone(), options.say);
        }
        let user = User::for_postgres()?;
        let mut programs = programs::find_all(user.as_ref());
        if programs.is_empty() {
            programs.push(install::install(options.say, user.as_ref())?);
        }
        let cluster = Cluster::new(options, &programs, user)?;
        Self::of(cluster, options.say, &options.cancel)
    }

    /// A throw-away standby of a server that was started here: it replays what this one writes, and
    /// has the same roles and databases.
    pub fn standby(&self) -> Result<Self> {
        let cluster = self.cluster.as_ref().context("not started here")?;
        Self::of(cluster.standby()?, |_| {}, &Cancel::default())
    }

    fn of(cluster: Cluster, say: Say, cancel: &Cancel) -> Result<Self> {
        Ok(Self {
            admin: cluster.admin_url()?,
            psql: psql::find(Some(&cluster.programs))?,
            server: Some(cluster.start(say, cancel)?),
            cluster: Some(cluster),
        })
    }

    fn named(admin: PostgresUrl, say: Say) -> Result<Self> {
        let host = admin.host();
        say(&format!("Postgres: using the server at {host}"));
        let psql = psql::find(None)?;
        let version = psql::query(&psql, &admin, "SHOW server_version_num")?;
        let major = version.trim().parse::<u32>().unwrap_or_default() / 10_000;
        ensure!(
            major >= OLDEST_MAJOR,
            "the server at {host} is Postgres {major}; {OLDEST_MAJOR} or later is needed"
        );
        Ok(Self {
            admin,
            psql,
            server: None,
            cluster: None,
        })
    }

    /// The administrator's URL, password included. Never print it.
    pub fn admin_url(&self) -> &PostgresUrl {
        &self.admin
    }

    /// Whether the server was started here, and so stops with this value.
    pub fn is_ours(&self) -> bool {
        self.cluster.is_some()
    }

    /// The process id of a server that was started here, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.server.as_ref().map(Service::pid)
    }

    /// The log of a server that was started here.
    pub fn log(&self) -> Option<&Path> {
        self.cluster.as_ref().map(|cluster| cluster.log.as_path())
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
        psql::query(&self.psql, url, sql)
    }

    /// Runs a file of psql commands, all in one transaction when `atomic`.
    /// The file reads `environment` by `\getenv`.
    pub fn run_file(
        &self,
        url: &PostgresUrl,
        file: &Path,
        atomic: bool,
        environment: &[(String, &str)],
    ) -> Result<()> {
        psql::run_file(&self.psql, url, file, atomic, environment)
    }

    /// Fails if a server that was started here has exited by itself.
    pub fn check(&mut self) -> Result<()> {
        self.server.as_mut().map_or(Ok(()), Service::check)
    }

    /// Fast shutdown (SIGINT): sessions are cut, everything is written. The
    /// data of a throw-away server is removed only when this value is dropped.
    pub fn stop(&mut self) -> Result<()> {
        let server = self.server.take();
        server.map_or(Ok(()), |mut it| it.stop(cluster::SHUTDOWN.grace).map(drop))
    }

    /// SIGKILL, as in a crash of the server.
    pub fn kill(&mut self) -> Result<()> {
        // Its backends notice and end by themselves.
        let server = self.server.take();
        server.map_or(Ok(()), |mut it| it.kill().map(drop))
    }

    /// Starts a stopped or killed server again: same port, same data.
    pub fn start(&mut self) -> Result<()> {
        let cluster = self.cluster.as_ref().context("not started here")?;
        ensure!(self.server.is_none(), "the server runs already");
        self.server = Some(cluster.start(|_| {}, &Cancel::default())?);
        Ok(())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // A failure can be reported to no one here; the server's log has it.
        let _ = self.stop();
    }
}
