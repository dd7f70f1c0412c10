use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, LazyLock},
    time::SystemTime,
};

use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use chrono::{DateTime, Utc};
use quartet_common::{
    clock::Clock,
    config::{self, COMMON_DEFAULTS},
};
use quartet_devstore::Quirks;
use quartet_media::{AppState, Config, MIGRATOR, Service};
use quartet_service::{Base, Replica, Service as _};
use quartet_testing::{
    Issuer, POOLED, Pooler, TestDatabase, Watch, contract::Contract, metrics::assert_documented,
};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use secrecy::SecretString;
use serde_json::{Value, json};
use sqlx::PgPool;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub(crate) use quartet_testing::{json_of, problem_of};

pub(crate) const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0";
const ACCESS_KEY: &str = "test-access";
const SECRET_KEY: &str = "test-secret-key";

/// Every response is checked against the committed document.
static CONTRACT: LazyLock<Contract> =
    LazyLock::new(|| Contract::new(include_str!("../../openapi.json")));

/// A service with its own database, object store, clock and issuer.
pub(crate) struct TestApp {
    pub(crate) address: SocketAddr,
    pub(crate) state: AppState,
    pub(crate) config: Config,
    pub(crate) clock: Clock,
    pub(crate) issuer: Issuer,
    pub(crate) database: TestDatabase,
    _pooler: Option<Pooler>,
    pub(crate) store: Store,
    http: reqwest::Client,
    stop_token: CancellationToken,
    _stop: tokio_util::sync::DropGuard,
    watch: Arc<Watch>,
}

/// An object store that can be stopped and restarted with the same listen address and data.
pub(crate) struct Store {
    pub(crate) address: SocketAddr,
    quirks: Quirks,
    data: TempDir,
    stop: CancellationToken,
    running: Option<tokio::task::JoinHandle<()>>,
}

impl Store {
    async fn new(quirks: Quirks) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut this = Self {
            address: listener.local_addr().unwrap(),
            data: tempfile::tempdir().unwrap(),
            quirks,
            stop: CancellationToken::new(),
            running: None,
        };
        this.run(listener);
        this
    }

    fn run(&mut self, listener: TcpListener) {
        let mut options = quartet_devstore::Options::new(self.data.path(), ACCESS_KEY, SECRET_KEY);
        options.buckets = vec!["quartet-private".into()];
        options.public_buckets = vec!["quartet-public".into()];
        options.quirks = self.quirks;
        self.stop = CancellationToken::new();
        let stop = self.stop.clone();
        self.running = Some(tokio::spawn(async move {
            quartet_devstore::serve(listener, options, stop)
                .await
                .unwrap();
        }));
    }

    pub(crate) async fn stop(&mut self) {
        self.stop.cancel();
        self.running.take().unwrap().await.unwrap();
    }

    pub(crate) async fn start(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.run(listener);
    }
}

/// Runs a replica until `stop`.
async fn serve(
    config: &Config,
    clock: &Clock,
    stop: &CancellationToken,
    watch: &Arc<Watch>,
) -> (SocketAddr, AppState) {
    let base = Base::new::<Service>(config, clock.clone(), stop.clone()).unwrap();
    let replica = Replica::<Service>::new(config.clone(), base).unwrap();
    let state = replica.state.clone();
    let around = Arc::clone(watch);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(replica.serve(listener, move |router| around.around(router)));
    (address, state)
}

