//! Rate limits in a Redis with sentinels, and in a cluster.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use quartet_testing::{RedisCluster, RedisSentinels, RedisServer};

use crate::{
    shared_limits::{gateways, hit, is_up},
    support::{client, echo, eventually, route, serve, upstream},
};

fn list(servers: &[RedisServer]) -> String {
    let texts: Vec<String> = servers
        .iter()
        .map(|server| format!("\"{}\"", server.address()))
        .collect();
    format!("[{}]", texts.join(", "))
}

fn settings(address: SocketAddr, store: &str) -> String {
    [
        upstream(&[address]),
        format!("[rate_limit_store]\n{store}\ntimeout_ms = 200\n"),
        "[server]\ntrusted_proxies = [\"127.0.0.1/32\"]\n".to_owned(),
        "[limits.l]\nrequests = 30\nwindow_seconds = 600\non_store_error = \"deny\"\n".to_owned(),
        "[limits.t]\nrequests = 20\nwindow_seconds = 600\nkey = { header = \"x-tenant\" }\n"
            .to_owned(),
        route("a", "/a", "limit = \"l\""),
        route("b", "/b", "limit = [\"l\", \"t\"]"),
    ]
    .concat()
}

/// The primary stops answering; the sentinels name another one. The old one comes back, and is not
/// counted on.
#[tokio::test(flavor = "multi_thread")]
async fn another_primary_takes_over() {
    let Some(mut servers) = RedisSentinels::start() else {
        return;
    };
    let store = format!(
        "sentinels = {}\nmaster_name = \"{}\"",
        list(&servers.sentinels),
        RedisSentinels::NAME
    );
    let gateways = gateways(&settings(serve(echo()).await, &store)).await;
    let statuses = hit(&gateways, "/a", 12).await;
    assert_eq!(statuses, [(200, 12)].into());
    // What a replica has not got yet would be lost with the primary.
    let offset = |server: &RedisServer| {
        let info = server.command(&["INFO", "replication"]);
        let mut lines = info
            .lines()
            .filter_map(|line| line.strip_prefix("master_repl_offset:"));
        lines.next().unwrap().trim().parse::<u64>().unwrap()
    };
    for replica in &servers.replicas {
        eventually("the replica has all", || async {
            (offset(replica) >= offset(&servers.primary)).then_some(())
        })
        .await;
    }
    let old = servers.primary.address();
    servers.primary.pause();
    // No request waits, and none gets past the limit.
    let statuses = hit(&gateways, "/a", 12).await;
    assert_eq!(statuses, [(503, 12)].into());
    for gateway in &gateways {
        is_up(gateway, true).await;
    }
    assert_ne!(servers.named_primary(), old);
    // The count was replicated: 18 are left.
    let statuses = hit(&gateways, "/a", 18).await;
    assert_eq!(statuses, [(200, 18)].into());
    servers.primary.resume();
    let statuses = hit(&gateways, "/a", 12).await;
    assert_eq!(statuses, [(429, 12)].into());
    // The next one is killed.
    let next = servers.named_primary();
    let replica = servers.replicas.iter_mut().find(|it| it.address() == next);
    replica.unwrap().kill();
    for gateway in &gateways {
        eventually("there is another primary", || async {
            let url = gateway.url("/a");
            let request = client().get(url).header("x-forwarded-for", "192.0.2.9");
            (request.send().await.unwrap().status() == 200).then_some(())
        })
        .await;
    }
    eventually("the sentinel names it", || async {
        (servers.named_primary() != next).then_some(())
    })
    .await;
}

/// Six nodes: keys of one subject are in one slot, limits with different subjects are counted in all
/// or in none, and a node that is away delays no request for long and is replaced.
#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_counts_exactly() {
    let Some(mut cluster) = RedisCluster::start() else {
        return;
    };
    let store = format!("cluster = {}", list(&cluster.primaries[..2]));
    let gateways = gateways(&settings(serve(echo()).await, &store)).await;
    let call = async |path: &str, from: String, tenant: &str| {
        let gateway = &gateways[from.len() % gateways.len()];
        let request = client()
            .get(gateway.url(path))
            .header("x-forwarded-for", from)
            .header("x-tenant", tenant);
        let started = Instant::now();
        let response = request.send().await.unwrap();
        assert!(started.elapsed() < Duration::from_secs(2));
        let left = response.headers().get_all("ratelimit").iter();
        let left: Vec<String> = left
            .map(|state| {
                state
                    .to_str()
                    .unwrap()
                    .split(";t=")
                    .next()
                    .unwrap()
                    .to_owned()
            })
            .collect();
        (response.status().as_u16(), left)
    };
    let statuses = hit(&gateways, "/a", 60).await;
    assert_eq!(statuses, [(200, 30), (429, 30)].into());
    // 20 of one tenant, from any client. What it has refused counts for no client.
    for number in 0..25 {
        let (status, left) = call("/b", format!("192.0.2.{number}"), "one").await;
        let expected = if number < 20 { 200 } else { 429 };
        assert_eq!(status, expected, "{number} {left:?}");
        if number == 20 {
            assert_eq!(left, ["\"l\";r=30", "\"t\";r=0"]);
        }
    }
    let (status, left) = call("/a", "192.0.2.24".to_owned(), "").await;
    assert_eq!((status, left), (200, vec!["\"l\";r=29".to_owned()]));

    // A node that does not answer; its replica takes over.
    cluster.primaries[0].pause();
    let (mut served, mut refused) = (0, 0);
    for number in 0..60 {
        match call("/a", format!("198.51.100.{number}"), "").await.0 {
            200 => served += 1,
            503 => refused += 1,
            other => panic!("{other}"),
        }
    }
    // Keys of other nodes are counted, but for moments in which the client connects again.
    assert!(served > 0, "{served} of {refused} served");
    let all_count = async |network: &str| {
        for number in 0..60 {
            eventually("the replica counts", || async {
                let (status, _) = call("/a", format!("{network}.{number}"), "").await;
                (status == 200).then_some(())
            })
            .await;
        }
    };
    all_count("203.0.113").await;
    cluster.primaries[0].resume();
    // Another one is killed.
    cluster.primaries[1].kill();
    all_count("203.0.114").await;
}
