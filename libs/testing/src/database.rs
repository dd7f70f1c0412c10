//! A database for each test.

use std::{str::FromStr, sync::mpsc, thread, time::Duration};

use quartet_common::config::Database;
use quartet_db as db;
use secrecy::SecretString;
use sqlx::{
    AssertSqlSafe, ConnectOptions, Connection, Executor, PgConnection, migrate::Migrator,
    postgres::PgConnectOptions,
};

/// The variable with the URL of a superuser of a Postgres for tests.
pub const ADMIN_URL: &str = "QUARTET_TEST_DATABASE_URL";
/// A database that is not dropped by then goes with its temporary server.
const DROP_TIMEOUT: Duration = Duration::from_secs(2);
const ROLE_PASSWORD: &str = "test";
/// Roles belong to the whole cluster, so one test at a time creates them.
const ROLES_LOCK: i64 = 0x5155_4152_5445_5401;

/// A database with the role and the schema of one service. Dropping this drops the database.
#[derive(Debug)]
pub struct TestDatabase {
    pub name: String,
    admin: PgConnectOptions,
    role: String,
}

impl TestDatabase {
    /// Creates the database and runs the migrations in the role of the service.
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
        let admin = PgConnectOptions::from_str(&url).expect("the URL of the admin is valid");
        let name = format!("test_{}", uuid::Uuid::new_v4().simple());
        let role = format!("quartet_{schema}");
        let mut connection = admin
            .connect()
            .await
            .expect("the test database server responds");
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

    /// Settings for a service that connects in its own role.
    pub fn settings(&self) -> Database {
        Database {
            url: SecretString::from(self.url()),
            max_connections: 10,
            acquire_timeout_seconds: 10,
            statement_timeout_seconds: 15,
        }
    }

    /// The same as a URL.
    pub fn url(&self) -> String {
        let (host, port) = (self.admin.get_host(), self.admin.get_port());
        format!(
            "postgres://{}:{ROLE_PASSWORD}@{host}:{port}/{}",
            self.role, self.name
        )
    }

    /// A connection in the role of the service.
    ///
    /// # Panics
    /// When the server does not respond.
    pub async fn connect_as_role(&self) -> PgConnection {
        PgConnection::connect(&self.url())
            .await
            .expect("the role may connect")
    }

    /// A connection of a superuser, to whom row-level security does not apply.
    ///
    /// # Panics
    /// When the server does not respond.
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
        // The runtime of the test is blocked in the meantime. If one of its connections is logging
        // in, Postgres waits for it until authentication_timeout, a minute.
        if let Ok(Err(error)) = dropped.recv_timeout(DROP_TIMEOUT) {
            eprintln!(
                "test database {} could not be dropped: {error:#}",
                self.name
            );
        }
    }
}
