//! Upstreams that fail, are slow or have too much to do: retries, checks, ejection, limits, drains.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::Request,
    response::{IntoResponse as _, Response},
    routing::any,
};
use http::StatusCode;
use serde_json::Value;
use tokio::{sync::Semaphore, task::JoinHandle};

use crate::support::{
    Gateway, Replica, client, eventually, free_address, problem, route, serve, upstream,
};

/// A replica whose responses the test decides.
#[derive(Clone)]
pub(crate) struct Scripted {
    pub(crate) address: SocketAddr,
    status: Arc<AtomicU16>,
    retry_after: Arc<AtomicBool>,
    served: Arc<AtomicUsize>,
    /// The ids of the requests to other paths than `/check`.
    ids: Arc<Mutex<Vec<String>>>,
    /// Requests to `/held` wait for a permit, and those to `/slow` send one part of the body for each.
    pub(crate) permits: Arc<Semaphore>,
}

impl Scripted {
    pub(crate) async fn start(status: u16) -> Self {
        let mut scripted = Self {
            address: free_address(),
            status: Arc::new(AtomicU16::new(status)),
            retry_after: Arc::default(),
            served: Arc::default(),
            ids: Arc::default(),
            permits: Arc::new(Semaphore::new(0)),
        };
        let served = scripted.clone();
        let router = Router::new().fallback(any(move |request: Request| async move {
            served.respond(request).await
        }));
        scripted.address = serve(router).await;
        scripted
    }

    async fn respond(self, request: Request) -> Response {
        let status = StatusCode::from_u16(self.status.load(Ordering::Relaxed)).unwrap();
        if request.uri().path() == "/check" {
            return status.into_response();
        }
        self.served.fetch_add(1, Ordering::Relaxed);
        let id = request.headers()["x-request-id"].to_str().unwrap();
        self.ids.lock().unwrap().push(id.to_owned());
        if request.uri().path() == "/held" {
            self.permits.acquire().await.unwrap().forget();
        }
        if request.uri().path() == "/slow" {
            let permits = self.permits;
            let parts = futures_util::stream::unfold(0, move |part| {
                let permits = Arc::clone(&permits);
                async move {
                    permits.acquire().await.unwrap().forget();
                    (part < 2).then(|| (Ok::<_, std::io::Error>("part "), part + 1))
                }
            });
            return Body::from_stream(parts).into_response();
        }
        let mut response = (status, self.address.to_string()).into_response();
        if self.retry_after.load(Ordering::Relaxed) {
            let headers = response.headers_mut();
            headers.insert("retry-after", "7".parse().unwrap());
        }
        response
    }

    pub(crate) fn set(&self, status: u16) {
        self.status.store(status, Ordering::Relaxed);
    }

    pub(crate) fn served(&self) -> usize {
        self.served.load(Ordering::Relaxed)
    }

    fn last_id(&self) -> Option<String> {
        self.ids.lock().unwrap().last().cloned()
    }
}

/// `more` are settings of the upstream.
pub(crate) fn settings(replicas: &[&Scripted], more: &str) -> String {
    let addresses: Vec<_> = replicas.iter().map(|replica| replica.address).collect();
    [&upstream(&addresses), more, "\n", &route("all", "/*", "")].concat()
}

pub(crate) async fn shown(gateway: &Gateway) -> Value {
    let mut shown: Value = gateway.admin("/upstreams").await.json().await.unwrap();
    shown["upstreams"][0].take()
}

async fn state(gateway: &Gateway, replica: &Scripted) -> String {
    let shown = shown(gateway).await;
    let replicas = shown["replicas"].as_array().unwrap();
    let address = replica.address.to_string();
    let found = replicas.iter().find(|it| it["address"] == address.as_str());
    found.unwrap()["state"].as_str().unwrap().to_owned()
}

async fn wait_for_state(gateway: &Gateway, replica: &Scripted, expected: &str) {
    eventually(expected, || async {
        (state(gateway, replica).await == expected).then_some(())
    })
    .await;
}

pub(crate) fn send(gateway: &Gateway, path: &str) -> JoinHandle<u16> {
    let (client, url) = (client(), gateway.url(path));
    tokio::spawn(async move { client.get(url).send().await.unwrap().status().as_u16() })
}

