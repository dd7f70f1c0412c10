//! What requests wait for, for how long, and what that says about replicas.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::{
    resilience::{Scripted, arrived, send, settings, shown},
    support::{DEADLINE, Gateway, client, eventually, free_address, problem, route, upstream},
};

/// Something has not happened after a while in which it would have.
async fn a_while() {
    tokio::task::spawn_blocking(|| std::thread::park_timeout(Duration::from_millis(400)))
        .await
        .unwrap();
}

/// A replica answers with an address, and the gateway with a problem.
async fn is_of_replica(response: reqwest::Response) {
    let text = response.text().await.unwrap();
    assert!(text.parse::<std::net::SocketAddr>().is_ok(), "{text}");
}

const BREAKER: &str = "circuit_breaker = { min_requests = 2, failure_percent = 10 }\n\
     outlier_detection = { consecutive_failures = 1, max_ejected_percent = 100 }";

async fn is_marked(gateway: &Gateway) -> bool {
    let shown = shown(gateway).await;
    let replicas = shown["replicas"].as_array().unwrap();
    shown["circuit"] != "closed" || replicas.iter().any(|it| it["state"] == "ejected")
}

/// The time of a request passes while its client sends it slowly, or takes nothing of the response: that
/// says nothing about the replica.
#[tokio::test(flavor = "multi_thread")]
async fn slow_clients_take_no_replica_away_from_others() {
    let (one, two) = (Scripted::start(200).await, Scripted::start(200).await);
    let settings = settings(&[&one, &two], BREAKER);
    let settings = [&*settings, "request_timeout_seconds = 1\n"].concat();
    let gateway = Gateway::start(&settings).await;
    let head = "POST /held HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n";
    let mut senders = Vec::new();
    for last in [&b"x"[..], b"xxxxxxxxx"] {
        for _ in 0..2 {
            let mut stream = TcpStream::connect(gateway.public).await.unwrap();
            stream.write_all(head.as_bytes()).await.unwrap();
            stream.write_all(last).await.unwrap();
            senders.push(stream);
        }
    }
    for stream in &mut senders {
        let mut answer = [0; 12];
        let read = timeout(DEADLINE, stream.read_exact(&mut answer)).await;
        read.unwrap().unwrap();
        assert_eq!(&answer, b"HTTP/1.1 504");
    }
    assert!(!is_marked(&gateway).await);
    // A replica that is silent all that time is another matter.
    for _ in 0..2 {
        problem(gateway.get("/held").await, 504, "upstream_timeout").await;
    }
    assert!(is_marked(&gateway).await);
}

/// A slow response is better than none, and an error than that of the gateway.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_down_takes_the_place_of_none() {
    let live = Scripted::start(200).await;
    let dead = free_address();
    let more = "try_timeout_ms = 100\nmin_eject_ms = 600000\nmax_eject_ms = 600000\n";
    let settings = [
        &upstream(&[live.address, dead]),
        more,
        &route("all", "/*", ""),
    ];
    let gateway = Gateway::start(&settings.concat()).await;
    eventually("the other one is ejected", || async {
        assert_eq!(gateway.get("/a").await.status(), 200);
        let shown = shown(&gateway).await;
        let mut replicas = shown["replicas"].as_array().unwrap().iter();
        replicas.any(|it| it["state"] == "ejected").then_some(())
    })
    .await;
    let served = live.served();
    let waiting = send(&gateway, "/held");
    arrived(&live, served + 1).await;
    a_while().await;
    assert!(!waiting.is_finished());
    live.permits.add_permits(1);
    assert_eq!(waiting.await.unwrap(), 200);
    live.set(503);
    let response = gateway.get("/a").await;
    assert_eq!(response.status(), 503);
    is_of_replica(response).await;
}

/// The same of one that has as many requests as it may have.
#[tokio::test(flavor = "multi_thread")]
async fn a_busy_replica_takes_the_place_of_none() {
    let (one, two) = (Scripted::start(503).await, Scripted::start(503).await);
    let limits = "max_in_flight_per_replica = 1\nmax_queue = 10\nqueue_timeout_ms = 20000";
    let gateway = Gateway::start(&settings(&[&one, &two], limits)).await;
    let held = send(&gateway, "/held");
    eventually("the request is there", || async {
        (one.served() + two.served() >= 1).then_some(())
    })
    .await;
    let response = gateway.get("/a").await;
    assert_eq!(response.status(), 503);
    is_of_replica(response).await;
    one.permits.add_permits(2);
    two.permits.add_permits(2);
    assert_eq!(held.await.unwrap(), 503);
}

