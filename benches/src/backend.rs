//! Postgres, roles and schemas as in production (everything synced to disk), and the
//! people who use the services.

use std::path::PathBuf;

use anyhow::Context as _;
use quartet_devstack::roles::{self, Passwords};
use quartet_devstack::stack::{Ports, Stack, StoreKeys};
use quartet_devstack::{Options, Postgres, Service, ServiceSpec, port, workspace};
use serde_json::{Value, json};

use crate::bench::Bench;
use crate::helpers;
use crate::http::Request;
use crate::tokens::{ISSUER, Issuer};

const PASSWORD: &str = "tangerine violin moss lantern";

/// A server of our own. It is stopped and its data removed when this is dropped.
struct Server {
    /// None only while it is being dropped.
    postgres: Option<Postgres>,
    options: Options,
}

impl Server {
    fn start(options: Options) -> anyhow::Result<Self> {
        // What a run that was killed has left: its passwords are gone.
        options.wipe()?;
        let mut server = Self {
            postgres: None,
            options,
        };
        server.postgres = Some(Postgres::find_or_start(&server.options)?);
        Ok(server)
    }

    fn postgres(&self) -> anyhow::Result<&Postgres> {
        self.postgres.as_ref().context("Postgres runs")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.postgres = None;
        if let Err(error) = self.options.wipe() {
            eprintln!("the database of the benchmark could not be removed: {error}");
        }
    }
}

/// A database with all schemas. Everything is removed when it is dropped.
pub(crate) struct Backend {
    server: Server,
    /// Whose tokens links and media take.
    pub(crate) issuer: Issuer,
    _keys: Service,
    keys_port: u16,
    pub(crate) stack: Stack,
    /// `15.18`.
    pub(crate) version: String,
}

impl Backend {
    pub(crate) fn start(bench: &Bench) -> anyhow::Result<Self> {
        let programs = programs()?;
        let root = bench.work().join("quartet");
        let options = Options::kept(&root, port::free()?)
            .saying(|line| println!("  {line}"))
            .cancelled_by(&bench.cancel);
        let server = Server::start(options)?;
        let secrets = root.join("secrets");
        let stack = Stack {
            programs,
            root,
            ports: Ports::free()?,
            database: server.postgres()?.ensure_database("quartet")?,
            passwords: Passwords::random()?,
            store_keys: StoreKeys::load_or_create(&secrets)?,
            settings: Vec::new(),
        };
        let (issuer, keys_port) = (Issuer::new()?, port::free()?);
        let mut backend = Self {
            server,
            _keys: helpers::start_upstream(bench, &issuer, keys_port)?,
            issuer,
            keys_port,
            stack,
            version: String::new(),
        };
        let version = backend.query("SHOW server_version")?;
        version
            .split_ascii_whitespace()
            .next()
            .unwrap_or("unknown")
            .clone_into(&mut backend.version);
        backend.make_schemas()?;
        Ok(backend)
    }

    fn make_schemas(&self) -> anyhow::Result<()> {
        let postgres = self.server.postgres()?;
        roles::apply(postgres, &self.stack.database, &self.stack.passwords)?;
        for service in roles::SERVICES {
            self.stack.migration(service)?.run()?;
        }
        Ok(())
    }

    /// Asks as an administrator, who sees every row.
    pub(crate) fn query(&self, sql: &str) -> anyhow::Result<String> {
        let postgres = self.server.postgres()?;
        Ok(postgres.query(&self.stack.database, sql)?.trim().to_owned())
    }

    /// Writes out what earlier benchmarks left, so that it does not fall into the next one.
    pub(crate) fn settle(&self) -> anyhow::Result<()> {
        self.query("CHECKPOINT").map(drop)
    }

    /// The service, taking the tokens of our own issuer, so that core need not run.
    pub(crate) fn trusting(&self, service: ServiceSpec) -> ServiceSpec {
        let keys = format!("http://127.0.0.1:{}/.well-known/jwks.json", self.keys_port);
        service
            .env("QUARTET_JWT_ISSUER", ISSUER)
            .env("QUARTET_JWT_JWKS_URL", keys)
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

    /// Logs in and gives the refresh token of the new session.
    pub(crate) fn log_in(&self, core: u16) -> anyhow::Result<String> {
        let body = self.credentials();
        let path = "/v1/core/sessions";
        let answer = Request {
            port: core,
            method: "POST",
            path,
            token: None,
            body: Some(&body),
        }
        .expect(201)?
        .json()?;
        let token = answer["refresh_token"].as_str().map(str::to_owned);
        token.context("the login's answer has no refresh_token")
    }
}
