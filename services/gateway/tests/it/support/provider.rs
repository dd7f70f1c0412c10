//! An OpenID provider that can lie.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use axum::{
    Json, Router,
    body::Body,
    extract::{Query, State},
    middleware::map_response,
    response::{IntoResponse as _, Redirect, Response},
    routing::{get, post},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use futures_util::stream;
use http::{HeaderMap, StatusCode};
use jsonwebtoken::{Algorithm, EncodingKey, Header, jwk::Jwk};
use quartet_common::clock::Clock;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use tokio::{net::TcpListener, task::JoinHandle};

pub(crate) const CLIENT: &str = "gateway";
pub(crate) const CLIENT_SECRET: &str = "client-secret-of-the-gateway";

/// A provider on a loopback port.
#[derive(Clone)]
pub(crate) struct Provider {
    pub(crate) address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
    server: Arc<Mutex<Option<JoinHandle<()>>>>,
}

/// What is not as it should be. Nothing by default.
#[derive(Clone, Default)]
pub(crate) struct Lies {
    /// Claims of ID tokens that replace the right ones; null removes one.
    pub(crate) claims: Value,
    /// Signs with a key that is not published.
    pub(crate) forged: bool,
    /// Sends the browser back with this in place of a code.
    pub(crate) error: Option<&'static str>,
    /// In place of the `iss` of the response; empty: none.
    pub(crate) iss: Option<&'static str>,
    /// The token endpoint responds with this status and body.
    pub(crate) token: Option<(u16, &'static str)>,
    pub(crate) token_delay: Duration,
    /// The token endpoint never stops to respond.
    pub(crate) endless: bool,
    pub(crate) without_id_token: bool,
    pub(crate) without_refresh_token: bool,
    /// Of access tokens.
    pub(crate) life_seconds: Option<i64>,
    /// The metadata of another issuer.
    pub(crate) other_issuer: bool,
}

struct Shared {
    lies: Lies,
    key: SigningKey,
    codes: HashMap<String, Map<String, Value>>,
    refresh_token: usize,
    refreshes: usize,
    reused: bool,
    sessions: usize,
    revoked: usize,
    user: Value,
}

struct SigningKey {
    id: String,
    key: EncodingKey,
    jwk: Value,
}

impl SigningKey {
    fn new(id: &str) -> Self {
        // PKCS#8 (RFC 8410): a fixed prefix and the 32 bytes of the seed.
        let mut pkcs8 = vec![
            0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22,
            0x04, 0x20,
        ];
        let mut seed = [0; 32];
        aws_lc_rs::rand::fill(&mut seed).unwrap();
        pkcs8.extend(seed);
        let key = EncodingKey::from_ed_der(&pkcs8);
        let mut jwk = Jwk::from_encoding_key(&key, Algorithm::EdDSA).unwrap();
        jwk.common.key_id = Some(id.to_owned());
        Self {
            id: id.to_owned(),
            key,
            jwk: serde_json::to_value(&jwk).unwrap(),
        }
    }
}

impl Provider {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let provider = Self {
            address: listener.local_addr().unwrap(),
            server: Arc::default(),
            shared: Arc::new(Mutex::new(Shared {
                lies: Lies::default(),
                key: SigningKey::new("key-1"),
                codes: HashMap::new(),
                refresh_token: 0,
                refreshes: 0,
                reused: false,
                sessions: 0,
                revoked: 0,
                user: json!({
                    "sub": "user-1",
                    "email": "ada@example.org",
                    "email_verified": true,
                    "preferred_username": "ada",
                    "groups": ["dev", "ops"],
                }),
            })),
        };
        provider.serve_on(listener);
        provider
    }

