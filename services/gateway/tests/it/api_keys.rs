//! API keys of core: upstreams get the access token that a key stands for.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use axum::{Json, Router, body::Bytes, extract::State, routing::post};
use futures_util::future::join_all;
use http::{HeaderMap, StatusCode};
use quartet_auth::{
    opaque::{API_KEY_PREFIX, encode},
    signature::Signer,
};
use quartet_common::clock::Clock;
use quartet_testing::Issuer;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::support::{Gateway, client, echo, eventually, problem, route, serve, upstream};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const EXCHANGES: &str = "gateway_api_key_exchanges_total{service=\"gateway\",outcome=\"exchanged\"";

/// What core knows: tokens by key, and sessions that have ended.
#[derive(Clone, Default)]
struct Core(Arc<Mutex<Known>>);

#[derive(Default)]
struct Known {
    tokens: HashMap<String, String>,
    revoked: Vec<String>,
    is_away: bool,
}

impl Core {
    async fn serve(&self) -> SocketAddr {
        let router = Router::new()
            .route("/internal/api-keys/exchange", post(exchange))
            .route("/internal/revocations", post(revocations));
        serve(router.with_state(self.clone())).await
    }

    fn add(&self, key: &str, token: String) {
        self.0.lock().unwrap().tokens.insert(key.to_owned(), token);
    }
}

fn check(headers: &HeaderMap, body: &Bytes) -> Result<Value, StatusCode> {
    let signer = Signer::new(&SECRET.into()).unwrap();
    let verified = signer.verify(headers, Clock::system().now(), body);
    verified.map_err(|_| StatusCode::UNAUTHORIZED)?;
    Ok(serde_json::from_slice(body).unwrap())
}

