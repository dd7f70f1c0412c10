//! A binary that cannot start prints a line for each cause.

use std::{
    fs,
    io::{BufRead, BufReader, ErrorKind, Lines},
    net::{TcpListener, TcpStream},
    process::{Child, ChildStdout, Command, Stdio},
};

use quartet_core::MIGRATOR;
use quartet_testing::{TestDatabase, child::survives_hangup};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

pub(crate) const GOOD_KEY: &str =
    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
/// Nothing listens on port 1.
const UNREACHABLE: &str = "postgres://user:secret@127.0.0.1:1/nothing";

#[test]
fn a_failed_start_prints_a_line_for_each_cause() {
    let cases: [(&[(&str, &str)], &str); 6] = [
        (
            &[],
            "quartet-core: setting `keys.master_key` (QUARTET_KEYS_MASTER_KEY): must be set; \
             generate it with `openssl rand -hex 32`\n\
             setting `database.url` (QUARTET_DATABASE_URL): must be set\n",
        ),
        (
            &[("QUARTET_KEYS_MASTER_KEY", "abc")],
            "quartet-core: setting `keys.master_key` (QUARTET_KEYS_MASTER_KEY): must be 64 \
             hexadecimal digits; generate it with `openssl rand -hex 32`\n\
             setting `database.url` (QUARTET_DATABASE_URL): must be set\n",
        ),
        (
            &[("QUARTET_KEYS_MASTER_KEY", GOOD_KEY), ("RUST_LOG", "inof")],
            "quartet-core: setting `telemetry.log` (RUST_LOG): must be a level (error, warn, info, \
             debug, trace, off), or a level and directives such as `info,sqlx=debug`\n\
             setting `database.url` (QUARTET_DATABASE_URL): must be set\n",
        ),
        (
            &[("QUARTET_KEYS_MASTER_KEY", GOOD_KEY)],
            "quartet-core: setting `database.url` (QUARTET_DATABASE_URL): must be set\n",
        ),
        (
            &[("QUARTET_DATABASE_URL_FILE", "/run/secrets/none")],
            "quartet-core: QUARTET_DATABASE_URL_FILE: cannot read /run/secrets/none: \
             No such file or directory (os error 2)\n",
        ),
        (
            &[
                ("QUARTET_KEYS_MASTER_KEY", GOOD_KEY),
                ("QUARTET_DATABASE_URL", UNREACHABLE),
                ("QUARTET_DATABASE_ACQUIRE_TIMEOUT_SECONDS", "1"),
            ],
            "quartet-core: the database does not respond at 127.0.0.1:1 (database.url): \
             Connection refused (os error 111)\n",
        ),
    ];
    for (environment, expected) in cases {
        assert_eq!(refusal(environment), expected);
    }
}

#[test]
fn sighup_ends_no_command() {
    assert!(survives_hangup(env!("CARGO_BIN_EXE_quartet-core")));
}

/// A service that has started, killed when dropped.
pub(crate) struct Started {
    pub(crate) child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    address: String,
}

impl Started {
    pub(crate) fn new(mut command: Command) -> Self {
        let mut this = Self::starting(&mut command);
        let listening = this.find("listening").0;
        listening["address"]
            .as_str()
            .unwrap()
            .clone_into(&mut this.address);
        this
    }

