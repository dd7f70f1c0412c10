//! Challenges: which requests the gateway answers itself, and what no policy of a route changes about it.

use std::net::SocketAddr;

use http::Method;
use quartet_testing::RedisServer;
use reqwest::{Client, Response};
use serde_json::Value;

use crate::support::{
    Authority, Gateway, client, echo, eventually, problem, route, serve, upstream,
};

const PREFIX: &str = "/.well-known/acme-challenge/";
const KEY: &str = "0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f";

/// A store in a directory that the gateways of a test share.
fn directory(directory: &tempfile::TempDir) -> String {
    format!("directory = '{}/acme'", directory.path().display())
}

async fn ask(gateway: &Gateway, method: Method, host: &str, token: &str) -> Response {
    ask_by(&client(), gateway, method, host, token).await
}

async fn ask_by(
    client: &Client,
    gateway: &Gateway,
    method: Method,
    host: &str,
    token: &str,
) -> Response {
    let url = gateway.url(&format!("{PREFIX}{token}"));
    let request = client.request(method, url).header("host", host);
    request.send().await.unwrap()
}

async fn has_certificate(gateway: &Gateway) {
    eventually("there is a certificate", || async {
        let all: Value = gateway.admin("/acme").await.json().await.unwrap();
        (all["certificates"]["web"]["state"] == "valid").then_some(())
    })
    .await;
}

fn closed_routes(address: SocketAddr) -> String {
    let policies = "denied_networks = [\"127.0.0.0/8\"]\nlimit = \"none\"";
    [
        upstream(&[address]),
        "[maintenance]\nenabled = true\n[limits.none]\nrequests = 1\nwindow_seconds = 3600\n"
            .to_owned(),
        route("all", "/*", policies).replace("\"public\"", "\"required\""),
        route("moved", "/.well-known/*", policies)
            .replace("upstream = \"u\"", "redirect = \"https://example.org/\""),
        "[jwt]\nhs256_secret = \"0123456789abcdef0123456789abcdef\"\njwks_url = \"\"\n".to_owned(),
    ]
    .concat()
}

/// The authority gets each token from both gateways, though one of them alone orders, and every other
/// request to them is refused.
#[tokio::test(flavor = "multi_thread")]
async fn every_gateway_answers_challenges_whatever_its_routes_say() {
    let (authority, files) = (Authority::start().await, tempfile::tempdir().unwrap());
    let routes = closed_routes(serve(echo()).await);
    // Ready before any certificate is ordered.
    let mut gateways = Vec::new();
    for _ in 0..2 {
        gateways.push(Gateway::start(&routes).await);
    }
    authority.state().validators = gateways.iter().map(|gateway| gateway.public).collect();
    // Until all of them can answer.
    authority.state().is_away = true;
    let acme = authority.settings(&["a.example", "b.example"], &directory(&files));
    for gateway in &gateways {
        gateway.reload(&[routes.as_str(), &acme].concat()).await;
    }
    authority.state().is_away = false;
    for gateway in &gateways {
        has_certificate(gateway).await;
        assert_eq!(gateway.get("/").await.status(), 403);
    }
    assert_eq!(
        (authority.issued(), authority.state().accounts.len()),
        (1, 1)
    );
    let name = "gateway_acme_challenges_total{service=\"gateway\",outcome=\"answered\"}";
    let answered = [gateways[0].count(name).await, gateways[1].count(name).await];
    assert_eq!(answered, [2, 2], "each was asked for each host once");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_requests_for_tokens_of_configured_hosts_are_answered() {
    let (authority, files) = (Authority::start().await, tempfile::tempdir().unwrap());
    let routes = [upstream(&[serve(echo()).await]), route("all", "/*", "")].concat();
    let acme = authority.settings(&["a.example"], &directory(&files));
    let gateway = Gateway::start(&[routes.as_str(), &acme].concat()).await;
    for (method, host, token, is_answered) in [
        (Method::GET, "a.example", "unknown", true),
        (Method::GET, "A.example:8080", "unknown", true),
        (Method::HEAD, "a.example", "unknown", true),
        (Method::GET, "a.example", "", true),
        (Method::GET, "a.example", "a/b", true),
        (Method::GET, "a.example", "a?b", true),
        (Method::GET, "a.example", &"a".repeat(129), true),
        (Method::POST, "a.example", "unknown", false),
        (Method::GET, "b.example", "unknown", false),
        (Method::GET, "a.example.b.example", "unknown", false),
    ] {
        let response = ask(&gateway, method.clone(), host, token).await;
        let status = if is_answered { 404 } else { 200 };
        assert_eq!(response.status(), status, "{method} {host} {token}");
        if is_answered && method == Method::GET {
            problem(response, 404, "no_route").await;
        }
    }
    // Another spelling of the path is none that an authority uses.
    let response = client().get(gateway.url("/.well-known//acme-challenge/x"));
    let response = response.header("host", "a.example").send().await.unwrap();
    assert_eq!(response.status(), 200);
}

/// A token that is asked for before it is stored is found once it is: nothing is remembered about misses.
#[tokio::test(flavor = "multi_thread")]
async fn misses_are_not_remembered_and_cost_the_store_little() {
    let Some(mut redis) = RedisServer::start() else {
        return;
    };
    let authority = Authority::start().await;
    let routes = [upstream(&[serve(echo()).await]), route("all", "/*", "")].concat();
    let store = format!(
        "encryption_key = \"{KEY}\"\n[acme.redis]\nurl = \"{}\"",
        redis.url()
    );
    let acme = authority.settings(&["a.example"], &store);
    let gateway = Gateway::start(&[routes.as_str(), &acme].concat()).await;
    has_certificate(&gateway).await;
    let reads = || {
        let all = redis.command(&["INFO", "commandstats"]);
        let line = all
            .lines()
            .find(|line| line.starts_with("cmdstat_hgetall:"));
        let calls = line.and_then(|line| line.split(['=', ',']).nth(1));
        calls.map_or(0, |calls| calls.parse::<u32>().unwrap())
    };
    // One client: each takes long to be made.
    let client = client();
    let (before, started) = (reads(), std::time::Instant::now());
    let tokens: Vec<String> = (0..400).map(|number| format!("random{number}")).collect();
    let asked = tokens
        .iter()
        .map(|token| ask_by(&client, &gateway, Method::GET, "a.example", token));
    for response in futures_util::future::join_all(asked).await {
        assert_eq!(response.status(), 404);
    }
    let most = u32::try_from(started.elapsed().as_millis() / 100).unwrap() + 2;
    let cost = reads() - before;
    assert!((1..=most).contains(&cost), "{cost} reads, at most {most}");
    // The form in which gateways store them, with a time to live.
    let stored = "99999999999999 random1.thumbprint";
    redis.command(&["HSET", "quartet:acme:challenges", "random1", stored]);
    let found = ask(&gateway, Method::GET, "a.example", "random1").await;
    assert_eq!(
        (found.status(), &found.headers()["cache-control"]),
        (200.try_into().unwrap(), &"no-store".parse().unwrap())
    );
    assert_eq!(found.headers()["content-type"], "application/octet-stream");
    assert_eq!(found.text().await.unwrap(), "random1.thumbprint");
    redis.kill();
    let away = ask(&gateway, Method::GET, "a.example", "random2").await;
    problem(away, 503, "unavailable").await;
    redis.restart();
    eventually("the store is asked again", || async {
        let response = ask(&gateway, Method::GET, "a.example", "random3").await;
        (response.status() == 404).then_some(())
    })
    .await;
}
