//! Brings a schema up to date, and refuses to serve on one that is not.
//!
//! The owner of the schema migrates; another role serves, which holds grants only. Row-level
//! security and tables that only grow mean nothing to the owner or a superuser, so they may not
//! serve.
//!
//! Migrations are forward only. A schema may be ahead of the release that runs on it, so that
//! replicas of the old release keep serving during an upgrade; it must never be behind.

use std::time::Duration;

use quartet_common::config::{ConfigError, Database};
use sqlx::{
    ConnectOptions, Connection, PgConnection, PgPool,
    migrate::{MigrateError, Migrator},
    postgres::PgConnectOptions,
};

use crate::{
    connections::read,
    pool::{OWNER_SESSION, options, owner_key, owner_options},
};

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
    #[error(
        "the role `{role}` of database.url {power}, so that nothing keeps its statements within \
         bounds; serve as `quartet_{schema}` of db/roles.sql, and name the owner of the schema in \
         database.migrate_url"
    )]
    Unbound {
        schema: &'static str,
        role: String,
        power: &'static str,
    },
    #[error(
        "the role `{role}` has no statement_timeout, and with database.pooled none can be set at the \
         start of a session; run db/roles.sql, or \
         ALTER ROLE {role} IN DATABASE ... SET statement_timeout = '15s'"
    )]
    Endless { role: String },
    #[error(
        "the role that migrates lacks a privilege in schema `{schema}`; name the owner of the schema, \
         `quartet_{schema}_owner` of db/roles.sql, in database.migrate_url"
    )]
    NotOwner {
        schema: &'static str,
        source: MigrateError,
    },
    #[error("schema `{schema}` could not be migrated")]
    Migrate {
        schema: &'static str,
        source: MigrateError,
    },
    #[error("the database does not respond at {address} ({key}): {reason}")]
    Unreachable {
        key: &'static str,
        address: String,
        reason: String,
    },
    // Without a source: the text contains what matters of it.
    #[error("{}", refusal(.0))]
    Database(sqlx::Error),
}

impl From<sqlx::Error> for SchemaError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

impl SchemaError {
    /// Of an attempt to connect with these options, which the setting `key` has named.
    fn of_connecting(error: sqlx::Error, key: &'static str, options: &PgConnectOptions) -> Self {
        match error {
            sqlx::Error::Io(cause) => Self::unreachable(key, options, cause.to_string()),
            other => Self::Database(other),
        }
    }

    fn unreachable(key: &'static str, options: &PgConnectOptions, reason: String) -> Self {
        let address = match options.get_socket() {
            Some(directory) => directory.display().to_string(),
            None => format!("{}:{}", options.get_host(), options.get_port()),
        };
        Self::Unreachable {
            key,
            address,
            reason,
        }
    }
}

/// A database that refuses something has responded.
fn refusal(error: &sqlx::Error) -> String {
    let Some(refused) = error.as_database_error() else {
        return format!("the database does not respond: {error}");
    };
    let code = refused.code().unwrap_or_default();
    let what = match &*code {
        "28P01" | "28000" => "the database refuses the role or its password",
        "3D000" => "the database does not exist",
        "42501" => "the role lacks a privilege",
        // PgBouncer, about what is set at the start of a session.
        "08P01" if refused.message().contains("startup parameter") => {
            "a pooler refuses the connection; set database.pooled"
        }
        _ => "the database refuses",
    };
    format!(
        "{what} (see database.url, or database.migrate_url for `migrate`): {} ({code})",
        refused.message()
    )
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
    let options = owner_options(settings)?.options(OWNER_SESSION);
    let key = owner_key(settings);
    let mut connection = options
        .connect()
        .await
        .map_err(|error| SchemaError::of_connecting(error, key, &options))?;
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
    // Before anything else: even what changes nothing the second time fails beside another that does it.
    lock(connection).await?;
    let result = run_locked(migrator, connection, schema).await;
    unlock(connection).await?;
    result
}

/// One connection in place of those of `owner`, for what `migrate` creates beside the migrations. Until
/// it is closed, other replicas wait as they do for migrations.
///
/// # Errors
/// When the database does not respond.
pub async fn migrating(owner: &PgPool) -> Result<PgPool, sqlx::Error> {
    let options = owner.options().clone();
    // Another connection would not have the lock.
    let options = options
        .max_connections(1)
        .idle_timeout(None)
        .max_lifetime(None);
    let pool = options.connect_lazy_with(PgConnectOptions::clone(&owner.connect_options()));
    lock(&mut *read(&pool).await?).await?;
    Ok(pool)
}