    /// A process that may still wait for something.
    pub(crate) fn starting(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self {
            child,
            lines,
            address: String::new(),
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().try_into().unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// The next line with this message, and those before it.
    pub(crate) fn find(&mut self, message: &str) -> (Value, Vec<Value>) {
        let mut before = Vec::new();
        loop {
            let line = self.lines.next().unwrap().unwrap();
            let line: Value = serde_json::from_str(&line).unwrap();
            if line["msg"] == message {
                return (line, before);
            }
            before.push(line);
        }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn serve(database: &TestDatabase, key: &str) -> Command {
    command("serve", database, key)
}

fn command(name: &str, database: &TestDatabase, key: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quartet-core"));
    command
        .arg(name)
        .env_clear()
        .env("QUARTET_SERVER_LISTEN", "127.0.0.1:0")
        .env("QUARTET_KEYS_MASTER_KEY", key)
        .env("DATABASE_URL", database.url());
    command
}

#[tokio::test]
async fn a_service_listens_only_after_every_check() {
    let database = TestDatabase::create("core", &MIGRATOR).await;
    drop(Started::new(serve(&database, GOOD_KEY)));
    let other = GOOD_KEY.replace('0', "1");
    let output = serve(&database, &other).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let (stdout, stderr) = (output.stdout, String::from_utf8(output.stderr).unwrap());
    assert!(
        stderr.contains("another keys.master_key, which"),
        "{stderr}"
    );
    assert!(!String::from_utf8(stdout).unwrap().contains("listening"));
}

#[tokio::test]
async fn sighup_names_what_needs_a_restart_and_changes_the_filter() {
    let database = TestDatabase::create("core", &MIGRATOR).await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("core.toml");
    fs::write(&file, "[sessions]\nmax_per_user = 50\n").unwrap();
    let mut command = serve(&database, GOOD_KEY);
    command.arg("--config").arg(&file);
    let mut started = Started::new(command);
    let pid = Pid::from_raw(started.child.id().try_into().unwrap()).unwrap();
    fs::write(&file, "[sessions]\nmax_per_user = 51\n").unwrap();
    kill_process(pid, Signal::HUP).unwrap();
    let (line, before) = started.find("changed settings take effect after a restart");
    assert_eq!(line["settings"], "sessions.max_per_user");
    assert!(
        before
            .iter()
            .all(|line| line["msg"] != "log filter changed")
    );
    fs::write(&file, "[telemetry]\nlog = \"inof\"\n").unwrap();
    kill_process(pid, Signal::HUP).unwrap();
    let (line, before) = started.find("log filter not changed");
    let error = line["error"].as_str().unwrap();
    assert!(error.contains("core.toml:2:1"), "{error}");
    assert!(
        before
            .iter()
            .all(|line| line["msg"] != "log filter changed")
    );
    fs::write(&file, "[telemetry]\nlog = \"warn\"\n").unwrap();
    kill_process(pid, Signal::HUP).unwrap();
    assert_eq!(started.find("log filter changed").0["filter"], "warn");
}

fn refusal(environment: &[(&str, &str)]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_quartet-core"))
        .arg("serve")
        .env_clear()
        .env("QUARTET_SERVER_LISTEN", "127.0.0.1:0")
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8(output.stderr).unwrap()
}

#[tokio::test]
async fn serve_waits_for_a_database_that_is_not_migrated_yet() {
    let database = TestDatabase::empty("core").await;
    let command = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_quartet-core"));
        command
            .args(arguments)
            .env_clear()
            .env("QUARTET_SERVER_LISTEN", "127.0.0.1:0")
            .env("QUARTET_KEYS_MASTER_KEY", GOOD_KEY)
            .env("QUARTET_DATABASE_URL", database.url())
            .env("QUARTET_DATABASE_MIGRATE_URL", database.owner_url());
        command
    };
    let refused = command(&["serve"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));

    // A client must be refused rather than kept waiting while the schema is awaited.
    let port = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = port.local_addr().unwrap();
    let mut waiting = command(&["serve", "--wait"]);
    waiting.env("QUARTET_SERVER_LISTEN", address.to_string());
    // An address in use is reported at once.
    let taken = waiting.output().unwrap();
    assert_eq!(taken.status.code(), Some(1));
    let stderr = String::from_utf8(taken.stderr).unwrap();
    let expected = format!("cannot listen on {address} (server.listen)");
    assert!(stderr.contains(&expected), "{stderr}");
    drop(port);
    let mut serving = Started::starting(&mut waiting);
    serving.find("waiting for the database");
    let refused = TcpStream::connect(address).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    assert!(command(&["migrate"]).status().unwrap().success());
    serving.find("listening");
    TcpStream::connect(address).unwrap();
}

/// Runs `check` on a file, and returns its exit code, stdout and stderr.
fn check(text: &str, environment: &[(&str, &str)]) -> (Option<i32>, String, String) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("core.toml");
    fs::write(&file, text).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_quartet-core"))
        .args(["check", "--config", file.to_str().unwrap()])
        .env_clear()
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let stderr = text(output.stderr).replace(file.to_str().unwrap(), "FILE");
    (output.status.code(), text(output.stdout), stderr)
}

#[test]
fn check_reports_every_error_without_a_database_and_without_secrets() {
    let good = [
        ("QUARTET_KEYS_MASTER_KEY", GOOD_KEY),
        ("QUARTET_DATABASE_URL", UNREACHABLE),
    ];
    let (code, stdout, stderr) = check("[sessions]\nmax_per_user = 7\n", &good);
    assert_eq!(
        (code, stdout.as_str()),
        (Some(0), "configuration is valid\n"),
        "{stderr}"
    );
    let text = "[server]\nhttp3 = true\nlisten = \"s3cret\"\nmax_connections = 0\n\
                [sessions]\nmax_per_user = \"s3cret\"\n";
    let bad = [
        ("QUARTET_KEYS_MASTER_KEY", "s3cret"),
        ("QUARTET_DATABASE_URL", "mysql://s3cret"),
        ("QUARTET_PASSWORDS_MIN_LENGTH", "s3cret"),
        ("QUARTET_THROTTLE_ACCOUNT_FREE_FAILURES", "9999999"),
        ("QUARTET_TYPO", "s3cret"),
    ];
    let (code, stdout, stderr) = check(text, &bad);
    assert_eq!((code, stdout.as_str()), (Some(1), ""));
    for expected in [
        "FILE:2:1: unknown setting `server.http3`",
        "environment: unknown setting `QUARTET_TYPO`",
        "setting `passwords.min_length` (QUARTET_PASSWORDS_MIN_LENGTH): must be an integer",
        "setting `server.listen` (FILE:3:1): ",
        "setting `sessions.max_per_user` (FILE:6:1): must be an integer from 0 to 4294967295",
        "setting `server.max_connections` (FILE:4:1): must be between 1 and ",
        "setting `throttle.account_free_failures` (QUARTET_THROTTLE_ACCOUNT_FREE_FAILURES): must be",
        "setting `keys.master_key` (QUARTET_KEYS_MASTER_KEY): must be 64 hexadecimal digits",
        "setting `database.url` (QUARTET_DATABASE_URL): must be postgres://",
    ] {
        assert!(stderr.contains(expected), "{expected}\n{stderr}");
    }
    assert_eq!(stderr.lines().count(), 9, "{stderr}");
    assert!(!stderr.contains("s3cret"), "{stderr}");
}

/// The last attempt does not last longer than what is left of the time.
#[test]
fn the_time_to_wait_for_a_database_is_kept() {
    let started = std::time::Instant::now();
    let output = Command::new(env!("CARGO_BIN_EXE_quartet-core"))
        .args(["serve", "--wait=1"])
        .env_clear()
        .env("QUARTET_SERVER_LISTEN", "127.0.0.1:0")
        .env("QUARTET_KEYS_MASTER_KEY", GOOD_KEY)
        .env("QUARTET_DATABASE_URL", UNREACHABLE)
        .env("QUARTET_DATABASE_ACQUIRE_TIMEOUT_SECONDS", "60")
        .output()
        .unwrap();
    let took = started.elapsed();
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("Connection refused"), "{stderr}");
    assert!(took.as_secs() < 20, "{took:?}");
}

#[tokio::test]
async fn migrating_as_the_role_that_serves_names_the_setting() {
    let database = TestDatabase::create("core", &MIGRATOR).await;
    let output = command("migrate", &database, GOOD_KEY).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("in database.migrate_url"), "{stderr}");
}

