//! A Postgres for development: one that is named, found, installed or fetched.

mod cluster;
mod fetch;
mod install;
mod options;
mod place;
mod programs;
mod psql;
mod server;
mod url;

use std::path::Path;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::user::User;
use crate::{Cancel, Say, port, secret, silent};

use cluster::Cluster;
use options::Kind;
pub use options::Options;
use programs::Programs;
use psql::Psql;
use server::Server;
pub use url::PostgresUrl;

/// The oldest major version that Quartet runs on.
pub const OLDEST_MAJOR: u32 = 15;

const SUPERUSER: &str = "postgres";
const STOP_GRACE: Duration = Duration::from_secs(20);

/// A usable Postgres server. One that was started here stops when this is dropped.
#[derive(Debug)]
pub struct Postgres {
    admin: PostgresUrl,
    psql: Psql,
    started: Option<(Cluster, Option<Server>)>,
}

impl Postgres {
    /// Uses the server that the options name; else starts the programs found
    /// on this machine; else installs or fetches them first.
    pub fn find_or_start(options: &Options) -> Result<Self> {
        if let Some(admin) = &options.named {
            return Self::named(admin.clone(), options.say);
        }
        let user = User::for_postgres()?;
        let programs = match programs::find_all(user.as_ref()) {
            found if found.is_empty() => vec![install::install(options.say, user.as_ref())?],
            found => found,
        };
        let cluster = make_cluster(options, programs, user)?;
        let server = cluster.start(options.say, &options.cancel)?;
        Ok(Self {
            admin: cluster.admin_url(),
            psql: Psql::find(Some(&cluster.programs))?,
            started: Some((cluster, Some(server))),
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

    /// The administrator's address, password included. Never print it.
    pub fn admin_url(&self) -> &PostgresUrl {
        &self.admin
    }

    /// Whether the server was started here, and so stops with this value.
    pub fn is_ours(&self) -> bool {
        self.started.is_some()
    }

    /// The server's process, when it was started here and runs.
    pub fn pid(&self) -> Option<u32> {
        let (_, server) = self.started.as_ref()?;
        server.as_ref().map(Server::pid)
    }

    /// The server's log, when it was started here.
    pub fn log(&self) -> Option<&Path> {
        self.started
            .as_ref()
            .map(|(cluster, _)| cluster.log.as_path())
    }

    /// Makes a database; fails when it exists.
    pub fn create_database(&self, name: &str) -> Result<PostgresUrl> {
        let sql = format!("CREATE DATABASE {}", quote_identifier(name));
        self.query(&self.admin, &sql)?;
        Ok(self.admin.with_database(name))
    }

    /// Makes a database unless it is there.
    pub fn ensure_database(&self, name: &str) -> Result<PostgresUrl> {
        let sql = format!(
            "SELECT 1 FROM pg_database WHERE datname = {}",
            quote_literal(name)
        );
        if self.query(&self.admin, &sql)?.trim().is_empty() {
            return self.create_database(name);
        }
        Ok(self.admin.with_database(name))
    }

    /// Runs SQL through psql; gives the rows, unaligned, without a header.
    pub fn query(&self, url: &PostgresUrl, sql: &str) -> Result<String> {
        self.psql.query(url, sql)
    }

    /// Runs a file of psql commands, all in one transaction when `atomic`.
    /// `environment` reaches `\getenv` in the file.
    pub fn run_file(
        &self,
        url: &PostgresUrl,
        file: &Path,
        atomic: bool,
        environment: &[(&str, &str)],
    ) -> Result<()> {
        self.psql.run_file(url, file, atomic, environment)
    }

    /// How the server ended, if one that was started here ended by itself.
    pub fn failure(&mut self) -> Result<Option<Error>> {
        match &mut self.started {
            Some((cluster, Some(server))) => server.failure(cluster),
            _ => Ok(None),
        }
    }

    /// Fast shutdown (SIGINT): sessions are cut, everything is written. The
    /// data of a throw-away server goes only when this value is dropped.
    pub fn stop(&mut self) -> Result<()> {
        match self.take_server() {
            Some(mut server) => server.stop(STOP_GRACE),
            None => Ok(()),
        }
    }

    /// SIGKILL, as a crash of the server.
    pub fn kill(&mut self) -> Result<()> {
        match self.take_server() {
            Some(mut server) => server.kill(),
            None => Ok(()),
        }
    }

    /// Starts a stopped or killed server again: same port, same data.
    pub fn start(&mut self) -> Result<()> {
        match &mut self.started {
            Some((cluster, server @ None)) => {
                *server = Some(cluster.start(silent, &Cancel::default())?);
                Ok(())
            }
            _ => Err(Error::other(
                "only a stopped server of our own can be started",
            )),
        }
    }

    fn take_server(&mut self) -> Option<Server> {
        self.started.as_mut()?.1.take()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // A drop has nobody to report to; the server's log tells.
        let _ = self.stop();
    }
}

fn make_cluster(options: &Options, programs: Vec<Programs>, user: Option<User>) -> Result<Cluster> {
    match &options.kind {
        Kind::Kept { root, port } => {
            let base = place::kept(root, user.as_ref(), options.say)?;
            Ok(Cluster {
                programs: programs::for_data(programs, &base.join("data"))?,
                data: base.join("data"),
                log: root.join("logs/postgres.log"),
                password: secret::load_or_create(&root.join("secrets"), "postgres")?,
                port: *port,
                max_connections: options.max_connections,
                user,
                scratch: None,
                held: options.held.clone(),
            })
        }
        Kind::ThrowAway => {
            let scratch = place::throw_away(user.as_ref())?;
            Ok(Cluster {
                programs: programs.into_iter().next().ok_or_else(none_found)?,
                data: scratch.path().join("data"),
                log: scratch.path().join("postgres.log"),
                password: secret::random_hex()?,
                port: port::free()?,
                max_connections: options.max_connections,
                user,
                scratch: Some(scratch),
                held: options.held.clone(),
            })
        }
    }
}

fn none_found() -> Error {
    Error::NoPostgres {
        tried: String::new(),
    }
}

fn quote_identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn quote_literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
