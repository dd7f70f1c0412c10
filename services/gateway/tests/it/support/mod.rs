//! A gateway process per test, with upstreams in the test's process.

#[cfg(feature = "kubernetes")]
mod api_server;
mod authority;
mod browser;
mod dns;
mod openapi;
mod origin;
mod provider;
mod raw;
pub(crate) mod sites;
mod tls;
mod upstream;
mod visitor;

use std::{
    io::{BufRead as _, BufReader},
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc, LazyLock, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use quartet_testing::metrics::assert_documented;
use serde_json::Value;
use tempfile::TempDir;

#[cfg(feature = "kubernetes")]
pub(crate) use api_server::ApiServer;
#[cfg(feature = "kubernetes")]
pub(crate) use authority::serve_with_tls;
pub(crate) use authority::{Authority, Refusal};
pub(crate) use browser::Browser;
pub(crate) use dns::{Dns, Service};
pub(crate) use openapi::{blocking, counted, document, first_error, given};
pub(crate) use origin::{Origin, REPLY};
pub(crate) use provider::{CLIENT, CLIENT_SECRET, Lies, Provider};
pub(crate) use raw::{RawResponse, exchange, read_next, read_response};
pub(crate) use tls::{Certificates, TlsGateway, shake};
pub(crate) use upstream::{Replica, echo, held, serve, serve_on};
pub(crate) use visitor::Visitor;

/// Whether the tests run on the direct path: every test is compiled into two binaries.
pub(crate) const DIRECT: bool = matches!(env!("CARGO_CRATE_NAME").as_bytes(), b"direct");

/// Bound of every wait.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// A running gateway; killed at the end of the test.
pub(crate) struct Gateway {
    pub(crate) public: SocketAddr,
    pub(crate) admin: SocketAddr,
    child: Child,
    lines: Arc<Mutex<Vec<Value>>>,
    ended: Arc<AtomicBool>,
    directory: TempDir,
}

impl Gateway {
    /// With this configuration file.
    pub(crate) async fn start(settings: &str) -> Self {
        Self::with_variables(settings, &[]).await
    }

    /// An empty variable is not set, so that the file counts.
    pub(crate) async fn with_variables(settings: &str, variables: &[(&str, &str)]) -> Self {
        // A port that was free a moment ago may be taken by another test.
        for _ in 0..5 {
            let mut gateway = Self::spawn(settings, variables);
            let listening = eventually("the gateway listens or exits", || async {
                let listens = gateway
                    .lines()
                    .iter()
                    .any(|line| line["msg"] == "listening");
                let ended = gateway.has_ended();
                (listens || ended).then_some(listens)
            });
            let is_taken = |line: &Value| line["msg"].to_string().contains("is in use");
            if listening.await && !gateway.lines().iter().any(is_taken) {
                return gateway;
            }
            // The gateway waits for the port, where the other test answers.
            let _ = gateway.child.kill();
            gateway.child.wait().unwrap();
        }
        panic!("the gateway does not start: {settings}");
    }

    fn spawn(settings: &str, variables: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (public, admin) = (free_address(), free_address());
        let file = directory.path().join("gateway.toml");
        std::fs::write(&file, settings).unwrap();
        let mut command = command();
        command
            .args(["serve", "--config", file.to_str().unwrap()])
            .env("QUARTET_SERVER_LISTEN", public.to_string())
            .env("QUARTET_SERVER_ADMIN_LISTEN", admin.to_string())
            .env("QUARTET_SERVER_THREADS", "2")
            .env("QUARTET_SERVER_DIRECT_PATH", DIRECT.to_string())
            .envs(variables.iter().copied())
            .stdout(Stdio::piped());
        for (name, _) in variables.iter().filter(|(_, value)| value.is_empty()) {
            command.env_remove(name);
        }
        let mut child = command.spawn().unwrap();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let ended = Arc::new(AtomicBool::new(false));
        let output = child.stdout.take().unwrap();
        std::thread::spawn({
            let (lines, ended) = (Arc::clone(&lines), Arc::clone(&ended));
            move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    let line = serde_json::from_str(&line).unwrap_or(Value::String(line));
                    lines.lock().unwrap().push(line);
                }
                ended.store(true, Ordering::Relaxed);
            }
        });
        Self {
            public,
            admin,
            child,
            lines,
            ended,
            directory,
        }
    }

    /// Whether it has closed its output.
    fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.public)
    }

    pub(crate) async fn get(&self, path: &str) -> reqwest::Response {
        client().get(self.url(path)).send().await.unwrap()
    }

    pub(crate) async fn admin(&self, path: &str) -> reqwest::Response {
        let url = format!("http://{}{path}", self.admin);
        client().get(url).send().await.unwrap()
    }

    /// All metrics, as docs/metrics.md describes them.
    pub(crate) async fn metrics(&self) -> String {
        let text = self.admin("/metrics").await.text().await.unwrap();
        assert_documented(&text);
        text
    }

    /// The value of a metric; 0 if it does not exist.
    pub(crate) async fn metric(&self, start: &str) -> f64 {
        let text = self.metrics().await;
        text.lines()
            .find(|line| line.starts_with(start))
            .and_then(|line| line.rsplit(' ').next()?.parse().ok())
            .unwrap_or(0.0)
    }

    /// As `metric`, for what is counted.
    pub(crate) async fn count(&self, start: &str) -> usize {
        let text = self.metrics().await;
        let line = text.lines().find(|line| line.starts_with(start));
        line.map_or(0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.directory.path().join("gateway.toml")
    }

    /// Replaces the configuration file, and waits until it is in force.
    pub(crate) async fn reload(&self, settings: &str) {
        let applied = self.reloads("applied").await;
        std::fs::write(self.file(), settings).unwrap();
        self.signal("HUP");
        eventually("the configuration is in force", || async {
            (self.reloads("applied").await > applied).then_some(())
        })
        .await;
    }

    /// Replaces the configuration file, and waits until it is refused; the error.
    pub(crate) async fn refused_reload(&self, settings: &str) -> String {
        let refused = self.reloads("refused").await;
        let is_refusal = |line: &Value| line["msg"].to_string().contains("refused");
        let known = self.lines().into_iter().filter(is_refusal).count();
        std::fs::write(self.file(), settings).unwrap();
        self.signal("HUP");
        eventually("the configuration is refused", || async {
            (self.reloads("refused").await > refused).then_some(())
        })
        .await;
        eventually("the error is logged", || async {
            let mut lines = self.lines().into_iter().filter(is_refusal).skip(known);
            lines.next().map(|line| line["error"].to_string())
        })
        .await
    }

    /// Reloads so far, `applied` or `refused`.
    pub(crate) async fn reloads(&self, outcome: &str) -> f64 {
        let labels = format!("service=\"gateway\",outcome=\"{outcome}\"");
        let name = format!("gateway_config_reloads_total{{{labels}}}");
        self.metric(&name).await
    }

    pub(crate) fn lines(&self) -> Vec<Value> {
        self.lines.lock().unwrap().clone()
    }

    /// The access line of the first request to this path.
    pub(crate) async fn access_line(&self, path: &str) -> Value {
        eventually("the access line is written", || async {
            self.lines()
                .into_iter()
                .find(|line| line["path"] == path && line["status"].is_number())
        })
        .await
    }

    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args([&format!("-{name}"), &self.child.id().to_string()])
            .status()
            .unwrap();
        assert!(status.success());
    }

    /// Waits for the process to exit.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        eventually("the gateway exits", || async {
            self.has_ended().then_some(())
        })
        .await;
        self.child.wait().unwrap()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            for line in self.lines() {
                eprintln!("{line}");
            }
        }
    }
}

