//! Connections to a Postgres with TLS, whose certificate is verified.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use quartet_ca::{Authority, Request, Validity};
use quartet_common::config::Database;
use quartet_db as db;
use quartet_devstack::postgres::{Options, Postgres};
use tempfile::TempDir;

/// A server with a certificate for `localhost`, at the address of that name alone.
struct Server {
    postgres: Postgres,
    directory: TempDir,
    authority: Authority,
}

impl Server {
    fn start() -> Self {
        let day = Validity::of(Duration::from_hours(24));
        let this = Self {
            postgres: Postgres::find_or_start(&Options::throw_away()).unwrap(),
            directory: tempfile::tempdir().unwrap(),
            authority: Authority::create("test", day).unwrap(),
        };
        let identity = this.authority.issue(&Request::of(&["localhost"])).unwrap();
        // In its own directory: it may run as another user.
        let data = PathBuf::from(this.query("SHOW data_directory").trim());
        let owner = fs::metadata(&data).unwrap();
        for (file, text) in [
            ("server.crt", identity.certificate),
            ("server.key", identity.key),
        ] {
            let path = data.join(file);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            chown(&path, Some(owner.uid()), Some(owner.gid())).unwrap();
        }
        this.query("ALTER SYSTEM SET ssl = on");
        this.query("SELECT pg_reload_conf()");
        this
    }

    fn query(&self, sql: &str) -> String {
        self.postgres.query(self.postgres.admin_url(), sql).unwrap()
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    fn settings(&self, host: &str, mode: &str, authority: &Path) -> Database {
        let url = self.postgres.admin_url().reveal();
        let named = url.replace("@127.0.0.1:", &format!("@{host}:"));
        assert!(named.contains(host), "the host of the URL is known");
        let joint = if named.contains('?') { '&' } else { '?' };
        let url = format!(
            "{named}{joint}sslmode={mode}&sslrootcert={}",
            authority.display()
        );
        Database {
            url: url.into(),
            migrate_url: String::new().into(),
            read_url: String::new().into(),
            read_max_lag_seconds: 10,
            pooled: false,
            max_connections: 1,
            acquire_timeout_seconds: 5,
            statement_timeout_seconds: 5,
        }
    }
}

async fn is_encrypted(settings: &Database) -> Result<bool, sqlx::Error> {
    let pool = db::pool(settings, "test").unwrap();
    let mut connection = db::read(&pool).await?;
    let sql = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    sqlx::query_scalar(sql).fetch_one(&mut *connection).await
}

async fn until(settings: &Database, is_wanted: fn(&Result<bool, sqlx::Error>) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let encrypted = is_encrypted(settings).await;
        if is_wanted(&encrypted) {
            return;
        }
        assert!(Instant::now() < deadline, "timed out: {encrypted:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn the_certificate_of_the_server_is_verified() {
    let server = tokio::task::spawn_blocking(Server::start).await.unwrap();
    let day = Validity::of(Duration::from_hours(24));
    let other = Authority::create("other", day).unwrap();
    let trusted = server.file("trusted.pem", server.authority.certificate());
    let wrong = server.file("wrong.pem", other.certificate());
    let settings = server.settings("localhost", "verify-full", &trusted);
    // The server reads its certificate shortly after the reload was requested.
    until(&settings, |encrypted| matches!(encrypted, Ok(true))).await;
    for (host, mode, authority) in [
        // Another authority, and another name.
        ("localhost", "verify-full", &wrong),
        ("localhost", "verify-ca", &wrong),
        ("127.0.0.1", "verify-full", &trusted),
    ] {
        let settings = server.settings(host, mode, authority);
        let error = is_encrypted(&settings).await.unwrap_err().to_string();
        assert!(
            error.contains("ertificate") || error.contains("pool"),
            "{error}"
        );
        let pool = db::pool(&settings, "test").unwrap();
        assert!(db::ping(pool).await.is_err(), "{host} {mode}");
    }
    // Without TLS at the server, nothing is sent in the clear.
    let owned = tokio::task::spawn_blocking(move || {
        server.query("ALTER SYSTEM SET ssl = off");
        server.query("SELECT pg_reload_conf()");
        server
    });
    let server = owned.await.unwrap();
    let settings = server.settings("localhost", "verify-full", &trusted);
    until(&settings, Result::is_err).await;
    tokio::task::spawn_blocking(move || drop(server))
        .await
        .unwrap();
}
