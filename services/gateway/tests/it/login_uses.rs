//! What lets a session live on, and what a provider that changes its mind changes in it.

use futures_util::future::join_all;
use http::Method;
use quartet_common::clock::Clock;
use serde_json::{Value, json};

use crate::support::{Gateway, Lies, Provider, Visitor, echo, eventually, route, serve, upstream};

async fn gateway(provider: &Provider, login: &str) -> Gateway {
    let settings = [
        upstream(&[serve(echo()).await]),
        "[server]\ntrusted_proxies = [\"127.0.0.1/32\"]\n".to_owned(),
        "[limits.once]\nrequests = 1\nwindow_seconds = 3600\nkey = \"user\"\n".to_owned(),
        provider.settings(login),
        route("app", "/app/*", "login = \"main\""),
        route("once", "/once", "login = \"main\"\nlimit = \"once\""),
    ];
    Gateway::start(&settings.concat()).await
}

async fn last_use(gateway: &Gateway) -> i64 {
    let path = "/sessions?login=main";
    let listed: Value = gateway.admin(path).await.json().await.unwrap();
    listed["sessions"][0]["last_used_at"].as_i64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_refused_are_no_use_of_a_session() {
    let provider = Provider::start().await;
    let gateway = gateway(&provider, "").await;
    let visitor = Visitor::new(&gateway);
    assert_eq!(visitor.follow("/once").await.0.status(), 200);
    let used_at = last_use(&gateway).await;
    eventually("some time has passed", || async {
        for (method, path, status) in [
            (Method::GET, "/once", 429),
            (Method::GET, "/auth/session", 200),
            (Method::GET, "/auth/login", 302),
        ] {
            assert_eq!(visitor.fetch(method, path).await.status(), status, "{path}");
        }
        let posted = visitor.request(Method::POST, "/app/x");
        assert_eq!(posted.send().await.unwrap().status(), 403);
        (Clock::system().now().timestamp() > used_at + 1).then_some(())
    })
    .await;
    assert_eq!(last_use(&gateway).await, used_at);
    assert_eq!(visitor.fetch(Method::GET, "/app/x").await.status(), 200);
    assert!(last_use(&gateway).await > used_at);
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_that_the_provider_takes_away_are_gone() {
    let provider = Provider::start().await;
    let gateway = gateway(&provider, "access_token_header = \"X-Token\"").await;
    provider.lie(Lies {
        life_seconds: Some(20),
        ..Lies::default()
    });
    let visitor = Visitor::new(&gateway);
    let callback = visitor.to_callback("/app/x").await;
    assert_eq!(visitor.open(&callback).await.status(), 302);
    let groups = async || {
        let known = visitor.fetch(Method::GET, "/auth/session").await;
        known.json::<Value>().await.unwrap()["groups"].take()
    };
    assert_eq!(groups().await, json!(["dev", "ops"]));
    // A refresh whose ID token does not mention groups says nothing about them.
    for (claim, expected) in [(Value::Null, json!(["dev", "ops"])), (json!([]), json!([]))] {
        let user = json!({ "sub": "user-1", "email": "ada@example.org", "groups": claim });
        provider.set_user(user);
        let refreshes = provider.refreshes();
        let response = visitor.fetch(Method::GET, "/app/x").await;
        assert_eq!(provider.refreshes(), refreshes + 1);
        assert_eq!(groups().await, expected);
        let seen: Value = response.json().await.unwrap();
        let mut headers = seen["headers"].as_array().unwrap().iter();
        let sent = headers.find(|pair| pair[0] == "x-groups");
        let is_member = sent.is_some_and(|pair| pair[1] != "");
        assert_eq!(is_member, expected != json!([]), "{seen}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_one_client_ends_no_login_of_another() {
    let provider = Provider::start().await;
    let gateway = gateway(&provider, "max_flows = 100").await;
    let flood = async |client: &str, count: usize| {
        let requests = (0..count).map(|_| {
            let visitor = Visitor::new(&gateway);
            let request = visitor.request(Method::GET, "/auth/login");
            request.header("x-forwarded-for", client).send()
        });
        for begun in join_all(requests).await {
            assert_eq!(begun.unwrap().status(), 302);
        }
    };
    let victim = Visitor::new(&gateway);
    let tabs = [
        victim.to_callback("/app/1").await,
        victim.to_callback("/app/2").await,
    ];
    flood("192.0.2.1", 150).await;
    // Of one site, which has as many networks as it likes.
    for network in 0..10 {
        flood(&format!("2001:db8:1:{network}::1"), 12).await;
    }
    // From enough clients to fill everything.
    for client in 10..20 {
        flood(&format!("192.0.2.{client}"), 12).await;
    }
    for (at, callback) in tabs.iter().enumerate() {
        let done = victim.open(callback).await;
        assert_eq!(done.headers()["location"], format!("/app/{}", at + 1));
    }
    // Once.
    let thief = Visitor::new(&gateway);
    assert_eq!(thief.open(&tabs[0]).await.status(), 400);
}
