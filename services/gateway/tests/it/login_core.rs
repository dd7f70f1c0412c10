//! A page logs in at core, and exchanges the tokens for a session.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use axum::{
    Json, Router,
    extract::State,
    response::{IntoResponse as _, Response},
    routing::{delete, post},
};
use http::{HeaderMap, Method, StatusCode};
use quartet_common::clock::Clock;
use quartet_testing::Issuer;
use serde_json::{Value, json};

use crate::support::{Gateway, Visitor, echo, eventually, problem, route, serve, upstream};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// The sessions of core, as far as they matter here.
#[derive(Clone)]
struct Core {
    issuer: Issuer,
    refreshes: Arc<Mutex<usize>>,
    ended: Arc<Mutex<Vec<String>>>,
}

impl Core {
    fn token(&self, life: i64) -> String {
        let now = Clock::system().now().timestamp();
        self.issuer.token_with(
            "usr_1",
            json!({ "exp": now + life, "email": "ada@example.org" }),
        )
    }

    async fn serve(&self) -> SocketAddr {
        let router = Router::new()
            .route("/v1/core/sessions/refresh", post(refresh))
            .route("/v1/core/sessions/current", delete(end))
            .with_state(self.clone());
        serve(router).await
    }
}

async fn refresh(State(core): State<Core>, Json(body): Json<Value>) -> Response {
    let mut count = core.refreshes.lock().unwrap();
    if body["refresh_token"] == "qrt_ref_of_another" {
        let token = core.issuer.token_with("usr_2", json!({}));
        let tokens = json!({ "access_token": token, "refresh_token": "qrt_ref_of_another" });
        return Json(tokens).into_response();
    }
    if body["refresh_token"] != format!("qrt_ref_{}", *count) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    *count += 1;
    Json(json!({
        "access_token": core.token(900), "token_type": "Bearer", "expires_in": 900,
        "refresh_token": format!("qrt_ref_{}", *count), "session_id": "ses_test",
    }))
    .into_response()
}

async fn end(State(core): State<Core>, headers: HeaderMap) -> StatusCode {
    let token = headers["authorization"].to_str().unwrap().to_owned();
    core.ended.lock().unwrap().push(token);
    StatusCode::NO_CONTENT
}

async fn start(more: &str) -> (Gateway, Core) {
    let core = Core {
        issuer: Issuer::with_secret(Clock::system(), SECRET),
        refreshes: Arc::default(),
        ended: Arc::default(),
    };
    let address = core.serve().await;
    let settings = [
        upstream(&[serve(echo()).await]),
        format!("[jwt]\njwks_url = \"\"\nhs256_secret = \"{SECRET}\"\n"),
        format!(
            "[logins.app]\nkind = \"core\"\nbase_url = \"https://app.example.org\"\n\
             refresh_url = \"http://{address}/v1/core/sessions/refresh\"\n\
             logout_url = \"http://{address}/v1/core/sessions/current\"\n{more}\n"
        ),
        route("api", "/v1/*", "login = \"app\"").replace("\"public\"", "\"required\""),
        route(
            "scoped",
            "/scoped",
            "login = \"app\"\nrequired_scopes = [\"admin\"]",
        )
        .replace("\"public\"", "\"required\""),
    ];
    (Gateway::start(&settings.concat()).await, core)
}

async fn exchange(visitor: &Visitor, body: &Value) -> reqwest::Response {
    let request = visitor.request(Method::POST, "/auth/session").json(body);
    let request = request.header("sec-fetch-site", "same-origin");
    visitor.keep(request.send().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "one story of a session")]
