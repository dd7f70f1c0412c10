use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{
    BehaviorVersion, Builder, Credentials, Region, RequestChecksumCalculation,
    ResponseChecksumValidation,
};
use aws_sdk_s3::error::ProvideErrorMetadata;
use aws_sdk_s3::presigning::{PresignedRequest, PresigningConfig};
use aws_sdk_s3::primitives::ByteStream;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use quartet_devstore::Options;
use s3s::crypto::{Checksum as _, Md5, Sha256};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(crate) const ACCESS_KEY: &str = "access";
pub(crate) const SECRET_KEY: &str = "secret-key";
pub(crate) const PRIVATE: &str = "private-bucket";
pub(crate) const PUBLIC: &str = "public-bucket";

/// A server on a directory of its own.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) data: TempDir,
    pub(crate) http: reqwest::Client,
    change: fn(&mut Options),
    stop: CancellationToken,
    running: Option<JoinHandle<std::io::Result<()>>>,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: fn(&mut Options)) -> Self {
        let mut server = Self {
            change,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            data: tempfile::tempdir().unwrap(),
            http: reqwest::Client::new(),
            stop: CancellationToken::new(),
            running: None,
        };
        server.run().await;
        server
    }

    async fn run(&mut self) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        self.address = listener.local_addr().unwrap();
        self.stop = CancellationToken::new();
        self.running = Some(tokio::spawn(quartet_devstore::serve(
            listener,
            self.options(),
            self.stop.clone(),
        )));
    }

    pub(crate) fn options(&self) -> Options {
        let mut options = Options::new(self.data.path(), ACCESS_KEY, SECRET_KEY);
        options.buckets = vec![PRIVATE.to_owned()];
        options.public_buckets = vec![PUBLIC.to_owned()];
        (self.change)(&mut options);
        options
    }

    /// Stops the server and starts another on the same directory.
    pub(crate) async fn restart(&mut self) {
        self.stop.cancel();
        self.running.take().unwrap().await.unwrap().unwrap();
        self.run().await;
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    /// A client that sends no checksums by default, as required by R2.
    pub(crate) fn client(&self) -> Client {
        self.client_with(SECRET_KEY, |settings| {
            settings
                .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
                .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        })
    }

    pub(crate) fn client_with(
        &self,
        secret: &str,
        change: impl FnOnce(Builder) -> Builder,
    ) -> Client {
        client_at(self.address, secret, change)
    }

    pub(crate) async fn put(&self, bucket: &str, key: &str, content: &[u8]) {
        let body = ByteStream::from(content.to_vec());
        self.client()
            .put_object()
            .bucket(bucket)
            .key(key)
            .body(body)
            .send()
            .await
            .unwrap();
    }

    pub(crate) async fn read(&self, bucket: &str, key: &str) -> Vec<u8> {
        let answer = self
            .client()
            .get_object()
            .bucket(bucket)
            .key(key)
            .send()
            .await
            .unwrap();
        answer.body.collect().await.unwrap().to_vec()
    }

    pub(crate) async fn exists(&self, bucket: &str, key: &str) -> bool {
        match self
            .client()
            .head_object()
            .bucket(bucket)
            .key(key)
            .send()
            .await
        {
            Ok(_) => true,
            Err(error) => {
                assert!(error.into_service_error().is_not_found());
                false
            }
        }
    }

    /// Sends a presigned request with a body and changed headers; an empty value removes one.
    pub(crate) async fn send(
        &self,
        signed: &PresignedRequest,
        body: impl Into<reqwest::Body>,
        changed: &[(&str, &str)],
    ) -> reqwest::Response {
        let mut headers: std::collections::BTreeMap<String, String> = signed
            .headers()
            .filter(|(name, _)| *name != "content-length" && *name != "host")
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        for (name, value) in changed {
            headers.insert((*name).to_owned(), (*value).to_owned());
        }
        let method = signed.method().parse().unwrap();
        let mut request = self.http.request(method, signed.uri()).body(body);
        for (name, value) in headers.iter().filter(|(_, value)| !value.is_empty()) {
            request = request.header(name, value);
        }
        request.send().await.unwrap()
    }
}

/// Sends a presigned request exactly as signed: HTTP clients normalize paths.
pub(crate) async fn send_raw(signed: &PresignedRequest, body: &str) -> String {
    let (address, target) = signed
        .uri()
        .strip_prefix("http://")
        .unwrap()
        .split_once('/')
        .unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "{} /{target} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        signed.method(),
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

pub(crate) fn presigning() -> PresigningConfig {
    PresigningConfig::expires_in(Duration::from_mins(5)).unwrap()
}

/// For a URL that expired a minute ago.
pub(crate) fn expired() -> PresigningConfig {
    PresigningConfig::builder()
        .start_time(SystemTime::now() - Duration::from_mins(2))
        .expires_in(Duration::from_mins(1))
        .build()
        .unwrap()
}

pub(crate) fn sha256(content: &[u8]) -> String {
    STANDARD.encode(Sha256::checksum(content).as_ref())
}

pub(crate) fn md5(content: &[u8]) -> String {
    STANDARD.encode(Md5::checksum(content).as_ref())
}

pub(crate) fn code<T, E: ProvideErrorMetadata>(answer: Result<T, E>) -> String {
    let Err(error) = answer else {
        panic!("the request succeeded")
    };
    error.code().unwrap_or("no code").to_owned()
}

/// Status and the code of the XML error.
pub(crate) async fn refusal(response: reqwest::Response) -> (u16, String) {
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    let code = text
        .split_once("<Code>")
        .and_then(|(_, rest)| rest.split_once("</Code>"));
    (
        status,
        code.map(|(code, _)| code.to_owned()).unwrap_or_default(),
    )
}

pub(crate) fn refused(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

pub(crate) fn client_at(
    address: SocketAddr,
    secret: &str,
    change: impl FnOnce(Builder) -> Builder,
) -> Client {
    let settings = Builder::new()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("auto"))
        .endpoint_url(format!("http://{address}"))
        .credentials_provider(Credentials::new(ACCESS_KEY, secret, None, None, "test"))
        .retry_config(aws_sdk_s3::config::retry::RetryConfig::disabled())
        .force_path_style(true);
    Client::from_conf(change(settings).build())
}
