//! No kind of work takes what another one needs.

use std::cell::Cell;

use futures_util::future::join_all;
use serde_json::json;
use tokio::sync::Notify;

use crate::support::{ALICE, Cluster, eventually, within_deadline};

#[tokio::test]
async fn graphql_without_a_free_connection_keeps_neither_redirects_nor_clicks_waiting() {
    let replica = Cluster::new()
        .await
        .start_with(&[("QUARTET_DATABASE_MAX_CONNECTIONS", "1")])
        .await;
    let (locked, _) = replica.link().await;
    let (_, slug) = replica.link().await;
    let mut admin = replica.cluster.database.connect_as_admin().await;
    let mut watcher = replica.cluster.database.connect_as_admin().await;
    let lock = "BEGIN; SELECT FROM links.links ORDER BY created_at LIMIT 1 FOR UPDATE";
    sqlx::raw_sql(lock).execute(&mut admin).await.unwrap();
    let update = "mutation($id: ID!) { updateLink(id: $id, input: {title: \"new\"}) { title } }";
    let update = replica.execute(ALICE, update, json!({"id": locked}));
    let redirect = async {
        eventually(async || (waiting(&mut watcher).await > 0).then_some(())).await;
        // Not cached, so that it needs a connection.
        assert_eq!(replica.follow(&slug).await.status(), 302);
        eventually(async || {
            let clicks: Option<i64> =
                sqlx::query_scalar("SELECT max(people) FROM links.click_totals")
                    .fetch_one(&mut watcher)
                    .await
                    .unwrap();
            (clicks == Some(1)).then_some(())
        })
        .await;
        sqlx::raw_sql("COMMIT").execute(&mut admin).await.unwrap();
    };
    let (updated, ()) = within_deadline(async { tokio::join!(update, redirect) }).await;
    assert_eq!(updated["data"]["updateLink"]["title"], "new");
}

#[tokio::test]
async fn uses_of_a_limited_link_leave_a_connection_for_lookups_of_others() {
    let replica = Cluster::new()
        .await
        .start_with(&[("QUARTET_REDIRECTS_MAX_CONNECTIONS", "2")])
        .await;
    let limited = json!({"url": "https://limited.example/", "slug": "limited", "maxClicks": 100});
    replica.create(limited).await;
    let (_, slug) = replica.link().await;
    let mut admin = replica.cluster.database.connect_as_admin().await;
    let mut watcher = replica.cluster.database.connect_as_admin().await;
    let lock = "BEGIN; SELECT FROM links.links WHERE slug = 'limited' FOR UPDATE";
    sqlx::raw_sql(lock).execute(&mut admin).await.unwrap();
    let uses = join_all((0..8).map(|_| replica.follow("limited")));
    let lookup = async {
        eventually(async || (waiting(&mut watcher).await > 0).then_some(())).await;
        // Not cached, so that it needs a connection.
        assert_eq!(replica.follow(&slug).await.status(), 302);
        assert_eq!(
            waiting(&mut watcher).await,
            1,
            "the others wait for their turn"
        );
        sqlx::raw_sql("COMMIT").execute(&mut admin).await.unwrap();
    };
    let (uses, ()) = within_deadline(async { tokio::join!(uses, lookup) }).await;
    assert!(uses.iter().all(|response| response.status() == 302));
}

/// The number of connections that wait for a lock.
pub(crate) async fn waiting(watcher: &mut sqlx::PgConnection) -> i64 {
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' \
                   AND datname = current_database()";
    sqlx::query_scalar(waiting)
        .fetch_one(watcher)
        .await
        .unwrap()
}

/// Events are executed one at a time, and between two of them the sockets are read. The request needs nothing
/// else: a redirect would also wait for the disk.
#[tokio::test]
async fn a_request_is_answered_while_a_batch_is_executed_for_a_hundred_subscriptions() {
    const SUBSCRIPTIONS: usize = 100;
    const CLICKS: usize = 20;
    const EVENTS: usize = SUBSCRIPTIONS * CLICKS;
    // The clicks are one batch.
    let settings = [("QUARTET_CLICKS_BATCH_WAIT_MS", "500")];
    let replica = Cluster::new().await.start_with(&settings).await;
    let (id, watched) = replica.link().await;
    replica.warm_cache(&[&watched]).await;
    let mut sockets = Vec::new();
    for _ in 0..2 {
        let mut socket = replica.socket_of(ALICE).await;
        for n in 0..SUBSCRIPTIONS / 2 {
            socket.subscribe_clicks(&n.to_string(), &id).await;
        }
        sockets.push(socket);
    }
    let all = i64::try_from(SUBSCRIPTIONS).unwrap();
    eventually(async || (replica.metric("links_subscriptions").await == all).then_some(())).await;
    for _ in 0..CLICKS {
        replica.follow(&watched).await;
    }
    let (received, begun) = (Cell::new(0), Notify::new());
    let reading = join_all(sockets.iter_mut().map(async |socket| {
        for _ in 0..EVENTS / 2 {
            assert_eq!(socket.receive().await["type"], "next");
            received.set(received.get() + 1);
            begun.notify_one();
        }
    }));
    // Another process may take the processor during one of the requests, hardly during each of them.
    let requests = async {
        begun.notified().await;
        let mut smallest = usize::MAX;
        for _ in 0..10 {
            let before = received.get();
            let health = replica.client.get(replica.url("/health"));
            assert_eq!(health.send().await.unwrap().status(), 200);
            if received.get() == EVENTS {
                break;
            }
            smallest = smallest.min(received.get() - before);
        }
        smallest
    };
    let (_, received) = within_deadline(async { tokio::join!(reading, requests) }).await;
    assert!(
        received < SUBSCRIPTIONS / 2,
        "{received} events were received during each request"
    );
}
