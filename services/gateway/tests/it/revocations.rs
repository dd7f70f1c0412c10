//! Sessions that have ended, as core's feed names them.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream,
    tungstenite::{Message, client::IntoClientRequest as _},
};

use axum::{Json, Router, body::Bytes, extract::State, response::IntoResponse, routing::post};
use http::{HeaderMap, StatusCode, header::CONNECTION};
use quartet_auth::signature::Signer;
use quartet_common::clock::Clock;
use quartet_testing::Issuer;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::support::{
    Gateway, client, echo, eventually, free_address, problem, route, serve, upstream,
};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
/// What a revocation may take.
const PROMISED: Duration = Duration::from_secs(5);

/// The feed as core serves it: the cursor is the number of revocations that were read.
#[derive(Clone, Default)]
struct Feed {
    revoked: Arc<Mutex<Vec<String>>>,
}

impl Feed {
    fn revoke(&self, session: &str) {
        self.revoked.lock().unwrap().push(session.to_owned());
    }

    /// On `address`, until the handle is aborted.
    async fn serve(&self, address: SocketAddr) -> JoinHandle<()> {
        let router = Router::new()
            .route("/internal/revocations", post(read))
            .with_state(self.clone());
        let listener = eventually("the address is free", || async {
            tokio::net::TcpListener::bind(address).await.ok()
        });
        let listener = listener.await;
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() })
    }
}

