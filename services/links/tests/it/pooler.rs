//! The whole service behind PgBouncer in transaction mode.

use std::sync::atomic::{AtomicI64, Ordering};

use quartet_testing::Pooler;
use serde_json::json;

use crate::support::{ALICE, Cluster, eventually};

#[tokio::test]
async fn links_work_behind_a_pooler_in_transaction_mode() {
    let cluster = Cluster::new().await;
    let Some(pooler) = Pooler::start(&cluster.database) else {
        return;
    };
    let (url, direct) = (pooler.url(&cluster.database), cluster.database.url());
    let settings = [
        ("DATABASE_URL", url.as_str()),
        ("QUARTET_DATABASE_POOLED", "true"),
        ("QUARTET_EVENTS_LISTEN_URL", direct.as_str()),
    ];
    let (one, two) = (
        cluster.start_with(&settings).await,
        cluster.start_with(&settings).await,
    );
    let (id, slug) = one.link().await;
    for replica in [&one, &two] {
        assert_eq!(replica.follow(&slug).await.status(), 302);
    }
    two.expect_counts(&id, [2, 2, 1, 0]).await;
    // Notifications arrive on the direct connection. Until then, the other replica redirects, and counts.
    let update = "mutation($id: ID!) { updateLink(id: $id, input: {enabled: false}) { slug } }";
    one.data(ALICE, update, json!({"id": id})).await;
    let redirected = AtomicI64::new(0);
    eventually(async || {
        let status = two.follow(&slug).await.status();
        redirected.fetch_add(i64::from(status == 302), Ordering::Relaxed);
        (status == 410).then_some(())
    })
    .await;
    let total = 2 + redirected.into_inner();
    one.expect_counts(&id, [total, total, 1, 0]).await;
    let limited = one
        .create(json!({"url": "https://a.example/", "maxClicks": 1}))
        .await;
    let limited = limited["slug"].as_str().unwrap();
    assert_eq!(one.follow(limited).await.status(), 302);
    assert_eq!(two.follow(limited).await.status(), 410);
    let list = "{ links(orderBy: [{field: TOTAL_CLICKS, direction: DESC}]) { nodes { clicks { total
        series(by: HOUR) { total } } } } }";
    let data = one.data(ALICE, list, json!({})).await;
    assert_eq!(data["links"]["nodes"][0]["clicks"]["total"], total);
    one.stop().await;
    two.stop().await;
}
