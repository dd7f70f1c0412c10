//! Connections.

use std::{str::FromStr, time::Duration};

use quartet_common::config::{ConfigError, Database, all};
use secrecy::{ExposeSecret, SecretString};
use sqlx::{
    ConnectOptions, Connection, PgPool,
    pool::PoolConnectionMetadata,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use crate::{
    connections::{application_name, read, wait_of},
    unanswered::{self, bounded},
};

/// A connection that has been idle for longer is tested before it is used, so that a restart of
/// Postgres fails at most the requests of this interval.
const TEST_AFTER_IDLE: Duration = Duration::from_secs(1);
const TEST_TIMEOUT: Duration = Duration::from_secs(2);

/// What `migrate` sets in its sessions.
pub(crate) const OWNER_SESSION: [(&str, &str); 2] = [
    // A migration may take longer than a request's statement.
    ("statement_timeout", "0"),
    // "schema exists already, skipping" is no news.
    ("client_min_messages", "warning"),
];

/// Connection options of the role that serves requests, with the configured timeouts.
///
/// # Errors
/// When the URL is not valid. The message does not contain it.
pub fn options(settings: &Database, application: &str) -> Result<PgConnectOptions, ConfigError> {
    // Fails if there is one already. Where rustls is built with two, it does not choose.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    unanswered::allow(Duration::from_secs(settings.statement_timeout_seconds));
    named_options("database.url", &settings.url, settings, application)
}

/// Whether connections can be tried: the URLs are valid. Connects to nothing.
///
/// # Errors
/// Every URL that is not valid. The messages do not contain them.
pub fn check(settings: &Database) -> Result<(), ConfigError> {
    let optional = |key, url: &SecretString| {
        if url.expose_secret().is_empty() {
            return Ok(());
        }
        named_options(key, url, settings, "quartet-check").map(drop)
    };
    all([
        options(settings, "quartet-check").map(drop),
        optional("database.migrate_url", &settings.migrate_url),
        optional("database.read_url", &settings.read_url),
    ])
}

/// The setting that names the role of `migrate`.
pub(crate) fn owner_key(settings: &Database) -> &'static str {
    if settings.migrate_url.expose_secret().is_empty() {
        return "database.url";
    }
    "database.migrate_url"
}

/// The same of the role that owns the schema.
pub(crate) fn owner_options(settings: &Database) -> Result<PgConnectOptions, ConfigError> {
    let application = "quartet-migrate";
    if settings.migrate_url.expose_secret().is_empty() {
        if settings.pooled {
            let rule = "must be set: migrations need a session, which database.pooled rules out";
            return Err(ConfigError::invalid("database.migrate_url", rule));
        }
        return options(settings, application);
    }
    // Never through a pooler: its lock and its timeouts are of the session.
    let direct = Database {
        pooled: false,
        ..settings.clone()
    };
    let url = &settings.migrate_url;
    named_options("database.migrate_url", url, &direct, application)
}

fn named_options(
    key: &str,
    url: &SecretString,
    settings: &Database,
    application: &str,
) -> Result<PgConnectOptions, ConfigError> {
    let url = url.expose_secret();
    if url.is_empty() {
        return Err(ConfigError::invalid(key, "must be set"));
    }
    let invalid = || {
        let rule = "must be postgres://role:password@host:port/database";
        ConfigError::invalid(key, rule)
    };
    if !["postgres://", "postgresql://"]
        .iter()
        .any(|scheme| url.starts_with(scheme))
    {
        return Err(invalid());
    }
    let options = PgConnectOptions::from_str(url)
        .map_err(|_| invalid())?
        .application_name(&application_name(application, settings.pooled))
        .log_statements(tracing::log::LevelFilter::Debug)
        .log_slow_statements(tracing::log::LevelFilter::Warn, Duration::from_secs(1));
    if settings.pooled {
        // The session is not ours: nothing is set at its start, and it keeps no statement. See
        // `connections`.
        return Ok(options.extra_float_digits(None).statement_cache_capacity(0));
    }
    let timeout = format!("{}s", settings.statement_timeout_seconds);
    Ok(options.options([("statement_timeout", timeout.as_str())]))
}

/// One connection of the role that owns the schema, for what `migrate` does beside the migrations.
///
/// # Errors
/// When the URL is not valid.
pub fn owner_pool(settings: &Database) -> Result<PgPool, ConfigError> {
    let options = owner_options(settings)?.options(OWNER_SESSION);
    unanswered::allow(Duration::MAX);
    Ok(PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(Duration::from_secs(settings.acquire_timeout_seconds))
        .connect_lazy_with(options))
}

/// A pool that connects on first use, and reconnects after an outage of the database.
///
/// # Errors
/// When the URL is not valid.
pub fn pool(settings: &Database, application: &str) -> Result<PgPool, ConfigError> {
    let options = options(settings, application)?;
    Ok(pool_options(settings, |_| true).connect_lazy_with(options))
}

/// `allows` decides whether a connection may be used once more.
pub(crate) fn pool_options(
    settings: &Database,
    allows: impl Fn(&PoolConnectionMetadata) -> bool + Clone + Send + Sync + 'static,
) -> PgPoolOptions {
    let allows_again = allows.clone();
    PgPoolOptions::new()
        .max_connections(settings.max_connections)
        .acquire_timeout(Duration::from_secs(settings.acquire_timeout_seconds))
        .test_before_acquire(false)
        .before_acquire(move |connection, meta| {
            let allowed = allows(&meta);
            Box::pin(async move {
                if !allowed || meta.idle_for < TEST_AFTER_IDLE {
                    return Ok(allowed);
                }
                // One that does not answer must not take all the time for which a connection is
                // waited for.
                let tested = tokio::time::timeout(TEST_TIMEOUT, connection.ping()).await;
                Ok(matches!(tested, Ok(Ok(()))))
            })
        })
        .after_release(move |_, meta| {
            let allowed = allows_again(&meta);
            Box::pin(async move { Ok(allowed) })
        })
}

/// The readiness check of the service's Postgres.
///
/// # Errors
/// A reason without internals, for `/ready`.
pub async fn ping(db: PgPool) -> Result<(), String> {
    let select = async {
        let mut db = read(&db).await?;
        sqlx::raw_sql("SELECT 1").execute(&mut *db).await
    };
    bounded(wait_of(&db), select)
        .await
        .map(drop)
        .map_err(|_| "does not respond".to_owned())
}
