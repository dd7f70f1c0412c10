//! Rate limits that several gateways count in one Redis: exact while it answers, and bounded in what
//! they allow and in how long they take while it does not. Of the gateways, every other one serves
//! requests on the direct path.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use quartet_common::clock::Clock;
use quartet_testing::{Issuer, RedisServer};
use serde_json::Value;

use crate::support::{
    Gateway, client, echo, eventually, free_address, problem, route, serve, upstream,
};

const GATEWAYS: usize = 3;
/// Of one call to the store, in these tests: machines are slow at times.
const TIMEOUT: Duration = Duration::from_millis(200);
/// What a request may take longer than without a store, while that is away: three calls, which is
/// when the breaker opens, cannot add up in one request.
const BOUND: Duration = Duration::from_millis(1_500);

fn settings(address: SocketAddr, store: &str, more: &str) -> String {
    let timeout = TIMEOUT.as_millis();
    [
        upstream(&[address]),
        format!("[rate_limit_store]\n{store}\ntimeout_ms = {timeout}\n"),
        more.to_owned(),
    ]
    .concat()
}

/// Gateways that count in this store.
pub(crate) async fn gateways(settings: &str) -> Vec<Gateway> {
    let mut gateways = Vec::new();
    for number in 0..GATEWAYS {
        let direct = (number % 2 == 0).to_string();
        let variables = [("QUARTET_SERVER_DIRECT_PATH", direct.as_str())];
        let gateway = Gateway::with_variables(settings, &variables).await;
        is_up(&gateway, true).await;
        gateways.push(gateway);
    }
    gateways
}

/// Waits until a gateway asks the store, or no longer does.
pub(crate) async fn is_up(gateway: &Gateway, up: bool) {
    let expected = if up { "available" } else { "unavailable" };
    eventually(&format!("the store is {expected}"), || async {
        let limits: Value = gateway.admin("/limits").await.json().await.unwrap();
        (limits["store"]["state"] == expected).then_some(())
    })
    .await;
}

async fn all_up(gateways: &[Gateway], up: bool) {
    for gateway in gateways {
        is_up(gateway, up).await;
    }
}

/// Requests to all gateways at once; how many had each status.
pub(crate) async fn hit(gateways: &[Gateway], path: &str, requests: usize) -> BTreeMap<u16, usize> {
    let client = client();
    let calls = (0..requests).map(|number| {
        let url = gateways[number % gateways.len()].url(path);
        let client = &client;
        async move {
            let started = Instant::now();
            let response = client.get(url).send().await.unwrap();
            (response.status().as_u16(), started.elapsed())
        }
    });
    let mut statuses = BTreeMap::new();
    for (status, took) in join_all(calls).await {
        *statuses.entry(status).or_insert(0) += 1;
        assert!(took < BOUND, "{status} after {took:?}");
    }
    statuses
}

