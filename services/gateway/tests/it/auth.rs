//! Access tokens on public, optional and required routes; keys come from a JWKS URL.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::StatusCode;
use quartet_common::clock::Clock;
use quartet_testing::Issuer;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::{
    Gateway, client, echo, eventually, free_address, problem, route, serve, upstream,
};

async fn settings(issuer: &Issuer) -> String {
    let jwks = issuer.serve().await;
    let address = serve(echo()).await;
    [
        upstream(&[address]),
        format!("[jwt]\njwks_url = \"http://{jwks}/.well-known/jwks.json\"\nleeway_seconds = 0\n"),
        route("public", "/public", ""),
        route("optional", "/optional", "").replace("\"public\"", "\"optional\""),
        route("required", "/required", "upgrade = true").replace("\"public\"", "\"required\""),
    ]
    .concat()
}

async fn call(gateway: &Gateway, path: &str, authorization: Option<&str>) -> reqwest::Response {
    let mut request = client().get(gateway.url(path));
    if let Some(value) = authorization {
        request = request.header("authorization", value);
    }
    request.send().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_ignored_optional_or_required_by_route() {
    let issuer = Issuer::new(Clock::system());
    let gateway = Gateway::start(&settings(&issuer).await).await;
    let good = format!("Bearer {}", issuer.token("usr_1"));
    let response = call(&gateway, "/required", Some(&good)).await;
    assert_eq!(response.status(), 200);
    let echoed: Value = response.json().await.unwrap();
    let sent = echoed["headers"].to_string();
    assert!(sent.contains(r#"["x-user-id","usr_1"]"#), "{sent}");
    assert!(sent.contains(r#"["x-session-id","ses_test"]"#), "{sent}");
    assert!(
        sent.contains(&format!(r#"["authorization","{good}"]"#)),
        "{sent}"
    );
    assert_eq!(gateway.access_line("/required").await["caller_id"], "usr_1");
    let echoed: Value = call(&gateway, "/optional", Some(&good))
        .await
        .json()
        .await
        .unwrap();
    assert!(
        echoed["headers"]
            .to_string()
            .contains(r#"["x-user-id","usr_1"]"#)
    );
    // A public route ignores tokens, valid or not.
    let echoed: Value = call(&gateway, "/public", Some(&good))
        .await
        .json()
        .await
        .unwrap();
    assert!(!echoed["headers"].to_string().contains("x-user-id"));
    assert_eq!(
        call(&gateway, "/public", Some("Bearer bad")).await.status(),
        200
    );
    assert_eq!(call(&gateway, "/optional", None).await.status(), 200);
    let response = call(&gateway, "/required", None).await;
    assert_eq!(response.headers()["www-authenticate"], "Bearer");
    problem(response, 401, "unauthenticated").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_tokens_are_refused_on_optional_and_required_routes() {
    let clock = Clock::system();
    let issuer = Issuer::new(clock.clone());
    let gateway = Gateway::start(&settings(&issuer).await).await;
    let now = clock.now().timestamp();
    let good = issuer.token("usr_1");
    let bad = [
        issuer.token_with("usr_1", json!({ "exp": now - 1 })),
        issuer.token_with("usr_1", json!({ "nbf": now + 60 })),
        issuer.token_with("usr_1", json!({ "aud": "another" })),
        issuer.token_with("usr_1", json!({ "iss": "http://elsewhere" })),
        issuer.token_with("usr_1", json!({ "exp": null })),
        Issuer::new(clock).token("usr_1"),
        good[..good.len() - 6].to_owned(),
        "eyJhbGciOiJub25lIn0.eyJzdWIiOiJ1c3JfMSJ9.".to_owned(),
        String::new(),
    ];
    for token in &bad {
        for path in ["/required", "/optional"] {
            let response = call(&gateway, path, Some(&format!("Bearer {token}"))).await;
            problem(response, 401, "unauthenticated").await;
        }
    }
    let response = call(&gateway, "/required", Some(&format!("Basic {good}"))).await;
    problem(response, 401, "unauthenticated").await;
}

/// Before a request asks for them.
#[tokio::test(flavor = "multi_thread")]
async fn keys_are_fetched_at_start() {
    let issuer = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let jwks = issuer.local_addr().unwrap();
    let settings = [
        upstream(&[serve(echo()).await]),
        format!("[jwt]\njwks_url = \"http://{jwks}/jwks.json\"\n"),
        route("required", "/required", "").replace("\"public\"", "\"required\""),
    ];
    let gateway = Gateway::start(&settings.concat()).await;
    let asked = tokio::time::timeout(Duration::from_secs(20), issuer.accept());
    let _unanswered = asked.await.unwrap().unwrap();
    let report: Value = gateway.admin("/ready").await.json().await.unwrap();
    let notice = "the signing keys have not been fetched yet";
    assert_eq!(report["notices"]["keys"][0], notice);
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_keys_return_503_not_401() {
    let issuer = Issuer::new(Clock::system());
    let settings = settings(&issuer).await;
    let first_url = settings
        .lines()
        .find(|line| line.starts_with("jwks_url"))
        .unwrap();
    let unreachable = format!("jwks_url = \"http://{}/jwks.json\"", free_address());
    let gateway = Gateway::start(&settings.replace(first_url, &unreachable)).await;
    let token = format!("Bearer {}", issuer.token("usr_1"));
    let response = call(&gateway, "/required", Some(&token)).await;
    assert!(response.headers().contains_key("retry-after"));
    problem(response, 503, "unavailable").await;
    let line = eventually("the log names the URL and the cause", || async {
        let mut lines = gateway.lines().into_iter();
        lines.find(|line| line["msg"] == "fetching the signing keys failed")
    })
    .await;
    let error = line["error"].as_str().unwrap();
    let named = error.contains("/jwks.json") && error.contains("Connection refused");
    assert!(named, "{error}");
    assert_eq!(call(&gateway, "/public", Some(&token)).await.status(), 200);
    let ready = gateway.admin("/ready").await;
    assert_eq!(ready.status(), 200, "public routes need no keys");
    let report: serde_json::Value = ready.json().await.unwrap();
    assert_eq!(report["notices"]["keys"][0], "there are no signing keys");
}

#[tokio::test(flavor = "multi_thread")]
async fn upgrades_are_subject_to_policies() {
    let issuer = Issuer::new(Clock::system());
    let gateway = Gateway::start(&settings(&issuer).await).await;
    let url = format!("ws://{}/required", gateway.public);
    let refused = tokio_tungstenite::connect_async(url).await.unwrap_err();
    let tokio_tungstenite::tungstenite::Error::Http(response) = refused else {
        panic!("{refused}")
    };
    assert_eq!(response.status(), 401);
    let url = format!("ws://{}/optional", gateway.public);
    let refused = tokio_tungstenite::connect_async(url).await.unwrap_err();
    let tokio_tungstenite::tungstenite::Error::Http(response) = refused else {
        panic!("{refused}")
    };
    assert_eq!(response.status(), 400, "the route does not allow upgrades");
}

/// A changed setting must not need an issuer that is away; and it must count for known tokens.
#[tokio::test(flavor = "multi_thread")]
async fn keys_outlive_a_reload_without_their_issuer() {
    let issuer = Issuer::new(Clock::system());
    let keys = serde_json::to_string(issuer.jwks()).unwrap();
    let is_away = Arc::new(AtomicBool::new(false));
    let away = Arc::clone(&is_away);
    let jwks = axum::routing::get(move || async move {
        let status = if away.load(Ordering::Relaxed) {
            503
        } else {
            200
        };
        (StatusCode::from_u16(status).unwrap(), keys)
    });
    let jwks = serve(axum::Router::new().route("/jwks.json", jwks)).await;
    let address = serve(echo()).await;
    let settings = |more: &str| {
        [
            upstream(&[address]),
            format!("[jwt]\njwks_url = \"http://{jwks}/jwks.json\"\n{more}\n"),
            route("required", "/required", "").replace("\"public\"", "\"required\""),
        ]
        .concat()
    };
    let gateway = Gateway::start(&settings("leeway_seconds = 1")).await;
    let token = format!("Bearer {}", issuer.token("usr_1"));
    assert_eq!(
        call(&gateway, "/required", Some(&token)).await.status(),
        200
    );
    is_away.store(true, Ordering::Relaxed);
    gateway.reload(&settings("leeway_seconds = 2")).await;
    assert_eq!(
        call(&gateway, "/required", Some(&token)).await.status(),
        200
    );
    gateway.reload(&settings("audience = \"another\"")).await;
    let refused = call(&gateway, "/required", Some(&token)).await;
    problem(refused, 401, "unauthenticated").await;
    // Keys of another address are those of another issuer.
    let elsewhere = settings("").replace("/jwks.json", "/elsewhere.json");
    gateway.reload(&elsewhere).await;
    let refused = call(&gateway, "/required", Some(&token)).await;
    problem(refused, 503, "unavailable").await;
}