    fn serve_on(&self, listener: TcpListener) {
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(metadata))
            .route("/jwks", get(jwks))
            .route("/authorize", get(authorize))
            .route("/token", post(token))
            .route("/userinfo", get(userinfo))
            .route("/revoke", post(revoke))
            // GitHub's names.
            .route("/login/oauth/authorize", get(authorize))
            .route("/login/oauth/access_token", post(token))
            .route(
                "/user",
                get(async || Json(json!({ "id": 7, "login": "ada", "name": "Ada" }))),
            )
            .route(
                "/user/emails",
                get(async || {
                    Json(json!([
                        { "email": "old@example.org", "primary": false, "verified": true },
                        { "email": "ada@example.org", "primary": true, "verified": true },
                    ]))
                }),
            )
            .route(
                "/user/orgs",
                get(async || Json(json!([{ "login": "quartet" }]))),
            )
            .with_state(self.clone())
            // So that no connection outlives the server.
            .layer(map_response(async |mut response: Response| {
                let close = http::HeaderValue::from_static("close");
                response.headers_mut().insert("connection", close);
                response
            }));
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        *self.server.lock().unwrap() = Some(task);
    }

    /// No connection is accepted from now on.
    pub(crate) async fn stop(&self) {
        let task = self.server.lock().unwrap().take();
        if let Some(task) = task {
            task.abort();
            let _ = task.await;
        }
    }

    /// On the same port.
    pub(crate) async fn restart(&self) {
        let address = self.address;
        let listener = super::eventually("the port is free", || async move {
            TcpListener::bind(address).await.ok()
        });
        self.serve_on(listener.await);
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn lie(&self, lies: Lies) {
        self.lock().lies = lies;
    }

    /// Publishes another key in place of the one before.
    pub(crate) fn rotate(&self) {
        self.lock().key = SigningKey::new("key-2");
    }

    pub(crate) fn set_user(&self, user: Value) {
        self.lock().user = user;
    }

    /// Uses of refresh tokens that succeeded.
    pub(crate) fn refreshes(&self) -> usize {
        self.lock().refreshes
    }

    /// Whether a refresh token was used twice.
    pub(crate) fn was_reused(&self) -> bool {
        self.lock().reused
    }

    pub(crate) fn revoked(&self) -> usize {
        self.lock().revoked
    }

    /// Refresh tokens are no longer accepted.
    pub(crate) fn forget_tokens(&self) {
        self.lock().refresh_token += 1;
    }

    /// A logout token with claims added or replaced; null removes one.
    pub(crate) fn logout_token(&self, claims: &Value) -> String {
        let now = Clock::system().now().timestamp();
        let mut all = json!({
            "iss": self.url(), "aud": CLIENT, "iat": now, "exp": now + 120,
            "jti": format!("jti-{}", uuid()),
            "events": { "http://schemas.openid.net/event/backchannel-logout": {} },
        });
        merge(&mut all, claims);
        sign(&self.lock().key, &all, "logout+jwt")
    }

    /// The settings of a login with this provider.
    pub(crate) fn settings(&self, more: &str) -> String {
        let url = self.url();
        format!(
            "[logins.main]\nbase_url = \"https://app.example.org\"\nissuer = \"{url}\"\n\
             client_id = \"{CLIENT}\"\nclient_secret = \"{CLIENT_SECRET}\"\n{more}\n"
        )
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap()
    }
}

fn uuid() -> String {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).unwrap();
    URL_SAFE_NO_PAD.encode(bytes)
}

fn merge(all: &mut Value, claims: &Value) {
    let all = all.as_object_mut().unwrap();
    for (name, value) in claims.as_object().into_iter().flatten() {
        if value.is_null() {
            all.remove(name);
        } else {
            all.insert(name.clone(), value.clone());
        }
    }
}

fn sign(key: &SigningKey, claims: &Value, kind: &str) -> String {
    let mut header = Header::new(Algorithm::EdDSA);
    header.kid = Some(key.id.clone());
    header.typ = Some(kind.to_owned());
    jsonwebtoken::encode(&header, claims, &key.key).unwrap()
}

async fn metadata(State(provider): State<Provider>) -> Json<Value> {
    let url = provider.url();
    let lies = provider.lock().lies.clone();
    Json(json!({
        "issuer": if lies.other_issuer { "http://127.0.0.1:9" } else { &url },
        "authorization_endpoint": format!("{url}/authorize"),
        "token_endpoint": format!("{url}/token"),
        "userinfo_endpoint": format!("{url}/userinfo"),
        "end_session_endpoint": format!("{url}/end_session"),
        "revocation_endpoint": format!("{url}/revoke"),
        "jwks_uri": format!("{url}/jwks"),
        "authorization_response_iss_parameter_supported": true,
    }))
}

async fn jwks(State(provider): State<Provider>) -> Json<Value> {
    Json(json!({ "keys": [provider.lock().key.jwk.clone()] }))
}