fn count(statuses: &BTreeMap<u16, usize>, status: u16) -> usize {
    statuses.get(&status).copied().unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn three_gateways_allow_exactly_the_limit() {
    let Some(redis) = RedisServer::start() else {
        return;
    };
    let limits = [
        "[limits.core]\nrequests = 100\nwindow_seconds = 60\n",
        "[limits.day]\nrequests = 500\nwindow_seconds = 86400\nburst = 150\n",
        &route("a", "/a", "limit = [\"core\", \"day\"]"),
        &route("b", "/b", "limit = \"day\""),
    ]
    .concat();
    let url = format!("url = \"{}\"", redis.url());
    let gateways = gateways(&settings(serve(echo()).await, &url, &limits)).await;
    let statuses = hit(&gateways, "/a", 240).await;
    assert_eq!((count(&statuses, 200), count(&statuses, 429)), (100, 140));
    // What `core` has refused, `day` has not counted: 50 of the burst are left.
    let statuses = hit(&gateways, "/b", 90).await;
    assert_eq!((count(&statuses, 200), count(&statuses, 429)), (50, 40));
    // Each gateway has learnt of the refusals, and answers without asking.
    let calls = "gateway_rate_limit_store_calls_total{service=\"gateway\",outcome=\"ok\"}";
    for gateway in &gateways {
        assert_eq!(gateway.get("/a").await.status(), 429);
        let (before, denied) = (gateway.count(calls).await, denied(gateway).await);
        let refused = gateway.get("/a").await;
        let retry: u64 = header(&refused, "retry-after").parse().unwrap();
        assert!((1..=63).contains(&retry), "{retry}");
        assert!(header(&refused, "ratelimit").starts_with("\"core\";r=0;t="));
        problem(refused, 429, "rate_limited").await;
        // The keeper checks the store once a second.
        assert!(gateway.count(calls).await <= before + 2);
        assert_eq!(denied + 1, self::denied(gateway).await);
    }
    // Neither a client IP nor a name is in the store, and everything expires.
    for key in redis.command(&["KEYS", "*"]).lines() {
        assert!(key.starts_with("quartet:limit:"), "{key}");
        assert!(!key.contains("127.0.0.1"), "{key}");
        assert!(
            redis.command(&["PTTL", key]).parse::<i64>().unwrap() != -1,
            "{key}"
        );
    }
}

async fn denied(gateway: &Gateway) -> usize {
    let name = "gateway_rate_limit_denied_total{service=\"gateway\",limit=\"core\"}";
    gateway.count(name).await
}

fn header<'r>(response: &'r reqwest::Response, name: &str) -> &'r str {
    response.headers()[name].to_str().unwrap()
}

const FROM: &str = "x-forwarded-for";

type LimitedRow = (
    &'static str,
    Option<&'static str>,
    &'static str,
    &'static str,
    u16,
    &'static str,
);

/// Path, user, a header with its value, and what comes of it.
const ROWS: [LimitedRow; 17] = [
    (
        "/few",
        Some("usr_ada"),
        FROM,
        "192.0.2.1",
        200,
        "\"few\";r=1;",
    ),
    (
        "/few",
        Some("usr_ada"),
        FROM,
        "192.0.2.2",
        200,
        "\"few\";r=0;",
    ),
    (
        "/few",
        Some("usr_ada"),
        FROM,
        "192.0.2.3",
        429,
        "\"few\";r=0;",
    ),
    (
        "/few",
        Some("usr_eve"),
        FROM,
        "192.0.2.3",
        200,
        "\"few\";r=1;",
    ),
    ("/few", None, FROM, "192.0.2.1", 200, "\"few\";r=1;"),
    ("/few", None, FROM, "2001:db8::1", 200, "\"few\";r=1;"),
    ("/few", None, FROM, "2001:db8::2", 200, "\"few\";r=0;"),
    ("/few", None, FROM, "2001:db8::3", 429, "\"few\";r=0;"),
    ("/few", None, FROM, "2001:db8:0:1::1", 200, "\"few\";r=1;"),
    ("/tenant", None, "x-tenant", "a", 200, "\"tenant\";r=2;"),
    ("/tenant", None, "x-tenant", "a", 200, "\"tenant\";r=1;"),
    ("/tenant", None, "x-tenant", "b", 200, "\"tenant\";r=2;"),
    // Without the header, the client IP counts.
    (
        "/tenant",
        None,
        FROM,
        "a, 192.0.2.5",
        200,
        "\"tenant\";r=2;",
    ),
    ("/tenant", None, FROM, "192.0.2.5", 200, "\"tenant\";r=1;"),
    ("/one", None, FROM, "192.0.2.1", 200, "\"each\";r=0;"),
    ("/one", None, FROM, "192.0.2.1", 429, "\"each\";r=0;"),
    ("/two", None, FROM, "192.0.2.1", 200, "\"each\";r=0;"),
];

