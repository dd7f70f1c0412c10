//! The password of the database rotates while the service runs.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use quartet_core::MIGRATOR;
use quartet_testing::TestDatabase;
use sqlx::{AssertSqlSafe, Executor as _, PgConnection};

use crate::start::{GOOD_KEY, Started, serve};

/// A volume as the kubelet makes it: the files are links into `..data`, itself a link that is
/// swapped.
struct Volume {
    directory: tempfile::TempDir,
    version: u32,
}

impl Volume {
    fn new(url: &str) -> Self {
        let mut this = Self {
            directory: tempfile::tempdir().unwrap(),
            version: 0,
        };
        this.swap(url);
        symlink("..data/database_url", this.file()).unwrap();
        this
    }

    fn file(&self) -> PathBuf {
        self.path("database_url")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn swap(&mut self, url: &str) {
        self.version += 1;
        let version = format!("..{}", self.version);
        fs::create_dir(self.path(&version)).unwrap();
        fs::write(self.path(&version).join("database_url"), format!("{url}\n")).unwrap();
        symlink(&version, self.path("..next")).unwrap();
        fs::rename(self.path("..next"), self.path("..data")).unwrap();
    }
}

/// A login role of this test alone, with the rights of the service's: other tests use that one.
struct Role {
    name: String,
    admin: PgConnection,
}

impl Role {
    async fn new(database: &TestDatabase) -> Self {
        let name = format!("role_{}", database.name);
        let mut admin = database.connect_as_admin().await;
        let create = format!(
            "CREATE ROLE {name} LOGIN PASSWORD 'one' IN ROLE quartet_core;
             ALTER ROLE {name} IN DATABASE {} SET search_path = core",
            database.name
        );
        admin
            .execute(sqlx::raw_sql(AssertSqlSafe(create)))
            .await
            .unwrap();
        Self { name, admin }
    }

    fn url(&self, database: &TestDatabase, password: &str) -> String {
        let login = format!("{}:{password}@", self.name);
        database.url().replacen("quartet_core:test@", &login, 1)
    }

    async fn run(&mut self, sql: &str) {
        let sql = sql.replace("ROLE_NAME", &self.name);
        self.admin
            .execute(sqlx::raw_sql(AssertSqlSafe(sql)))
            .await
            .unwrap();
    }

    /// How many of its connections were opened before the latest `ALTER ROLE`.
    async fn connections_of_before(&mut self) -> i64 {
        let count = "SELECT count(*) FROM pg_stat_activity
            WHERE usename = $1 AND backend_start < current_setting('test.rotated')::timestamptz";
        let count = sqlx::query_scalar(count).bind(&self.name);
        count.fetch_one(&mut self.admin).await.unwrap()
    }
}

/// The service under test, with its password in a file.
fn start(database: &TestDatabase, file: &Path) -> (Started, String) {
    let mut command = serve(database, GOOD_KEY);
    command
        .env_remove("DATABASE_URL")
        .env("QUARTET_DATABASE_URL_FILE", file);
    let mut started = Started::starting(&mut command);
    let (line, _) = started.find("listening");
    let url = format!("http://{}/ready", line["address"].as_str().unwrap());
    (started, url)
}

async fn is_ready(url: &str) -> bool {
    reqwest::get(url).await.unwrap().status() == 200
}

#[tokio::test]
async fn a_password_rotates_while_the_service_runs() {
    let database = TestDatabase::create("core", &MIGRATOR).await;
    let mut role = Role::new(&database).await;
    let mut volume = Volume::new(&role.url(&database, "one"));
    let (mut service, ready) = start(&database, &volume.file());
    assert!(is_ready(&ready).await);

    // The file may come first.
    volume.swap(&role.url(&database, "two"));
    let (line, _) = service.find("changed secret refused; the previous one stays in force");
    let error = line["error"].as_str().unwrap();
    assert!(
        error.contains("refuses the role or its password"),
        "{error}"
    );
    assert!(is_ready(&ready).await, "open connections continue");
    role.run("ALTER ROLE ROLE_NAME PASSWORD 'two'").await;
    role.run("SELECT set_config('test.rotated', clock_timestamp()::text, false)")
        .await;
    let (line, _) = service.find("changed secrets are in force");
    assert_eq!(line["settings"], "database.url");
    // Those of before are closed, each at the latest when it comes back.
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        assert!(is_ready(&ready).await);
        if role.connections_of_before().await == 0 {
            break;
        }
        assert!(Instant::now() < deadline, "connections of before are kept");
    }
    // With the old password, this could not be survived.
    role.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'ROLE_NAME'")
        .await;
    let deadline = Instant::now() + Duration::from_secs(10);
    while !is_ready(&ready).await {
        assert!(Instant::now() < deadline, "it cannot connect again");
    }
}

#[tokio::test]
async fn a_secret_that_is_missing_or_wrong_changes_nothing() {
    let database = TestDatabase::create("core", &MIGRATOR).await;
    let role = Role::new(&database).await;
    let url = role.url(&database, "one");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("database_url");
    fs::write(&file, &url).unwrap();
    let (mut service, ready) = start(&database, &file);
    fs::remove_file(&file).unwrap();
    let (line, _) = service.find("secret file is missing or empty; its last value stays in force");
    assert_eq!(line["variables"], "QUARTET_DATABASE_URL_FILE");
    fs::write(&file, "mysql://s3cret@nowhere/").unwrap();
    let (line, _) = service.find("changed secret refused; the previous one stays in force");
    let error = line["error"].as_str().unwrap();
    assert!(
        error.contains("database.url") && !error.contains("s3cret"),
        "{error}"
    );
    assert!(is_ready(&ready).await);
    // A new password for the same role is taken after that, too.
    fs::write(&file, format!("{url}?application_name=other")).unwrap();
    service.find("changed secrets are in force");
    assert!(is_ready(&ready).await);
}
