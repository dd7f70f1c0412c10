use std::{
    net::SocketAddr,
    ops::Deref,
    sync::{Arc, LazyLock},
    time::{Duration, Instant, SystemTime},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, TimeDelta, Utc};
use quartet_common::{
    clock::Clock,
    config::{self, COMMON_DEFAULTS},
};
use quartet_core::{AppState, Config, MIGRATOR, Service};
use quartet_events::Signer;
use quartet_service::{Base, Service as _};
use quartet_telemetry::metrics::Metrics;
use quartet_testing::{
    POOLED, Pooler, TestDatabase, Watch, contract::Contract, metrics::assert_documented,
};
use reqwest::{Method, RequestBuilder, Response};
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

pub(crate) use quartet_testing::{json_of, problem_of};

pub(crate) const ADA: &str = "ada@example.com";
pub(crate) const EVE: &str = "eve@example.com";
pub(crate) const PASSWORD: &str = "tangerine-violin-moss";
pub(crate) const WRONG: &str = "wrong wrong wrong wrong";
pub(crate) const ME: &str = "/v1/core/users/me";
pub(crate) const USERS: &str = "/v1/core/users";
pub(crate) const SESSIONS: &str = "/v1/core/sessions";
pub(crate) const REFRESH: &str = "/v1/core/sessions/refresh";
pub(crate) const JWKS: &str = "/.well-known/jwks.json";
pub(crate) const MASTER_KEY: &str =
    "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// Every response is checked against the committed document.
static CONTRACT: LazyLock<Contract> =
    LazyLock::new(|| Contract::new(include_str!("../../openapi.json")));
/// How long a test waits for a condition.
const TIMEOUT: Duration = Duration::from_secs(20);

/// A service with its own database and clock.
pub(crate) struct TestApp {
    pub(crate) clock: Clock,
    pub(crate) database: TestDatabase,
    pooler: Option<Pooler>,
    main: Replica,
}

/// One of several services on a database.
pub(crate) struct Replica {
    pub(crate) address: SocketAddr,
    pub(crate) state: AppState,
    metrics: Metrics,
    http: reqwest::Client,
    _stop: DropGuard,
    _watch: Arc<Watch>,
}

impl Deref for TestApp {
    type Target = Replica;

    fn deref(&self) -> &Replica {
        &self.main
    }
}

/// The defaults with cheap hashes. The loopback is a trusted proxy, so that a test can choose the
/// client IP.
pub(crate) fn config() -> Config {
    let mut config: Config = config::load(&[COMMON_DEFAULTS, Service::DEFAULTS], None, []).unwrap();
    config.server.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()];
    config.keys.master_key = SecretString::from(MASTER_KEY);
    config.passwords.memory_kib = 64;
    config.passwords.iterations = 1;
    config
}