/// The same headers as without a store; other routes and subjects have their own quota.
#[tokio::test(flavor = "multi_thread")]
async fn headers_and_keys_are_those_of_local_limits() {
    let Some(redis) = RedisServer::start() else {
        return;
    };
    let issuer = Issuer::new(Clock::system());
    let jwks = issuer.serve().await;
    let limits = [
        "[server]\ntrusted_proxies = [\"127.0.0.1/32\"]\n",
        &format!("[jwt]\njwks_url = \"http://{jwks}/.well-known/jwks.json\"\n"),
        "[limits.few]\nrequests = 2\nwindow_seconds = 60\n",
        "[limits.tenant]\nrequests = 3\nwindow_seconds = 60\nkey = { header = \"X-Tenant\" }\n",
        "[limits.each]\nrequests = 1\nwindow_seconds = 60\nscope = \"route\"\n",
        &route("few", "/few", "limit = \"few\"").replace("\"public\"", "\"optional\""),
        &route("tenant", "/tenant", "limit = [\"tenant\"]"),
        &route("one", "/one", "limit = \"each\""),
        &route("two", "/two", "limit = \"each\""),
    ]
    .concat();
    let store = format!("url = \"{}\"\nkey_secret = \"pepper\"", redis.url());
    let address = serve(echo()).await;
    for store in [format!("[rate_limit_store]\n{store}\n"), String::new()] {
        let text = [upstream(&[address]), store.clone(), limits.clone()].concat();
        let direct = (!store.is_empty()).to_string();
        let variables = [("QUARTET_SERVER_DIRECT_PATH", direct.as_str())];
        let gateway = Gateway::with_variables(&text, &variables).await;
        if !store.is_empty() {
            is_up(&gateway, true).await;
        }
        let call = async |path: &str, token: Option<&str>, name: &str, value: &str| {
            let mut request = client().get(gateway.url(path)).header(name, value);
            if let Some(token) = token {
                request = request.bearer_auth(token);
            }
            let response = request.send().await.unwrap();
            let state = response.headers().get("ratelimit");
            let state = state.map(|state| state.to_str().unwrap().to_owned());
            (response.status().as_u16(), state.unwrap_or_default())
        };
        for (path, user, name, value, status, left) in ROWS {
            let token = user.map(|user| issuer.token(user));
            let (was, state) = call(path, token.as_deref(), name, value).await;
            assert_eq!(was, status, "{path} {value} {state} {store}");
            assert!(state.starts_with(left), "{path} {value}: {state} {store}");
        }
        // A site cannot multiply its quota by its number of networks: 16 times 2 requests.
        let mut allowed = 0;
        for network in 1..=40 {
            let address = format!("2001:db8:1:{network:x}::1");
            let (status, _) = call("/few", None, FROM, &address).await;
            allowed += u32::from(status == 200);
        }
        assert_eq!(allowed, 32, "{store}");
    }
}

/// Kills, pauses and replaces the store under each mode.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_away_delays_and_opens_nothing() {
    let Some(mut redis) = RedisServer::start() else {
        return;
    };
    let limits = [
        "[limits.local]\nrequests = 10\nwindow_seconds = 600\n",
        "[limits.allow]\nrequests = 10\nwindow_seconds = 600\non_store_error = \"allow\"\n",
        "[limits.deny]\nrequests = 10\nwindow_seconds = 600\n",
        &route("local", "/local", "limit = \"local\""),
        &route("allow", "/allow", "limit = \"allow\""),
        // The route says more than the limit.
        &route(
            "deny",
            "/deny",
            "limit = \"deny\"\non_store_error = \"deny\"",
        ),
    ]
    .concat();
    let url = format!("url = \"{}\"", redis.url());
    let gateways = gateways(&settings(serve(echo()).await, &url, &limits)).await;
    for path in ["/local", "/allow", "/deny"] {
        let statuses = hit(&gateways, path, 6).await;
        assert_eq!(count(&statuses, 200), 6, "{path}");
    }
    redis.pause();
    check_away(&gateways, 30).await;
    all_up(&gateways, false).await;
    redis.resume();
    all_up(&gateways, true).await;
    // Four were left of each. The paused store has received at most the calls that were waiting for
    // it: those of every breaker until it opened. They may have counted, and nothing else.
    let statuses = hit(&gateways, "/deny", 30).await;
    assert!(count(&statuses, 200) <= 4, "{statuses:?}");
    assert_eq!(count(&statuses, 503), 0);

    redis.kill();
    check_away(&gateways, 0).await;
    all_up(&gateways, false).await;
    let notices: Value = gateways[0].admin("/ready").await.json().await.unwrap();
    let notice = notices["notices"]["rate_limit_store"][0].to_string();
    assert!(notice.contains("unavailable"), "{notices}");
    // While it is away, requests do not ask it.
    let before = calls(&gateways[1]).await;
    for _ in 0..20 {
        gateways[1].get("/allow").await;
    }
    assert_eq!(calls(&gateways[1]).await, before);

    // Another one, without data. Who was refused stays refused.
    redis.restart();
    all_up(&gateways, true).await;
    let statuses = hit(&gateways, "/deny", 30).await;
    assert_eq!((count(&statuses, 429), count(&statuses, 503)), (30, 0));
    for gateway in &gateways {
        let fallbacks = "gateway_rate_limit_fallbacks_total{service=\"gateway\",limit=\"allow\"}";
        assert!(gateway.count(fallbacks).await > 0);
        let changes = |message: &str| {
            let lines = gateway.lines().into_iter();
            lines.filter(|line| line["msg"] == message).count()
        };
        // One line for each change, however many requests there were.
        assert_eq!(changes("rate limit store is unavailable"), 2);
        assert_eq!(changes("rate limit store is available"), 3);
    }
}

