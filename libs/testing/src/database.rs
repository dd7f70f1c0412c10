//! A database for each test.

use std::{
    str::FromStr,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use quartet_common::config::Database;
use quartet_db as db;
use secrecy::SecretString;
use sqlx::{
    AssertSqlSafe, ConnectOptions, Connection, Executor, PgConnection, PgPool, migrate::Migrator,
    postgres::PgConnectOptions,
};

/// The variable with the URL of a superuser of a Postgres for tests.
pub const ADMIN_URL: &str = "QUARTET_TEST_DATABASE_URL";
/// A database that is not dropped by then goes with its temporary server.
const DROP_TIMEOUT: Duration = Duration::from_secs(2);
const WAIT_TIMEOUT: Duration = Duration::from_secs(20);
const ROLE_PASSWORD: &str = "test";
/// Roles belong to the whole cluster, so one test at a time creates them.
const ROLES_LOCK: i64 = 0x5155_4152_5445_5401;

/// A database with the roles and the schema of one service, as `db/roles.sql` makes them. Dropping
/// this drops the database.
#[derive(Debug)]
pub struct TestDatabase {
    pub name: String,
    admin: PgConnectOptions,
    role: String,
}

impl TestDatabase {
    /// Creates the database and runs the migrations as the owner of the schema.
    ///
    /// # Panics
    /// Without `QUARTET_TEST_DATABASE_URL`, which `cargo xtask test` sets.
    pub async fn create(schema: &'static str, migrator: &Migrator) -> Self {
        let this = Self::empty(schema).await;
        let mut connection = this.connect_as_owner().await;
        db::run(migrator, &mut connection, schema)
            .await
            .expect("migrations run");
        let owner = PgPool::connect_lazy(&this.owner_url()).expect("the URL is valid");
        quartet_worker::migrate(&owner, schema)
            .await
            .expect("the queue of durable jobs is created");
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
        create_roles(&mut connection, &role).await;
        run(&mut connection, format!("CREATE DATABASE {name}")).await;
        let mut inside = admin
            .clone()
            .database(&name)
            .connect()
            .await
            .expect("the new database");
        run(&mut inside, schema_of(&name, schema, &role)).await;
        Self { name, admin, role }
    }

    /// Settings for a service that connects in its own role.
    pub fn settings(&self) -> Database {
        Database {
            url: SecretString::from(self.url()),
            migrate_url: SecretString::from(self.owner_url()),
            read_url: SecretString::default(),
            read_max_lag_seconds: 10,
            pooled: false,
            max_connections: 10,
            acquire_timeout_seconds: 10,
            statement_timeout_seconds: 15,
        }
    }

    /// The same as a URL.
    pub fn url(&self) -> String {
        self.url_of(&self.role)
    }

    /// The URL of the role that owns the schema.
    pub fn owner_url(&self) -> String {
        self.url_of(&format!("{}_owner", self.role))
    }

    /// Name and password of the role that serves.
    pub(crate) fn login(&self) -> (&str, &str) {
        (&self.role, ROLE_PASSWORD)
    }

    /// Host and port.
    pub(crate) fn server(&self) -> (&str, u16) {
        (self.admin.get_host(), self.admin.get_port())
    }

    /// The URL of a superuser.
    pub fn admin_url(&self) -> String {
        self.admin
            .clone()
            .database(&self.name)
            .to_url_lossy()
            .into()
    }

    fn url_of(&self, role: &str) -> String {
        let (host, port) = (self.admin.get_host(), self.admin.get_port());
        format!(
            "postgres://{role}:{ROLE_PASSWORD}@{host}:{port}/{}",
            self.name
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

    /// A connection in the role that owns the schema.
    ///
    /// # Panics
    /// When the server does not respond.
    pub async fn connect_as_owner(&self) -> PgConnection {
        PgConnection::connect(&self.owner_url())
            .await
            .expect("the owner may connect")
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

/// Waits until this many statements in the database of `admin` wait for a lock.
///
/// # Panics
/// When it takes too long, or the server does not respond.
pub async fn until_waiting(admin: &mut PgConnection, statements: i64) {
    let waiting = "SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let deadline = Instant::now() + WAIT_TIMEOUT;
    loop {
        let counted = sqlx::query_scalar::<_, i64>(waiting).fetch_one(&mut *admin);
        let counted = counted.await.expect("the test database server responds");
        if counted == statements {
            return;
        }
        assert!(Instant::now() < deadline, "{counted} statements wait");
        // Within a transaction, the first count is kept.
        run(admin, "SELECT pg_stat_clear_snapshot()".to_owned()).await;
    }
}

/// Both roles of the service, unless another test has created them.
async fn create_roles(connection: &mut PgConnection, role: &str) {
    let create = [role.to_owned(), format!("{role}_owner")].map(|role| {
        format!(
            "IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}') THEN
               CREATE ROLE {role} LOGIN PASSWORD '{ROLE_PASSWORD}';
             END IF;"
        )
    });
    let create = create.concat();
    let statement = format!(
        // Held until the transaction of both statements ends.
        "SELECT pg_advisory_xact_lock({ROLES_LOCK}); DO $$ BEGIN {create} END $$"
    );
    run(connection, statement).await;
}

/// The schema with its owner and the grants of the role that serves requests.
fn schema_of(database: &str, schema: &str, role: &str) -> String {
    let owner = format!("{role}_owner");
    let defaults = format!("ALTER DEFAULT PRIVILEGES FOR ROLE {owner}");
    format!(
        "ALTER ROLE {role} IN DATABASE {database} SET search_path = {schema};
         ALTER ROLE {owner} IN DATABASE {database} SET search_path = {schema};
         ALTER ROLE {role} IN DATABASE {database} SET statement_timeout = '15s';
         CREATE SCHEMA {schema} AUTHORIZATION {owner};
         GRANT USAGE ON SCHEMA {schema} TO {role};
         {defaults} IN SCHEMA {schema} GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {role};
         {defaults} IN SCHEMA {schema} GRANT USAGE, SELECT ON SEQUENCES TO {role};
         {defaults} IN SCHEMA {schema} GRANT EXECUTE ON FUNCTIONS TO {role};
         {defaults} IN SCHEMA {schema} GRANT USAGE ON TYPES TO {role};
         {defaults} REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;"
    )
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
