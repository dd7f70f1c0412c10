//! Several gateways with one store in Redis: one of them orders, all of them use, and none loses what it has.

use std::net::SocketAddr;

use futures_util::future::join_all;
use quartet_testing::RedisServer;
use serde_json::Value;

use crate::support::{Authority, Gateway, client, eventually, route};

const KEY: &str = "0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f";
const GATEWAYS: usize = 3;

fn settings(authority: &Authority, redis: &str) -> String {
    let store = format!("encryption_key = \"{KEY}\"\n[acme.redis]\nurl = \"{redis}\"");
    let routes = ["shipped_routes = false\n", &route("all", "/*", "")].concat();
    let routes = routes.replace("upstream = \"u\"", "respond = { status = 200 }");
    [
        routes,
        authority.settings(&["a.example", "b.example"], &store),
    ]
    .concat()
}

/// Gateways that begin to order at the same time.
async fn gateways(authority: &Authority, redis: &RedisServer) -> Vec<Gateway> {
    let idle = settings(authority, &redis.url());
    let (idle, _) = idle.split_once("[acme]").unwrap();
    let gateways = join_all((0..GATEWAYS).map(|_| Gateway::start(idle))).await;
    let public: Vec<SocketAddr> = gateways.iter().map(|gateway| gateway.public).collect();
    {
        let mut state = authority.state();
        // Until all of them can answer.
        (state.validators, state.is_away) = (public, true);
        state.window = Some((86_400, 90_000));
    }
    let all = settings(authority, &redis.url());
    join_all(gateways.iter().map(|gateway| gateway.reload(&all))).await;
    authority.state().is_away = false;
    gateways
}

async fn status(gateway: &Gateway) -> Value {
    let mut all: Value = gateway.admin("/acme").await.json().await.unwrap();
    all["certificates"]["web"].take()
}

/// Waits until all gateways have a certificate that is none of these; its expiry.
async fn all_have_another(gateways: &[Gateway], than: &[Value]) -> Value {
    eventually("all gateways have the certificate", || async {
        let statuses = join_all(gateways.iter().map(status)).await;
        let first = statuses[0]["not_after"].clone();
        let is_new = statuses[0]["state"] == "valid" && !than.contains(&first);
        (is_new && statuses.iter().all(|it| it["not_after"] == first)).then_some(first)
    })
    .await
}

async fn renew(gateway: &Gateway) {
    let url = format!("http://{}/acme/web/renew", gateway.admin);
    let response = client().post(url).send().await.unwrap();
    assert_eq!(response.status(), 202);
}

#[tokio::test(flavor = "multi_thread")]
async fn three_gateways_order_and_renew_once() {
    let Some(redis) = RedisServer::start() else {
        return;
    };
    let authority = Authority::start().await;
    let gateways = gateways(&authority, &redis).await;
    let first = all_have_another(&gateways, &[]).await;
    assert_eq!((authority.issued(), authority.state().orders.len()), (1, 1));
    assert_eq!(authority.state().accounts.len(), 1);
    authority.state().life = std::time::Duration::from_secs(20);
    renew(&gateways[0]).await;
    let second = all_have_another(&gateways, std::slice::from_ref(&first)).await;
    assert_eq!(authority.issued(), 2);
    authority.state().life = std::time::Duration::from_hours(1_000);
    // The authority suggests to renew at once; all three see it.
    authority.state().window = Some((-20, -10));
    eventually("it is renewed", || async {
        (authority.issued() >= 3).then_some(())
    })
    .await;
    authority.state().window = None;
    all_have_another(&gateways, &[first, second]).await;
    assert_eq!((authority.issued(), authority.state().orders.len()), (3, 3));
    // Nothing in the store can be used without the key.
    let row = redis.command(&["HGET", "quartet:acme:certificate-web", "row"]);
    assert!(row.contains("sealed:") && row.contains("BEGIN CERTIFICATE"));
    assert!(!row.contains("plain:") && !row.contains("PRIVATE"));
    let challenges = redis.command(&["HLEN", "quartet:acme:challenges"]);
    assert_eq!(challenges, "0");
}

/// The store loses everything, and gets it back from the gateways: nothing is ordered again.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_killed_costs_no_certificate() {
    let Some(mut redis) = RedisServer::start() else {
        return;
    };
    let authority = Authority::start().await;
    let gateways = gateways(&authority, &redis).await;
    let first = all_have_another(&gateways, &[]).await;
    redis.kill();
    let up = "gateway_acme_store_up{service=\"gateway\",store=\"redis\"}";
    for (place, gateway) in gateways.iter().enumerate() {
        eventually("the store is missed", || async {
            (gateway.count(up).await == 0).then_some(())
        })
        .await;
        if place == 0 {
            // A renewal that is asked for now waits for the store.
            renew(gateway).await;
        }
        let status = status(gateway).await;
        assert_eq!(
            (&status["state"], &status["not_after"]),
            (&"valid".into(), &first)
        );
        assert!(
            status["error"].as_str().unwrap().contains("store"),
            "{status}"
        );
    }
    assert_eq!(authority.state().orders.len(), 1);
    redis.restart();
    let second = all_have_another(&gateways, &[first]).await;
    // One was asked to renew, and the account was lost with the store. A first order may be refused: the proof is
    // asked of gateways that still take the store for away.
    assert_eq!(authority.issued(), 2);
    for gateway in &gateways {
        eventually("the store is back", || async {
            (gateway.count(up).await == 1).then_some(())
        })
        .await;
    }
    // Once more, without a renewal: what is in use is stored again.
    let settled = authority.state().orders.len();
    redis.kill();
    redis.restart();
    redis.until(&["HGET", "quartet:acme:certificate-web", "row"], |row| {
        row.contains("BEGIN CERTIFICATE")
    });
    assert_eq!(authority.state().orders.len(), settled);
    drop(second);
}

/// A gateway that starts later has the certificate at once, without the authority.
#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_joins_finds_the_certificate() {
    let Some(redis) = RedisServer::start() else {
        return;
    };
    let authority = Authority::start().await;
    let gateways = gateways(&authority, &redis).await;
    let first = all_have_another(&gateways, &[]).await;
    let late = Gateway::start(&settings(&authority, &redis.url())).await;
    assert_eq!(status(&late).await["not_after"], first);
    assert_eq!(authority.issued(), 1);
}

/// Of a directory, private keys may be in the clear. They are not sent to a store that others can read.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_in_the_clear_is_not_brought_to_a_shared_store() {
    let Some(redis) = RedisServer::start() else {
        return;
    };
    let authority = Authority::start().await;
    let files = tempfile::tempdir().unwrap();
    let shared = settings(&authority, &redis.url());
    let store = format!(
        "encryption_key = \"{KEY}\"\n[acme.redis]\nurl = \"{}\"",
        redis.url()
    );
    let own = format!("directory = '{}/acme'", files.path().display());
    let gateway = Gateway::start(&shared.replace(&store, &own)).await;
    authority.state().validators = vec![gateway.public];
    let first = all_have_another(std::slice::from_ref(&gateway), &[]).await;
    let row = std::fs::read_to_string(files.path().join("acme/certificate-web.json")).unwrap();
    assert!(row.contains("plain:"));
    gateway.reload(&shared).await;
    let second = all_have_another(std::slice::from_ref(&gateway), &[first]).await;
    assert_eq!(authority.issued(), 2, "{second}");
    let row = redis.command(&["HGET", "quartet:acme:certificate-web", "row"]);
    assert!(row.contains("sealed:") && !row.contains("plain:"), "{row}");
}
