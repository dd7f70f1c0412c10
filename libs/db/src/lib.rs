//! Postgres: the pool, the migrations, and what an error means. No table is named here.

use std::{str::FromStr, time::Duration};

mod ids;

use quartet_common::{
    config::{ConfigError, Database},
    problem::{Problem, kinds},
};
use secrecy::ExposeSecret;
use sqlx::{
    ConnectOptions, Connection, PgConnection, PgPool,
    migrate::{MigrateError, Migrator},
    postgres::{PgConnectOptions, PgPoolOptions},
};

/// A connection that has been idle for longer is tested before it is used, so that a
/// restarted Postgres costs at most the requests of this span.
const TEST_AFTER_IDLE: Duration = Duration::from_secs(1);

/// Why a schema cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    #[error(
        "schema `{schema}` is behind: migration {version} ({name}) is not applied; \
         run `quartet-{schema} migrate` and start again"
    )]
    Behind {
        schema: &'static str,
        version: i64,
        name: String,
    },
    #[error(
        "schema `{schema}`: migration {version} was changed after it was applied; \
         restore the file of the release that applied it"
    )]
    Changed { schema: &'static str, version: i64 },
    #[error("schema `{schema}` could not be migrated")]
    Migrate {
        schema: &'static str,
        source: MigrateError,
    },
    #[error("the database does not answer: {0}")]
    Database(#[from] sqlx::Error),
}

/// Connection options with our time-outs.
///
/// # Errors
/// When the address cannot be read; the message never holds the address.
pub fn options(settings: &Database, application: &str) -> Result<PgConnectOptions, ConfigError> {
    let url = settings.url.expose_secret();
    if url.is_empty() {
        return Err(ConfigError::invalid("database.url", "must be set"));
    }
    let timeout = format!("{}s", settings.statement_timeout_seconds);
    let options = PgConnectOptions::from_str(url)
        .map_err(|_| {
            let rule = "must be postgres://role:password@host:port/database";
            ConfigError::invalid("database.url", rule)
        })?
        .application_name(application)
        .options([("statement_timeout", timeout.as_str())])
        .log_statements(tracing::log::LevelFilter::Debug)
        .log_slow_statements(tracing::log::LevelFilter::Warn, Duration::from_secs(1));
    Ok(options)
}

/// A pool that connects when it is first used, and again after the database was away.
///
/// # Errors
/// When the address cannot be read.
pub fn pool(settings: &Database, application: &str) -> Result<PgPool, ConfigError> {
    Ok(PgPoolOptions::new()
        .max_connections(settings.max_connections)
        .acquire_timeout(Duration::from_secs(settings.acquire_timeout_seconds))
        .test_before_acquire(false)
        .before_acquire(|connection, meta| {
            Box::pin(async move {
                if meta.idle_for < TEST_AFTER_IDLE {
                    return Ok(true);
                }
                Ok(connection.ping().await.is_ok())
            })
        })
        .connect_lazy_with(options(settings, application)?))
}

/// Brings a schema up to date. Safe when several replicas do it at once: one waits for the other.
///
/// # Errors
/// [`SchemaError`], with the database unchanged by the migration that failed.
pub async fn migrate(
    migrator: &Migrator,
    settings: &Database,
    schema: &'static str,
) -> Result<(), MigrateFailure> {
    let mut options = options(settings, "quartet-migrate")?;
    // A migration may take longer than a request's statement.
    options = options.options([("statement_timeout", "0")]);
    let mut connection = options.connect().await.map_err(SchemaError::from)?;
    run(migrator, &mut connection, schema).await?;
    connection.close().await.map_err(SchemaError::from)?;
    Ok(())
}

/// Why `migrate` failed.
#[derive(Debug, thiserror::Error)]
pub enum MigrateFailure {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Schema(#[from] SchemaError),
}

/// Runs the migrations on this connection.
///
/// # Errors
/// [`SchemaError::Changed`] and [`SchemaError::Migrate`].
pub async fn run(
    migrator: &Migrator,
    connection: &mut PgConnection,
    schema: &'static str,
) -> Result<(), SchemaError> {
    // CREATE SCHEMA wants a privilege on the database even where the schema exists.
    let exists: bool = sqlx::query_scalar("SELECT to_regnamespace($1) IS NOT NULL")
        .bind(schema)
        .fetch_one(&mut *connection)
        .await?;
    if !exists {
        let statement = format!("CREATE SCHEMA IF NOT EXISTS {schema}");
        sqlx::query(sqlx::AssertSqlSafe(statement))
            .execute(&mut *connection)
            .await?;
    }
    let mut migrator = Migrator {
        migrations: migrator.migrations.clone(),
        table_name: migrator.table_name.clone(),
        ..Migrator::DEFAULT
    };
    // A newer release may have migrated further: this release still runs on that schema.
    migrator.set_ignore_missing(true);
    migrator
        .run(&mut *connection)
        .await
        .map_err(|source| match source {
            MigrateError::VersionMismatch(version) => SchemaError::Changed { schema, version },
            source => SchemaError::Migrate { schema, source },
        })
}

/// # Errors
/// [`SchemaError::Behind`] naming the first missing migration and how to mend it.
pub async fn ensure_current(
    migrator: &Migrator,
    pool: &PgPool,
    schema: &'static str,
) -> Result<(), SchemaError> {
    let table = &migrator.table_name;
    let exists: bool = sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL")
        .bind(table.as_ref())
        .fetch_one(pool)
        .await?;
    let applied: Vec<i64> = if exists {
        let statement = format!("SELECT version FROM {table} WHERE success ORDER BY version");
        sqlx::query_scalar(sqlx::AssertSqlSafe(statement))
            .fetch_all(pool)
            .await?
    } else {
        Vec::new()
    };
    let missing = migrator
        .iter()
        .find(|migration| !applied.contains(&migration.version));
    missing.map_or(Ok(()), |migration| {
        Err(SchemaError::Behind {
            schema,
            version: migration.version,
            name: migration.description.to_string(),
        })
    })
}

/// The reason behind a pool's "timed out": it tries until its time is up and forgets why.
pub async fn explain(error: SchemaError, settings: &Database) -> SchemaError {
    let (SchemaError::Database(sqlx::Error::PoolTimedOut), Ok(options)) =
        (&error, options(settings, "quartet-check"))
    else {
        return error;
    };
    let patience = Duration::from_secs(settings.acquire_timeout_seconds);
    match tokio::time::timeout(patience, options.connect()).await {
        Ok(Err(cause)) => cause.into(),
        _ => error,
    }
}

/// Whether the same statement may work soon: the database is away, starting, full or stopping.
pub fn is_transient(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::Protocol(_) => true,
        sqlx::Error::Database(error) => error.code().is_some_and(|code| {
            // Connection errors, resources, operator intervention, serialisation, deadlock,
            // and "read-only" from a server that has just become a standby.
            code.starts_with("08")
                || code.starts_with("53")
                || code.starts_with("57")
                || ["40001", "40P01", "25006"].contains(&code.as_ref())
        }),
        _ => false,
    }
}

/// What a client learns of a failed statement: 503 when it may work soon, 500 otherwise.
pub fn problem(error: sqlx::Error) -> Problem {
    if is_transient(&error) {
        return Problem::not_now(&kinds::DATABASE_UNAVAILABLE).source(error);
    }
    Problem::internal(error)
}

/// The readiness check of the service's Postgres.
///
/// # Errors
/// A reason that may be shown.
pub async fn ping(pool: PgPool) -> Result<(), String> {
    sqlx::query("SELECT 1")
        .execute(&pool)
        .await
        .map(drop)
        .map_err(|_| "does not answer".to_owned())
}

/// The name of the constraint that the statement broke.
pub fn constraint(error: &sqlx::Error) -> Option<&str> {
    error.as_database_error()?.constraint()
}

#[doc(hidden)]
pub mod __private {
    pub use {quartet_common, serde, sqlx, utoipa};
}
