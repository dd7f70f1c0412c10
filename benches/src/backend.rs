//! Postgres with roles and schemas as in production, everything synced to disk, and users.

use anyhow::Context as _;
use quartet_devstack::roles::Passwords;
use quartet_devstack::stack::{Ports, Setting, Stack};
use quartet_devstack::{Options, Postgres, ServiceSpec, port, signals, workspace};
use serde_json::{Value, json};

use crate::bench::Bench;
use crate::load::Request;
use crate::tokens::{ISSUER, Issuer};
use crate::upstream;

const PASSWORD: &str = "tangerine violin moss lantern";

/// The data of the server of this run, removed when it is dropped.
struct Data(Options);

impl Drop for Data {
    fn drop(&mut self) {
        if let Err(error) = self.0.wipe() {
            eprintln!("the database of the benchmark could not be removed: {error}");
        }
    }
}

/// A database with all schemas.
pub(crate) struct Backend {
    postgres: Postgres,
    /// Dropped after the server.
    _data: Data,
    /// Issues the tokens that links and media accept.
    pub(crate) issuer: Issuer,
    jwks_url: String,
    pub(crate) stack: Stack,
    /// Of Postgres, such as `15.18`.
    pub(crate) version: String,
}

impl Backend {
    pub(crate) fn start(bench: &Bench) -> anyhow::Result<Self> {
        let root = bench.work.join("quartet");
        let options = Options {
            say: |line| println!("  {line}"),
            cancel: signals::cancel().clone(),
            ..Options::kept(&root, port::free()?)
        };
        // A run that was killed leaves data whose passwords are lost.
        options.wipe()?;
        let data = Data(options);
        let postgres = Postgres::find_or_start(&data.0)?;
        let stack = Stack {
            programs: workspace::profile_dir()?,
            root,
            ports: Ports::free()?,
            database: postgres.ensure_database("quartet")?,
            passwords: Passwords::random()?,
            settings: Setting::wide_limits()?,
        };
        stack.prepare(&postgres)?;
        let issuer = Issuer::new()?;
        let port = upstream::start(&issuer.jwks)?;
        let version = "SELECT split_part(current_setting('server_version'), ' ', 1)";
        let version = postgres.query(&stack.database, version)?;
        Ok(Self {
            version: version.trim().to_owned(),
            postgres,
            _data: data,
            issuer,
            jwks_url: format!("http://127.0.0.1:{port}/.well-known/jwks.json"),
            stack,
        })
    }

    /// Runs a query as an administrator, who sees every row.
    pub(crate) fn query(&self, sql: &str) -> anyhow::Result<String> {
        let rows = self.postgres.query(&self.stack.database, sql)?;
        Ok(rows.trim().to_owned())
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
    /// As many users, whose addresses begin with `name`.
    pub(crate) fn sign_up_all(core: u16, name: &str, number: usize) -> anyhow::Result<Vec<Self>> {
        let sign_up = |number| {
            let email = format!("{name}{number}@example.org");
            let user = Self { email };
            Request::post("/v1/core/users", None, &user.credentials()).expect(core, 201)?;
            Ok(user)
        };
        (0..number).map(sign_up).collect()
    }

    fn credentials(&self) -> Value {
        json!({ "email": self.email, "password": PASSWORD })
    }

    pub(crate) fn login(&self) -> Request {
        Request::post("/v1/core/sessions", None, &self.credentials())
    }

    /// Logs in and returns the `access_token` or the `refresh_token` of the new session.
    pub(crate) fn token(&self, core: u16, name: &str) -> anyhow::Result<String> {
        let response = self.login().expect(core, 201)?.json()?;
        let token = response[name].as_str().map(str::to_owned);
        token.with_context(|| format!("the login returned no {name}"))
    }
}