/// Until a request is at the replica.
pub(crate) async fn arrived(replica: &Scripted, count: usize) {
    eventually("the request is there", || async {
        (replica.served() >= count).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn idempotent_requests_are_retried_after_502_503_and_504() {
    let (bad, good) = (Scripted::start(503).await, Scripted::start(200).await);
    let gateway = Gateway::start(&settings(&[&bad, &good], "")).await;
    for status in [502, 503, 504] {
        bad.set(status);
        for _ in 0..4 {
            let before = bad.served();
            let response = gateway.get("/a").await;
            assert_eq!(response.status(), 200, "{status}");
            if bad.served() > before {
                // Both attempts are of one request: services know a repeated one by its id.
                let id = response.headers()["x-request-id"].to_str().unwrap();
                assert_eq!(bad.last_id().as_deref(), Some(id));
                assert_eq!(good.last_id().as_deref(), Some(id));
            }
        }
        assert_eq!(state(&gateway, &bad).await, "healthy");
    }
    let retried = bad.served();
    assert!(retried >= 3, "{retried}");
    let line = eventually("a line about retries", || async {
        let mut lines = gateway.lines().into_iter();
        lines.find(|line| line["retries"].is_number())
    })
    .await;
    assert_eq!(
        (&line["retries"], &line["status"]),
        (&1.into(), &200.into())
    );
    assert_eq!(line["upstream"], good.address.to_string());
    let retries = "gateway_upstream_retries_total{service=\"gateway\",upstream=\"u\"}";
    assert_eq!(gateway.count(retries).await, retried);
    // Others are responses like any other.
    bad.set(500);
    let statuses = [
        gateway.get("/a").await.status(),
        gateway.get("/a").await.status(),
    ];
    assert!(statuses.contains(&StatusCode::INTERNAL_SERVER_ERROR));
}

/// The statuses of two requests in turn, one of which reaches each replica first.
async fn two(request: impl Fn() -> reqwest::RequestBuilder) -> [u16; 2] {
    let mut statuses = [0; 2];
    for status in &mut statuses {
        *status = request().send().await.unwrap().status().as_u16();
    }
    statuses.sort_unstable();
    statuses
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_safe_or_not_wanted_is_not_retried() {
    let (bad, good) = (Scripted::start(503).await, Scripted::start(200).await);
    let plain = settings(&[&bad, &good], "");
    let gateway = Gateway::start(&plain).await;
    let url = gateway.url("/a");
    let get = || client().get(&url);
    let post = || client().post(&url).body("once");
    let with_key = || post().header("idempotency-key", "k-1");
    assert_eq!(two(get).await, [200, 200]);
    assert_eq!(two(post).await, [200, 503]);
    assert_eq!(two(with_key).await, [200, 503]);
    // The replica says when to ask again; that is passed on.
    bad.retry_after.store(true, Ordering::Relaxed);
    assert_eq!(two(get).await, [200, 503]);
    bad.retry_after.store(false, Ordering::Relaxed);
    gateway
        .reload(&settings(&[&bad, &good], "idempotency_keys = true"))
        .await;
    assert_eq!(two(post).await, [200, 503]);
    assert_eq!(two(with_key).await, [200, 200]);
    // A service that finds no key, or does not know which, would execute both.
    let empty = || post().header("idempotency-key", "");
    let two_keys = || with_key().header("idempotency-key", "k-2");
    assert_eq!(two(empty).await, [200, 503]);
    assert_eq!(two(two_keys).await, [200, 503]);
    // The upstream says what is retried, unless the route does.
    let none = settings(&[&bad, &good], "retry_on = [\"reset\", \"504\"]");
    gateway.reload(&none).await;
    assert_eq!(two(get).await, [200, 503]);
    let of_route = [&none, "retry_on = [\"503\"]\n"].concat();
    gateway.reload(&of_route).await;
    assert_eq!(two(get).await, [200, 200]);
    let error = gateway
        .refused_reload(&settings(&[&bad], "retry_on = [\"500\"]"))
        .await;
    assert!(
        error.contains("retry_on") && error.contains("504"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_takes_too_long_is_given_up_while_another_replica_is_left() {
    let (slow, good) = (Scripted::start(200).await, Scripted::start(200).await);
    let both = settings(&[&slow, &good], "try_timeout_ms = 100\nmax_eject_ms = 500");
    let gateway = Gateway::start(&both).await;
    // One of the two is asked first, and both hold the request; then the other one is.
    let waiting = send(&gateway, "/held");
    arrived(&slow, 1).await;
    arrived(&good, 1).await;
    assert_eq!(slow.last_id(), good.last_id());
    // The last attempt has all the time that there is.
    tokio::task::spawn_blocking(|| std::thread::park_timeout(Duration::from_millis(300)))
        .await
        .unwrap();
    assert!(!waiting.is_finished());
    slow.permits.add_permits(1);
    good.permits.add_permits(1);
    assert_eq!(waiting.await.unwrap(), 200);
    assert_eq!((slow.served(), good.served()), (1, 1));
    // Of a response that has begun, the rest may take longer.
    for replica in [&slow, &good] {
        replica.permits.forget_permits(10);
    }
    let response = gateway.get("/slow").await;
    tokio::task::spawn_blocking(|| std::thread::park_timeout(Duration::from_millis(300)))
        .await
        .unwrap();
    slow.permits.add_permits(3);
    good.permits.add_permits(3);
    assert_eq!(response.text().await.unwrap(), "part part ");
    // What is not safe to retry is not bounded either.
    for replica in [&slow, &good] {
        replica.permits.forget_permits(10);
    }
    let (served, url) = (slow.served() + good.served(), gateway.url("/held"));
    let post = tokio::spawn(async move { client().post(url).send().await.unwrap().status() });
    eventually("the request is there", || async {
        (slow.served() + good.served() > served).then_some(())
    })
    .await;
    tokio::task::spawn_blocking(|| std::thread::park_timeout(Duration::from_millis(300)))
        .await
        .unwrap();
    slow.permits.add_permits(1);
    good.permits.add_permits(1);
    assert_eq!(post.await.unwrap(), 200);
    assert_eq!(slow.served() + good.served(), served + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_only_replica_is_tried_again_after_a_pause() {
    let address = free_address();
    let settings = format!(
        "{}retries = 10\nretry_backoff_ms = 200\n{}",
        upstream(&[address]),
        route("all", "/*", "")
    );
    let gateway = Gateway::start(&settings).await;
    let url = gateway.url("/a");
    let waiting = tokio::spawn(async move { client().post(url).send().await.unwrap().status() });
    let failures = "gateway_upstream_connect_failures_total{service=\"gateway\",upstream=\"u\"}";
    eventually("the replica was not there", || async {
        (gateway.count(failures).await > 0).then_some(())
    })
    .await;
    let replica = Replica::start(address.ip(), address.port()).expect("the port is still free");
    assert_eq!(waiting.await.unwrap(), 200);
    assert_eq!(replica.served(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_beyond_the_limit_wait_in_a_bounded_queue() {
    let replica = Scripted::start(200).await;
    let limits = "max_in_flight = 2\nmax_queue = 1\nqueue_timeout_ms = 20000";
    let gateway = Gateway::start(&settings(&[&replica], limits)).await;
    let held = [send(&gateway, "/held"), send(&gateway, "/held")];
    arrived(&replica, 2).await;
    let queued = send(&gateway, "/a");
    eventually("the request waits", || async {
        let shown = shown(&gateway).await;
        assert_eq!(shown["in_flight"], 2);
        (shown["queued"] == 1).then_some(())
    })
    .await;
    let refused = gateway.get("/a").await;
    let after = refused.headers()["retry-after"]
        .to_str()
        .unwrap()
        .to_owned();
    assert_eq!(after, "20");
    problem(refused, 503, "upstream_overloaded").await;
    // A reload does not forget what is under way.
    gateway
        .reload(&settings(
            &[&replica],
            "max_in_flight = 2\nqueue_timeout_ms = 100",
        ))
        .await;
    problem(gateway.get("/a").await, 503, "upstream_overloaded").await;
    assert_eq!(replica.served(), 2);
    gateway
        .reload(&settings(
            &[&replica],
            "max_in_flight = 2\nmax_queue = 5\nqueue_timeout_ms = 100",
        ))
        .await;
    problem(gateway.get("/a").await, 503, "upstream_overloaded").await;
    replica.permits.add_permits(2);
    for request in held.into_iter().chain([queued]) {
        assert_eq!(request.await.unwrap(), 200);
    }
    eventually("all have ended", || async {
        let shown = shown(&gateway).await;
        (shown["in_flight"] == 0 && shown["queued"] == 0).then_some(())
    })
    .await;
    for reason in ["queue_full", "queue_timeout"] {
        let name = format!(
            "gateway_upstream_refused_total{{service=\"gateway\",upstream=\"u\",reason=\"{reason}\"}}"
        );
        assert!(gateway.count(&name).await > 0, "{reason}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_has_no_more_requests_than_it_may_have() {
    let (one, two) = (Scripted::start(200).await, Scripted::start(200).await);
    let limits = "max_in_flight_per_replica = 1\nmax_queue = 10\nqueue_timeout_ms = 20000";
    let gateway = Gateway::start(&settings(&[&one, &two], limits)).await;
    let held: Vec<_> = (0..3).map(|_| send(&gateway, "/held")).collect();
    eventually("one waits", || async {
        (shown(&gateway).await["queued"] == 1).then_some(())
    })
    .await;
    // What was let through may still be on its way.
    arrived(&one, 1).await;
    arrived(&two, 1).await;
    assert_eq!((one.served(), two.served()), (1, 1));
    two.permits.add_permits(2);
    arrived(&two, 2).await;
    one.permits.add_permits(1);
    for request in held {
        assert_eq!(request.await.unwrap(), 200);
    }
    assert_eq!((one.served(), two.served()), (1, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_whose_checks_fail_get_no_requests() {
    let (one, two) = (Scripted::start(200).await, Scripted::start(200).await);
    let check = "health_check = { path = \"/check\", interval_ms = 100, timeout_ms = 5000, \
                 healthy_after = 2, unhealthy_after = 2 }";
    let gateway = Gateway::start(&settings(&[&one, &two], check)).await;
    let ask = async |count| {
        for _ in 0..count {
            gateway.get("/a").await;
        }
    };
    one.set(500);
    wait_for_state(&gateway, &one, "down").await;
    let before = one.served();
    ask(6).await;
    assert_eq!(one.served(), before);
    // What is known outlives a reload.
    let other = [check, "\nretries = 1"].concat();
    gateway.reload(&settings(&[&one, &two], &other)).await;
    assert_eq!(state(&gateway, &one).await, "down");
    // If all fail, they are used anyway: the checks may be what is wrong.
    two.set(500);
    wait_for_state(&gateway, &two, "down").await;
    assert_eq!(gateway.get("/a").await.status(), 500);
    one.set(200);
    two.set(200);
    wait_for_state(&gateway, &one, "healthy").await;
    let before = one.served();
    ask(4).await;
    assert!(one.served() > before);
    // Without checks, nothing is known of them any more.
    one.set(500);
    wait_for_state(&gateway, &one, "down").await;
    gateway.reload(&settings(&[&one, &two], "")).await;
    assert_eq!(state(&gateway, &one).await, "healthy");
    for outcome in ["succeeded", "failed"] {
        let name = format!(
            "gateway_upstream_health_checks_total{{service=\"gateway\",upstream=\"u\",outcome=\"{outcome}\"}}"
        );
        assert!(gateway.count(&name).await > 0, "{outcome}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_replica_is_found_by_checks_before_a_request_fails() {
    let mut replicas = Replica::start_several(2);
    let addresses: Vec<_> = replicas.iter().map(|replica| replica.address).collect();
    let settings = format!(
        "{}health_check = {{ tcp = true, interval_ms = 100, timeout_ms = 1000, unhealthy_after = 1, healthy_after = 1 }}\n{}",
        upstream(&addresses),
        route("all", "/*", "")
    );
    let gateway = Gateway::start(&settings).await;
    let address = addresses[0];
    replicas[0].kill();
    let is = async |expected: &str| {
        eventually(expected, || async {
            let shown = shown(&gateway).await;
            (shown["replicas"][0]["state"] == expected).then_some(())
        })
        .await;
    };
    is("down").await;
    let failures = "gateway_upstream_connect_failures_total{service=\"gateway\",upstream=\"u\"}";
    for _ in 0..4 {
        assert_eq!(gateway.get("/a").await.status(), 200);
    }
    assert_eq!(gateway.count(failures).await, 0);
    replicas[0] = eventually("the port is free again", || async {
        Replica::start(address.ip(), address.port())
    })
    .await;
    is("healthy").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn outliers_are_ejected_but_never_all_replicas() {
    let (one, two) = (Scripted::start(500).await, Scripted::start(200).await);
    let rules = "min_eject_ms = 600000\nmax_eject_ms = 600000\n\
                 outlier_detection = { consecutive_failures = 3, max_ejected_percent = 100 }";
    let gateway = Gateway::start(&settings(&[&one, &two], rules)).await;
    for _ in 0..6 {
        gateway.get("/a").await;
    }
    assert_eq!(state(&gateway, &one).await, "ejected");
    let before = one.served();
    two.set(500);
    for _ in 0..20 {
        assert_eq!(gateway.get("/a").await.status(), 500);
    }
    assert_eq!(one.served(), before);
    assert_eq!(state(&gateway, &two).await, "healthy");
    // The health of an address outlives a reload.
    let other = [rules, "\nretries = 1"].concat();
    gateway.reload(&settings(&[&one, &two], &other)).await;
    assert_eq!(state(&gateway, &one).await, "ejected");
    let name =
        "gateway_upstream_replica_states{service=\"gateway\",upstream=\"u\",state=\"ejected\"}";
    eventually("the metric shows it", || async {
        (gateway.count(name).await == 1).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_fails_as_a_whole_is_left_alone_for_a_while() {
    let replica = Scripted::start(500).await;
    let rules = "circuit_breaker = { min_requests = 4, failure_percent = 50, open_seconds = 1, probes = 1 }";
    let gateway = Gateway::start(&settings(&[&replica], rules)).await;
    for _ in 0..4 {
        assert_eq!(gateway.get("/a").await.status(), 500);
    }
    let refused = gateway.get("/a").await;
    assert_eq!(refused.headers()["retry-after"], "1");
    problem(refused, 503, "circuit_open").await;
    assert_eq!(replica.served(), 4);
    // A probe fails, and then one succeeds.
    eventually("a probe is sent", || async {
        let status = gateway.get("/a").await.status();
        (status == 500).then_some(())
    })
    .await;
    assert_eq!(gateway.get("/a").await.status(), 503);
    replica.set(200);
    eventually("the upstream is in use again", || async {
        (gateway.get("/a").await.status() == 200).then_some(())
    })
    .await;
    assert_eq!(shown(&gateway).await["circuit"], "closed");
    assert_eq!(gateway.get("/a").await.status(), 200);
}

async fn drain(gateway: &Gateway, method: http::Method, address: &str) -> u16 {
    let url = format!(
        "http://{}/upstreams/u/replicas/{address}/drain",
        gateway.admin
    );
    let response = client().request(method, url).send().await.unwrap();
    response.status().as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drained_replica_finishes_what_it_has_and_gets_nothing_new() {
    use http::Method;
    let (one, two) = (Scripted::start(200).await, Scripted::start(200).await);
    let gateway = Gateway::start(&settings(&[&one, &two], "slow_start_seconds = 600")).await;
    let held = [send(&gateway, "/held"), send(&gateway, "/held")];
    arrived(&one, 1).await;
    arrived(&two, 1).await;
    let address = one.address.to_string();
    assert_eq!(drain(&gateway, Method::POST, &address).await, 204);
    assert_eq!(state(&gateway, &one).await, "drained");
    for _ in 0..6 {
        assert_eq!(gateway.get("/a").await.status(), 200);
    }
    assert_eq!((one.served(), two.served()), (1, 7));
    one.permits.add_permits(1);
    two.permits.add_permits(1);
    for request in held {
        assert_eq!(request.await.unwrap(), 200);
    }
    // A reload does not end it, and a replica that is drained is not even the last resort.
    gateway
        .reload(&settings(
            &[&one, &two],
            "slow_start_seconds = 600\nretries = 1",
        ))
        .await;
    assert_eq!(
        drain(&gateway, Method::POST, &two.address.to_string()).await,
        204
    );
    problem(gateway.get("/a").await, 503, "upstream_unreachable").await;
    assert_eq!(
        drain(&gateway, Method::DELETE, &two.address.to_string()).await,
        204
    );
    assert_eq!(gateway.get("/a").await.status(), 200);
    // It gets its share gradually.
    assert_eq!(drain(&gateway, Method::DELETE, &address).await, 204);
    assert_eq!(state(&gateway, &one).await, "warming");
    assert_eq!(drain(&gateway, Method::POST, "127.0.0.1:1").await, 404);
    assert_eq!(drain(&gateway, Method::POST, "nonsense").await, 400);
}