#[tokio::test]
async fn a_service_that_waits_for_its_database_can_be_stopped() {
    let database = TestDatabase::empty("core").await;
    let mut command = serve(&database, GOOD_KEY);
    command.arg("--wait=86400");
    let mut waiting = Started::starting(&mut command);
    waiting.find("waiting for the database");
    waiting.signal(Signal::TERM);
    let (_, before) = waiting.find("stopped");
    assert!(before.iter().all(|line| line["msg"] != "listening"));
    assert!(waiting.child.wait().unwrap().success());
}

#[tokio::test]
async fn variables_of_kubernetes_are_passed_over_in_one_line() {
    let database = TestDatabase::create("core", &MIGRATOR).await;
    let mut command = serve(&database, GOOD_KEY);
    command.envs([
        ("QUARTET_CORE_SERVICE_HOST", "10.96.7.3"),
        ("QUARTET_CORE_SERVICE_PORT_HTTP", "8081"),
        ("QUARTET_CORE_PORT", "tcp://10.96.7.3:8081"),
        ("QUARTET_CORE_PORT_8081_TCP_ADDR", "10.96.7.3"),
    ]);
    let mut started = Started::starting(&mut command);
    let (line, _) = started.find("variables of Kubernetes services ignored");
    let ignored = line["ignored"].as_str().unwrap();
    assert_eq!(ignored.split(", ").count(), 4, "{ignored}");
    started.find("listening");

    let stderr = refusal(&[("QUARTET_SERVER_PORT", "8080")]);
    assert!(
        stderr.contains("unknown setting `QUARTET_SERVER_PORT`"),
        "{stderr}"
    );
}

