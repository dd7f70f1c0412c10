//! Subscriptions: the clicks of a link as they come, from whichever replica.

use serde_json::json;

use crate::support::{ALICE, Replica, Socket, World, eventually};

async fn watched(replica: &Replica, id: &str) -> Socket {
    let mut socket = replica.socket_of(ALICE).await;
    let before = replica.metric("links_subscriptions").await;
    socket.watch("1", id).await;
    eventually(async || (replica.metric("links_subscriptions").await > before).then_some(())).await;
    socket
}

#[tokio::test]
async fn a_click_arrives_with_what_is_known_of_it_and_the_totals() {
    let replica = Replica::alone().await;
    let (id, slug) = replica.link().await;
    let mut socket = watched(&replica, &id).await;
    let request = replica
        .visit(&slug)
        .header("referer", "https://News.example/post?private=1");
    request.header("cf-ipcountry", "de").send().await.unwrap();
    let click = socket.next_of("1").await["clicks"].take();
    assert!(click["id"].as_str().unwrap().starts_with("clk_"));
    assert!(click["at"].is_string());
    let rest =
        ["country", "referrerHost", "device", "bot", "botReason"].map(|name| click[name].clone());
    assert_eq!(
        json!(rest),
        json!(["DE", "news.example", "DESKTOP", false, null])
    );
    assert_eq!(
        click["totals"],
        json!({"total": 1, "people": 1, "unique": 1, "bots": 0})
    );

    replica
        .client
        .head(replica.url(&format!("/s/{slug}")))
        .send()
        .await
        .unwrap();
    let bot = socket.next_of("1").await["clicks"].take();
    assert_eq!(
        (&bot["bot"], &bot["botReason"]),
        (&json!(true), &json!("HEAD"))
    );
    assert_eq!(
        bot["totals"],
        json!({"total": 2, "people": 1, "unique": 1, "bots": 1})
    );
}

#[tokio::test]
async fn a_watcher_sees_every_click_that_another_replica_takes_once_and_in_order() {
    let world = World::new().await;
    let (one, other) = (world.start().await, world.start().await);
    let (id, slug) = one.link().await;
    let mut watchers = [
        watched(&one, &id).await,
        watched(&one, &id).await,
        watched(&other, &id).await,
    ];
    let clicks = 120;
    let visits = (0..clicks).map(|n| {
        if n % 3 == 0 {
            one.follow(&slug)
        } else {
            other.follow(&slug)
        }
    });
    futures_util::future::join_all(visits).await;
    for socket in &mut watchers {
        let mut ids = std::collections::HashSet::new();
        let mut total = 0;
        for _ in 0..clicks {
            let click = socket.next_of("1").await["clicks"].take();
            assert!(
                ids.insert(click["id"].as_str().unwrap().to_owned()),
                "a click came twice"
            );
            let now = click["totals"]["total"].as_i64().unwrap();
            assert!(now >= total, "totals never go back");
            total = now;
        }
        assert_eq!(total, clicks);
    }
}

#[tokio::test]
async fn only_the_watched_link_is_heard_of_and_only_from_now_on() {
    let replica = Replica::alone().await;
    let ((id, slug), (_, other)) = (replica.link().await, replica.link().await);
    replica.follow(&slug).await;
    replica.counts_become(&id, [1, 1, 1, 0]).await;
    let mut socket = watched(&replica, &id).await;
    replica.follow(&other).await;
    replica.follow(&slug).await;
    let click = socket.next_of("1").await;
    assert_eq!(click["clicks"]["totals"]["total"], 2);
    socket.say(json!({"type": "complete", "id": "1"})).await;
    eventually(async || (replica.metric("links_subscriptions").await == 0).then_some(())).await;
    replica.follow(&slug).await;
    replica.counts_become(&id, [3, 3, 1, 0]).await;
    socket.say(json!({"type": "ping"})).await;
    assert_eq!(
        socket.hear().await,
        json!({"type": "pong"}),
        "nothing after complete"
    );
}

#[tokio::test]
async fn a_watch_ends_when_the_link_is_deleted_on_another_replica() {
    let world = World::new().await;
    let (one, other) = (world.start().await, world.start().await);
    let (id, _) = one.link().await;
    let mut socket = watched(&one, &id).await;
    other
        .data(
            ALICE,
            "mutation($id: ID!) { deleteLink(id: $id) { id } }",
            json!({"id": id}),
        )
        .await;
    assert_eq!(socket.hear().await, json!({"type": "complete", "id": "1"}));
}