async fn a_page_exchanges_its_tokens_for_a_cookie() {
    let (gateway, core) = start("").await;
    let visitor = Visitor::new(&gateway);
    problem(
        visitor.fetch(Method::GET, "/v1/things").await,
        401,
        "login_required",
    )
    .await;
    // Without a page for it, a browser gets the same.
    problem(visitor.open("/v1/things").await, 401, "login_required").await;
    let body = json!({ "access_token": core.token(900), "refresh_token": "qrt_ref_0" });
    let opened = exchange(&visitor, &body).await;
    assert_eq!(opened.status(), 201);
    let session: Value = opened.json().await.unwrap();
    assert_eq!(
        (&session["user"], &session["email"]),
        (&json!("usr_1"), &json!("ada@example.org"))
    );
    let csrf = session["csrf_token"].as_str().unwrap().to_owned();
    let seen: Value = visitor
        .fetch(Method::POST, "/v1/things")
        .await
        .json()
        .await
        .unwrap();
    let text = seen["headers"].to_string();
    let bearer = format!(
        "[\"authorization\",\"Bearer {}\"]",
        body["access_token"].as_str().unwrap()
    );
    assert!(text.contains(&bearer), "{text}");
    assert!(
        text.contains("[\"x-user-id\",\"usr_1\"]")
            && text.contains("[\"x-session-id\",\"ses_test\"]")
    );
    assert!(!text.contains("\"cookie\""), "{text}");
    // What the route requires of tokens holds for that of the session.
    problem(
        visitor.fetch(Method::GET, "/scoped").await,
        403,
        "insufficient_scope",
    )
    .await;
    // A request of another site, or of none that says so.
    let other = visitor
        .request(Method::POST, "/v1/things")
        .header("sec-fetch-site", "cross-site");
    problem(other.send().await.unwrap(), 403, "cross_site_request").await;
    problem(
        visitor
            .request(Method::POST, "/v1/things")
            .send()
            .await
            .unwrap(),
        403,
        "cross_site_request",
    )
    .await;
    let with_token = visitor
        .request(Method::POST, "/v1/things")
        .header("x-csrf-token", csrf);
    assert_eq!(with_token.send().await.unwrap().status(), 200);
    // Clients with tokens go on as before.
    let api = Visitor::new(&gateway).request(Method::POST, "/v1/things");
    assert_eq!(
        api.bearer_auth(core.token(900))
            .send()
            .await
            .unwrap()
            .status(),
        200
    );
    let ended = visitor.fetch(Method::DELETE, "/auth/session").await;
    assert_eq!(ended.status(), 204);
    assert!(visitor.cookies().is_empty());
    eventually("core ends the session", || async {
        let ended = core.ended.lock().unwrap();
        (ended.len() == 1 && bearer.contains(ended[0].as_str())).then_some(())
    })
    .await;
    assert_eq!(visitor.fetch(Method::GET, "/v1/things").await.status(), 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_valid_tokens_of_the_own_page_are_exchanged() {
    let (gateway, core) = start("").await;
    let visitor = Visitor::new(&gateway);
    let good = json!({ "access_token": core.token(900) });
    for (body, status, code) in [
        (json!({ "access_token": "abc" }), 401, "unauthenticated"),
        (
            json!({ "access_token": core.token(-10) }),
            401,
            "unauthenticated",
        ),
        (json!({ "access_token": "" }), 422, "invalid_body"),
        (json!({}), 422, "invalid_body"),
        (json!([]), 422, "invalid_body"),
    ] {
        let refused = exchange(&visitor, &body).await;
        problem(refused, status, code).await;
    }
    let send = |kind: &str, body: String, site: &str| {
        let request = visitor
            .request(Method::POST, "/auth/session")
            .header("content-type", kind);
        request.header("sec-fetch-site", site).body(body).send()
    };
    let (json, same) = ("application/json", "same-origin");
    problem(
        send(json, good.to_string(), "cross-site").await.unwrap(),
        403,
        "cross_site_request",
    )
    .await;
    problem(
        send("text/plain", good.to_string(), same).await.unwrap(),
        415,
        "unsupported_media_type",
    )
    .await;
    problem(
        send(json, "{".to_owned(), same).await.unwrap(),
        400,
        "malformed_json",
    )
    .await;
    problem(
        send(json, " ".repeat(70_000), same).await.unwrap(),
        413,
        "body_too_large",
    )
    .await;
    assert!(visitor.cookies().is_empty());
    // Without a refresh token, the session ends with the access token.
    let opened = exchange(&visitor, &json!({ "access_token": core.token(2) })).await;
    assert_eq!(opened.status(), 201);
    assert_eq!(visitor.fetch(Method::GET, "/v1/x").await.status(), 200);
    eventually("the session has ended", || async {
        (visitor.fetch(Method::GET, "/v1/x").await.status() == 401).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_refreshes_at_core() {
    let (gateway, core) = start("login_page = \"/login\"").await;
    let visitor = Visitor::new(&gateway);
    // A browser is sent to the page with the form.
    let begun = visitor.open("/v1/things?a=b").await;
    assert_eq!(
        begun.headers()["location"],
        "/login?return_to=%2Fv1%2Fthings%3Fa%3Db"
    );
    let body = json!({ "access_token": core.token(20), "refresh_token": "qrt_ref_0" });
    assert_eq!(exchange(&visitor, &body).await.status(), 201);
    let calls = (0..10).map(|_| visitor.fetch(Method::GET, "/v1/x"));
    for response in futures_util::future::join_all(calls).await {
        assert_eq!(response.status(), 200);
        let text = response.text().await.unwrap();
        assert!(
            !text.contains(body["access_token"].as_str().unwrap()),
            "{text}"
        );
    }
    assert_eq!(*core.refreshes.lock().unwrap(), 1);
    // A token that was used elsewhere: core refuses, and the session ends.
    *core.refreshes.lock().unwrap() = 7;
    let body = json!({ "access_token": core.token(20), "refresh_token": "qrt_ref_0" });
    assert_eq!(exchange(&visitor, &body).await.status(), 201);
    problem(
        visitor.fetch(Method::GET, "/v1/x").await,
        401,
        "login_required",
    )
    .await;
}

/// The page sends both tokens, so one of them may be another user's.
#[tokio::test(flavor = "multi_thread")]
async fn the_refreshed_token_is_of_the_same_user() {
    let (gateway, core) = start("").await;
    let visitor = Visitor::new(&gateway);
    let body = json!({ "access_token": core.token(2), "refresh_token": "qrt_ref_of_another" });
    assert_eq!(exchange(&visitor, &body).await.status(), 201);
    eventually("the first token has expired", || async {
        let response = visitor.fetch(Method::GET, "/v1/x").await;
        (response.status() != 200).then_some(())
    })
    .await;
    assert_ne!(visitor.fetch(Method::GET, "/v1/x").await.status(), 200);
}