/// Calls to the store so far.
async fn calls(gateway: &Gateway) -> usize {
    let mut calls = 0;
    for outcome in ["ok", "timeout", "error"] {
        let labels = format!("service=\"gateway\",outcome=\"{outcome}\"");
        let name = format!("gateway_rate_limit_store_calls_total{{{labels}}}");
        calls += gateway.count(&name).await;
    }
    calls
}

/// `first`: requests that each gateway allows itself on the route with `local`.
async fn check_away(gateways: &[Gateway], first: usize) {
    let statuses = hit(gateways, "/local", 60).await;
    let expected = (first, 60 - first);
    assert_eq!((count(&statuses, 200), count(&statuses, 429)), expected);
    assert_eq!(count(&hit(gateways, "/allow", 60).await, 200), 60);
    let statuses = hit(gateways, "/deny", 60).await;
    // Who was refused before is refused with 429.
    assert_eq!(
        count(&statuses, 503) + count(&statuses, 429),
        60,
        "{statuses:?}"
    );
    if first > 0 {
        assert_eq!(count(&statuses, 503), 60);
        let refused = gateways[0].get("/deny").await;
        assert_eq!(header(&refused, "retry-after"), "1");
        problem(refused, 503, "unavailable").await;
    }
}

/// The server may forbid TIME, forget scripts, or become a replica that does not write.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_refuses_is_noticed() {
    let Some(redis) = RedisServer::start_with("user limits on >secret ~* +@all -time") else {
        return;
    };
    let Some(other) = RedisServer::start() else {
        return;
    };
    let limits = [
        "[limits.l]\nrequests = 20\nwindow_seconds = 600\n",
        &route("a", "/a", "limit = \"l\"\non_store_error = \"deny\""),
    ]
    .concat();
    let login = "username = \"limits\"\npassword = \"secret\"";
    let store = format!("url = \"{}\"\n{login}", redis.url());
    let gateways = gateways(&settings(serve(echo()).await, &store, &limits)).await;
    let limits: Value = gateways[0].admin("/limits").await.json().await.unwrap();
    assert_eq!(limits["store"]["clock"], "gateway", "{limits}");
    let notices: Value = gateways[0].admin("/ready").await.json().await.unwrap();
    let notice = notices["notices"]["rate_limit_store"][0].to_string();
    assert!(notice.contains("refuses TIME"), "{notices}");
    assert_eq!(count(&hit(&gateways, "/a", 10).await, 200), 10);
    redis.command(&["SCRIPT", "FLUSH"]);
    assert_eq!(count(&hit(&gateways, "/a", 9).await, 200), 9);
    // Nineteen were counted, each once.
    let port = other.address().port().to_string();
    redis.command(&["REPLICAOF", "127.0.0.1", &port]);
    eventually("the replica is noticed", || async {
        let status = gateways[0].get("/a").await.status();
        (status == 503).then_some(())
    })
    .await;
    redis.command(&["REPLICAOF", "NO", "ONE"]);
    all_up(&gateways, true).await;
}