async fn exchange(
    State(core): State<Core>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, StatusCode> {
    let key = check(&headers, &body)?;
    let core = core.0.lock().unwrap();
    if core.is_away {
        return Err(StatusCode::SERVICE_UNAVAILABLE);
    }
    let token = core.tokens.get(key["key"].as_str().unwrap());
    Ok(Json(json!({ "access_token": token, "expires_in": 900 })))
}

async fn revocations(
    State(core): State<Core>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, StatusCode> {
    check(&headers, &body)?;
    let until = Clock::system().now().timestamp() + 900;
    let core = core.0.lock().unwrap();
    let revoked = core.revoked.iter();
    let revoked: Vec<_> = revoked
        .map(|id| json!({ "session_id": id, "until": until }))
        .collect();
    Ok(Json(
        json!({ "revocations": revoked, "next": "1", "more": false }),
    ))
}

fn key(number: u8) -> String {
    encode(API_KEY_PREFIX, &[number; 32])
        .expose_secret()
        .to_owned()
}

fn token(issuer: &Issuer, id: &str) -> String {
    let claims = json!({ "sid": id, "client_id": id, "scope": "things:read" });
    issuer.token_with("usr_1", claims)
}

async fn start(issuer: &Issuer) -> (Gateway, Core) {
    let core = Core::default();
    let address = core.serve().await;
    let jwks = issuer.serve().await;
    let required = |name: &str, path: &str, more: &str| {
        route(name, path, more).replace("\"public\"", "\"required\"")
    };
    let text = [
        upstream(&[serve(echo()).await]),
        format!("[jwt]\njwks_url = \"http://{jwks}/.well-known/jwks.json\"\n"),
        format!(
            "[issuers.other]\nissuer = \"https://other.example\"\naudience = \"\"\n\
             jwks_url = \"http://{jwks}/.well-known/jwks.json\"\n"
        ),
        format!(
            "[revocations]\nurl = \"http://{address}/internal/revocations\"\n\
             secret = \"{SECRET}\"\ninterval_ms = 100\n"
        ),
        format!("[api_keys]\nurl = \"http://{address}/internal/api-keys/exchange\"\n"),
        "[limits.few]\nrequests = 2\nwindow_seconds = 3600\nkey = \"token\"\n".to_owned(),
        required("r", "/r", "required_scopes = [\"things:read\"]"),
        required("w", "/w", "required_scopes = [\"things:write\"]"),
        required("few", "/few", "limit = \"few\""),
        required("other", "/other", "issuers = [\"other\"]"),
        route("open", "/open", ""),
    ];
    (Gateway::start(&text.concat()).await, core)
}

async fn call(gateway: &Gateway, path: &str, headers: &[(&str, &str)]) -> reqwest::Response {
    let mut request = client().get(gateway.url(path));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.unwrap()
}

/// What the upstream got under a name.
async fn seen(response: reqwest::Response, name: &str) -> Vec<String> {
    assert_eq!(response.status(), 200);
    let body: Value = response.json().await.unwrap();
    let headers = body["headers"].as_array().unwrap().iter();
    let named = headers.filter(|header| header[0] == name);
    named
        .map(|header| header[1].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn upstreams_get_the_token_of_a_key() {
    let issuer = Issuer::new(Clock::system());
    let (gateway, core) = start(&issuer).await;
    let (key, jwt) = (key(1), token(&issuer, "key_1"));
    core.add(&key, jwt.clone());
    let bearer = format!("Bearer {key}");
    for headers in [
        &[("authorization", bearer.as_str())][..],
        &[("x-api-key", key.as_str())],
        &[
            ("x-api-key", key.as_str()),
            ("authorization", bearer.as_str()),
        ],
    ] {
        let of = async |name| seen(call(&gateway, "/r", headers).await, name).await;
        assert_eq!(of("authorization").await, [format!("Bearer {jwt}")]);
        assert_eq!(of("x-api-key").await, Vec::<String>::new());
        assert_eq!(of("x-user-id").await, ["usr_1"]);
        assert_eq!(of("x-session-id").await, ["key_1"]);
    }
    // A token in another header, and a key of the upstream's own, are the upstream's business.
    let own = [
        ("authorization", format!("Bearer {jwt}")),
        ("x-api-key", "own".to_owned()),
    ];
    let own = own.each_ref().map(|(name, value)| (*name, value.as_str()));
    assert_eq!(
        seen(call(&gateway, "/r", &own).await, "x-api-key").await,
        ["own"]
    );
    let open = call(&gateway, "/open", &[("x-api-key", &key)]).await;
    assert_eq!(seen(open, "x-api-key").await, std::slice::from_ref(&key));
    assert_eq!(gateway.count(EXCHANGES).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_key_is_refused() {
    let issuer = Issuer::new(Clock::system());
    let (gateway, core) = start(&issuer).await;
    let known = key(1);
    core.add(&known, token(&issuer, "key_1"));
    for wrong in [
        "qrt_pat_",
        &known[..known.len() - 1],
        &key(2),
        "qrt_pat_\u{e4}",
    ] {
        let response = call(&gateway, "/r", &[("x-api-key", wrong)]).await;
        if wrong.is_ascii() {
            let body = problem(response, 401, "unauthenticated").await;
            assert_eq!(
                body["detail"],
                "the API key is malformed, unknown, expired or revoked"
            );
        } else {
            problem(response, 401, "unauthenticated").await;
        }
    }
    // Core was asked about the one with the right form.
    let asked = "gateway_api_key_exchanges_total{service=\"gateway\",outcome=\"unknown\"";
    assert_eq!(gateway.count(asked).await, 1);
    let other = call(&gateway, "/other", &[("x-api-key", &known)]).await;
    problem(other, 401, "unauthenticated").await;
    let cookie = format!("access_token={known}");
    let cookie = call(&gateway, "/r", &[("cookie", &cookie)]).await;
    problem(cookie, 401, "unauthenticated").await;
    let write = call(&gateway, "/w", &[("x-api-key", &known)]).await;
    problem(write, 403, "insufficient_scope").await;
    // A key that is created after it was tried works soon.
    core.add(&key(2), token(&issuer, "key_2"));
    eventually("the new key is known", || async {
        let response = call(&gateway, "/r", &[("x-api-key", &key(2))]).await;
        (response.status() == 200).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_at_once_cause_one_exchange() {
    let issuer = Issuer::new(Clock::system());
    let (gateway, core) = start(&issuer).await;
    let key = key(1);
    core.add(&key, token(&issuer, "key_1"));
    let headers = [("x-api-key", key.as_str())];
    let all = join_all((0..50).map(|_| call(&gateway, "/r", &headers))).await;
    assert!(all.iter().all(|response| response.status() == 200));
    assert_eq!(gateway.count(EXCHANGES).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_counts_for_itself_and_is_refused_once_it_is_revoked() {
    let issuer = Issuer::new(Clock::system());
    let (gateway, core) = start(&issuer).await;
    let keys = [key(1), key(2)];
    core.add(&keys[0], token(&issuer, "key_1"));
    core.add(&keys[1], token(&issuer, "key_2"));
    for key in &keys {
        let headers = [("x-api-key", key.as_str())];
        for _ in 0..2 {
            assert_eq!(call(&gateway, "/few", &headers).await.status(), 200);
        }
        problem(call(&gateway, "/few", &headers).await, 429, "rate_limited").await;
    }
    core.0.lock().unwrap().revoked.push("key_1".to_owned());
    eventually("the key is refused", || async {
        let response = call(&gateway, "/r", &[("x-api-key", &keys[0])]).await;
        (response.status() == 401).then_some(())
    })
    .await;
    let kept = call(&gateway, "/r", &[("x-api-key", &keys[1])]).await;
    assert_eq!(kept.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_core_known_keys_work_and_others_wait() {
    let issuer = Issuer::new(Clock::system());
    let (gateway, core) = start(&issuer).await;
    let (known, other) = (key(1), key(2));
    core.add(&known, token(&issuer, "key_1"));
    core.add(&other, token(&issuer, "key_2"));
    let known = [("x-api-key", known.as_str())];
    let other = [("x-api-key", other.as_str())];
    assert_eq!(call(&gateway, "/r", &known).await.status(), 200);
    core.0.lock().unwrap().is_away = true;
    assert_eq!(call(&gateway, "/r", &known).await.status(), 200);
    problem(call(&gateway, "/r", &other).await, 503, "unavailable").await;
    core.0.lock().unwrap().is_away = false;
    assert_eq!(call(&gateway, "/r", &other).await.status(), 200);
}

/// A key of core's that was replaced at once closes no one out for the rest of the tokens' life.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_no_longer_valid_is_replaced() {
    let issuer = Issuer::new(Clock::system());
    let (gateway, core) = start(&issuer).await;
    let key = key(1);
    let headers = [("x-api-key", key.as_str())];
    core.add(&key, format!("{}x", token(&issuer, "key_1")));
    problem(call(&gateway, "/r", &headers).await, 401, "unauthenticated").await;
    core.add(&key, token(&issuer, "key_1"));
    assert_eq!(call(&gateway, "/r", &headers).await.status(), 200);
}