impl TestApp {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        Self::start_on(Quirks::default(), change).await
    }

    /// Behind PgBouncer, where that is installed.
    pub(crate) async fn start_pooled() -> Self {
        Self::start_as(Quirks::default(), true, |_| {}).await
    }

    pub(crate) async fn start_on(quirks: Quirks, change: impl FnOnce(&mut Config)) -> Self {
        Self::start_as(quirks, false, change).await
    }

    async fn start_as(quirks: Quirks, pooled: bool, change: impl FnOnce(&mut Config)) -> Self {
        let database = TestDatabase::create("media", &MIGRATOR).await;
        let store = Store::new(quirks).await;
        // The store checks signatures against the system clock.
        let clock = Clock::manual(DateTime::<Utc>::from(SystemTime::now()));
        let issuer = Issuer::new(clock.clone());
        let mut config: Config =
            config::load(&[COMMON_DEFAULTS, Service::DEFAULTS], None, []).unwrap();
        let pooler = (pooled || std::env::var_os(POOLED).is_some())
            .then(|| Pooler::start(&database))
            .flatten();
        config.database = match &pooler {
            Some(pooler) => pooler.settings(&database),
            None => database.settings(),
        };
        config.jwt = issuer.settings(issuer.serve().await);
        config.s3.endpoint = format!("http://{}", store.address).parse().unwrap();
        config.s3.access_key = SecretString::from(ACCESS_KEY);
        config.s3.secret_key = SecretString::from(SECRET_KEY);
        change(&mut config);
        let stop = CancellationToken::new();
        let watch = Arc::new(Watch::new(&CONTRACT));
        let (address, state) = serve(&config, &clock, &stop, &watch).await;
        let http = reqwest::Client::new();
        Self {
            address,
            state,
            config,
            clock,
            issuer,
            database,
            _pooler: pooler,
            store,
            http,
            stop_token: stop.clone(),
            _stop: stop.drop_guard(),
            watch,
        }
    }

    /// Completes an asset through another replica, with other settings.
    pub(crate) async fn complete_elsewhere(
        &self,
        subject: &str,
        id: &str,
        change: impl FnOnce(&mut Config),
    ) -> Response {
        let mut config = self.config.clone();
        change(&mut config);
        let stop = &self.stop_token;
        let (address, _) = serve(&config, &self.clock, stop, &self.watch).await;
        let url = format!("http://{address}/v1/media/assets/{id}/complete");
        let request = self.http.post(url).bearer_auth(self.issuer.token(subject));
        request.send().await.unwrap()
    }

    /// As a changed secret file does it.
    pub(crate) fn rotate_keys(&self, access: &str, secret: &str) {
        let mut config = self.config.clone();
        config.s3.access_key = SecretString::from(access);
        config.s3.secret_key = SecretString::from(secret);
        Service::rotate(&self.state, &config);
    }

    pub(crate) fn request(&self, method: Method, path: &str, subject: &str) -> RequestBuilder {
        self.http
            .request(method, format!("http://{}{path}", self.address))
            .bearer_auth(self.issuer.token(subject))
    }

    pub(crate) async fn get(&self, path: &str, subject: &str) -> Response {
        self.request(Method::GET, path, subject)
            .send()
            .await
            .unwrap()
    }

    pub(crate) async fn delete(&self, path: &str, subject: &str) -> Response {
        self.request(Method::DELETE, path, subject)
            .send()
            .await
            .unwrap()
    }

    pub(crate) async fn post(&self, path: &str, subject: &str, body: &Value) -> Response {
        self.request(Method::POST, path, subject)
            .json(body)
            .send()
            .await
            .unwrap()
    }

    pub(crate) async fn presign(&self, subject: &str, body: &Value) -> Value {
        json_of(self.post("/v1/media/presign", subject, body).await, 201).await
    }

    pub(crate) async fn complete(&self, subject: &str, id: &str) -> Response {
        self.post(
            &format!("/v1/media/assets/{id}/complete"),
            subject,
            &json!({}),
        )
        .await
    }

    /// Sends bytes as a presign response says, with some headers changed; an empty value removes one.
    pub(crate) async fn put(
        &self,
        presigned: &Value,
        bytes: &[u8],
        changed: &[(&str, &str)],
    ) -> StatusCode {
        let upload = &presigned["upload"];
        let mut headers: BTreeMap<String, String> =
            serde_json::from_value(upload["headers"].clone()).unwrap();
        headers.remove("content-length");
        for (name, value) in changed {
            headers.insert((*name).to_owned(), (*value).to_owned());
        }
        let method = upload["method"].as_str().unwrap().parse().unwrap();
        let mut request = self
            .http
            .request(method, upload["url"].as_str().unwrap())
            .body(bytes.to_vec());
        for (name, value) in headers.iter().filter(|(_, value)| !value.is_empty()) {
            request = request.header(name, value);
        }
        request.send().await.unwrap().status()
    }

    /// Uploads and completes [`PNG`]. Returns the ready asset.
    pub(crate) async fn upload(&self, subject: &str, visibility: &str) -> Value {
        let presigned = self.presign(subject, &png(visibility)).await;
        assert_eq!(self.put(&presigned, PNG, &[]).await, 200);
        json_of(
            self.complete(subject, id_of(&presigned["asset"])).await,
            200,
        )
        .await
    }

    /// The status of every asset by id, read as a superuser.
    pub(crate) async fn rows(&self) -> BTreeMap<String, String> {
        let mut admin = self.database.connect_as_admin().await;
        let rows: Vec<(uuid::Uuid, String)> = sqlx::query_as("SELECT id, status FROM media.assets")
            .fetch_all(&mut admin)
            .await
            .unwrap();
        rows.into_iter()
            .map(|(id, status)| (id.to_string(), status))
            .collect()
    }

    pub(crate) async fn role_pool(&self) -> PgPool {
        PgPool::connect(&self.database.url()).await.unwrap()
    }

    pub(crate) async fn metrics(&self) -> String {
        let url = format!("http://{}/metrics", self.address);
        let text = reqwest::get(url).await.unwrap().text().await.unwrap();
        assert_documented(&text);
        text
    }

    /// The S3 client of an administrator.
    fn s3(&self) -> aws_sdk_s3::Client {
        let config = aws_sdk_s3::config::Builder::new()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::new("auto"))
            .endpoint_url(format!("http://{}", self.store.address))
            .credentials_provider(Credentials::new(ACCESS_KEY, SECRET_KEY, None, None, "test"))
            .force_path_style(true);
        aws_sdk_s3::Client::from_conf(config.build())
    }

    /// Stores [`PNG`], as a copy does.
    pub(crate) async fn store_object(&self, bucket: &str, key: &str) {
        let put = self.s3().put_object().bucket(bucket).key(key);
        put.body(PNG.to_vec().into()).send().await.unwrap();
    }

    /// The keys of all objects in a bucket.
    pub(crate) async fn keys(&self, bucket: &str) -> Vec<String> {
        let list = self.s3().list_objects_v2().bucket(bucket).send();
        let list = list.await.unwrap();
        let keys = list.contents().iter().filter_map(|object| object.key());
        keys.map(str::to_owned).collect()
    }

    /// The status of an unsigned GET from the store.
    pub(crate) async fn fetch(&self, url: &str) -> StatusCode {
        self.http.get(url).send().await.unwrap().status()
    }
}

pub(crate) fn png(visibility: &str) -> Value {
    json!({
        "file_name": "pixel.png",
        "content_type": "image/png",
        "size_bytes": PNG.len(),
        "visibility": visibility,
    })
}

pub(crate) fn id_of(asset: &Value) -> &str {
    asset["id"].as_str().unwrap()
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    Sha256::digest(bytes)
        .iter()
        .fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}
