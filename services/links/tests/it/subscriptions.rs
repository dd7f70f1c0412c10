//! Subscriptions: the clicks of a link as they happen, on any replica.

use serde_json::json;

use crate::support::{ALICE, Cluster, Replica, Socket, eventually};

/// A socket with a running subscription.
async fn subscribed(replica: &Replica, id: &str) -> Socket {
    let mut socket = replica.socket_of(ALICE).await;
    let before = replica.metric("links_subscriptions").await;
    socket.subscribe_clicks("1", id).await;
    eventually(async || (replica.metric("links_subscriptions").await > before).then_some(())).await;
    socket
}

#[tokio::test]
async fn an_event_has_the_click_and_the_totals() {
    let replica = Replica::start().await;
    let (id, slug) = replica.link().await;
    let mut socket = subscribed(&replica, &id).await;
    let request = replica
        .visit(&slug)
        .header("referer", "https://News.example/post?private=1");
    request.header("cf-ipcountry", "de").send().await.unwrap();
    let click = socket.next_data("1").await["clicks"].take();
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
    let bot = socket.next_data("1").await["clicks"].take();
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
async fn subscribers_on_every_replica_receive_each_click_once_and_in_order() {
    let cluster = Cluster::new().await;
    let (one, other) = (cluster.start().await, cluster.start().await);
    let (id, slug) = one.link().await;
    let mut subscribers = [
        subscribed(&one, &id).await,
        subscribed(&one, &id).await,
        subscribed(&other, &id).await,
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
    for socket in &mut subscribers {
        let mut ids = std::collections::HashSet::new();
        let mut total = 0;
        for _ in 0..clicks {
            let click = socket.next_data("1").await["clicks"].take();
            assert!(
                ids.insert(click["id"].as_str().unwrap().to_owned()),
                "each click is sent once"
            );
            let now = click["totals"]["total"].as_i64().unwrap();
            assert!(now >= total, "totals never decrease");
            total = now;
        }
        assert_eq!(total, clicks);
    }
}

/// The announcement is read once. What that read missed is caught up on, without another click.
#[tokio::test]
async fn clicks_that_could_not_be_read_are_delivered_later() {
    let cluster = Cluster::new().await;
    let replica = cluster.start().await;
    let (id, slug) = replica.link().await;
    let mut socket = subscribed(&replica, &id).await;
    let mut admin = cluster.database.connect_as_admin().await;
    let mut rename = async |from: &str, to: &str| {
        let sql = format!("ALTER FUNCTION links.{from} RENAME TO {to}");
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql))
            .execute(&mut admin)
            .await
            .unwrap();
    };
    let failures = async || replica.job_failures("listen").await;
    let before = failures().await;
    rename("clicks_after", "clicks_away").await;
    replica.follow(&slug).await;
    replica.expect_counts(&id, [1, 1, 1, 0]).await;
    eventually(async || (failures().await > before).then_some(())).await;
    rename("clicks_away", "clicks_after").await;
    let click = socket.next_data("1").await;
    assert_eq!(click["clicks"]["totals"]["total"], 1);
}

#[tokio::test]
async fn only_new_clicks_of_the_subscribed_link_are_sent() {
    let replica = Replica::start().await;
    let ((id, slug), (_, other)) = (replica.link().await, replica.link().await);
    replica.follow(&slug).await;
    replica.expect_counts(&id, [1, 1, 1, 0]).await;
    let mut socket = subscribed(&replica, &id).await;
    replica.follow(&other).await;
    replica.follow(&slug).await;
    let click = socket.next_data("1").await;
    assert_eq!(click["clicks"]["totals"]["total"], 2);
    socket
        .send_json(json!({"type": "complete", "id": "1"}))
        .await;
    eventually(async || (replica.metric("links_subscriptions").await == 0).then_some(())).await;
    replica.follow(&slug).await;
    replica.expect_counts(&id, [3, 3, 1, 0]).await;
    socket.send_json(json!({"type": "ping"})).await;
    assert_eq!(
        socket.receive().await,
        json!({"type": "pong"}),
        "nothing after complete"
    );
}

#[tokio::test]
async fn a_subscription_completes_when_another_replica_deletes_the_link() {
    let cluster = Cluster::new().await;
    let (one, other) = (cluster.start().await, cluster.start().await);
    let (id, _) = one.link().await;
    let mut socket = subscribed(&one, &id).await;
    other
        .data(
            ALICE,
            "mutation($id: ID!) { deleteLink(id: $id) { id } }",
            json!({"id": id}),
        )
        .await;
    assert_eq!(
        socket.receive().await,
        json!({"type": "complete", "id": "1"})
    );
}