async fn read(
    State(feed): State<Feed>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<impl IntoResponse, StatusCode> {
    let signer = Signer::new(&SECRET.into()).unwrap();
    let verified = signer.verify(&headers, Clock::system().now(), &body);
    verified.map_err(|_| StatusCode::UNAUTHORIZED)?;
    let request: Value = serde_json::from_slice(&body).unwrap();
    let after = request["after"]
        .as_str()
        .map_or(0, |after| after.parse().unwrap());
    let revoked = feed.revoked.lock().unwrap();
    let until = Clock::system().now().timestamp() + 900;
    // Two at a time, so that there are several pages.
    let page = revoked.iter().skip(after).take(2);
    let page: Vec<Value> = page
        .map(|session| json!({ "session_id": session, "until": until }))
        .collect();
    let next = after + page.len();
    let more = next < revoked.len();
    let body = json!({ "revocations": page, "next": next.to_string(), "more": more });
    // An aborted server ends its connections, too.
    Ok(([(CONNECTION, "close")], Json(body)))
}

async fn settings(issuer: &Issuer, feed: SocketAddr, more: &str) -> String {
    let jwks = issuer.serve().await;
    [
        upstream(&[serve(echo()).await]),
        format!("[jwt]\njwks_url = \"http://{jwks}/.well-known/jwks.json\"\n"),
        format!(
            "[issuers.other]\nissuer = \"https://other.example\"\naudience = \"\"\n\
             jwks_url = \"http://{jwks}/.well-known/jwks.json\"\n"
        ),
        format!(
            "[revocations]\nurl = \"http://{feed}/internal/revocations\"\nsecret = \"{SECRET}\"\n\
             {more}\n"
        ),
        route("r", "/r", "issuers = [\"jwt\", \"other\"]").replace("\"public\"", "\"required\""),
    ]
    .concat()
}

fn token(issuer: &Issuer, session: &str) -> String {
    issuer.token_with("usr_1", json!({ "sid": session }))
}

async fn call(gateway: &Gateway, token: &str) -> reqwest::Response {
    let request = client().get(gateway.url("/r")).bearer_auth(token);
    request.send().await.unwrap()
}

async fn is_refused(gateway: &Gateway, token: &str) {
    let refused = eventually("the token is refused", || async {
        let response = call(gateway, token).await;
        (response.status() == 401).then_some(response)
    })
    .await;
    let body = problem(refused, 401, "unauthenticated").await;
    assert_eq!(body["detail"], "the session of the access token has ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_sessions_that_ended_are_refused_by_every_gateway() {
    let issuer = Issuer::new(Clock::system());
    let (feed, address) = (Feed::default(), free_address());
    for session in ["ses_1", "ses_2", "ses_3"] {
        feed.revoke(session);
    }
    let serving = feed.serve(address).await;
    let text = settings(&issuer, address, "").await;
    let gateways = [
        Gateway::start(&text).await,
        Gateway::start(&text).await,
        Gateway::start(&text).await,
    ];
    let kept = token(&issuer, "ses_kept");
    let ended = token(&issuer, "ses_ended");
    for gateway in &gateways {
        // What was revoked before its start, on two pages.
        for session in ["ses_1", "ses_3"] {
            is_refused(gateway, &token(&issuer, session)).await;
        }
        assert_eq!(call(gateway, &ended).await.status(), 200);
    }
    let started = Instant::now();
    feed.revoke("ses_ended");
    for gateway in &gateways {
        is_refused(gateway, &ended).await;
        assert!(started.elapsed() < PROMISED, "{:?}", started.elapsed());
        assert_eq!(call(gateway, &kept).await.status(), 200);
        // Sessions of other issuers may have the same names.
        let other = json!({ "sid": "ses_ended", "iss": "https://other.example" });
        let other = issuer.token_with("usr_1", other);
        assert_eq!(call(gateway, &other).await.status(), 200);
        eventually("the sessions are counted", || async {
            let sessions = gateway.count("gateway_revoked_sessions{").await;
            (sessions == 4).then_some(())
        })
        .await;
    }

    // Without the feed, what is known stays known, and tokens are accepted.
    serving.abort();
    let _ = serving.await;
    feed.revoke("ses_while_away");
    let while_away = token(&issuer, "ses_while_away");
    for gateway in &gateways {
        let failures = || async {
            let failures = gateway
                .count("gateway_revocation_feed_failures_total")
                .await;
            (failures > 0).then_some(())
        };
        eventually("the gateway notices", failures).await;
        assert_eq!(call(gateway, &while_away).await.status(), 200);
        assert_eq!(call(gateway, &ended).await.status(), 401);
    }
    let started = Instant::now();
    let _serving = feed.serve(address).await;
    for gateway in &gateways {
        is_refused(gateway, &while_away).await;
        assert!(started.elapsed() < PROMISED, "{:?}", started.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_feed_a_gateway_may_refuse_tokens() {
    let issuer = Issuer::new(Clock::system());
    let (feed, address) = (Feed::default(), free_address());
    let denied = "on_feed_error = \"deny\"\nstale_seconds = 1";
    let text = settings(&issuer, address, denied).await;
    let gateway = Gateway::start(&text).await;
    let token = token(&issuer, "ses_1");
    problem(call(&gateway, &token).await, 503, "unavailable").await;
    let unnamed = issuer.token_with("usr_1", json!({ "sid": null }));
    assert_eq!(
        call(&gateway, &unnamed).await.status(),
        200,
        "it is of no session"
    );
    let ready = gateway.admin("/ready").await;
    assert_eq!(ready.status(), 200);
    let report: Value = ready.json().await.unwrap();
    let notice = "the feed of revoked sessions has not been read yet; tokens are refused";
    assert_eq!(report["notices"]["revocations"][0], notice);

    let serving = feed.serve(address).await;
    let is_accepted = || async { (call(&gateway, &token).await.status() == 200).then_some(()) };
    eventually("tokens are accepted", is_accepted).await;
    serving.abort();
    let is_denied = || async { (call(&gateway, &token).await.status() == 503).then_some(()) };
    eventually("tokens are refused", is_denied).await;
    // A reload changes what they are worth.
    gateway.reload(&text.replace("\"deny\"", "\"allow\"")).await;
    assert_eq!(call(&gateway, &token).await.status(), 200);
}

/// More sessions than fit count as if there were no feed: none of them may be forgotten.
#[tokio::test(flavor = "multi_thread")]
async fn too_many_sessions_are_reported() {
    let issuer = Issuer::new(Clock::system());
    let (feed, address) = (Feed::default(), free_address());
    for session in ["ses_1", "ses_2", "ses_3"] {
        feed.revoke(session);
    }
    let _serving = feed.serve(address).await;
    let text = settings(
        &issuer,
        address,
        "max_sessions = 2\non_feed_error = \"deny\"",
    )
    .await;
    let gateway = Gateway::start(&text).await;
    let line = eventually("the log says so", || async {
        let mut lines = gateway.lines().into_iter();
        lines.find(|line| line["msg"] == "reading the feed of revoked sessions failed")
    })
    .await;
    let error = line["error"].as_str().unwrap();
    assert!(error.contains("max_sessions"), "{error}");
    problem(
        call(&gateway, &token(&issuer, "ses_9")).await,
        503,
        "unavailable",
    )
    .await;
    assert_eq!(call(&gateway, &token(&issuer, "ses_1")).await.status(), 401);
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Sends every message back.
async fn echo_socket() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
                while let Some(Ok(message)) = socket.next().await {
                    let _ = socket.send(message).await;
                }
            });
        }
    });
    address
}

