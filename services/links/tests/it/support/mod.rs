//! Replicas on loopback ports, and requests to them.

mod socket;

use std::{
    net::SocketAddr,
    sync::{Arc, LazyLock},
    time::Duration,
};

use quartet_common::{
    clock::Clock,
    config::{self, COMMON_DEFAULTS},
};
use quartet_links::{Config, MIGRATOR, Service};
use quartet_service::{Base, Service as _};
use quartet_testing::{
    Issuer, TestDatabase, Watch, contract::Contract, metrics::assert_documented,
};
use reqwest::{Client, RequestBuilder, Response, redirect::Policy};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

pub(crate) use socket::Socket;

pub(crate) const BROWSER: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Firefox/140.0";
pub(crate) const ALICE: &str = "usr_alice";
pub(crate) const BOB: &str = "usr_bob";
/// What the OpenAPI document promises about every response.
static CONTRACT: LazyLock<Contract> =
    LazyLock::new(|| Contract::new(include_str!("../../../openapi.json")));
const DEADLINE: Duration = Duration::from_secs(20);

/// What the replicas of one test share.
pub(crate) struct Cluster {
    pub(crate) database: TestDatabase,
    pub(crate) volume: tempfile::TempDir,
    pub(crate) issuer: Issuer,
    pub(crate) keys: SocketAddr,
    pub(crate) clock: Clock,
}

/// One replica. Dropping it is not a clean stop: see [`Replica::stop`].
pub(crate) struct Replica {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) address: SocketAddr,
    pub(crate) client: Client,
    shutdown: CancellationToken,
    serving: JoinHandle<anyhow::Result<()>>,
    _watch: Arc<Watch>,
}

impl Cluster {
    pub(crate) async fn new() -> Arc<Self> {
        Self::at(Clock::system()).await
    }

    pub(crate) async fn at(clock: Clock) -> Arc<Self> {
        let issuer = Issuer::new(clock.clone());
        let keys = issuer.serve().await;
        Arc::new(Self {
            database: TestDatabase::create("links", &MIGRATOR).await,
            volume: tempfile::tempdir().unwrap(),
            issuer,
            keys,
            clock,
        })
    }

    pub(crate) fn config(&self, settings: &[(&str, &str)]) -> Config {
        let defaults = [COMMON_DEFAULTS, Service::DEFAULTS];
        config::load(&defaults, None, self.environment(settings)).unwrap()
    }

    /// The settings of a replica as environment variables.
    pub(crate) fn environment(&self, settings: &[(&str, &str)]) -> Vec<(String, String)> {
        let log = self.volume.path().join("clicks");
        let keys = format!("http://{}/.well-known/jwks.json", self.keys);
        let own = [
            ("DATABASE_URL", self.database.url()),
            ("QUARTET_JWT_JWKS_URL", keys),
            ("QUARTET_JWT_LEEWAY_SECONDS", "0".into()),
            ("QUARTET_CLICKS_LOG_DIR", log.display().to_string()),
            ("QUARTET_CLICKS_BATCH_WAIT_MS", "10".into()),
            ("QUARTET_REDIRECTS_CONNECTION_WAIT_MS", "10000".into()),
            ("QUARTET_CLICKS_ADOPT_INTERVAL_SECONDS", "1".into()),
            ("QUARTET_CLICKS_COUNTRY_HEADER", "cf-ipcountry".into()),
            ("QUARTET_SERVER_TRUSTED_PROXIES", "127.0.0.0/8".into()),
            ("QUARTET_GRAPHQL_COST_BURST", "1000000".into()),
        ];
        let own = own
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value));
        let given = settings
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        own.chain(given).collect()
    }

    pub(crate) async fn start(self: &Arc<Self>) -> Replica {
        self.start_with(&[]).await
    }

    /// Starts a replica with additional settings.
    pub(crate) async fn start_with(self: &Arc<Self>, settings: &[(&str, &str)]) -> Replica {
        let shutdown = CancellationToken::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let watch = Arc::new(Watch::new(&CONTRACT));
        let layer = Arc::clone(&watch);
        let config = self.config(settings);
        let base = Base::new::<Service>(&config, self.clock.clone(), shutdown.clone()).unwrap();
        let mut replica = quartet_service::Replica::<Service>::new(config, base).unwrap();
        replica.start().await.unwrap();
        let serving = tokio::spawn(replica.serve(listener, move |router| layer.around(router)));
        Replica {
            cluster: Arc::clone(self),
            address,
            client: client(),
            shutdown,
            serving,
            _watch: watch,
        }
    }
}

