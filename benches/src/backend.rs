//! Postgres with roles and schemas as in production, everything synced to disk, and users.

use anyhow::Context as _;
use quartet_devstack::roles::{self, Passwords};
use quartet_devstack::stack::{Ports, Stack};
use quartet_devstack::{Options, Postgres, ServiceSpec, port, workspace};
use serde_json::{Value, json};

use crate::bench::Bench;
use crate::load::Request;
use crate::tokens::{ISSUER, Issuer};
use crate::upstream;

const PASSWORD: &str = "tangerine violin moss lantern";

/// A database server of this run. Dropping it stops the server and removes the data.
struct Server {
    /// None only while it is being dropped.
    postgres: Option<Postgres>,
    options: Options,
}

impl Server {
    fn start(options: Options) -> anyhow::Result<Self> {
        // A run that was killed leaves data whose passwords are lost.
        options.wipe()?;
        let postgres = Some(Postgres::find_or_start(&options)?);
        Ok(Self { postgres, options })
    }

    fn postgres(&self) -> anyhow::Result<&Postgres> {
        self.postgres.as_ref().context("Postgres is not running")
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

/// A database with all schemas.
pub(crate) struct Backend {
    server: Server,
    /// Issues the tokens that links and media accept.
    pub(crate) issuer: Issuer,
    jwks_url: String,
    pub(crate) stack: Stack,
    /// Of Postgres, such as `15.18`.
    pub(crate) version: String,
}

impl Backend {
    pub(crate) fn start(bench: &Bench) -> anyhow::Result<Self> {
        let root = bench.work().join("quartet");
        let options = Options {
            say: |line| println!("  {line}"),
            cancel: bench.cancel.clone(),
            ..Options::kept(&root, port::free()?)
        };
        let server = Server::start(options)?;
        let stack = Stack {
            programs: workspace::profile_dir()?,
            root,
            ports: Ports::free()?,
            database: server.postgres()?.ensure_database("quartet")?,
            passwords: Passwords::random()?,
            settings: Vec::new(),
        };
        roles::apply(server.postgres()?, &stack.database, &stack.passwords)?;
        for service in roles::SERVICES {
            stack.migration(service)?.run()?;
        }
        let issuer = Issuer::new()?;
        let port = upstream::start(&issuer.jwks)?;
        let mut backend = Self {
            server,
            issuer,
            jwks_url: format!("http://127.0.0.1:{port}/.well-known/jwks.json"),
            stack,
            version: String::new(),
        };
        let version = backend.query("SHOW server_version")?;
        let version = version.split_ascii_whitespace().next();
        version
            .unwrap_or("unknown")
            .clone_into(&mut backend.version);
        Ok(backend)
    }

    /// Runs a query as an administrator, who sees every row.
    pub(crate) fn query(&self, sql: &str) -> anyhow::Result<String> {
        let postgres = self.server.postgres()?;
        Ok(postgres.query(&self.stack.database, sql)?.trim().to_owned())
    }

    /// Writes out what earlier benchmarks left, so that it does not slow down the next one.
    pub(crate) fn settle(&self) -> anyhow::Result<()> {
        self.query("CHECKPOINT").map(drop)
    }

    /// The service with the issuer of this run, so that core need not run.
    pub(crate) fn trusting(&self, service: ServiceSpec) -> ServiceSpec {
        service
            .env("QUARTET_JWT_ISSUER", ISSUER)
            .env("QUARTET_JWT_JWKS_URL", &self.jwks_url)
    }
}

/// A registered user.
#[derive(Clone, Debug)]
pub(crate) struct User {
    email: String,
}

impl User {
    pub(crate) fn sign_up(core: u16, name: &str) -> anyhow::Result<Self> {
        let user = Self {
            email: format!("{name}@example.org"),
        };
        Request::post("/v1/core/users", None, &user.credentials()).expect(core, 201)?;
        Ok(user)
    }

    fn credentials(&self) -> Value {
        json!({ "email": self.email, "password": PASSWORD })
    }

    pub(crate) fn login(&self) -> Request {
        Request::post("/v1/core/sessions", None, &self.credentials())
    }

    /// Logs in and returns the refresh token of the new session.
    pub(crate) fn refresh_token(&self, core: u16) -> anyhow::Result<String> {
        self.token(core, "refresh_token")
    }

    /// Logs in and returns the access token of the new session.
    pub(crate) fn access_token(&self, core: u16) -> anyhow::Result<String> {
        self.token(core, "access_token")
    }

    fn token(&self, core: u16, name: &str) -> anyhow::Result<String> {
        let response = self.login().expect(core, 201)?.json()?;
        let token = response[name].as_str().map(str::to_owned);
        token.with_context(|| format!("the login returned no {name}"))
    }
}
