//! Brings a schema up to date, and refuses to serve on one that is not.
//!
//! Migrations are forward only. A schema may be ahead of the release that runs on it, so that
//! replicas of the old release keep serving during an upgrade; it must never be behind.

use std::time::Duration;

use quartet_common::config::{ConfigError, Database};
use sqlx::{
    ConnectOptions, Connection, PgConnection, PgPool,
    migrate::{MigrateError, Migrator},
};

use crate::pool::options;

/// How long a migration may wait for the lock of a table.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);
const MIGRATION_LOCK: i64 = 0x5155_4152_5445_5402;

/// Why a schema is not usable.
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
    #[error("the database does not respond: {0}")]
    Database(#[from] sqlx::Error),
}

/// Applies the pending migrations. Replicas may do so at the same time: one waits for the other.
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
    // CREATE SCHEMA needs a privilege on the database even where the schema exists.
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
    // Its own lock would be subject to the timeout below.
    migrator.set_locking(false);
    lock(connection).await?;
    let result = migrator.run(&mut *connection).await;
    unlock(connection).await?;
    result.map_err(|source| match source {
        MigrateError::VersionMismatch(version) => SchemaError::Changed { schema, version },
        source => SchemaError::Migrate { schema, source },
    })
}

/// Waits for migrations of other replicas. From then on a statement that waits for the lock of a
/// table fails soon: everything that uses the table would wait behind it.
async fn lock(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let timeout = format!("SET lock_timeout = '{}s'", LOCK_TIMEOUT.as_secs());
    for statement in [
        format!("SELECT pg_advisory_lock({MIGRATION_LOCK})"),
        timeout,
    ] {
        sqlx::raw_sql(sqlx::AssertSqlSafe(statement))
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

async fn unlock(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let statement = format!("RESET lock_timeout; SELECT pg_advisory_unlock({MIGRATION_LOCK})");
    sqlx::raw_sql(sqlx::AssertSqlSafe(statement))
        .execute(&mut *connection)
        .await?;
    Ok(())
}

/// # Errors
/// [`SchemaError::Behind`] naming the first missing migration and how to apply it.
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

/// The reason behind a pool's timeout: the pool retries until its time is up and forgets why.
pub async fn explain(error: SchemaError, settings: &Database) -> SchemaError {
    let (SchemaError::Database(sqlx::Error::PoolTimedOut), Ok(options)) =
        (&error, options(settings, "quartet-check"))
    else {
        return error;
    };
    let timeout = Duration::from_secs(settings.acquire_timeout_seconds);
    match tokio::time::timeout(timeout, options.connect()).await {
        Ok(Err(cause)) => cause.into(),
        _ => error,
    }
}
