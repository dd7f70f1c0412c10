//! Whatever a provider does wrong ends with a page that says what to do: no loop, no cookie, no secret, and
//! the cause in the log.

use std::time::Duration;

use http::Method;
use serde_json::json;

use crate::support::{
    CLIENT, Gateway, Lies, Provider, Visitor, echo, eventually, problem, route, serve, upstream,
};

/// A gateway whose page `/app` needs a login.
async fn gateway(provider: &Provider, more: &str) -> Gateway {
    let settings = [
        upstream(&[serve(echo()).await]),
        provider.settings(more),
        route("app", "/app/*", "login = \"main\""),
    ];
    Gateway::start(&settings.concat()).await
}

/// Logs in, which fails: the page, checked for what all of them have in common.
async fn failed(
    gateway: &Gateway,
    visitor: &Visitor,
    path: &str,
    (status, title, code): (u16, &str, &str),
) -> String {
    let (response, _) = visitor.follow(path).await;
    check_page(gateway, visitor, response, (status, title, code)).await
}

async fn check_page(
    gateway: &Gateway,
    visitor: &Visitor,
    response: reqwest::Response,
    (status, title, code): (u16, &str, &str),
) -> String {
    assert_eq!(response.status(), status, "{title}");
    let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(header("content-type"), "text/html; charset=utf-8");
    assert_eq!(header("cache-control"), "no-store");
    assert_eq!(header("referrer-policy"), "same-origin");
    assert!(header("content-security-policy").starts_with("default-src 'none'"));
    let id = header("x-request-id");
    let html = response.text().await.unwrap();
    assert!(
        html.contains(&format!("<h1>{title}</h1>")),
        "{title}: {html}"
    );
    assert!(
        html.contains(&id) && html.contains("href=\"/auth/login?"),
        "{html}"
    );
    assert!(!html.contains("<script"), "{html}");
    assert!(
        visitor.cookies().is_empty(),
        "{title}: {:?}",
        visitor.cookies()
    );
    let line = eventually("the access line is written", || async {
        let mut lines = gateway.lines().into_iter();
        lines.find(|line| line["request_id"] == id && line["status"] == status)
    });
    let line = line.await;
    assert_eq!(line["code"], code, "{line}");
    let cause = line["error"].as_str().unwrap().to_owned();
    let secrets = ["access-", "refresh-", "client-secret"];
    assert!(
        secrets.iter().all(|secret| !cause.contains(secret)),
        "{cause}"
    );
    cause
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
async fn every_wrong_answer_is_a_page_that_says_what_to_do() {
    let provider = Provider::start().await;
    let gateway = gateway(&provider, "timeout_ms = 400\nleeway_seconds = 10").await;
    let now = quartet_common::clock::Clock::system().now().timestamp();
    let lies = Lies::default;
    let claims = |claims: serde_json::Value| Lies {
        claims,
        ..Lies::default()
    };
    let failed_title = (502, "The login failed", "login_failed");
    let clock = (502, "The clocks do not agree", "login_failed");
    let away = (
        503,
        "The login service does not respond",
        "login_unavailable",
    );
    let denied = (403, "The login was not completed", "login_refused");
    let token = |status, body| Lies {
        token: Some((status, body)),
        ..Lies::default()
    };
    for (name, lie, expected, cause) in [
        (
            "nonce",
            claims(json!({ "nonce": "other" })),
            failed_title,
            "nonce",
        ),
        (
            "no nonce",
            claims(json!({ "nonce": null })),
            failed_title,
            "nonce",
        ),
        (
            "issuer",
            claims(json!({ "iss": "http://other" })),
            failed_title,
            "issuer",
        ),
        (
            "audience",
            claims(json!({ "aud": "other" })),
            failed_title,
            "audience",
        ),
        (
            "azp",
            claims(json!({ "azp": "other" })),
            failed_title,
            "azp",
        ),
        (
            "several audiences",
            claims(json!({ "aud": [CLIENT, "other"] })),
            failed_title,
            "azp",
        ),
        (
            "no subject",
            claims(json!({ "sub": null })),
            failed_title,
            "sub",
        ),
        (
            "no expiry",
            claims(json!({ "exp": null })),
            failed_title,
            "not a JWT",
        ),
        (
            "expired",
            claims(json!({ "exp": now - 60 })),
            clock,
            "expired",
        ),
        (
            "too early",
            claims(json!({ "iat": now + 60 })),
            clock,
            "future",
        ),
        (
            "not yet",
            claims(json!({ "nbf": now + 600 })),
            clock,
            "not valid yet",
        ),
        (
            "forged",
            Lies {
                forged: true,
                ..lies()
            },
            failed_title,
            "signature",
        ),
        (
            "long subject",
            claims(json!({ "sub": "x".repeat(300) })),
            failed_title,
            "too long",
        ),
        (
            "no ID token",
            Lies {
                without_id_token: true,
                ..lies()
            },
            failed_title,
            "id_token",
        ),
        (
            "canceled",
            Lies {
                error: Some("access_denied"),
                ..lies()
            },
            denied,
            "access_denied",
        ),
        (
            "any text",
            Lies {
                error: Some("<script>"),
                ..lies()
            },
            denied,
            "unknown",
        ),
        (
            "broken",
            Lies {
                error: Some("server_error"),
                ..lies()
            },
            away,
            "500",
        ),
        (
            "another iss",
            Lies {
                iss: Some("http://other"),
                ..lies()
            },
            failed_title,
            "iss",
        ),
        (
            "no iss",
            Lies {
                iss: Some(""),
                ..lies()
            },
            failed_title,
            "iss",
        ),
        (
            "refused code",
            token(400, "{\"error\":\"invalid_grant\"}"),
            failed_title,
            "invalid_grant",
        ),
        ("no JSON", token(200, "<html>"), failed_title, "not valid"),
        ("no token", token(200, "{}"), failed_title, "access_token"),
        ("an error", token(500, "oops"), away, "500"),
        (
            "slow",
            Lies {
                token_delay: Duration::from_secs(2),
                ..lies()
            },
            away,
            "respond",
        ),
        (
            "endless",
            Lies {
                endless: true,
                ..lies()
            },
            away,
            "too long",
        ),
    ] {
        provider.lie(lie);
        let visitor = Visitor::new(&gateway);
        let found = failed(&gateway, &visitor, "/app/page", expected).await;
        assert!(found.contains(cause), "{name}: {found}");
    }
    // Nothing of that is left.
    provider.lie(Lies::default());
    let (page, _) = Visitor::new(&gateway).follow("/app/page").await;
    assert_eq!(page.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_away_is_a_page_at_once_and_none_when_it_is_back() {
    let provider = Provider::start().await;
    provider.stop().await;
    let gateway = gateway(&provider, "timeout_ms = 1000").await;
    let away = (
        503,
        "The login service does not respond",
        "login_unavailable",
    );
    let visitor = Visitor::new(&gateway);
    let page = visitor.open("/app/page").await;
    assert_eq!(page.headers()["retry-after"], "5");
    check_page(&gateway, &visitor, page, away).await;
    let script = visitor.fetch(Method::GET, "/app/page").await;
    problem(script, 401, "login_required").await;
    provider.restart().await;
    eventually("the login works", || async {
        let (page, _) = Visitor::new(&gateway).follow("/app/page").await;
        (page.status() == 200).then_some(())
    })
    .await;
    // What is known of it stays in use; only the exchange fails.
    let visitor = Visitor::new(&gateway);
    let callback = visitor.to_callback("/app/page").await;
    provider.stop().await;
    failed(&gateway, &visitor, &callback, away).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metadata_of_another_issuer_is_not_used() {
    let provider = Provider::start().await;
    provider.lie(Lies {
        other_issuer: true,
        ..Lies::default()
    });
    let gateway = gateway(&provider, "").await;
    let visitor = Visitor::new(&gateway);
    let expected = (502, "The login failed", "login_failed");
    let cause = failed(&gateway, &visitor, "/app/page", expected).await;
    assert!(cause.contains("another issuer"), "{cause}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_counts_once_and_in_its_own_browser() {
    let provider = Provider::start().await;
    let gateway = gateway(&provider, "").await;
    let gone = (400, "This login is no longer valid", "login_expired");
    // A state that no one has begun, or that is none.
    for path in [
        "/auth/callback?code=a&state=x",
        &format!("/auth/callback?code=a&state={}", "x".repeat(43)),
    ] {
        failed(&gateway, &Visitor::new(&gateway), path, gone).await;
    }
    let none = (400, "This is not a login", "login_expired");
    for path in [
        "/auth/callback",
        "/auth/callback?code=a",
        "/auth/callback?state=a&state=b&code=c",
    ] {
        failed(&gateway, &Visitor::new(&gateway), path, none).await;
    }
    // Someone else's callback: it would log this browser in as them.
    let (victim, attacker) = (Visitor::new(&gateway), Visitor::new(&gateway));
    let callback = attacker.to_callback("/app/page").await;
    let other = (400, "This login began somewhere else", "login_expired");
    failed(&gateway, &victim, &callback, other).await;
    // It was used by that, also for its own browser.
    failed(&gateway, &attacker, &callback, gone).await;
    // Replayed with the session: back to the page. Without it: none.
    let visitor = Visitor::new(&gateway);
    let callback = visitor.to_callback("/app/page?a=b").await;
    assert_eq!(
        visitor.open(&callback).await.headers()["location"],
        "/app/page?a=b"
    );
    assert_eq!(
        visitor.open(&callback).await.headers()["location"],
        "/app/page?a=b"
    );
    failed(&gateway, &Visitor::new(&gateway), &callback, gone).await;
    assert_eq!(visitor.open("/app/page").await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn new_keys_of_the_provider_are_fetched() {
    let provider = Provider::start().await;
    let gateway = gateway(&provider, "").await;
    assert_eq!(Visitor::new(&gateway).follow("/app/").await.0.status(), 200);
    provider.rotate();
    // Keys are fetched at most every ten seconds.
    eventually("the new key counts", || async {
        let (page, _) = Visitor::new(&gateway).follow("/app/").await;
        assert!(page.status() == 200 || page.status() == 502);
        (page.status() == 200).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_listed_gets_no_session() {
    let provider = Provider::start().await;
    let rules = "allowed_emails = [\"Ada@example.org\"]\nallowed_domains = [\"example.net\"]\n\
                 allowed_groups = [\"admins\"]";
    let gateway = gateway(&provider, rules).await;
    let refused = (403, "No access", "login_refused");
    for (user, is_allowed) in [
        (
            json!({ "sub": "1", "email": "ada@Example.org", "email_verified": true }),
            true,
        ),
        (
            json!({ "sub": "1", "email": "ada@example.org", "email_verified": false }),
            false,
        ),
        (json!({ "sub": "1", "email": "ada@example.org" }), false),
        (
            json!({ "sub": "1", "email": "bob@example.org", "email_verified": true }),
            false,
        ),
        (
            json!({ "sub": "1", "email": "bob@example.net", "email_verified": true }),
            true,
        ),
        (
            json!({ "sub": "1", "email": "bob@x.example.net", "email_verified": true }),
            false,
        ),
        (json!({ "sub": "1", "groups": ["users", "admins"] }), true),
        (json!({ "sub": "1", "groups": ["users"] }), false),
        (json!({ "sub": "1" }), false),
    ] {
        provider.set_user(user.clone());
        let visitor = Visitor::new(&gateway);
        if is_allowed {
            assert_eq!(visitor.follow("/app/").await.0.status(), 200, "{user}");
        } else {
            failed(&gateway, &visitor, "/app/", refused).await;
        }
    }
    // The page offers another account, and then the provider asks.
    let begun = Visitor::new(&gateway)
        .open("/auth/login?switch=1&return_to=%2Fapp%2F")
        .await;
    assert!(
        begun.headers()["location"]
            .to_str()
            .unwrap()
            .contains("prompt=login")
    );
}
