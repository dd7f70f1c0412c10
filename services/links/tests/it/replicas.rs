//! Two replicas with one database.

use serde_json::json;

use crate::support::{ALICE, Cluster, eventually, header};

const UPDATE: &str =
    "mutation($id: ID!, $input: UpdateLinkInput!) { updateLink(id: $id, input: $input) { id } }";

#[tokio::test]
async fn edits_reach_other_replicas_before_the_time_to_live() {
    let cluster = Cluster::new().await;
    // The time to live is a minute, so that only the notification can cause a change.
    let settings = [
        ("QUARTET_REDIRECTS_CACHE_REFRESH_SECONDS", "60"),
        ("QUARTET_REDIRECTS_UNKNOWN_TTL_SECONDS", "60"),
    ];
    let (one, other) = (
        cluster.start_with(&settings).await,
        cluster.start_with(&settings).await,
    );
    assert_eq!(other.follow("announced").await.status(), 404);
    let link = one
        .create(json!({"url": "https://a.example/", "slug": "announced"}))
        .await;
    let redirects_to = async |slug: &str, target: &str| {
        eventually(async || {
            (header(&other.follow(slug).await, "location") == target).then_some(())
        })
        .await;
    };
    redirects_to("announced", "https://a.example/").await;

    one.data(
        ALICE,
        UPDATE,
        json!({"id": link["id"], "input": {"url": "https://b.example/"}}),
    )
    .await;
    assert_eq!(
        header(&one.follow("announced").await, "location"),
        "https://b.example/",
        "immediately on this replica"
    );
    redirects_to("announced", "https://b.example/").await;

    one.data(
        ALICE,
        UPDATE,
        json!({"id": link["id"], "input": {"slug": "renamed"}}),
    )
    .await;
    redirects_to("announced", "").await;
    redirects_to("renamed", "https://b.example/").await;

    one.data(
        ALICE,
        UPDATE,
        json!({"id": link["id"], "input": {"enabled": false}}),
    )
    .await;
    redirects_to("renamed", "").await;
    one.data(
        ALICE,
        UPDATE,
        json!({"id": link["id"], "input": {"enabled": true}}),
    )
    .await;
    redirects_to("renamed", "https://b.example/").await;
    one.data(
        ALICE,
        "mutation($id: ID!) { deleteLink(id: $id) { id } }",
        json!({"id": link["id"]}),
    )
    .await;
    redirects_to("renamed", "").await;
}

#[tokio::test]
async fn clicks_evict_nothing_from_the_caches() {
    let cluster = Cluster::new().await;
    let (one, other) = (cluster.start().await, cluster.start().await);
    let (id, slug) = one.link().await;
    let limited = one
        .create(json!({"url": "https://example.com/", "maxClicks": 100}))
        .await;
    let limited = limited["slug"].as_str().unwrap();
    for replica in [&one, &other] {
        replica.warm_cache(&[&slug, limited]).await;
    }
    let counted = one.counts(&id).await[0];
    let before = other.metric("links_redirect_loads_total").await;
    for _ in 0..10 {
        one.follow(&slug).await;
        one.follow(limited).await;
    }
    eventually(async || (one.counts(&id).await[0] >= counted + 10).then_some(())).await;
    other.follow(&slug).await;
    other.follow(limited).await;
    assert_eq!(other.metric("links_redirect_loads_total").await, before);
}

#[tokio::test]
async fn replicas_share_a_volume_and_their_clicks_add_up() {
    let cluster = Cluster::new().await;
    let (one, other) = (cluster.start().await, cluster.start().await);
    let (id, slug) = one.link().await;
    let visits = (0..200).map(|n| {
        if n % 2 == 0 {
            one.follow(&slug)
        } else {
            other.follow(&slug)
        }
    });
    for answer in futures_util::future::join_all(visits).await {
        assert_eq!(answer.status(), 302);
    }
    one.expect_counts(&id, [200, 200, 1, 0]).await;
    let logs = || {
        std::fs::read_dir(cluster.volume.path().join("clicks"))
            .unwrap()
            .count()
    };
    assert_eq!(logs(), 2, "one directory per replica");
    one.stop().await;
    other.stop().await;
    assert_eq!(logs(), 0, "a clean stop leaves no log behind");
}