/// A WebSocket through the gateway, opened with a token.
async fn open(gateway: &Gateway, path: &str, token: &str) -> Socket {
    let url = format!("ws://{}{path}", gateway.public);
    let mut request = url.into_client_request().unwrap();
    let headers = request.headers_mut();
    headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
    tokio_tungstenite::connect_async(request).await.unwrap().0
}

async fn is_open(socket: &mut Socket) {
    socket.send(Message::text("ping")).await.unwrap();
    let answer = socket.next().await.unwrap().unwrap();
    assert_eq!(answer, Message::text("ping"));
}

/// Waits for its end. How long that took.
async fn ends(socket: &mut Socket) -> Duration {
    let started = Instant::now();
    let next = tokio::time::timeout(crate::support::DEADLINE, socket.next()).await;
    let next = next.expect("the WebSocket is closed");
    assert!(next.is_none_or(|message| message.is_err()));
    started.elapsed()
}

/// The line of the request that opened a WebSocket says why it was closed.
async fn is_logged(gateway: &Gateway, path: &str, error: &str) {
    let line = gateway.access_line(path).await;
    assert_eq!(
        (&line["status"], &line["error"]),
        (&json!(101), &json!(error))
    );
}

async fn with_sockets(issuer: &Issuer, feed: SocketAddr) -> Gateway {
    let text = settings(issuer, feed, "").await;
    let text = text.replace("[jwt]\n", "[jwt]\nleeway_seconds = 1\n");
    let sockets = format!("[upstreams.w]\naddresses = [\"{}\"]\n", echo_socket().await);
    let ws = |name: &str| {
        let route = route(
            name,
            &format!("/{name}"),
            "upgrade = true\nissuers = [\"jwt\", \"other\"]",
        );
        route
            .replace("\"public\"", "\"required\"")
            .replace("\"u\"", "\"w\"")
    };
    let routes = ["ended", "other", "kept", "short", "long"].map(ws).concat();
    Gateway::start(&[text, sockets, routes].concat()).await
}

/// A token is verified once, and a WebSocket stays open for hours.
#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_ends_with_the_session_of_its_token() {
    let issuer = Issuer::new(Clock::system());
    let (feed, address) = (Feed::default(), free_address());
    let _serving = feed.serve(address).await;
    let gateway = with_sockets(&issuer, address).await;
    let ended = token(&issuer, "ses_ended");
    let other = json!({ "sid": "ses_ended", "iss": "https://other.example" });
    let other = issuer.token_with("usr_1", other);
    let mut first = open(&gateway, "/ended", &ended).await;
    let mut second = open(&gateway, "/ended", &ended).await;
    let mut other = open(&gateway, "/other", &other).await;
    let mut kept = open(&gateway, "/kept", &token(&issuer, "ses_kept")).await;
    for socket in [&mut first, &mut second, &mut other, &mut kept] {
        is_open(socket).await;
    }
    feed.revoke("ses_ended");
    assert!(ends(&mut first).await < PROMISED);
    assert!(ends(&mut second).await < PROMISED);
    is_open(&mut other).await;
    is_open(&mut kept).await;
    is_logged(
        &gateway,
        "/ended",
        "the session of the access token has ended",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_ends_with_its_token() {
    let issuer = Issuer::new(Clock::system());
    let (feed, address) = (Feed::default(), free_address());
    let _serving = feed.serve(address).await;
    let gateway = with_sockets(&issuer, address).await;
    let until = |seconds| {
        let exp = Clock::system().now().timestamp() + seconds;
        issuer.token_with("usr_1", json!({ "exp": exp, "sid": null }))
    };
    let mut long = open(&gateway, "/long", &until(900)).await;
    let mut short = open(&gateway, "/short", &until(2)).await;
    is_open(&mut short).await;
    let lived = ends(&mut short).await;
    assert!((1..8).contains(&lived.as_secs()), "{lived:?}");
    is_open(&mut long).await;
    is_logged(&gateway, "/short", "the access token has expired").await;
}