/// Row-level security and revoked privileges mean nothing to them.
#[tokio::test]
async fn the_owner_of_the_schema_and_a_superuser_may_not_serve() {
    let database = TestDatabase::create("core", &MIGRATOR).await;
    for (url, power) in [
        (database.owner_url(), "owns the schema"),
        (database.admin_url(), "bypasses row-level security"),
    ] {
        let stderr = refusal(&[
            ("QUARTET_DATABASE_URL", url.as_str()),
            ("QUARTET_KEYS_MASTER_KEY", GOOD_KEY),
        ]);
        assert!(stderr.contains(power), "{stderr}");
        assert!(stderr.contains("serve as `quartet_core`"), "{stderr}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_serves_probes_alone_and_works_on_durable_jobs() {
    let database = TestDatabase::create("core", &MIGRATOR).await;
    let mut db = database.connect_as_role().await;
    let idle = command("serve", &database, GOOD_KEY)
        .env("QUARTET_WORKER_IN_SERVE", "false")
        .stdout(Stdio::null())
        .spawn();
    let mut idle = idle.unwrap();
    for statement in ["SELECT add_job('purge')", "SELECT add_job('unknown')"] {
        sqlx::query(statement).execute(&mut db).await.unwrap();
    }
    let worker = Started::new(command("worker", &database, GOOD_KEY));
    let get = async |path: &str| {
        let url = format!("http://{}{path}", worker.address);
        reqwest::get(url).await.unwrap().status()
    };
    assert_eq!(get("/ready").await, 200);
    assert_eq!(get("/metrics").await, 200);
    assert_eq!(get("/v1/core/users/me").await, 404);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    loop {
        let left = sqlx::query_scalar("SELECT task_identifier FROM jobs ORDER BY 1");
        let left: Vec<String> = left.fetch_all(&mut db).await.unwrap();
        if left == ["unknown"] {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{left:?}");
    }
    let workers = "SELECT count(*) FROM _private_workers";
    let workers: i64 = sqlx::query_scalar(workers)
        .fetch_one(&mut db)
        .await
        .unwrap();
    assert_eq!(workers, 1, "the replica leaves the work to the worker");
    idle.kill().unwrap();
    idle.wait().unwrap();
}