impl TestApp {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let database = TestDatabase::create("core", &MIGRATOR).await;
        let pooler = std::env::var_os(POOLED).and_then(|_| Pooler::start(&database));
        Self::start_on(database, pooler, change).await
    }

    /// Behind PgBouncer; `None` where that is not installed.
    pub(crate) async fn start_pooled() -> Option<Self> {
        let database = TestDatabase::create("core", &MIGRATOR).await;
        let pooler = Some(Pooler::start(&database)?);
        Some(Self::start_on(database, pooler, |_| {}).await)
    }

    async fn start_on(
        database: TestDatabase,
        pooler: Option<Pooler>,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let clock = Clock::manual(DateTime::<Utc>::from(SystemTime::now()));
        let settings = pooler.as_ref().map(|pooler| pooler.settings(&database));
        let change = |config: &mut Config| {
            config.database = settings.unwrap_or_else(|| config.database.clone());
            change(config);
        };
        let main = Replica::start(&database, &clock, change).await;
        main.state.run_jobs_once().await.unwrap();
        Self {
            clock,
            database,
            pooler,
            main,
        }
    }

    /// Another replica. It has read the keys unless `change` sets another master key.
    pub(crate) async fn replica(&self, change: impl FnOnce(&mut Config)) -> Replica {
        let pooler = self.pooler.as_ref();
        let settings = pooler.map(|pooler| pooler.settings(&self.database));
        let change = |config: &mut Config| {
            config.database = settings.unwrap_or_else(|| config.database.clone());
            change(config);
        };
        let replica = Replica::start(&self.database, &self.clock, change).await;
        let _ = replica.state.run_jobs_once().await;
        replica
    }

    pub(crate) fn advance(&self, seconds: i64) {
        self.clock.advance(TimeDelta::seconds(seconds));
    }

    /// A request of another part of Quartet, signed as events are.
    pub(crate) async fn ask_signed(&self, secret: &str, path: &str, body: &Value) -> Response {
        let body = body.to_string();
        let signer = Signer::new(&secret.into()).unwrap();
        let request = self.request(Method::POST, path);
        let request = request.headers(signer.sign("test", self.clock.now(), body.as_bytes()));
        let request = request.header("content-type", "application/json");
        request.body(body).send().await.unwrap()
    }

    /// The result of a statement run as a superuser.
    pub(crate) async fn number(&self, statement: &'static str) -> i64 {
        let mut admin = self.database.connect_as_admin().await;
        sqlx::query_scalar(statement)
            .fetch_one(&mut admin)
            .await
            .unwrap()
    }

    /// Waits until a query in this database waits for a lock.
    pub(crate) async fn until_a_query_waits_for_a_lock(&self) {
        self.until_zero(
            "SELECT (count(*) = 0)::int::bigint FROM pg_stat_activity
             WHERE datname = current_database() AND wait_event_type = 'Lock'",
        )
        .await;
    }

    /// Waits until a statement returns 0.
    pub(crate) async fn until_zero(&self, statement: &'static str) {
        let deadline = Instant::now() + TIMEOUT;
        let mut admin = self.database.connect_as_admin().await;
        loop {
            let value: i64 = sqlx::query_scalar(statement)
                .fetch_one(&mut admin)
                .await
                .unwrap();
            if value == 0 {
                return;
            }
            assert!(Instant::now() < deadline, "{statement}: {value}");
        }
    }

    /// Waits until a condition holds.
    pub(crate) async fn until(&self, condition: impl Fn() -> bool) {
        let deadline = Instant::now() + TIMEOUT;
        while !condition() {
            assert!(Instant::now() < deadline, "the condition never held");
            tokio::task::yield_now().await;
        }
    }
}

impl Replica {
    /// Starts serving without having read the keys.
    pub(crate) async fn start(
        database: &TestDatabase,
        clock: &Clock,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let mut config = config();
        config.database = database.settings();
        change(&mut config);
        let stop = CancellationToken::new();
        let base = Base::new::<Service>(&config, clock.clone(), stop.clone()).unwrap();
        let replica = quartet_service::Replica::<Service>::new(config, base).unwrap();
        let (state, metrics) = (replica.state.clone(), replica.base.metrics.clone());
        let watch = Arc::new(Watch::new(&CONTRACT));
        let around = Arc::clone(&watch);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(replica.serve(listener, move |router| around.around(router)));
        Self {
            address,
            state,
            metrics,
            http: reqwest::Client::new(),
            _stop: stop.drop_guard(),
            _watch: watch,
        }
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http
            .request(method, format!("http://{}{path}", self.address))
    }

    pub(crate) async fn get(&self, path: &str, token: &str) -> Response {
        let request = self.request(Method::GET, path).bearer_auth(token);
        request.send().await.unwrap()
    }

    pub(crate) async fn delete(&self, path: &str, token: &str) -> Response {
        let request = self.request(Method::DELETE, path).bearer_auth(token);
        request.send().await.unwrap()
    }