/// The binary, with no settings from the environment of the test.
pub(crate) fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quartet-gateway"));
    for (name, _) in std::env::vars() {
        if name.starts_with("QUARTET_") || name.starts_with("OTEL_") || name == "RUST_LOG" {
            command.env_remove(name);
        }
    }
    command
}

/// Polls until there is a result.
pub(crate) async fn eventually<T, F, Fut>(what: &str, mut ask: F) -> T
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(result) = ask().await {
            return result;
        }
        assert!(Instant::now() < deadline, "timed out: {what}");
        tokio::task::spawn_blocking(|| std::thread::park_timeout(Duration::from_millis(5)))
            .await
            .unwrap();
    }
}

/// A connection per request, so that the client never retries.
pub(crate) fn client() -> reqwest::Client {
    // Reading the authorities of the system takes longer than many a test.
    static CLIENT: LazyLock<reqwest::Client> = LazyLock::new(|| {
        reqwest::Client::builder()
            .no_proxy()
            .pool_max_idle_per_host(0)
            .redirect(reqwest::redirect::Policy::none())
            .timeout(DEADLINE)
            .build()
            .unwrap()
    });
    CLIENT.clone()
}

/// Checks everything that problems have in common, and returns the body.
pub(crate) async fn problem(response: reqwest::Response, status: u16, code: &str) -> Value {
    assert_eq!(response.status(), status);
    assert_eq!(
        response.headers()["content-type"],
        "application/problem+json"
    );
    let id = response.headers()["x-request-id"]
        .to_str()
        .unwrap()
        .to_owned();
    assert!(response.headers().contains_key("traceparent"));
    let body: Value = response.json().await.unwrap();
    assert_eq!(body["code"], code, "{body}");
    assert_eq!(body["status"], status, "{body}");
    assert_eq!(body["request_id"], id, "{body}");
    assert_eq!(body["type"], format!("urn:quartet:problem:{code}"));
    body
}

pub(crate) fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
}

/// `shipped_routes = false` and an upstream `u` with these addresses.
pub(crate) fn upstream(addresses: &[SocketAddr]) -> String {
    let addresses: Vec<String> = addresses.iter().map(|a| format!("\"{a}\"")).collect();
    format!(
        "shipped_routes = false\n[upstreams.u]\naddresses = [{}]\n",
        addresses.join(", ")
    )
}

/// A public route to `u`; `more` are further lines.
pub(crate) fn route(name: &str, path: &str, more: &str) -> String {
    format!("[routes.{name}]\npaths = [\"{path}\"]\nupstream = \"u\"\nauth = \"public\"\n{more}\n")
}
