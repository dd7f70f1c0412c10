//! The upstream of a request by a segment of its path.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{
    Json, Router,
    extract::Path,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Response},
    routing::get,
};
use futures_util::{SinkExt as _, StreamExt as _, future::join_all};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_tungstenite::tungstenite::Message;

use crate::support::{
    Dns, Gateway, client, echo, eventually, exchange, free_address, problem, route, serve,
};

/// What the endpoint answers, and how often it was asked.
#[derive(Clone)]
struct Endpoint {
    answer: Arc<Mutex<(u16, Value)>>,
    asked: Arc<AtomicUsize>,
    permits: Arc<Semaphore>,
}

impl Endpoint {
    async fn start() -> (Self, SocketAddr) {
        let endpoint = Self {
            answer: Arc::new(Mutex::new((404, Value::Null))),
            asked: Arc::default(),
            permits: Arc::new(Semaphore::new(1_000_000)),
        };
        let own = endpoint.clone();
        let handler = move |Path(id): Path<String>, headers: HeaderMap| async move {
            own.asked.fetch_add(1, Ordering::Relaxed);
            own.permits.acquire().await.unwrap().forget();
            assert_eq!(headers["authorization"], "Bearer of-the-gateway");
            assert!(!headers.contains_key("cookie"));
            let (status, answer) = own.answer.lock().unwrap().clone();
            if id == "unknown" {
                return StatusCode::NOT_FOUND.into_response();
            }
            let response: Response =
                (StatusCode::from_u16(status).unwrap(), Json(answer)).into_response();
            response
        };
        let router = Router::new().route("/internal/bots/{id}/address", get(handler));
        (endpoint, serve(router).await)
    }