async fn run_locked(
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
    // Its own lock would be subject to the timeout of `lock`.
    migrator.set_locking(false);
    let result = migrator.run(&mut *connection).await;
    result.map_err(|source| match source {
        MigrateError::VersionMismatch(version) => SchemaError::Changed { schema, version },
        source if is_denied(&source) => SchemaError::NotOwner { schema, source },
        source => SchemaError::Migrate { schema, source },
    })?;
    Ok(protect(connection, schema, &migrator.table_name).await?)
}

fn is_denied(error: &MigrateError) -> bool {
    let (MigrateError::Execute(cause) | MigrateError::ExecuteMigration(cause, _)) = error else {
        return false;
    };
    let refused = cause.as_database_error();
    refused.is_some_and(|refused| refused.code().as_deref() == Some("42501"))
}

/// The role that serves reads what is applied, and changes nothing of it.
async fn protect(
    connection: &mut PgConnection,
    schema: &str,
    table: &str,
) -> Result<(), sqlx::Error> {
    let role = format!("quartet_{schema}");
    let exists =
        "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1 AND rolname <> current_user)";
    let exists: bool = sqlx::query_scalar(exists)
        .bind(&role)
        .fetch_one(&mut *connection)
        .await?;
    if exists {
        let statement = format!("REVOKE INSERT, UPDATE, DELETE ON {table} FROM {role}");
        sqlx::query(sqlx::AssertSqlSafe(statement))
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
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

/// Requires that every migration is applied, and that the role of the pool is bound by the rules of
/// the schema.
///
/// # Errors
/// [`SchemaError::Behind`] naming the first missing migration and how to apply it, and
/// [`SchemaError::Unbound`].
pub async fn ensure_current(
    migrator: &Migrator,
    pool: &PgPool,
    schema: &'static str,
) -> Result<(), SchemaError> {
    let table = &migrator.table_name;
    let mut db = read(pool).await?;
    let exists: bool = sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL")
        .bind(table.as_ref())
        .fetch_one(&mut *db)
        .await?;
    let applied: Vec<i64> = if exists {
        let statement = format!("SELECT version FROM {table} WHERE success ORDER BY version");
        sqlx::query_scalar(sqlx::AssertSqlSafe(statement))
            .fetch_all(&mut *db)
            .await?
    } else {
        Vec::new()
    };
    let missing = migrator
        .iter()
        .find(|migration| !applied.contains(&migration.version));
    if let Some(migration) = missing {
        return Err(SchemaError::Behind {
            schema,
            version: migration.version,
            name: migration.description.to_string(),
        });
    }
    ensure_bound(&mut db, schema).await
}

/// Refuses a role to whom row-level security and revoked privileges do not apply, and statements
/// without an end.
async fn ensure_bound(db: &mut PgConnection, schema: &'static str) -> Result<(), SchemaError> {
    let (role, bypasses, owns, endless): (String, bool, bool, bool) = sqlx::query_as(
        "SELECT r.rolname::text, r.rolsuper OR r.rolbypassrls,
                coalesce(pg_has_role(r.oid, n.nspowner, 'MEMBER'), false),
                current_setting('statement_timeout') = '0'
         FROM pg_roles AS r LEFT JOIN pg_namespace AS n ON n.nspname = $1
         WHERE r.rolname = current_user",
    )
    .bind(schema)
    .fetch_one(db)
    .await?;
    let power = match (bypasses, owns, endless) {
        (true, ..) => "bypasses row-level security",
        (_, true, _) => "owns the schema",
        (_, _, true) => return Err(SchemaError::Endless { role }),
        _ => return Ok(()),
    };
    Err(SchemaError::Unbound {
        schema,
        role,
        power,
    })
}

/// The reason behind a pool's timeout: the pool retries until its time is up and forgets why. Of what
/// cannot be reached, the address.
pub async fn explain(error: SchemaError, settings: &Database) -> SchemaError {
    let (SchemaError::Database(_), Ok(options)) = (&error, options(settings, "quartet-check"))
    else {
        return error;
    };
    let key = "database.url";
    let cause = match error {
        SchemaError::Database(sqlx::Error::PoolTimedOut) => {
            let timeout = Duration::from_secs(settings.acquire_timeout_seconds);
            match tokio::time::timeout(timeout, options.connect()).await {
                Ok(Err(cause)) => cause,
                Ok(Ok(_)) => sqlx::Error::PoolTimedOut,
                Err(_) => {
                    let reason = format!("not connected after {} s", timeout.as_secs());
                    return SchemaError::unreachable(key, &options, reason);
                }
            }
        }
        SchemaError::Database(cause) => cause,
        other => return other,
    };
    SchemaError::of_connecting(cause, key, &options)
}
