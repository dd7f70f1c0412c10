//! Requests of one route to several upstreams.

use std::{collections::HashMap, net::SocketAddr};

use axum::{Router, routing::any};
use futures_util::future::join_all;

use crate::support::{Gateway, Replica, client, eventually, free_address, route, serve};

/// An upstream that answers with this name.
async fn named(name: &'static str) -> SocketAddr {
    serve(Router::new().fallback(any(move || async move { name }))).await
}

fn upstream(name: &str, address: SocketAddr) -> String {
    format!("[upstreams.{name}]\naddresses = [\"{address}\"]\n")
}

fn split(parts: &[(&str, u32)], more: &str) -> String {
    let parts = parts.iter();
    let parts = parts
        .map(|(name, weight)| format!("{{ upstream = \"{name}\", weight = {weight} }}"))
        .collect::<Vec<_>>()
        .join(", ");
    route("r", "/*", more).replace("upstream = \"u\"", &format!("split = [{parts}]"))
}

async fn answer(gateway: &Gateway, cookie: Option<&str>) -> (String, Option<String>) {
    let mut request = client().get(gateway.url("/a"));
    if let Some(cookie) = cookie {
        request = request.header("cookie", cookie);
    }
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 200);
    let set = response.headers().get("set-cookie");
    let set = set.map(|value| value.to_str().unwrap().to_owned());
    (response.text().await.unwrap(), set)
}