async fn authorize(
    State(provider): State<Provider>,
    Query(query): Query<Map<String, Value>>,
) -> Redirect {
    let text = |name: &str| query[name].as_str().unwrap().to_owned();
    assert_eq!(text("response_type"), "code");
    assert_eq!(text("client_id"), CLIENT);
    assert_eq!(text("code_challenge_method"), "S256");
    let url = provider.url();
    let mut shared = provider.lock();
    let code = uuid();
    let mut back: url::Url = text("redirect_uri").parse().unwrap();
    {
        let mut pairs = back.query_pairs_mut();
        match shared.lies.error {
            Some(error) => pairs.append_pair("error", error),
            None => pairs.append_pair("code", &code),
        };
        pairs.append_pair("state", &text("state"));
        match shared.lies.iss {
            Some("") => {}
            Some(iss) => {
                pairs.append_pair("iss", iss);
            }
            None => {
                pairs.append_pair("iss", &url);
            }
        }
    }
    shared.codes.insert(code, query);
    Redirect::to(back.as_str())
}

async fn token(State(provider): State<Provider>, headers: HeaderMap, body: String) -> Response {
    let lies = provider.lock().lies.clone();
    tokio::time::sleep(lies.token_delay).await;
    if lies.endless {
        let part = || Ok::<_, std::io::Error>(vec![b' '; 1024]);
        let parts = stream::repeat_with(part);
        return Body::from_stream(parts).into_response();
    }
    if let Some((status, body)) = lies.token {
        return (StatusCode::from_u16(status).unwrap(), body).into_response();
    }
    let form: HashMap<String, String> = url::form_urlencoded::parse(body.as_bytes())
        .into_owned()
        .collect();
    let basic =
        base64::engine::general_purpose::STANDARD.encode(format!("{CLIENT}:{CLIENT_SECRET}"));
    let by_header = headers
        .get("authorization")
        .is_some_and(|value| *value == format!("Basic {basic}"));
    let by_form = form
        .get("client_secret")
        .is_some_and(|secret| secret == CLIENT_SECRET);
    if !by_header && !by_form {
        return refuse("invalid_client");
    }
    let mut shared = provider.lock();
    if form["grant_type"] != "refresh_token" {
        let Some(asked) = shared.codes.remove(&form["code"]) else {
            return refuse("invalid_grant");
        };
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(&form["code_verifier"]));
        let is_same = challenge == asked["code_challenge"].as_str().unwrap()
            && form["redirect_uri"] == asked["redirect_uri"].as_str().unwrap();
        if !is_same {
            return refuse("invalid_grant");
        }
        shared.sessions += 1;
        shared.refresh_token += 1000;
        let nonce = asked.get("nonce").cloned();
        return tokens(&provider.url(), &mut shared, nonce);
    }
    let current = format!("refresh-{}", shared.refresh_token);
    if form["refresh_token"] != current {
        shared.reused = true;
        return refuse("invalid_grant");
    }
    shared.refreshes += 1;
    tokens(&provider.url(), &mut shared, None)
}

fn tokens(url: &str, shared: &mut Shared, nonce: Option<Value>) -> Response {
    let now = Clock::system().now().timestamp();
    let mut claims = json!({
        "iss": url, "aud": CLIENT, "iat": now, "exp": now + 300,
        "sid": format!("sid-{}", shared.sessions), "nonce": nonce,
    });
    merge(&mut claims, &shared.user);
    merge(&mut claims, &shared.lies.claims);
    if claims["nonce"].is_null() {
        merge(&mut claims, &json!({ "nonce": null }));
    }
    shared.refresh_token += 1;
    let forger = SigningKey::new(&shared.key.id);
    let key = if shared.lies.forged {
        &forger
    } else {
        &shared.key
    };
    let mut body = json!({
        "access_token": format!("access-{}", shared.refresh_token),
        "token_type": "Bearer",
        "expires_in": shared.lies.life_seconds.unwrap_or(300),
        "refresh_token": format!("refresh-{}", shared.refresh_token),
    });
    if shared.lies.without_refresh_token {
        merge(&mut body, &json!({ "refresh_token": null }));
    }
    if !shared.lies.without_id_token {
        body["id_token"] = json!(sign(key, &claims, "JWT"));
    }
    Json(body).into_response()
}

fn refuse(error: &str) -> Response {
    (StatusCode::BAD_REQUEST, Json(json!({ "error": error }))).into_response()
}

async fn userinfo(State(provider): State<Provider>) -> Json<Value> {
    let mut user = provider.lock().user.clone();
    merge(
        &mut user,
        &json!({ "email": "new@example.org", "groups": ["userinfo"] }),
    );
    Json(user)
}

async fn revoke(State(provider): State<Provider>) {
    provider.lock().revoked += 1;
}