/// Without a retry to spend, an attempt has all the time that there is.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_attempt_is_not_given_up_for_nothing() {
    let (slow, other) = (Scripted::start(200).await, Scripted::start(200).await);
    let none = "try_timeout_ms = 100\nretry_budget_percent = 0";
    let gateway = Gateway::start(&settings(&[&slow, &other], none)).await;
    let waiting = send(&gateway, "/held");
    eventually("the request is there", || async {
        (slow.served() + other.served() >= 1).then_some(())
    })
    .await;
    a_while().await;
    assert!(!waiting.is_finished());
    slow.permits.add_permits(1);
    other.permits.add_permits(1);
    assert_eq!(waiting.await.unwrap(), 200);
    assert_eq!(slow.served() + other.served(), 1);
}

async fn queued(gateway: &Gateway, count: u64) {
    eventually("that many wait", || async {
        (shown(gateway).await["queued"] == count).then_some(())
    })
    .await;
}

/// A client that leaves makes room for others, and nothing is sent for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_the_queue_is_noticed() {
    let replica = Scripted::start(200).await;
    let limits = "max_in_flight = 1\nmax_queue = 2\nqueue_timeout_ms = 20000";
    let settings = [
        "[server]\nhttp2 = true\n",
        &settings(&[&replica], limits).replacen("shipped_routes = false\n", "", 1),
    ];
    let settings = format!("shipped_routes = false\n{}", settings.concat());
    let gateway = Gateway::start(&settings).await;
    let held = send(&gateway, "/held");
    arrived(&replica, 1).await;
    // A whole request, and one whose body is still to come.
    for text in [
        "GET /left HTTP/1.1\r\nhost: a\r\n\r\n",
        "POST /left HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nx",
    ] {
        let mut stream = TcpStream::connect(gateway.public).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        queued(&gateway, 1).await;
        drop(stream);
        queued(&gateway, 0).await;
    }
    // A stream of a connection that stays open.
    let stream = TcpStream::connect(gateway.public).await.unwrap();
    let (mut sender, connection) = h2::client::handshake(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = http::Request::get("http://a/left").body(()).unwrap();
    let (_response, mut stream) = sender.send_request(request, true).unwrap();
    queued(&gateway, 1).await;
    stream.send_reset(h2::Reason::CANCEL);
    queued(&gateway, 0).await;
    connection.abort();
    let waiting = send(&gateway, "/a");
    queued(&gateway, 1).await;
    replica.permits.add_permits(1);
    assert_eq!((held.await.unwrap(), waiting.await.unwrap()), (200, 200));
    assert_eq!(replica.served(), 2);
}

/// What a request waits for before it is sent counts, too.
#[tokio::test(flavor = "multi_thread")]
async fn no_wait_outlasts_the_time_of_the_request() {
    let replica = Scripted::start(200).await;
    let limits = "max_in_flight = 1\nmax_queue = 2\nqueue_timeout_ms = 60000";
    let bounded = [
        &*settings(&[&replica], limits),
        "request_timeout_seconds = 1\n",
        &route("held", "/held", "request_timeout_seconds = 0"),
    ]
    .concat();
    let gateway = Gateway::start(&bounded).await;
    let held = send(&gateway, "/held");
    arrived(&replica, 1).await;
    problem(gateway.get("/a").await, 504, "upstream_timeout").await;
    replica.permits.add_permits(1);
    assert_eq!(held.await.unwrap(), 200);
    // A pause before a replica is tried again.
    let down = [
        &*upstream(&[free_address()]),
        "retries = 10\nretry_backoff_ms = 1000\nretry_budget_percent = 1000\n",
        &route("all", "/*", "request_timeout_seconds = 1"),
    ]
    .concat();
    gateway.reload(&down).await;
    let began = std::time::Instant::now();
    let response = client().get(gateway.url("/a")).send().await.unwrap();
    assert_eq!(response.status(), 504);
    assert!(
        began.elapsed() < Duration::from_secs(3),
        "{:?}",
        began.elapsed()
    );
}