    fn set(&self, status: u16, answer: Value) {
        *self.answer.lock().unwrap() = (status, answer);
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

fn settings(endpoint: SocketAddr, more: &str) -> String {
    let route = route("bot", "/v1/bot/{id}/*", "rewrite = \"/*\"\nupgrade = true");
    let route = route.replace(
        "upstream = \"u\"",
        "lookup = { name = \"bots\", segment = \"id\" }",
    );
    format!(
        "shipped_routes = false\n[upstreams.core]\naddresses = [\"{endpoint}\"]\n\
         [lookups.bots]\nupstream = \"core\"\npath = \"/internal/bots/{{key}}/address\"\n\
         request_headers = {{ authorization = \"Bearer of-the-gateway\" }}\n\
         networks = [\"127.0.0.0/8\"]\nports = [\"1024-65535\"]\n{more}\n{route}"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn the_endpoint_says_where_a_request_goes() {
    let bot = serve(echo()).await;
    let (endpoint, core) = Endpoint::start().await;
    endpoint.set(200, json!({ "address": bot.to_string(), "more": 1 }));
    let gateway = Gateway::start(&settings(core, "")).await;
    for _ in 0..5 {
        let request = client().get(gateway.url("/v1/bot/7%2C8/chat?x=1"));
        let request = request
            .header("cookie", "a=b")
            .header("x-forwarded-prefix", "/x");
        let echoed: Value = request.send().await.unwrap().json().await.unwrap();
        assert_eq!(echoed["path"], "/chat?x=1");
        assert!(echoed["headers"].to_string().contains("\"/v1/bot/7%2C8\""));
    }
    assert_eq!(endpoint.asked(), 1, "the answer is known");
    let line = gateway.access_line("/v1/bot/7%2C8/chat").await;
    assert_eq!(line["upstream"], bot.to_string());
    for _ in 0..5 {
        problem(
            gateway.get("/v1/bot/unknown/x").await,
            404,
            "destination_not_found",
        )
        .await;
    }
    assert_eq!(endpoint.asked(), 2, "that it is unknown is known too");
    let long = format!("/v1/bot/{}/x", "a".repeat(300));
    problem(gateway.get(&long).await, 404, "destination_not_found").await;
    assert_eq!(endpoint.asked(), 2);
    let found = "gateway_lookups_total{service=\"gateway\",lookup=\"bots\",outcome=\"found\"}";
    assert_eq!(gateway.count(found).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_reaches_what_was_looked_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let bot = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
        let message = socket.next().await.unwrap().unwrap();
        socket.send(message).await.unwrap();
    });
    let (_, core) = Endpoint::start().await;
    let table = format!("table = {{ seven = \"{bot}\" }}");
    let gateway = Gateway::start(&settings(core, &table)).await;
    let url = format!("ws://{}/v1/bot/seven/ws", gateway.public);
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
    socket.send(Message::text("hello")).await.unwrap();
    assert_eq!(
        socket.next().await.unwrap().unwrap(),
        Message::text("hello")
    );
}

/// Nothing is asked for a request that is refused.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_request_looks_nothing_up() {
    let (endpoint, core) = Endpoint::start().await;
    let limited = "[limits.one]\nrequests = 1\nwindow_seconds = 3600\n";
    let settings = settings(core, "").replace("auth = \"public\"", "auth = \"required\"");
    let gateway = Gateway::start(&settings).await;
    problem(gateway.get("/v1/bot/7/x").await, 401, "unauthenticated").await;
    assert_eq!(endpoint.asked(), 0);
    let settings = [&self::settings(core, ""), "limit = \"one\"\n", limited].concat();
    gateway.reload(&settings).await;
    problem(
        gateway.get("/v1/bot/7/x").await,
        404,
        "destination_not_found",
    )
    .await;
    problem(gateway.get("/v1/bot/8/x").await, 429, "rate_limited").await;
    assert_eq!(endpoint.asked(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_that_are_not_listed_are_never_connected_to() {
    let target = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = target.local_addr().unwrap().port();
    let dns = Dns::start().await;
    dns.set("inside.bots.test", &[[127, 0, 0, 1].into()]);
    dns.set(
        "outside.bots.test",
        &[[127, 0, 0, 1].into(), [169, 254, 169, 254].into()],
    );
    dns.set("elsewhere.test", &[[127, 0, 0, 1].into()]);
    let (endpoint, core) = Endpoint::start().await;
    let discovery = format!("[discovery]\nnameserver = \"{}\"\n", dns.address);
    let more = "unknown_ttl_seconds = 0\nhosts = [\"*.bots.test\"]";
    let settings = [settings(core, more), discovery].concat();
    let strict = settings.replace("127.0.0.0/8", "0.0.0.0/0");
    let gateway = Gateway::start(&strict).await;
    for address in [
        format!("127.0.0.1:{port}"),
        format!("[::ffff:127.0.0.1]:{port}"),
        format!("[::1]:{port}"),
        format!("0.0.0.0:{port}"),
        "169.254.169.254:8080".to_owned(),
        "10.0.0.1:80".to_owned(),
        format!("inside.bots.test:{port}"),
        format!("outside.bots.test:{port}"),
        format!("elsewhere.test:{port}"),
        format!("localhost:{port}"),
        format!("http://127.0.0.1:{port}/"),
        "127.0.0.1".to_owned(),
        String::new(),
    ] {
        endpoint.set(200, json!({ "address": address }));
        let response = gateway.get("/v1/bot/7/x").await;
        problem(response, 502, "destination_refused").await;
    }
    // Loopback is listed, so the name that leads there alone may be used.
    gateway.reload(&settings).await;
    endpoint.set(
        200,
        json!({ "address": format!("outside.bots.test:{port}") }),
    );
    problem(gateway.get("/v1/bot/7/x").await, 502, "destination_refused").await;
    drop(target);
    let bot = serve(echo()).await;
    endpoint.set(
        200,
        json!({ "address": format!("inside.bots.test:{}", bot.port()) }),
    );
    let echoed: Value = gateway.get("/v1/bot/7/x").await.json().await.unwrap();
    assert_eq!(echoed["path"], "/x");
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_are_503_and_a_known_address_stays_in_use() {
    let bot = serve(echo()).await;
    let (endpoint, core) = Endpoint::start().await;
    let more = "ttl_seconds = 1\ntimeout_ms = 2000";
    let gateway = Gateway::start(&settings(core, more)).await;
    for (id, (status, answer)) in [
        (500, json!({})),
        (403, json!({})),
        (200, json!({})),
        (200, json!([1])),
        (200, json!({ "address": "x".repeat(5_000) })),
    ]
    .into_iter()
    .enumerate()
    {
        endpoint.set(status, answer);
        let response = gateway.get(&format!("/v1/bot/{id}/x")).await;
        assert_eq!(response.headers()["retry-after"], "1");
        problem(response, 503, "destination_unavailable").await;
    }
    endpoint.set(200, json!({ "address": bot.to_string() }));
    assert_eq!(gateway.get("/v1/bot/a/x").await.status(), 200);
    endpoint.set(500, json!({}));
    let stale = "gateway_lookups_total{service=\"gateway\",lookup=\"bots\",outcome=\"stale\"}";
    eventually("the old address is used", || async {
        assert_eq!(gateway.get("/v1/bot/a/x").await.status(), 200);
        (gateway.count(stale).await > 0).then_some(())
    })
    .await;
    // What is known to be gone is gone.
    endpoint.set(404, json!({}));
    eventually("the address is forgotten", || async {
        (gateway.get("/v1/bot/a/x").await.status() == 404).then_some(())
    })
    .await;
    // No one answers within the time.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let core = silent.local_addr().unwrap();
    gateway.reload(&settings(core, "timeout_ms = 100")).await;
    problem(
        gateway.get("/v1/bot/a/x").await,
        503,
        "destination_unavailable",
    )
    .await;
    gateway.reload(&settings(free_address(), "")).await;
    problem(
        gateway.get("/v1/bot/a/x").await,
        503,
        "destination_unavailable",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_at_the_same_time_ask_once_and_keys_are_bounded() {
    let bot = serve(echo()).await;
    let (endpoint, core) = Endpoint::start().await;
    endpoint.set(200, json!({ "address": bot.to_string() }));
    let gateway = Gateway::start(&settings(core, "max_in_flight = 2\ntimeout_ms = 20000")).await;
    endpoint.permits.forget_permits(usize::MAX);
    let waiting = join_all((0..20).map(|_| gateway.get("/v1/bot/one/x")));
    let waiting = async { waiting.await.into_iter().all(|it| it.status() == 200) };
    let steps = async {
        eventually("the endpoint is asked", || async {
            (endpoint.asked() >= 1).then_some(())
        })
        .await;
        let second = gateway.get("/v1/bot/two/x");
        let third = async {
            eventually("both places are taken", || async {
                (endpoint.asked() >= 2).then_some(())
            })
            .await;
            problem(
                gateway.get("/v1/bot/three/x").await,
                503,
                "destination_unavailable",
            )
            .await;
            endpoint.permits.add_permits(100);
        };
        let (second, ()) = tokio::join!(second, third);
        assert_eq!(second.status(), 200);
    };
    let (all, ()) = tokio::join!(waiting, steps);
    assert!(all);
    assert_eq!(endpoint.asked(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_lookups_are_named() {
    let gateway = Gateway::start("").await;
    let valid = settings(gateway.public, "");
    let refused = async |from: &str, to: &str, key: &str, rule: &str| {
        assert!(valid.contains(from), "{from}");
        let error = gateway.refused_reload(&valid.replacen(from, to, 1)).await;
        assert!(error.contains(key) && error.contains(rule), "{to}: {error}");
    };
    let networks = "networks = [\"127.0.0.0/8\"]";
    refused(
        networks,
        "networks = []",
        "lookups.bots.networks",
        "must list",
    )
    .await;
    refused(networks, "", "lookups.bots", "networks").await;
    let ports = "\"1024-65535\"";
    for wrong in ["0", "\"80\"", "\"9-8\"", "\"0-8\""] {
        refused(ports, wrong, "lookups.bots.ports[0]", "must be a port").await;
    }
    refused("/{key}/", "/{id}/", "lookups.bots.path", "{key}").await;
    refused(
        "upstream = \"core\"",
        "upstream = \"x\"",
        "lookups.bots.upstream",
        "no upstream `x`",
    )
    .await;
    refused(
        "segment = \"id\"",
        "segment = \"x\"",
        "routes.bot.lookup.segment",
        "no segment `{x}`",
    )
    .await;
    refused(
        "name = \"bots\"",
        "name = \"x\"",
        "routes.bot.lookup.name",
        "no lookup `x`",
    )
    .await;
    for (table, rule) in [
        ("a = \"10.0.0.1:8000\"", "not in `networks`"),
        ("a = \"127.0.0.1:80\"", "not in `ports`"),
        ("a = \"b.example:8000\"", "not in `hosts`"),
        ("a = \"b\"", "host:port"),
        ("\"a/b\" = \"127.0.0.1:8000\"", "a segment of a path"),
    ] {
        let table = format!("table = {{ {table} }}\n{networks}");
        refused(networks, &table, "lookups.bots.table.", rule).await;
    }
    let request = b"GET /health HTTP/1.1\r\nhost: a\r\n\r\n";
    assert_eq!(exchange(gateway.public, request).await.status, 200);
}

/// A reload that is about something else costs no one its address, even while the endpoint is away.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_looked_up_outlives_a_reload() {
    let bot = serve(echo()).await;
    let (endpoint, core) = Endpoint::start().await;
    endpoint.set(200, json!({ "address": bot.to_string() }));
    let gateway = Gateway::start(&settings(core, "")).await;
    assert_eq!(gateway.get("/v1/bot/7/x").await.status(), 200);
    endpoint.set(500, json!({}));
    let before = "[upstreams.another]\naddresses = [\"127.0.0.1:1\"]\n";
    for changed in [
        [&*settings(core, ""), before].concat(),
        settings(core, "").replacen("[lookups", "retries = 1\n[lookups", 1),
    ] {
        gateway.reload(&changed).await;
        assert_eq!(gateway.get("/v1/bot/7/x").await.status(), 200);
    }
    assert_eq!(endpoint.asked(), 1);
    // What may be an answer has changed, so that it has to be asked for.
    gateway
        .reload(&settings(core, "").replace("\"1024-65535\"", "\"1024-65534\""))
        .await;
    problem(
        gateway.get("/v1/bot/7/x").await,
        503,
        "destination_unavailable",
    )
    .await;
}