/// Not on average: of each hundred requests in a row, whatever their order.
#[tokio::test(flavor = "multi_thread")]
async fn shares_are_exact() {
    let settings = [
        upstream("a", named("a").await),
        upstream("b", named("b").await),
        upstream("c", named("c").await),
        split(&[("a", 90), ("b", 10), ("c", 0)], ""),
    ];
    let gateway = Gateway::start(&settings.concat()).await;
    for _ in 0..2 {
        let answers = join_all((0..100).map(|_| answer(&gateway, None))).await;
        let mut counts = HashMap::new();
        for (name, set) in answers {
            assert_eq!(set, None);
            *counts.entry(name).or_insert(0) += 1;
        }
        assert_eq!(
            counts,
            HashMap::from([("a".to_owned(), 90), ("b".to_owned(), 10)])
        );
    }
    // Blue and green: a reload moves all of them at once.
    let settings = [
        upstream("a", named("a").await),
        upstream("b", named("b").await),
        split(&[("a", 0), ("b", 1)], ""),
    ];
    gateway.reload(&settings.concat()).await;
    for _ in 0..10 {
        assert_eq!(answer(&gateway, None).await.0, "b");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cookie_keeps_a_client_at_its_upstream() {
    let secret = named("secret").await;
    let settings = [
        upstream("a", named("a").await),
        upstream("b", named("b").await),
        upstream("drained", named("drained").await),
        upstream("secret", secret),
        "[server]\ntrusted_proxies = [\"127.0.0.0/8\"]\n".to_owned(),
        split(
            &[("a", 1), ("b", 1), ("drained", 0)],
            "sticky = { cookie = \"version\", ttl_seconds = 60 }",
        ),
    ]
    .concat();
    // Two replicas of the gateway.
    let (gateway, other) = (
        Gateway::start(&settings).await,
        Gateway::start(&settings).await,
    );
    let mut known = HashMap::new();
    for _ in 0..6 {
        let (name, set) = answer(&gateway, None).await;
        let set = set.expect("a new client gets a cookie");
        let (cookie, attributes) = set.split_once("; ").unwrap();
        assert_eq!(attributes, "Path=/; HttpOnly; SameSite=Lax; Max-Age=60");
        known.insert(name, cookie.to_owned());
    }
    assert_eq!(known.len(), 2);
    for (name, cookie) in &known {
        for gateway in [&gateway, &other] {
            for cookie in [
                cookie.clone(),
                format!("x=y; {cookie}; z"),
                format!("version=1;{cookie}"),
            ] {
                for _ in 0..3 {
                    let stuck = answer(gateway, Some(&cookie)).await;
                    assert_eq!(stuck, (name.clone(), None), "{cookie}");
                }
            }
        }
    }
    // What a client makes up, or what names an upstream without a share, is as no cookie.
    let forged = [
        "secret",
        "drained",
        "",
        "a",
        "0",
        "2bb80d537b1da3e3",
        "394f44e7a2ca3005",
        "../secret",
    ];
    for forged in forged {
        let (name, set) = answer(&gateway, Some(&format!("version={forged}"))).await;
        assert!(["a", "b"].contains(&&*name), "{forged}: {name}");
        assert!(set.is_some(), "{forged}");
    }
    let request = client()
        .get(gateway.url("/a"))
        .header("x-forwarded-proto", "https");
    let response = request.send().await.unwrap();
    let set = response.headers()["set-cookie"].to_str().unwrap();
    assert!(set.ends_with("; Secure"), "{set}");
}

/// Of 2,000 client IPs, half is expected with a standard deviation of 22.4: six of them are allowed.
#[tokio::test(flavor = "multi_thread")]
async fn a_hash_keeps_a_client_at_its_upstream() {
    let settings = [
        upstream("a", named("a").await),
        upstream("b", named("b").await),
        "[server]\ntrusted_proxies = [\"127.0.0.0/8\"]\n".to_owned(),
        split(&[("a", 1), ("b", 1)], "sticky = \"client_hash\""),
    ];
    let gateway = Gateway::start(&settings.concat()).await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut of_a = 0;
    for number in 0..2_000 {
        let ip = format!("10.1.{}.{}", number / 250, number % 250);
        let ask = || async {
            let request = client.get(gateway.url("/a")).header("x-forwarded-for", &ip);
            request.send().await.unwrap().text().await.unwrap()
        };
        let first = ask().await;
        if number % 50 == 0 {
            assert_eq!(ask().await, first);
        }
        of_a += usize::from(first == "a");
    }
    assert!((866..=1_134).contains(&of_a), "{of_a}");
}

/// A retry of a canary must not be counted as one of the stable version, or hide that it is down.
#[tokio::test(flavor = "multi_thread")]
async fn retries_stay_with_the_choice() {
    let mut replicas = Replica::start_several(2);
    let other = Replica::start([127, 0, 0, 1].into(), 0).unwrap();
    let addresses: Vec<String> = replicas
        .iter()
        .map(|it| format!("\"{}\"", it.address))
        .collect();
    let settings = [
        format!("[upstreams.a]\naddresses = [{}]\n", addresses.join(", ")),
        upstream("b", other.address),
        upstream("down", free_address()),
        split(&[("a", 1), ("b", 1)], ""),
        route("down", "/down", "").replace(
            "upstream = \"u\"",
            "split = [{ upstream = \"down\", weight = 1 }]",
        ),
    ];
    let gateway = Gateway::start(&settings.concat()).await;
    replicas[0].kill();
    for _ in 0..20 {
        assert_eq!(gateway.get("/a").await.status(), 200);
    }
    assert_eq!((replicas[1].served(), other.served()), (10, 10));
    assert_eq!(gateway.get("/down").await.status(), 503);
    eventually("nothing was sent elsewhere", || async {
        (other.served() == 10).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_splits_are_named() {
    let gateway = Gateway::start("").await;
    let upstreams = [upstream("a", gateway.public), upstream("b", gateway.public)].concat();
    for (parts, more, key, rule) in [
        (
            &[("a", 0), ("b", 0)][..],
            "",
            "split",
            "a weight that is not 0",
        ),
        (
            &[("a", 1), ("a", 1)],
            "",
            "split",
            "must not have `a` twice",
        ),
        (
            &[("a", 1), ("x", 1)],
            "",
            "split[1].upstream",
            "there is no upstream `x`",
        ),
        (&[("a", 1001)], "", "split[0].weight", "between 0 and 1000"),
        (&[], "", "split", "between 1 and 16"),
        (&[("a", 1)], "sticky = \"x\"", "sticky", "client_hash"),
        (
            &[("a", 1)],
            "sticky = { cookie = \"a=b\" }",
            "sticky.cookie",
            "letters",
        ),
        (
            &[("a", 1)],
            "upstream = \"b\"",
            "split",
            "cannot be combined with `upstream`",
        ),
    ] {
        let error = gateway
            .refused_reload(&[&*upstreams, &split(parts, more)].concat())
            .await;
        assert!(
            error.contains(&format!("routes.r.{key}")),
            "{more}: {error}"
        );
        assert!(error.contains(rule), "{more}: {error}");
    }
}
