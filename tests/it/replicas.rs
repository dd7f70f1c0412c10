//! Several replicas behind one name: all serve, any may die, and all share the same state.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use http::Method;
use serde_json::json;

use crate::harness::graphql::{self, Socket};
use crate::harness::{Client, Echo, Load, Options, Stack, User, eventually, files};

/// The number of requests below `/v1/`, by the metrics of the replica.
async fn answered(server: SocketAddr) -> u64 {
    let text = reqwest::get(format!("http://{server}/metrics"))
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    text.lines()
        .filter(|line| line.starts_with("http_server_requests_total") && line.contains("/v1/"))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
        .sum()
}

/// An idempotent request that must return 200, or 302 for a short URL.
async fn get(client: Client, path: String) -> Result<(), String> {
    match client.call(Method::GET, &path).try_send().await {
        Ok(answer) if matches!(answer.status, 200 | 302) => Ok(()),
        Ok(answer) => Err(format!("{path}: {} {}", answer.status, answer.text())),
        Err(error) => Err(format!("{path}: {error:?}")),
    }
}

fn load(client: &Client, workers: usize, paths: &[&str]) -> Load {
    let client = client.clone();
    let paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
    Load::start(workers, move |number| {
        let path = &paths[usize::try_from(number).unwrap() % paths.len()];
        get(client.clone(), path.clone())
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_spread_over_all_replicas() {
    let stack = Stack::start(Options::default().replicas("media", 3)).await;
    let ada = User::sign_up(&stack.client()).await;
    for _ in 0..30 {
        ada.client.get("/v1/media/assets").await.expect(200);
    }
    let mut counts = BTreeMap::new();
    for number in 1..=3 {
        counts.insert(number, answered(stack.replica("media", number)).await);
    }
    assert_eq!(counts.values().sum::<u64>(), 30, "{counts:?}");
    assert!(
        counts.values().all(|count| *count >= 5),
        "a replica is not used: {counts:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn killing_a_replica_under_load_fails_no_idempotent_request() {
    let mut stack = Stack::start(Options::default().replicas("media", 3)).await;
    let ada = User::sign_up(&stack.client()).await;
    files::upload(&ada.client, "public").await;
    let load = load(&ada.client, 8, &["/v1/media/assets"]);
    load.progress(100).await;
    // DNS still contains the dead replica for a while, as in production.
    stack.kill("media-2");
    load.progress(200).await;
    stack.announce("media", &[1, 3]);
    load.progress(100).await;
    stack.kill("media-3");
    load.progress(200).await;

    stack.add_replica("media", 4);
    stack.announce("media", &[1, 4]);
    let added = stack.replica("media", 4);
    eventually("the new replica serves", || async {
        (answered(added).await > 20).then_some(())
    })
    .await;
    stack.restart("media-2");
    stack.announce("media", &[1, 2, 4]);
    let returned = stack.replica("media", 2);
    eventually("the returned replica serves", || async {
        (answered(returned).await > 20).then_some(())
    })
    .await;
    load.finish().await.expect_no_failure();
}

#[tokio::test(flavor = "multi_thread")]
async fn restarting_each_service_under_load_fails_no_request() {
    let options = Options::default()
        .replicas("core", 2)
        .replicas("media", 2)
        .replicas("links", 2);
    let mut stack = Stack::start(options).await;
    let ada = User::sign_up(&stack.client()).await;
    let link = graphql::create_link(&ada.client, "https://example.org/steady").await;
    let paths = [
        "/v1/core/users/me",
        "/v1/core/sessions",
        "/v1/media/assets",
        &link.path(),
    ];
    let load = load(&ada.client, 8, &paths);
    for service in ["core", "media", "links"] {
        for number in 1..=2 {
            let name = format!("{service}-{number}");
            load.progress(50).await;
            let status = stack.stop(&name);
            assert!(status.success(), "{name} ended with {status}");
            load.progress(50).await;
            stack.restart(&name);
        }
    }
    load.progress(50).await;
    load.finish().await.expect_no_failure();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_follows_dns_and_survives_its_outage() {
    let port = crate::harness::ports::take();
    let addresses = [1, 2, 3].map(|last| Ipv4Addr::new(127, 0, 0, last));
    let mut echoes = Vec::new();
    for address in addresses {
        echoes.push(Echo::start_at((address, port).into()).await);
    }
    let settings = Echo::settings_for(&format!("echo:{port}"));
    let options = Options::gateway_only().gateway(&settings);
    let stack = Stack::start(options.set("gateway", "discovery.timeout_ms", "100")).await;
    let counts = || {
        echoes
            .iter()
            .map(|echo| echo.received().len())
            .collect::<Vec<_>>()
    };
    let serve = async |only: &[usize]| {
        eventually("exactly these replicas serve", || async {
            let before = counts();
            for _ in 0..6 {
                stack
                    .client()
                    .call(Method::GET, "/echo/public/a")
                    .try_send()
                    .await
                    .ok()?;
            }
            let grown = before
                .iter()
                .zip(counts())
                .map(|(before, after)| after > *before);
            let serving: Vec<_> = grown
                .enumerate()
                .filter_map(|(at, yes)| yes.then_some(at))
                .collect();
            (serving == only).then_some(())
        })
        .await;
    };
    stack.dns.set("echo", &addresses[..1]);
    serve(&[0]).await;
    stack.dns.set("echo", &addresses);
    serve(&[0, 1, 2]).await;
    stack.dns.set("echo", &addresses[1..]);
    serve(&[1, 2]).await;
    stack.dns.set_silent(true);
    serve(&[1, 2]).await;
    // An empty DNS response does not remove all replicas.
    stack.dns.set("echo", &[]);
    stack.dns.set_silent(false);
    serve(&[1, 2]).await;
    stack.dns.set("echo", &addresses[..1]);
    serve(&[0]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_drains_requests_in_flight() {
    let echo = Echo::start().await;
    let options = Options::gateway_only().gateway(&echo.settings()).set(
        "gateway",
        "server.drain_delay_seconds",
        "1",
    );
    let mut stack = Stack::start(options).await;
    let gateway = stack.client();
    let slow = tokio::spawn(async move {
        let call = gateway
            .call(Method::GET, "/echo/public/slow")
            .header("x-pause-ms", "2000");
        call.send().await
    });
    eventually("the request is in flight", || async {
        echo.received()
            .iter()
            .any(|seen| seen.path == "/echo/public/slow")
            .then_some(())
    })
    .await;
    stack.terminate("gateway");
    let status = stack.stop("gateway");
    assert!(status.success(), "{status}");
    slow.await.unwrap().expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_of_one_replica_is_valid_on_another() {
    let stack = Stack::start(Options::default().replicas("core", 2)).await;
    let first = stack.client().at(stack.replica("core", 1));
    let second = stack.client().at(stack.replica("core", 2));
    let ada = User::sign_up(&first).await;
    let phone = User {
        client: second.with_token(ada.client.token()),
        ..ada.clone()
    };
    let phone = phone.log_in_again().await;
    for client in [&first, &second] {
        let client = client.with_token(ada.client.token());
        let sessions = client.get("/v1/core/sessions").await.json_of(200);
        assert_eq!(
            sessions["data"].as_array().unwrap().len(),
            2,
            "{sessions:#}"
        );
    }
    // A refresh token that was used on one replica is used on all.
    let body = json!({ "refresh_token": ada.refresh_token });
    let renewed = second.post("/v1/core/sessions/refresh", &body).await;
    assert!(renewed.status < 300, "{renewed:?}");
    let path = format!("/v1/core/sessions/{}", phone.session_id());
    first
        .with_token(ada.client.token())
        .delete(&path)
        .await
        .expect(204);
    let body = json!({ "refresh_token": phone.refresh_token });
    second
        .post("/v1/core/sessions/refresh", &body)
        .await
        .expect(401);
    // Tokens of one replica are valid on the other: they share the keys.
    let keys = first.get("/.well-known/jwks.json").await.json_of(200);
    assert_eq!(
        second.get("/.well-known/jwks.json").await.json_of(200),
        keys
    );
    first
        .with_token(phone.client.token())
        .get("/.well-known/jwks.json")
        .await
        .expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_on_one_replica_changes_redirects_on_another() {
    let stack = Stack::start(Options::default().replicas("links", 2)).await;
    let ada = User::sign_up(&stack.client()).await;
    let replicas = [1, 2].map(|number| stack.client().at(stack.replica("links", number)));
    let first = replicas[0].with_token(ada.client.token());
    let link = graphql::create_link(&first, "https://example.org/before").await;
    for replica in &replicas {
        assert_eq!(
            replica.get(&link.path()).await.expect(302).location(),
            "https://example.org/before"
        );
    }
    let update = "mutation U($id: ID!, $input: UpdateLinkInput!) {
        updateLink(id: $id, input: $input) { id url }
    }";
    let input = json!({ "id": link.id, "input": { "url": "https://example.org/after" } });
    graphql::data(&first, update, &input).await;
    for replica in &replicas {
        // Much sooner than the cache expires.
        let patience = std::time::Duration::from_secs(5);
        crate::harness::wait::within(patience, "the edit takes effect", || async {
            let location = replica
                .get(&link.path())
                .await
                .expect(302)
                .location()
                .to_owned();
            (location == "https://example.org/after").then_some(())
        })
        .await;
    }
    // That a slug did not exist is not cached once it exists.
    for replica in &replicas {
        replica
            .get("/s/soon-there")
            .await
            .problem(404, "link_not_found");
    }
    let input = json!({ "input": { "url": "https://example.org/new", "slug": "soon-there" } });
    graphql::data(&first, graphql::CREATE, &input).await;
    for replica in &replicas {
        eventually("the new link is found", || async {
            (replica.get("/s/soon-there").await.status == 302).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_includes_clicks_on_another_replica() {
    let stack = Stack::start(Options::default().replicas("links", 2)).await;
    let ada = User::sign_up(&stack.client()).await;
    let here = ada.client.at(stack.replica("links", 1));
    let there = stack.client().at(stack.replica("links", 2));
    let link = graphql::create_link(&here, "https://example.org/far").await;
    let mut socket = Socket::authenticated(&here).await;
    let query = "subscription C($id: ID!) { clicks(linkId: $id) { id } }";
    socket
        .subscribe("far", query, &json!({ "id": link.id }))
        .await;
    let (event, _) = socket.click_until_reported("far", &there, &link).await;
    assert!(event["clicks"].is_object(), "{event:#}");
}
