//! For tests of the services: a database of their own, an issuer of tokens, and a watch over answers.

mod closed;
mod complete;
pub mod contract;
mod watch;

pub use complete::assert_complete;
pub use watch::Watch;

use std::{
    net::SocketAddr,
    str::FromStr,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use axum::{Json, Router, routing::get};
use jsonwebtoken::{
    Algorithm, EncodingKey, Header,
    jwk::{Jwk, JwkSet},
};
use secrecy::SecretString;
use serde_json::{Value, json};
use sqlx::{
    AssertSqlSafe, ConnectOptions, Connection, Executor, PgConnection, migrate::Migrator,
    postgres::PgConnectOptions,
};
use tokio::net::TcpListener;

use crate::{
    clock::Clock,
    config::{Database, Jwt},
    db,
};

/// Names a superuser's connection to a Postgres in which databases may be made and dropped.
pub const ADMIN_URL: &str = "QUARTET_TEST_DATABASE_URL";
/// A database that is not dropped by then goes with its throw-away server.
const DROP_TIMEOUT: Duration = Duration::from_secs(2);
const ROLE_PASSWORD: &str = "test";
/// One at a time may make roles: they belong to the whole cluster.
const ROLES_LOCK: i64 = 0x5155_4152_5445_5401;

/// A database with one service's role and schema, dropped when this is.
#[derive(Debug)]
pub struct TestDatabase {
    pub name: String,
    admin: PgConnectOptions,
    role: String,
}

impl TestDatabase {
    /// Makes the database and runs the migrations as the service's own role.
    ///
    /// # Panics
    /// Without `QUARTET_TEST_DATABASE_URL`, which `cargo xtask test` sets.
    pub async fn create(schema: &'static str, migrator: &Migrator) -> Self {
        let this = Self::empty(schema).await;
        let mut connection = this.connect_as_role().await;
        db::run(migrator, &mut connection, schema)
            .await
            .expect("migrations run");
        this
    }

    /// The same without migrations.
    ///
    /// # Panics
    /// Without `QUARTET_TEST_DATABASE_URL`.
    pub async fn empty(schema: &'static str) -> Self {
        let url = std::env::var(ADMIN_URL)
            .unwrap_or_else(|_| panic!("{ADMIN_URL} must be set; run `cargo xtask test`"));
        let admin = PgConnectOptions::from_str(&url).expect("the admin's address can be read");
        let name = format!("test_{}", uuid::Uuid::new_v4().simple());
        let role = format!("quartet_{schema}");
        let mut connection = admin
            .connect()
            .await
            .expect("the test database server answers");
        let roles = format!(
            "SELECT pg_advisory_lock({ROLES_LOCK});
             DO $$ BEGIN
               IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}') THEN
                 CREATE ROLE {role} LOGIN PASSWORD '{ROLE_PASSWORD}';
               END IF;
             END $$;
             SELECT pg_advisory_unlock({ROLES_LOCK})"
        );
        run(&mut connection, roles).await;
        run(&mut connection, format!("CREATE DATABASE {name}")).await;
        run(
            &mut connection,
            format!("ALTER ROLE {role} IN DATABASE {name} SET search_path = {schema}"),
        )
        .await;
        let mut inside = admin
            .clone()
            .database(&name)
            .connect()
            .await
            .expect("the new database");
        run(
            &mut inside,
            format!("CREATE SCHEMA {schema} AUTHORIZATION {role}"),
        )
        .await;
        Self { name, admin, role }
    }

    /// Settings with which a service reaches the database in its own role.
    pub fn settings(&self) -> Database {
        Database {
            url: SecretString::from(self.url()),
            max_connections: 10,
            acquire_timeout_seconds: 10,
            statement_timeout_seconds: 15,
        }
    }

    /// The same as an address.
    pub fn url(&self) -> String {
        let (host, port) = (self.admin.get_host(), self.admin.get_port());
        format!(
            "postgres://{}:{ROLE_PASSWORD}@{host}:{port}/{}",
            self.role, self.name
        )
    }

    /// A connection in the service's role, for looking behind the public door.
    ///
    /// # Panics
    /// When the server does not answer.
    pub async fn connect_as_role(&self) -> PgConnection {
        PgConnection::connect(&self.url())
            .await
            .expect("the role may connect")
    }

    /// A superuser's connection: it passes by row-level security.
    ///
    /// # Panics
    /// When the server does not answer.
    pub async fn connect_as_admin(&self) -> PgConnection {
        self.admin
            .clone()
            .database(&self.name)
            .connect()
            .await
            .expect("the admin may connect")
    }
}

