//! Sessions end here and at the provider, whichever side begins.

use http::Method;
use quartet_common::clock::Clock;
use serde_json::{Value, json};

use crate::support::{
    CLIENT, Gateway, Provider, Visitor, client, echo, eventually, problem, route, serve, upstream,
};

async fn gateway(provider: &Provider, login: &str) -> Gateway {
    let settings = [
        upstream(&[serve(echo()).await]),
        provider.settings(login),
        route("app", "/app/*", "login = \"main\""),
    ];
    Gateway::start(&settings.concat()).await
}

async fn logged_in(gateway: &Gateway) -> Visitor {
    let visitor = Visitor::new(gateway);
    assert_eq!(visitor.follow("/app/start").await.0.status(), 200);
    visitor
}

fn location(response: &reqwest::Response) -> url::Url {
    let base: url::Url = "https://app.example.org".parse().unwrap();
    base.join(response.headers()["location"].to_str().unwrap())
        .unwrap()
}

fn parameter(url: &url::Url, name: &str) -> Option<String> {
    let mut pairs = url.query_pairs();
    pairs
        .find(|(other, _)| other == name)
        .map(|(_, value)| value.into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_logout_ends_the_session_here_and_at_the_provider() {
    let provider = Provider::start().await;
    let gateway = gateway(&provider, "allowed_targets = [\"www.example.org\"]").await;
    for (query, back) in [
        ("", "https://app.example.org/auth/logged_out"),
        ("?return_to=%2Fbye", "https://app.example.org/bye"),
        (
            "?return_to=https%3A%2F%2Fwww.example.org%2F",
            "https://www.example.org/",
        ),
        (
            "?return_to=https%3A%2F%2Fevil.example%2F",
            "https://app.example.org/auth/logged_out",
        ),
        (
            "?return_to=%2F%2Fevil.example",
            "https://app.example.org/auth/logged_out",
        ),
    ] {
        let visitor = logged_in(&gateway).await;
        let kept = visitor.cookie_header();
        let out = visitor.open(&format!("/auth/logout{query}")).await;
        let url = location(&out);
        assert_eq!(
            (out.status().as_u16(), url.path()),
            (302, "/end_session"),
            "{url}"
        );
        assert_eq!(
            parameter(&url, "post_logout_redirect_uri").as_deref(),
            Some(back)
        );
        assert_eq!(parameter(&url, "client_id").as_deref(), Some(CLIENT));
        assert_eq!(
            parameter(&url, "id_token_hint").unwrap().split('.').count(),
            3
        );
        assert!(visitor.cookies().is_empty(), "{:?}", visitor.cookies());
        // A copy of the cookie is worth nothing.
        let stolen = Visitor::new(&gateway)
            .request(Method::GET, "/app/x")
            .header("cookie", kept);
        problem(stolen.send().await.unwrap(), 401, "login_required").await;
    }
    eventually("the refresh tokens are revoked", || async {
        (provider.revoked() == 5).then_some(())
    })
    .await;
    // Without a session there is nothing to end.
    let out = Visitor::new(&gateway).open("/auth/logout").await;
    assert_eq!(
        location(&out).as_str(),
        "https://app.example.org/auth/logged_out"
    );
    let page = Visitor::new(&gateway).open("/auth/logged_out").await;
    assert_eq!(page.status(), 200);
    assert!(page.text().await.unwrap().contains("You are logged out"));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_site_logs_no_one_out() {
    let provider = Provider::start().await;
    let gateway = gateway(&provider, "").await;
    let visitor = logged_in(&gateway).await;
    let led = visitor
        .request(Method::GET, "/auth/logout")
        .header("sec-fetch-site", "cross-site");
    let page = led.send().await.unwrap();
    assert_eq!(page.status(), 200);
    assert!(
        page.text()
            .await
            .unwrap()
            .contains("<form method=\"post\" action=\"/auth/logout?")
    );
    let posted = visitor
        .request(Method::POST, "/auth/logout")
        .header("origin", "https://evil.example");
    problem(posted.send().await.unwrap(), 403, "cross_site_request").await;
    let deleted = visitor.request(Method::DELETE, "/auth/session");
    problem(deleted.send().await.unwrap(), 403, "cross_site_request").await;
    assert_eq!(visitor.fetch(Method::GET, "/app/x").await.status(), 200);
    let ended = visitor.fetch(Method::DELETE, "/auth/session").await;
    assert_eq!(ended.status(), 200);
    let body: Value = ended.json().await.unwrap();
    assert!(
        body["logout_url"]
            .as_str()
            .unwrap()
            .contains("/end_session?"),
        "{body}"
    );
    assert!(visitor.cookies().is_empty());
    assert_eq!(visitor.fetch(Method::GET, "/app/x").await.status(), 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn logins_return_to_known_places_alone() {
    let provider = Provider::start().await;
    let gateway = gateway(&provider, "").await;
    let visitor = logged_in(&gateway).await;
    for (target, expected) in [
        ("%2Fapp%2Fx%3Fa%3Db", "/app/x?a=b"),
        ("https%3A%2F%2Fapp.example.org%2Fy", "/y"),
        ("%2F%2Fevil.example", "/"),
        ("%2F%5Cevil.example", "/"),
        ("https%3A%2F%2Fevil.example", "/"),
        ("javascript%3Aalert(1)", "/"),
        ("%2F%0d%0aset-cookie%3A%20a", "/"),
    ] {
        let begun = visitor
            .open(&format!("/auth/login?return_to={target}"))
            .await;
        assert_eq!(begun.headers()["location"], expected, "{target}");
        // The same with a login between.
        let callback = Visitor::new(&gateway);
        let back = callback
            .to_callback(&format!("/auth/login?return_to={target}"))
            .await;
        assert_eq!(
            callback.open(&back).await.headers()["location"],
            expected,
            "{target}"
        );
    }
}

async fn back_channel(gateway: &Gateway, token: &str) -> reqwest::Response {
    let request = client()
        .post(gateway.url("/auth/backchannel"))
        .header("host", "app.example.org");
    let request = request.header("content-type", "application/x-www-form-urlencoded");
    let response = request
        .body(format!("logout_token={token}"))
        .send()
        .await
        .unwrap();
    assert_eq!(response.headers()["cache-control"], "no-store");
    response
}

#[tokio::test(flavor = "multi_thread")]
async fn the_provider_ends_sessions_by_its_session_or_by_their_user() {
    let provider = Provider::start().await;
    let gateway = gateway(&provider, "").await;
    let (one, other) = (logged_in(&gateway).await, logged_in(&gateway).await);
    let is_alive =
        async |visitor: &Visitor| visitor.fetch(Method::GET, "/app/x").await.status() == 200;
    let now = Clock::system().now().timestamp();
    let event = "http://schemas.openid.net/event/backchannel-logout";
    for (claims, says) in [
        (json!({ "sid": "sid-1", "aud": "other" }), "audience"),
        (json!({ "sid": "sid-1", "iss": "http://other" }), "issuer"),
        (json!({ "sid": "sid-1", "nonce": "a" }), "nonce"),
        (json!({ "sid": "sid-1", "events": {} }), "events"),
        (
            json!({ "sid": "sid-1", "events": { event: true } }),
            "events",
        ),
        (json!({ "sid": "sid-1", "events": null }), "events"),
        (json!({ "sid": "sid-1", "iat": now - 600 }), "iat"),
        (json!({ "sid": "sid-1", "iat": now + 600 }), "iat"),
        (json!({ "sid": "sid-1", "iat": null }), "iat"),
        (json!({ "sid": "sid-1", "exp": now - 600 }), "logout token"),
        (json!({ "sid": "sid-1", "jti": null }), "jti"),
        (json!({}), "sid nor sub"),
    ] {
        let refused = back_channel(&gateway, &provider.logout_token(&claims)).await;
        assert_eq!(refused.status(), 400, "{claims}");
        let body: Value = refused.json().await.unwrap();
        assert_eq!(body["error"], "invalid_request");
        eventually("the log says why", || async {
            let said = |line: &Value| line["error"].to_string().contains(says);
            gateway.lines().iter().any(said).then_some(())
        })
        .await;
    }
    assert_eq!(back_channel(&gateway, "a.b.c").await.status(), 400);
    assert!(is_alive(&one).await && is_alive(&other).await);
    // By the session, without `exp` as some providers do it; and once.
    let token = provider.logout_token(&json!({ "sid": "sid-1", "sub": "user-1", "exp": null }));
    assert_eq!(back_channel(&gateway, &token).await.status(), 200);
    assert!(!is_alive(&one).await && is_alive(&other).await);
    assert_eq!(back_channel(&gateway, &token).await.status(), 400);
    // A session that is unknown here: the user's others stay.
    let token = provider.logout_token(&json!({ "sid": "sid-9", "sub": "user-1" }));
    assert_eq!(back_channel(&gateway, &token).await.status(), 200);
    assert!(is_alive(&other).await);
    // By the user.
    let third = logged_in(&gateway).await;
    let token = provider.logout_token(&json!({ "sub": "user-1" }));
    assert_eq!(back_channel(&gateway, &token).await.status(), 200);
    assert!(!is_alive(&other).await && !is_alive(&third).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_without_sid_in_id_tokens_ends_sessions_of_the_user() {
    let provider = Provider::start().await;
    provider.lie(crate::support::Lies {
        claims: json!({ "sid": null }),
        ..Default::default()
    });
    let gateway = gateway(&provider, "").await;
    let visitor = logged_in(&gateway).await;
    let token = provider.logout_token(&json!({ "sub": "user-1", "sid": "abc" }));
    assert_eq!(back_channel(&gateway, &token).await.status(), 200);
    assert_eq!(visitor.fetch(Method::GET, "/app/x").await.status(), 401);
}