    pub(crate) async fn delete_account(&self, token: &str, password: &str) -> Response {
        let request = self.request(Method::DELETE, ME).bearer_auth(token);
        let body = json!({"current_password": password});
        request.json(&body).send().await.unwrap()
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Response {
        let request = self.request(Method::POST, path).json(body);
        request.send().await.unwrap()
    }

    pub(crate) async fn patch(&self, token: &str, body: &Value) -> Response {
        let request = self.request(Method::PATCH, ME).bearer_auth(token);
        request.json(body).send().await.unwrap()
    }

    pub(crate) async fn sign_up(&self, email: &str) -> Value {
        json_of(self.post(USERS, &credentials(email, PASSWORD)).await, 201).await
    }

    pub(crate) async fn try_log_in(&self, email: &str, password: &str) -> Response {
        self.post(SESSIONS, &credentials(email, password)).await
    }

    pub(crate) async fn log_in_from(&self, client: &str, email: &str, password: &str) -> Response {
        let request = self.request(Method::POST, SESSIONS);
        let request = request.header("x-forwarded-for", client);
        let request = request.json(&credentials(email, password));
        request.send().await.unwrap()
    }

    pub(crate) async fn log_in(&self, email: &str) -> Tokens {
        Tokens(json_of(self.try_log_in(email, PASSWORD).await, 201).await)
    }

    /// Signs up and logs in.
    pub(crate) async fn join(&self, email: &str) -> Tokens {
        self.sign_up(email).await;
        self.log_in(email).await
    }

    pub(crate) async fn try_refresh(&self, token: &str) -> Response {
        self.post(REFRESH, &json!({ "refresh_token": token })).await
    }

    pub(crate) async fn refresh(&self, tokens: &Tokens) -> Tokens {
        Tokens(json_of(self.try_refresh(tokens.refresh()).await, 200).await)
    }

    pub(crate) async fn me(&self, tokens: &Tokens) -> Value {
        json_of(self.get(ME, tokens.access()).await, 200).await
    }

    pub(crate) async fn key_ids(&self) -> Vec<String> {
        let response = self.request(Method::GET, JWKS).send().await.unwrap();
        let keys = json_of(response, 200).await;
        let ids = keys["keys"].as_array().unwrap().iter();
        ids.map(|key| key["kid"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Argon2 runs so far.
    pub(crate) fn hashes(&self) -> u64 {
        self.metric("core_password_hashes_total")
    }

    /// Requests with this method that are in flight.
    pub(crate) fn active(&self, method: &str) -> u64 {
        self.metric(&format!(
            "http_server_active_requests{{service=\"core\",http_request_method=\"{method}\"}}"
        ))
    }

    pub(crate) fn metric(&self, start: &str) -> u64 {
        let text = self.metrics.render();
        assert_documented(&text);
        let line = text.lines().find(|line| line.starts_with(start));
        let value = line.unwrap_or_else(|| panic!("{start} in {text}"));
        value.rsplit(' ').next().unwrap().parse().unwrap()
    }
}

/// The response to a login or a refresh.
#[derive(Clone, Debug)]
pub(crate) struct Tokens(pub(crate) Value);

impl Tokens {
    pub(crate) fn access(&self) -> &str {
        self.0["access_token"].as_str().unwrap()
    }

    pub(crate) fn refresh(&self) -> &str {
        self.0["refresh_token"].as_str().unwrap()
    }

    pub(crate) fn session(&self) -> &str {
        self.0["session_id"].as_str().unwrap()
    }

    /// Header and claims, unverified.
    pub(crate) fn parts(&self) -> (Value, Value) {
        let mut parts = self.access().split('.').map(|part| {
            let bytes = URL_SAFE_NO_PAD.decode(part).unwrap();
            serde_json::from_slice(&bytes).unwrap_or_default()
        });
        (parts.next().unwrap(), parts.next().unwrap())
    }

    pub(crate) fn key_id(&self) -> String {
        self.parts().0["kid"].as_str().unwrap().to_owned()
    }
}

pub(crate) fn credentials(email: &str, password: &str) -> Value {
    json!({ "email": email, "password": password })
}

pub(crate) fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response
        .headers()
        .get(name)
        .map_or("", |value| value.to_str().unwrap())
}

pub(crate) fn field(name: &str, rule: &str) -> Vec<(String, String)> {
    vec![(name.to_owned(), rule.to_owned())]
}
