//! Postgres, roles and schemas as in production (everything synced to disk), and the
//! people who use the services.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use quartet_devstack::roles::{self, Passwords};
use quartet_devstack::stack::{Ports, Stack, StoreKeys};
use quartet_devstack::{Options, Postgres, ServiceSpec, port, workspace};
use serde_json::{Value, json};

use crate::bench::Bench;
use crate::http::Request;

const PASSWORD: &str = "tangerine violin moss lantern";

/// A database with all schemas. Everything is removed when it is dropped.
pub(crate) struct Backend {
    postgres: Option<Postgres>,
    options: Options,
    pub(crate) stack: Stack,
    /// `15.18`.
    pub(crate) version: String,
}

impl Backend {
    pub(crate) fn start(bench: &Bench) -> anyhow::Result<Self> {
        let root = bench.work().join("quartet");
        let options = Options::kept(&root, port::free()?)
            .saying(|line| println!("  {line}"))
            .cancelled_by(&bench.cancel);
        let postgres = Postgres::find_or_start(&options)?;
        let secrets = root.join("secrets");
        let stack = Stack {
            programs: programs()?,
            root,
            ports: Ports::free()?,
            database: postgres.ensure_database("quartet")?,
            passwords: Passwords::random()?,
            store_keys: StoreKeys::load_or_create(&secrets)?,
        };
        let version = postgres.query(&stack.database, "SHOW server_version")?;
        let version = version
            .split_ascii_whitespace()
            .next()
            .unwrap_or("unknown")
            .to_owned();
        let backend = Self {
            postgres: Some(postgres),
            options,
            stack,
            version,
        };
        backend.make_schemas()?;
        Ok(backend)
    }

    fn make_schemas(&self) -> anyhow::Result<()> {
        roles::apply(
            self.postgres()?,
            &self.stack.database,
            &self.stack.passwords,
        )?;
        for service in roles::SERVICES {
            self.stack.migration(service)?.run()?;
        }
        Ok(())
    }

    fn postgres(&self) -> anyhow::Result<&Postgres> {
        self.postgres.as_ref().context("Postgres runs")
    }

    /// Asks as an administrator, who sees every row.
    pub(crate) fn query(&self, sql: &str) -> anyhow::Result<String> {
        Ok(self
            .postgres()?
            .query(&self.stack.database, sql)?
            .trim()
            .to_owned())
    }

    /// Writes out what earlier benchmarks left, so that it does not fall into the next one.
    pub(crate) fn settle(&self) -> anyhow::Result<()> {
        self.query("CHECKPOINT").map(drop)
    }

    /// `core`, `media` or `links`.
    pub(crate) fn service(&self, name: &str) -> anyhow::Result<ServiceSpec> {
        Ok(self.stack.service(name)?)
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.postgres = None;
        if let Err(error) = self.options.wipe() {
            eprintln!("the database of the benchmark could not be removed: {error}");
        }
    }
}

/// The binaries stand beside this one.
fn programs() -> anyhow::Result<PathBuf> {
    for name in ["core", "media", "links", "gateway", "devstore"] {
        workspace::binary(&format!("quartet-{name}"))?;
    }
    Ok(workspace::profile_dir()?)
}

/// Somebody with an account.
#[derive(Clone, Debug)]
pub(crate) struct Person {
    email: String,
}

/// What a login gives.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) access_token: String,
    pub(crate) refresh_token: String,
}

impl Person {
    pub(crate) fn sign_up(core: u16, name: &str) -> anyhow::Result<Self> {
        let person = Self {
            email: format!("{name}@example.org"),
        };
        let body = person.credentials();
        Request {
            port: core,
            method: "POST",
            path: "/v1/core/users",
            token: None,
            body: Some(&body),
        }
        .expect(201)?;
        Ok(person)
    }

    /// The body of a login.
    pub(crate) fn credentials(&self) -> Value {
        json!({ "email": self.email, "password": PASSWORD })
    }

    pub(crate) fn log_in(&self, core: u16) -> anyhow::Result<Session> {
        let body = self.credentials();
        let path = "/v1/core/sessions";
        let request = Request {
            port: core,
            method: "POST",
            path,
            token: None,
            body: Some(&body),
        };
        let answer = request.expect(201)?.json()?;
        let text = |name: &str| {
            let found = answer[name].as_str().map(str::to_owned);
            found.ok_or_else(|| anyhow!("the login's answer has no {name}"))
        };
        Ok(Session {
            access_token: text("access_token")?,
            refresh_token: text("refresh_token")?,
        })
    }
}

/// How long a queue may take to empty.
pub(crate) const DRAIN_TIMEOUT: Duration = Duration::from_mins(2);