/// A client that follows no redirects.
pub(crate) fn client() -> Client {
    Client::builder()
        .redirect(Policy::none())
        .timeout(DEADLINE)
        .build()
        .unwrap()
}

impl Replica {
    /// The only replica of a new cluster.
    pub(crate) async fn start() -> Self {
        Cluster::new().await.start().await
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn token(&self, subject: &str) -> String {
        self.cluster.issuer.token(subject)
    }

    /// A GraphQL request without its body.
    pub(crate) fn post(&self, subject: &str) -> RequestBuilder {
        self.client
            .post(self.url("/v1/links/graphql"))
            .bearer_auth(self.token(subject))
            .header("accept", "application/graphql-response+json")
    }

    /// The response to a document.
    pub(crate) async fn execute(&self, subject: &str, query: &str, variables: Value) -> Value {
        let response = self.send(subject, query, variables).await;
        assert!(
            response.status().as_u16() < 500,
            "{query}: {}",
            response.status()
        );
        response.json().await.unwrap()
    }

    /// The total of a link that Alice owns; `None` while the database does not respond.
    pub(crate) async fn total(&self, id: &str) -> Option<i64> {
        let query = "query($id: ID!) { link(id: $id) { clicks { total } } }";
        let response = self.send(ALICE, query, json!({"id": id})).await;
        let answer: Value = response.json().await.unwrap();
        answer["data"]["link"]["clicks"]["total"].as_i64()
    }

    async fn send(&self, subject: &str, query: &str, variables: Value) -> Response {
        let body = json!({"query": query, "variables": variables});
        self.post(subject).json(&body).send().await.unwrap()
    }

    /// The data of a response without errors.
    pub(crate) async fn data(&self, subject: &str, query: &str, variables: Value) -> Value {
        let mut answer = self.execute(subject, query, variables).await;
        assert_eq!(answer.get("errors"), None, "{query}");
        answer["data"].take()
    }

    /// The first error of a response.
    pub(crate) async fn error(&self, subject: &str, query: &str, variables: Value) -> Value {
        let mut answer = self.execute(subject, query, variables).await;
        assert!(answer["errors"].is_array(), "{query}: {answer}");
        answer["errors"][0].take()
    }

    /// Creates a link that Alice owns.
    pub(crate) async fn create(&self, input: Value) -> Value {
        let query = "mutation($input: CreateLinkInput!) { createLink(input: $input) { id slug shortUrl url \
             title enabled redirectStatus expiresAt maxClicks uses status createdAt updatedAt } }";
        self.data(ALICE, query, json!({"input": input})).await["createLink"].take()
    }

    /// Creates a link to example.com; returns its id and slug.
    pub(crate) async fn link(&self) -> (String, String) {
        let link = self.create(json!({"url": "https://example.com/"})).await;
        (string(&link["id"]), string(&link["slug"]))
    }

    /// Follows a link as a browser does.
    pub(crate) async fn follow(&self, slug: &str) -> Response {
        self.visit(slug).send().await.unwrap()
    }

    pub(crate) fn visit(&self, slug: &str) -> RequestBuilder {
        self.client
            .get(self.url(&format!("/s/{slug}")))
            .header("user-agent", BROWSER)
    }

    /// Follows links until they stay cached: the notification of their creation may arrive late and
    /// evict them once.
    pub(crate) async fn warm_cache(&self, slugs: &[&str]) {
        eventually(async || {
            let before = self.metric("links_redirect_loads_total").await;
            for slug in slugs {
                self.follow(slug).await;
            }
            (self.metric("links_redirect_loads_total").await == before).then_some(())
        })
        .await;
    }

    /// `[total, people, unique, bots]` of a link that Alice owns.
    pub(crate) async fn counts(&self, id: &str) -> [i64; 4] {
        let query = "query($id: ID!) { link(id: $id) { clicks { total people unique bots } } }";
        let data = self.data(ALICE, query, json!({"id": id})).await;
        let clicks = &data["link"]["clicks"];
        ["total", "people", "unique", "bots"].map(|name| clicks[name].as_i64().unwrap())
    }

    /// Waits until `total` is reached, and compares the counts.
    pub(crate) async fn expect_counts(&self, id: &str, expected: [i64; 4]) {
        let counts = eventually(async || {
            let counts = self.counts(id).await;
            (counts[0] >= expected[0]).then_some(counts)
        });
        assert_eq!(counts.await, expected);
    }

    pub(crate) async fn metric(&self, name: &str) -> i64 {
        let beginning = format!("{name}{{");
        self.sample(|line| line.starts_with(&beginning)).await
    }

    pub(crate) async fn job_failures(&self, job: &str) -> i64 {
        let label = format!("job_name=\"{job}\"");
        let is_of_job =
            |line: &str| line.starts_with("job_failures_total{") && line.contains(&label);
        self.sample(is_of_job).await
    }

    /// The value on the first line of the metrics that is meant.
    async fn sample(&self, is_meant: impl Fn(&str) -> bool) -> i64 {
        let text = self
            .client
            .get(self.url("/metrics"))
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap();
        assert_documented(&text);
        let line = text.lines().find(|line| is_meant(line));
        let value = line
            .and_then(|line| line.rsplit(' ').next())
            .unwrap_or_else(|| panic!("no such sample: {text}"));
        value.parse().unwrap()
    }

    pub(crate) async fn socket(&self) -> Socket {
        Socket::open(self.address).await
    }

    /// A socket that is authenticated as `subject`.
    pub(crate) async fn socket_of(&self, subject: &str) -> Socket {
        let mut socket = self.socket().await;
        socket.init(&self.token(subject)).await;
        socket
    }

    /// Stops like SIGTERM, and waits until the replica has stopped.
    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        tokio::time::timeout(DEADLINE, self.serving)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
    }

    /// Starts to stop, without waiting.
    pub(crate) fn begin_shutdown(&self) {
        self.shutdown.cancel();
    }
}

/// Polls until the condition returns a value, up to a deadline.
pub(crate) async fn eventually<T>(mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let polling = async {
        loop {
            if let Some(value) = condition().await {
                return value;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(DEADLINE, polling)
        .await
        .expect("the condition becomes true before the deadline")
}

/// Waits up to a deadline.
pub(crate) async fn within_deadline<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future)
        .await
        .expect("the future completes before the deadline")
}

pub(crate) fn string(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("{value} is a string"))
        .to_owned()
}

/// The status and code of a problem.
pub(crate) async fn problem_code(response: Response) -> (u16, String) {
    let status = response.status().as_u16();
    let kind = response
        .headers()
        .get("content-type")
        .map(|kind| kind.to_str().unwrap().to_owned());
    assert_eq!(
        kind.as_deref(),
        Some("application/problem+json"),
        "{status}"
    );
    let body: Value = response.json().await.unwrap();
    assert!(!string(&body["request_id"]).is_empty());
    (status, string(&body["code"]))
}

pub(crate) fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response
        .headers()
        .get(name)
        .map_or("", |value| value.to_str().unwrap())
}