async fn run(connection: &mut PgConnection, statement: String) {
    connection
        .execute(sqlx::raw_sql(AssertSqlSafe(statement.clone())))
        .await
        .unwrap_or_else(|error| panic!("{statement}: {error}"));
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let (admin, name) = (self.admin.clone(), self.name.clone());
        let (done, dropped) = mpsc::channel();
        // Dropping is not async: a thread with a runtime of its own does it.
        thread::spawn(move || {
            let dropping = async {
                let mut connection = admin.connect().await?;
                let statement = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
                connection
                    .execute(sqlx::raw_sql(AssertSqlSafe(statement)))
                    .await?;
                anyhow::Ok(())
            };
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            let _ = done.send(
                runtime
                    .map_err(Into::into)
                    .and_then(|it| it.block_on(dropping)),
            );
        });
        // The test's runtime stands still meanwhile. If one of its connections is just logging in,
        // Postgres would wait for that one until its authentication_timeout: a minute.
        if let Ok(Err(error)) = dropped.recv_timeout(DROP_TIMEOUT) {
            eprintln!(
                "test database {} could not be dropped: {error:#}",
                self.name
            );
        }
    }
}

/// Signs tokens with an Ed25519 key of its own, as core does.
#[derive(Clone, Debug)]
pub struct Issuer {
    inner: Arc<IssuerKey>,
    clock: Clock,
}

struct IssuerKey {
    key: EncodingKey,
    jwks: JwkSet,
}

impl std::fmt::Debug for IssuerKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("IssuerKey")
    }
}

pub const ISSUER: &str = "http://localhost:8080";
pub const AUDIENCE: &str = "quartet";
const KEY_ID: &str = "test-key";

impl Issuer {
    /// # Panics
    /// When no key can be made.
    pub fn new(clock: Clock) -> Self {
        // PKCS#8 (RFC 8410): a fixed prefix and the 32 bytes of the seed.
        let mut pkcs8 = vec![
            0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22,
            0x04, 0x20,
        ];
        pkcs8.extend(rand::random::<[u8; 32]>());
        let key = EncodingKey::from_ed_der(&pkcs8);
        let mut jwk = Jwk::from_encoding_key(&key, Algorithm::EdDSA).expect("a public key");
        jwk.common.key_id = Some(KEY_ID.into());
        let inner = Arc::new(IssuerKey {
            key,
            jwks: JwkSet { keys: vec![jwk] },
        });
        Self { inner, clock }
    }

    pub fn jwks(&self) -> &JwkSet {
        &self.inner.jwks
    }

    /// A good access token for this subject, valid for 15 minutes.
    pub fn token(&self, subject: &str) -> String {
        self.token_with(subject, json!({}))
    }

    /// The same with claims added or replaced; null removes one.
    ///
    /// # Panics
    /// When `claims` is not an object.
    pub fn token_with(&self, subject: &str, claims: Value) -> String {
        let now = self.clock.now().timestamp();
        let mut all = json!({
            "iss": ISSUER, "aud": AUDIENCE, "sub": subject, "sid": "ses_test",
            "iat": now, "nbf": now, "exp": now + 900, "jti": uuid::Uuid::new_v4().to_string(),
        });
        let all_claims = all.as_object_mut().expect("an object");
        for (name, value) in claims.as_object().expect("claims are an object") {
            if value.is_null() {
                all_claims.remove(name);
            } else {
                all_claims.insert(name.clone(), value.clone());
            }
        }
        let mut header = Header::new(Algorithm::EdDSA);
        header.typ = Some("at+jwt".into());
        header.kid = Some(KEY_ID.into());
        jsonwebtoken::encode(&header, &all, &self.inner.key).expect("claims can be signed")
    }

    /// Serves the JWKS on a loopback port until the runtime ends.
    ///
    /// # Panics
    /// When no port is free.
    pub async fn serve(&self) -> SocketAddr {
        let jwks = serde_json::to_value(self.jwks()).expect("keys are plain data");
        let router = Router::new().route(
            "/.well-known/jwks.json",
            get(move || async move { Json(jwks) }),
        );
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound address");
        tokio::spawn(async move { axum::serve(listener, router).await });
        address
    }

    /// Settings of a verifier that trusts this issuer at `address`.
    ///
    /// # Panics
    /// Never: the address is one.
    pub fn settings(&self, address: SocketAddr) -> Jwt {
        Jwt {
            issuer: Some(ISSUER.into()),
            audience: Some(AUDIENCE.into()),
            token_type: Some("at+jwt".into()),
            jwks_url: Some(
                format!("http://{address}/.well-known/jwks.json")
                    .parse()
                    .expect("an address"),
            ),
            hs256_secret: None,
            jwks_refresh_seconds: 300,
            leeway_seconds: 0,
        }
    }
}
