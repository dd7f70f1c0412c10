//! Rate limits: exact under concurrency, per user or client IP, with headers.

use std::net::SocketAddr;

use axum::{Router, routing::any};
use futures_util::future::join_all;
use quartet_common::clock::Clock;
use quartet_testing::Issuer;

use crate::support::{Gateway, client, echo, problem, route, serve, upstream};

const LIMIT: &str = "[limits.core]\nrequests = 100\nwindow_seconds = 60\n[limits.other]\nrequests = 5\nwindow_seconds = 60\n";

fn settings(address: SocketAddr) -> String {
    [
        upstream(&[address]),
        LIMIT.to_owned(),
        route("a", "/a", "limit = \"core\""),
        route("b", "/b", "limit = \"core\""),
        route("other", "/other", "limit = \"other\""),
        route("free", "/free", ""),
    ]
    .concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn limit_is_exact_under_concurrency() {
    let gateway = Gateway::start(&settings(serve(echo()).await)).await;
    let client = client();
    let calls = (0..160).map(|number| {
        let path = if number % 2 == 0 { "/a" } else { "/b" };
        client.get(gateway.url(path)).send()
    });
    let responses: Vec<_> = join_all(calls)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    let passed = responses
        .iter()
        .filter(|response| response.status() == 200)
        .count();
    assert_eq!(passed, 100);
    let mut left: Vec<u32> = responses
        .iter()
        .filter(|response| response.status() == 200)
        .map(|response| {
            assert_eq!(
                response.headers()["ratelimit-policy"],
                "\"core\";q=100;w=60"
            );
            let state = response.headers()["ratelimit"].to_str().unwrap();
            let rest = state.strip_prefix("\"core\";r=").unwrap();
            rest.split(';').next().unwrap().parse().unwrap()
        })
        .collect();
    left.sort_unstable();
    assert_eq!(left, (0..100).collect::<Vec<_>>());
    for refused in responses
        .into_iter()
        .filter(|response| response.status() != 200)
    {
        let retry: u64 = refused.headers()["retry-after"]
            .to_str()
            .unwrap()
            .parse()
            .unwrap();
        assert!((1..=63).contains(&retry), "{retry}");
        assert!(
            refused.headers()["ratelimit"]
                .to_str()
                .unwrap()
                .starts_with("\"core\";r=0;t=")
        );
        problem(refused, 429, "rate_limited").await;
    }
    // Another limit, and a route without one, are not affected.
    assert_eq!(gateway.get("/other").await.status(), 200);
    let free = gateway.get("/free").await;
    assert!(free.status() == 200 && !free.headers().contains_key("ratelimit"));
    assert!(
        gateway
            .metric("gateway_rate_limited_total{service=\"gateway\",limit=\"core\"}")
            .await
            >= 60.0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn each_user_and_each_client_ip_has_a_quota() {
    let issuer = Issuer::new(Clock::system());
    let jwks = issuer.serve().await;
    let settings = [
        upstream(&[serve(echo()).await]),
        format!("[jwt]\njwks_url = \"http://{jwks}/.well-known/jwks.json\"\n"),
        "[server]\ntrusted_proxies = [\"127.0.0.1/32\"]\n".to_owned(),
        "[limits.few]\nrequests = 2\nwindow_seconds = 60\n".to_owned(),
        route("a", "/a", "limit = \"few\"").replace("\"public\"", "\"optional\""),
    ]
    .concat();
    let gateway = Gateway::start(&settings).await;
    let call = async |token: Option<&str>, from: &str| {
        let mut request = client()
            .get(gateway.url("/a"))
            .header("x-forwarded-for", from);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        request.send().await.unwrap().status().as_u16()
    };
    let (ada, eve) = (issuer.token("usr_ada"), issuer.token("usr_eve"));
    for (token, from, expected) in [
        (Some(&ada), "192.0.2.1", 200),
        (Some(&ada), "192.0.2.2", 200),
        (Some(&ada), "192.0.2.3", 429),
        (Some(&eve), "192.0.2.1", 200),
        (None, "192.0.2.1", 200),
        (None, "192.0.2.1", 200),
        (None, "192.0.2.1", 429),
        (None, "192.0.2.9", 200),
        (None, "2001:db8::1", 200),
        (None, "2001:db8::2", 200),
        (None, "2001:db8::3", 429),
        (None, "2001:db8:0:1::1", 200),
    ] {
        assert_eq!(
            call(token.map(String::as_str), from).await,
            expected,
            "{from}"
        );
    }
    // A site cannot multiply its quota by its number of networks: 16 times 2 requests.
    let site = (1..=40).map(|network| format!("2001:db8:1:{network:x}::1"));
    let mut allowed = 0;
    for address in site {
        allowed += u32::from(call(None, &address).await == 200);
    }
    assert_eq!(allowed, 32);
    // Requests with invalid tokens count against the client IP.
    for expected in [401, 401, 429] {
        assert_eq!(call(Some("guess"), "192.0.2.77").await, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn counters_start_at_zero() {
    let gateway = Gateway::start(&settings(serve(echo()).await)).await;
    let text = gateway.metrics().await;
    for sample in [
        "gateway_rate_limited_total{service=\"gateway\",limit=\"core\"} 0",
        "gateway_upstream_retries_total{service=\"gateway\",upstream=\"u\"} 0",
        "gateway_upstream_connect_failures_total{service=\"gateway\",upstream=\"u\"} 0",
        "gateway_config_reloads_total{service=\"gateway\",outcome=\"refused\"} 0",
    ] {
        assert!(text.contains(sample), "no {sample} in {text}");
    }
}

/// A burst limit and a long one: the one with less left decides, and both are reported.
#[tokio::test(flavor = "multi_thread")]
async fn two_limits_of_a_route_both_hold() {
    let settings = [
        upstream(&[serve(echo()).await]),
        "[limits.long]\nrequests = 4\nwindow_seconds = 600\n".to_owned(),
        "[limits.burst]\nrequests = 3\nwindow_seconds = 60\n".to_owned(),
        route("both", "/both", "limit = [\"long\", \"burst\"]"),
        route("one", "/one", "limit = \"long\""),
    ];
    let gateway = Gateway::start(&settings.concat()).await;
    let values_of = |response: &reqwest::Response, name: &str| -> Vec<String> {
        let values = response.headers().get_all(name).iter();
        values
            .map(|value| value.to_str().unwrap().to_owned())
            .collect()
    };
    for left in (0..3).rev() {
        let response = gateway.get("/both").await;
        assert_eq!(response.status(), 200);
        let policies = values_of(&response, "ratelimit-policy");
        assert_eq!(policies, ["\"long\";q=4;w=600", "\"burst\";q=3;w=60"]);
        let states = values_of(&response, "ratelimit");
        assert!(states[0].starts_with(&format!("\"long\";r={};", left + 1)));
        assert!(states[1].starts_with(&format!("\"burst\";r={left};")));
    }
    // The burst is used up: such a request counts in no limit.
    for _ in 0..3 {
        let refused = gateway.get("/both").await;
        let states = values_of(&refused, "ratelimit");
        assert!(states[0].starts_with("\"long\";r=1;"), "{states:?}");
        assert!(states[1].starts_with("\"burst\";r=0;"), "{states:?}");
        problem(refused, 429, "rate_limited").await;
    }
    assert_eq!(gateway.get("/one").await.status(), 200);
    let refused = gateway.get("/one").await;
    assert!(values_of(&refused, "ratelimit")[0].starts_with("\"long\";r=0;"));
    problem(refused, 429, "rate_limited").await;
}

/// The quota of the service and that of the gateway are two elements of one list.
#[tokio::test(flavor = "multi_thread")]
async fn quotas_of_the_service_stay() {
    let own = [
        ("ratelimit-policy", "\"service\";q=9;w=1"),
        ("ratelimit", "\"service\";r=8;t=1"),
    ];
    let router = Router::new().fallback(any(move || async move { own }));
    let settings = [
        upstream(&[serve(router).await]),
        "[limits.gateway]\nrequests = 4\nwindow_seconds = 60\n".to_owned(),
        route("all", "/*", "limit = \"gateway\""),
    ];
    let gateway = Gateway::start(&settings.concat()).await;
    let response = gateway.get("/a").await;
    for (name, first, second) in [
        ("ratelimit-policy", own[0].1, "\"gateway\";q=4;w=60"),
        ("ratelimit", own[1].1, "\"gateway\";r=3;"),
    ] {
        let values: Vec<_> = response.headers().get_all(name).iter().collect();
        assert_eq!(values[0], first, "{values:?}");
        assert!(
            values[1].to_str().unwrap().starts_with(second),
            "{values:?}"
        );
        assert_eq!(values.len(), 2, "{values:?}");
    }
}

/// A client without a valid token does not say whose quota it uses: neither that of another one, which
/// would be used up for it, nor a new one for each guess.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_request_counts_by_its_client_ip() {
    let issuer = Issuer::new(Clock::system());
    let jwks = issuer.serve().await;
    let settings = [
        upstream(&[serve(echo()).await]),
        format!("[jwt]\njwks_url = \"http://{jwks}/.well-known/jwks.json\"\n"),
        "[server]\ntrusted_proxies = [\"127.0.0.1/32\"]\n".to_owned(),
        "[limits.l]\nrequests = 2\nwindow_seconds = 600\nkey = { header = \"X-Tenant\" }\n"
            .to_owned(),
        route("a", "/a", "limit = \"l\"").replace("\"public\"", "\"required\""),
    ];
    let gateway = Gateway::start(&settings.concat()).await;
    let call = async |token: &str, tenant: String| {
        let request = client().get(gateway.url("/a")).bearer_auth(token);
        let request = request
            .header("x-tenant", tenant)
            .header("x-forwarded-for", "192.0.2.7");
        request.send().await.unwrap().status().as_u16()
    };
    for (number, expected) in [401, 401, 429, 429].into_iter().enumerate() {
        assert_eq!(call("guess", format!("tenant-{number}")).await, expected);
    }
    let token = issuer.token("usr_ada");
    for expected in [200, 200, 429] {
        assert_eq!(call(&token, "tenant-0".to_owned()).await, expected);
    }
}
