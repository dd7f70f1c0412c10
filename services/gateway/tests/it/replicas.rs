//! Several replicas behind one name: balancing, failures, DNS.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::{Dns, Gateway, Replica, Service, client, eventually, route, upstream};

fn ip(replica: &Replica) -> Ipv4Addr {
    match replica.address.ip() {
        IpAddr::V4(ip) => ip,
        IpAddr::V6(_) => panic!("replicas are on IPv4"),
    }
}

fn by_name(dns: &Dns, replicas: &[Replica]) -> String {
    let port = replicas[0].address.port();
    format!(
        "shipped_routes = false\n[discovery]\nnameserver = \"{}\"\ninterval_ms = 50\n\
         timeout_ms = 500\n[upstreams.u]\naddresses = [\"media:{port}\"]\n{}",
        dns.address,
        route("all", "/*", "")
    )
}

async fn all_serve(gateway: &Gateway, replicas: &[&Replica]) {
    let before: Vec<usize> = replicas.iter().map(|replica| replica.served()).collect();
    eventually("every replica serves", || async {
        assert_eq!(gateway.get("/a").await.status(), 200);
        let all = replicas
            .iter()
            .zip(&before)
            .all(|(r, before)| r.served() > *before);
        all.then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_resolved_again_and_addresses_survive_dns_failures() {
    let dns = Dns::start().await;
    let replicas = Replica::start_several(3);
    dns.set("media", &[ip(&replicas[0])]);
    let gateway = Gateway::start(&by_name(&dns, &replicas)).await;
    all_serve(&gateway, &[&replicas[0]]).await;
    assert_eq!(replicas[1].served() + replicas[2].served(), 0);
    dns.set(
        "media",
        &[ip(&replicas[0]), ip(&replicas[1]), ip(&replicas[2])],
    );
    all_serve(&gateway, &[&replicas[0], &replicas[1], &replicas[2]]).await;
    // The name is gone: the addresses stay, and the admin listener shows the error.
    dns.forget("media");
    let error = eventually("the failed lookup is shown", || async {
        let shown: serde_json::Value = gateway.admin("/upstreams").await.json().await.unwrap();
        let target = &shown["upstreams"][0]["targets"][0];
        assert_eq!(target["addresses"].as_array().unwrap().len(), 3, "{shown}");
        target["error"].as_str().map(str::to_owned)
    })
    .await;
    assert!(!error.is_empty());
    all_serve(&gateway, &[&replicas[0], &replicas[1], &replicas[2]]).await;
    dns.set("media", &[ip(&replicas[2])]);
    eventually("the other replicas are removed", || async {
        let shown: serde_json::Value = gateway.admin("/upstreams").await.json().await.unwrap();
        let known = shown["upstreams"][0]["replicas"].as_array().unwrap().len();
        (known == 1).then_some(())
    })
    .await;
    let before = replicas[0].served();
    all_serve(&gateway, &[&replicas[2]]).await;
    assert_eq!(replicas[0].served(), before);
}

/// What is known of the replicas: address and state.
async fn states(gateway: &Gateway) -> Vec<(String, String)> {
    let shown: serde_json::Value = gateway.admin("/upstreams").await.json().await.unwrap();
    let replicas = shown["upstreams"][0]["replicas"].as_array().unwrap();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let replicas = replicas.iter();
    replicas
        .map(|replica| (text(&replica["address"]), text(&replica["state"])))
        .collect()
}

/// Some servers answer with other addresses each time.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_dns_forgets_for_a_while_stays_ejected() {
    let dns = Dns::start().await;
    let mut replicas = Replica::start_several(2);
    let both = [ip(&replicas[0]), ip(&replicas[1])];
    dns.set("media", &both);
    let settings = by_name(&dns, &replicas).replace(
        "[upstreams.u]\n",
        "[upstreams.u]\nmin_eject_ms = 600000\nmax_eject_ms = 600000\n",
    );
    let gateway = Gateway::start(&settings).await;
    all_serve(&gateway, &[&replicas[0], &replicas[1]]).await;
    replicas[0].kill();
    let down = (replicas[0].address.to_string(), "ejected".to_owned());
    eventually("the replica is ejected", || async {
        assert_eq!(gateway.get("/a").await.status(), 200);
        states(&gateway).await.contains(&down).then_some(())
    })
    .await;
    for _ in 0..2 {
        for answer in [&both[1..], &both] {
            dns.set("media", answer);
            let states = eventually("the answer is known", || async {
                let states = states(&gateway).await;
                (states.len() == answer.len()).then_some(states)
            })
            .await;
            assert_eq!(states.contains(&down), answer.len() == 2, "{states:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_take_turns() {
    let replicas = Replica::start_several(3);
    let addresses: Vec<_> = replicas.iter().map(|replica| replica.address).collect();
    let gateway = Gateway::start(&[upstream(&addresses), route("all", "/*", "")].concat()).await;
    for _ in 0..30 {
        assert_eq!(gateway.get("/a").await.status(), 200);
    }
    let served: Vec<usize> = replicas.iter().map(Replica::served).collect();
    assert_eq!(served, [10, 10, 10]);
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_receive_requests_by_weight() {
    let replicas = Replica::start_several(2);
    let settings = format!(
        "shipped_routes = false\n[upstreams.u]\naddresses = [\"{}\", {{ address = \"{}\", weight = 3 }}]\n{}",
        replicas[0].address,
        replicas[1].address,
        route("all", "/*", "")
    );
    let gateway = Gateway::start(&settings).await;
    for _ in 0..20 {
        assert_eq!(gateway.get("/a").await.status(), 200);
    }
    let served: Vec<usize> = replicas.iter().map(Replica::served).collect();
    assert_eq!(served, [5, 15]);
    // Targets with one address are one replica, whose weights add up.
    let twice = settings.replace(
        "addresses = [",
        &format!("addresses = [\"{}\", ", replicas[0].address),
    );
    gateway.reload(&twice).await;
    for _ in 0..20 {
        assert_eq!(gateway.get("/a").await.status(), 200);
    }
    let served: Vec<usize> = replicas.iter().map(Replica::served).collect();
    assert_eq!(served, [13, 27]);
    let error = gateway
        .refused_reload(&settings.replace("weight = 3", "weight = 0"))
        .await;
    assert!(error.contains("upstreams.u.addresses[1]"), "{error}");
}

/// Killed and restarted: no idempotent request may fail.
#[tokio::test(flavor = "multi_thread")]
async fn replica_killed_under_load_fails_no_idempotent_request() {
    let mut replicas = Replica::start_several(3);
    let addresses: Vec<_> = replicas.iter().map(|replica| replica.address).collect();
    let gateway = Gateway::start(&[upstream(&addresses), route("all", "/*", "")].concat()).await;
    let (done, stop) = (
        Arc::new(AtomicUsize::new(0)),
        Arc::new(AtomicBool::new(false)),
    );
    let workers: Vec<_> = (0..16)
        .map(|number| {
            let (done, stop) = (Arc::clone(&done), Arc::clone(&stop));
            let url = gateway.url("/a");
            let client = client();
            tokio::spawn(async move {
                let mut failures = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let request = match number % 4 {
                        0 => client.put(&url).body("whole body"),
                        1 => client.delete(&url),
                        _ => client.get(&url),
                    };
                    match request.send().await {
                        Ok(response) if response.status() == 200 => {
                            done.fetch_add(1, Ordering::Relaxed);
                        }
                        other => failures.push(format!("{other:?}")),
                    }
                }
                failures
            })
        })
        .collect();
    let progress = async |count: usize| {
        let goal = done.load(Ordering::Relaxed) + count;
        eventually("requests pass", || async {
            (done.load(Ordering::Relaxed) >= goal).then_some(())
        })
        .await;
    };
    progress(100).await;
    for _ in 0..2 {
        let address = replicas[1].address;
        replicas[1].kill();
        progress(200).await;
        replicas[1] = eventually("the port is free again", || async {
            Replica::start(address.ip(), address.port())
        })
        .await;
        eventually("the new replica serves", || async {
            (replicas[1].served() > 0).then_some(())
        })
        .await;
    }
    stop.store(true, Ordering::Relaxed);
    for worker in workers {
        let failures = worker.await.unwrap();
        assert!(failures.is_empty(), "{failures:?}");
    }
    let retries = "gateway_upstream_retries_total{service=\"gateway\",upstream=\"u\"}";
    assert!(gateway.metric(retries).await >= 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn post_is_retried_only_if_nothing_was_sent() {
    // One replica reads the request and disconnects; another one counts requests.
    let broken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let taken = Arc::new(AtomicUsize::new(0));
    let (broken_address, count) = (broken.local_addr().unwrap(), Arc::clone(&taken));
    tokio::spawn(async move {
        while let Ok((stream, _)) = broken.accept().await {
            stream.readable().await.unwrap();
            count.fetch_add(1, Ordering::Relaxed);
            drop(stream);
        }
    });
    let good = Replica::start([127, 0, 0, 1].into(), 0).unwrap();
    let unused = crate::support::free_address();
    let settings = format!(
        "{}connect_timeout_ms = 500\nmin_eject_ms = 1\nmax_eject_ms = 1\n{}",
        upstream(&[broken_address, unused, good.address]),
        route("all", "/*", "")
    );
    let gateway = Gateway::start(&settings).await;
    let mut sent = 0;
    let mut broke = 0;
    while broke < 3 || good.served() < 3 {
        sent += 1;
        let response = client()
            .post(gateway.url("/a"))
            .body("once")
            .send()
            .await
            .unwrap();
        match response.status().as_u16() {
            200 => {}
            502 => broke += 1,
            other => panic!("{other}: {}", response.text().await.unwrap()),
        }
    }
    // A refused connection is retried; a request that was sent is not.
    assert_eq!(taken.load(Ordering::Relaxed), broke);
    assert_eq!(good.served(), sent - broke);
}

#[tokio::test(flavor = "multi_thread")]
async fn too_slow_upstream_is_504() {
    let slow = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = slow.local_addr().unwrap();
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((stream, _)) = slow.accept().await {
            kept.push(stream);
        }
    });
    let settings = [
        upstream(&[address]),
        route("all", "/*", "response_timeout_seconds = 1"),
    ]
    .concat();
    let gateway = Gateway::start(&settings).await;
    let began = std::time::Instant::now();
    crate::support::problem(gateway.get("/a").await, 504, "upstream_timeout").await;
    assert!(began.elapsed() < Duration::from_secs(5));
}

/// A request that makes its handler crash, sent again and again among good ones.
#[tokio::test(flavor = "multi_thread")]
async fn requests_that_break_responses_do_not_eject_a_replica() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = vec![0; 4096];
                let read = stream.read(&mut head).await.unwrap();
                if !head[..read].starts_with(b"GET /crash") {
                    let response =
                        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok";
                    stream.write_all(response).await.unwrap();
                }
            });
        }
    });
    let settings = format!(
        "{}min_eject_ms = 60000\nmax_eject_ms = 60000\n{}",
        upstream(&[address]),
        route("all", "/*", "")
    );
    let gateway = Gateway::start(&settings).await;
    let state = async || {
        let shown: serde_json::Value = gateway.admin("/upstreams").await.json().await.unwrap();
        shown["upstreams"][0]["replicas"][0]["state"].clone()
    };
    for _ in 0..10 {
        for _ in 0..2 {
            assert_eq!(gateway.get("/good").await.status(), 200);
        }
        assert_eq!(gateway.get("/crash").await.status(), 502);
    }
    assert_eq!(state().await, "healthy");
    let broken = "gateway_upstream_broken_responses_total{service=\"gateway\",upstream=\"u\"}";
    assert!(gateway.metric(broken).await >= 10.0);
    let refused = "gateway_upstream_connect_failures_total{service=\"gateway\",upstream=\"u\"}";
    assert!(gateway.metric(refused).await < 1.0);
    // A replica that only breaks responses is ejected.
    while state().await == "healthy" {
        assert_eq!(gateway.get("/crash").await.status(), 502);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn services_name_replicas_with_priority_weight_and_port() {
    let dns = Dns::start().await;
    let mut replicas: Vec<Replica> = (2..=4)
        .map(|last| Replica::start([127, 0, 0, last].into(), 0).unwrap())
        .collect();
    let record = |at: usize, priority, weight, target| Service {
        priority,
        weight,
        port: replicas[at].address.port(),
        target,
    };
    dns.set("a.test", &[ip(&replicas[0])]);
    dns.set("b.test", &[ip(&replicas[1])]);
    dns.set("c.test", &[ip(&replicas[2])]);
    let records = [
        record(0, 1, 30_000, "a.test"),
        record(1, 1, 10_000, "b.test"),
        record(2, 2, 1, "c.test"),
    ];
    dns.set_services("_http._tcp.u.test", &records);
    let settings = |address: &str| {
        format!(
            "shipped_routes = false\n[discovery]\nnameserver = \"{}\"\ninterval_ms = 50\n\
             timeout_ms = 500\n[upstreams.u]\naddresses = [{address}]\nmin_eject_ms = 600000\n\
             max_eject_ms = 600000\n{}",
            dns.address,
            route("all", "/*", "")
        )
    };
    let gateway = Gateway::start(&settings("\"srv+_http._tcp.u.test\"")).await;
    eventually("the service is resolved", || async {
        (states(&gateway).await.len() == 3).then_some(())
    })
    .await;
    for _ in 0..40 {
        assert_eq!(gateway.get("/a").await.status(), 200);
    }
    let served: Vec<usize> = replicas.iter().map(Replica::served).collect();
    // Weights of 100 and 33.
    assert!(
        (29..=31).contains(&served[0]) && served[2] == 0,
        "{served:?}"
    );
    // A host that does not resolve for a while keeps its address.
    dns.forget("a.test");
    dns.set_services(
        "_http._tcp.u.test",
        &[records[0].clone(), records[2].clone()],
    );
    eventually("the second one is removed", || async {
        (states(&gateway).await.len() == 2).then_some(())
    })
    .await;
    // The next priority is used while all of the first one fail.
    replicas[0].kill();
    for _ in 0..5 {
        assert_eq!(gateway.get("/a").await.status(), 200);
    }
    assert_eq!(replicas[2].served(), 5);
    gateway
        .reload(&settings("{ srv = \"_http._tcp.u.test\" }"))
        .await;
    assert_eq!(gateway.get("/a").await.status(), 200);
    let error = gateway.refused_reload(&settings("\"srv+a b\"")).await;
    assert!(error.contains("upstreams.u.addresses[0]"), "{error}");
}
