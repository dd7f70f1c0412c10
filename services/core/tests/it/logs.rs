//! The log of the binary contains no secrets and no emails.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread::{self, JoinHandle},
};

use quartet_core::MIGRATOR;
use quartet_testing::TestDatabase;
use reqwest::{Client, Method, Response};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::support::{
    ADA, MASTER_KEY, ME, PASSWORD, REFRESH, SESSIONS, Tokens, USERS, WRONG, credentials, json_of,
};

const NEW_PASSWORD: &str = "gravel-lantern-otter";

/// A running service, stopped when dropped.
struct Service {
    child: Child,
    /// Drains stdout continuously, so that the service never blocks on it.
    written: Option<JoinHandle<String>>,
    url: String,
    http: Client,
}

impl Service {
    fn start(database: &TestDatabase) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_quartet-core"))
            .arg("serve")
            .env("DATABASE_URL", database.url())
            .env("QUARTET_KEYS_MASTER_KEY", MASTER_KEY)
            .env("QUARTET_SERVER_LISTEN", "127.0.0.1:0")
            .env("QUARTET_TELEMETRY_LOG", "debug")
            .env("QUARTET_PASSWORDS_MEMORY_KIB", "64")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (found, address) = mpsc::channel();
        let written = thread::spawn(move || {
            let mut written = String::new();
            for line in output.lines().map(Result::unwrap) {
                let value: Value = serde_json::from_str(&line).unwrap();
                if let Some(address) = value["address"].as_str() {
                    let _ = found.send(address.to_owned());
                }
                written.push_str(&line);
                written.push('\n');
            }
            written
        });
        let address = address.recv().expect("the service logs its listen address");
        Self {
            child,
            written: Some(written),
            url: format!("http://{address}"),
            http: Client::new(),
        }
    }

    async fn send(&self, method: Method, path: &str, token: &str, body: &Value) -> Response {
        let request = self.http.request(method, format!("{}{path}", self.url));
        let request = request.bearer_auth(token).json(body);
        request.send().await.unwrap()
    }

    /// Stops the process with SIGTERM, as an orchestrator does. Returns its whole output.
    fn stop(mut self) -> String {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        let mut written = self.written.take().unwrap().join().unwrap();
        let mut errors = self.child.stderr.take().unwrap();
        errors.read_to_string(&mut written).unwrap();
        assert!(self.child.wait().unwrap().success(), "{written}");
        written
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_contain_no_secrets_and_no_emails() {
    let database = TestDatabase::create("core", &MIGRATOR).await;
    let service = Service::start(&database);
    let post = async |path: &str, body: Value| service.send(Method::POST, path, "x", &body).await;
    json_of(post(USERS, credentials(ADA, PASSWORD)).await, 201).await;
    json_of(post(USERS, credentials(ADA, PASSWORD)).await, 409).await;
    json_of(
        post(USERS, json!({"email": ADA, "password": [WRONG]})).await,
        422,
    )
    .await;
    json_of(post(SESSIONS, credentials(ADA, WRONG)).await, 401).await;
    let first = Tokens(json_of(post(SESSIONS, credentials(ADA, PASSWORD)).await, 201).await);
    let read = service
        .send(Method::GET, ME, first.access(), &json!({}))
        .await;
    json_of(read, 200).await;
    let refresh = json!({"refresh_token": first.refresh()});
    let second = Tokens(json_of(post(REFRESH, refresh.clone()).await, 200).await);
    let third = json!({"refresh_token": second.refresh()});
    let third = Tokens(json_of(post(REFRESH, third).await, 200).await);
    let change = json!({"password": NEW_PASSWORD, "current_password": PASSWORD});
    let changed = service
        .send(Method::PATCH, ME, third.access(), &change)
        .await;
    json_of(changed, 200).await;
    let reused = post(REFRESH, refresh).await;
    assert_eq!(reused.status(), 401, "and logged as a warning");
    let rejected = service
        .send(Method::GET, ME, third.access(), &json!({}))
        .await;
    assert_eq!(rejected.status(), 401);
    let written = service.stop();
    assert!(written.contains("refresh token reuse detected, session revoked"));
    assert!(written.contains("/v1/core/users/me"));
    let lines = written
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let reads = lines
        .filter(|line| line["route"] == ME && line["status"] == 200 && line["method"] == "GET");
    let statements: Vec<Value> = reads.map(|line| line["db_statements"].clone()).collect();
    assert_eq!(statements, [json!(1)], "session and user are read together");
    let mut secrets = vec![
        ADA,
        PASSWORD,
        NEW_PASSWORD,
        WRONG,
        MASTER_KEY,
        "$argon2id$v",
    ];
    for tokens in [&first, &second, &third] {
        secrets.push(tokens.refresh());
        secrets.push(tokens.access().rsplit('.').next().unwrap());
    }
    for secret in secrets {
        let line = written.lines().find(|line| line.contains(secret));
        assert!(line.is_none(), "{secret} in {line:?}");
    }
}
