//! Which replica gets a request.

use std::{collections::HashSet, sync::Arc};

use axum::{Router, routing::any};
use tokio::sync::Semaphore;

use crate::support::{Gateway, Replica, client, eventually, held, route, serve, upstream};

fn settings(replicas: &[Replica], more: &str) -> String {
    let addresses: Vec<_> = replicas.iter().map(|replica| replica.address).collect();
    [&upstream(&addresses), more, "\n", &route("all", "/*", "")].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_with_one_key_reach_one_replica() {
    let replicas = Replica::start_several(3);
    for (hash_by, name, value) in [
        ("header:x-tenant", "x-tenant", "t"),
        ("cookie:tenant", "cookie", "a=1; tenant=t"),
    ] {
        let more = format!("balance = \"hash\"\nhash_by = \"{hash_by}\"");
        let gateway = Gateway::start(&settings(&replicas, &more)).await;
        let ask = async |key: Option<usize>| {
            let request = client().get(gateway.url("/a"));
            let request = match key {
                Some(key) => request.header(name, format!("{value}{key}")),
                None => request,
            };
            request.send().await.unwrap().text().await.unwrap()
        };
        let mut all = HashSet::new();
        for key in 0..20 {
            let first = ask(Some(key)).await;
            assert_eq!(ask(Some(key)).await, first);
            all.insert(first);
        }
        assert_eq!(all.len(), 3, "{hash_by}");
        // Without the key, it is the client IP.
        let first = ask(None).await;
        assert_eq!(ask(None).await, first);
    }
    let gateway = Gateway::start(&settings(&replicas, "balance = \"client_hash\"")).await;
    let first = gateway.get("/a").await.text().await.unwrap();
    for _ in 0..5 {
        assert_eq!(gateway.get("/a").await.text().await.unwrap(), first);
    }
    for (more, key) in [
        ("balance = \"hash\"\nhash_by = \"header:\"", "hash_by"),
        ("balance = \"hash\"\nhash_by = \"path\"", "hash_by"),
        ("hash_by = \"ip\"", "hash_by"),
        ("balance = \"random\"", "balance"),
    ] {
        let error = gateway.refused_reload(&settings(&replicas, more)).await;
        assert!(error.contains(key), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_least_loaded_replica_gets_most_requests() {
    let (slow, permits) = held().await;
    let served = Arc::new(Semaphore::new(0));
    let count = Arc::clone(&served);
    let fast = serve(Router::new().fallback(any(move || async move {
        count.add_permits(1);
        "fast"
    })))
    .await;
    let settings = format!(
        "{}balance = \"least_loaded\"\n{}",
        upstream(&[slow, fast]),
        route("all", "/*", "")
    );
    let gateway = Gateway::start(&settings).await;
    let in_flight = async || {
        let shown: serde_json::Value = gateway.admin("/upstreams").await.json().await.unwrap();
        let replicas = shown["upstreams"][0]["replicas"].as_array().unwrap();
        let slow = slow.to_string();
        let found = replicas.iter().find(|it| it["address"] == slow.as_str());
        found.unwrap()["in_flight"].as_u64().unwrap()
    };
    let mut waiting = Vec::new();
    while in_flight().await == 0 {
        let (client, url) = (client(), gateway.url("/held"));
        waiting.push(tokio::spawn(async move {
            client.get(url).send().await.unwrap().status()
        }));
        eventually("the request is somewhere", || async {
            let arrived =
                in_flight().await > 0 || waiting.iter().all(tokio::task::JoinHandle::is_finished);
            arrived.then_some(())
        })
        .await;
    }
    // While it has one request and the other one has none, all go there.
    let before = served.available_permits();
    for _ in 0..20 {
        assert_eq!(gateway.get("/held").await.text().await.unwrap(), "fast");
    }
    assert_eq!(served.available_permits(), before + 20);
    permits.add_permits(waiting.len());
    for request in waiting {
        assert_eq!(request.await.unwrap(), 200);
    }
}