/// Without a login, or with a wrong one, the process serves and says what is wrong.
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_reported_and_a_reload_corrects_it() {
    let Some(redis) = RedisServer::start_with("requirepass secret") else {
        return;
    };
    let limits = [
        "[limits.l]\nrequests = 2\nwindow_seconds = 600\n",
        &route("a", "/a", "limit = \"l\""),
    ]
    .concat();
    let address = serve(echo()).await;
    let with = |password: &str| {
        let store = format!("url = \"{}\"\npassword = \"{password}\"", redis.url());
        settings(address, &store, &limits)
    };
    let gateway = Gateway::start(&with("wrong")).await;
    is_up(&gateway, false).await;
    let limits: Value = gateway.admin("/limits").await.json().await.unwrap();
    let error = limits["store"]["last_error"].to_string();
    assert!(
        !error.contains("secret") && !error.contains("wrong\""),
        "{error}"
    );
    assert_eq!(gateway.get("/a").await.status(), 200);
    gateway.reload(&with("secret")).await;
    is_up(&gateway, true).await;
    for expected in [200, 200, 429] {
        assert_eq!(gateway.get("/a").await.status(), expected);
    }
    // Equal settings keep the connection and what is known.
    let more = format!(
        "{}\n[limits.other]\nrequests = 1\nwindow_seconds = 1\n",
        with("secret")
    );
    gateway.reload(&more).await;
    is_up(&gateway, true).await;
    assert_eq!(gateway.get("/a").await.status(), 429);
}

/// With TLS, only a server with a certificate of the authority is asked.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_with_tls_is_authenticated() {
    let files = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/support/tls/store");
    let address = free_address();
    let port = address.port();
    let tls = format!(
        "tls-port {port}\ntls-cert-file {files}.pem\ntls-key-file {files}.key\ntls-auth-clients no"
    );
    let Some(_redis) = RedisServer::start_with(&tls) else {
        return;
    };
    let limits = [
        "[limits.l]\nrequests = 2\nwindow_seconds = 600\n",
        &route("a", "/a", "limit = \"l\""),
    ]
    .concat();
    let upstream = serve(echo()).await;
    let with = |authority: &str| {
        let store = format!("url = \"rediss://{address}\"\ntls_ca = \"\"\"\n{authority}\"\"\"");
        settings(upstream, &store, &limits)
    };
    let gateway = Gateway::start(&with(include_str!("support/tls/other_authority.pem"))).await;
    is_up(&gateway, false).await;
    assert_eq!(gateway.get("/a").await.status(), 200);
    gateway
        .reload(&with(include_str!("support/tls/store_authority.pem")))
        .await;
    is_up(&gateway, true).await;
    for expected in [200, 200, 429] {
        assert_eq!(gateway.get("/a").await.status(), expected);
    }
}

/// A reload of how the store is asked keeps the connection to it: no request is refused meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_reload_does_not_lose_the_store() {
    let Some(redis) = RedisServer::start() else {
        return;
    };
    let limits = [
        "[limits.l]\nrequests = 1000\nwindow_seconds = 600\n",
        &route("a", "/a", "limit = \"l\"\non_store_error = \"deny\""),
    ]
    .concat();
    let address = serve(echo()).await;
    let with = |more: &str| {
        settings(
            address,
            &format!("url = \"{}\"\n{more}", redis.url()),
            &limits,
        )
    };
    let gateway = Gateway::start(&with("")).await;
    is_up(&gateway, true).await;
    for failures in 4..8 {
        gateway
            .reload(&with(&format!("max_failures = {failures}")))
            .await;
        for _ in 0..5 {
            assert_eq!(gateway.get("/a").await.status(), 200);
        }
    }
    is_up(&gateway, true).await;
}
