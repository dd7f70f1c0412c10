//! Two replicas, one database.

use serde_json::json;

use crate::support::{ALICE, World, eventually, header};

const UPDATE: &str =
    "mutation($id: ID!, $input: UpdateLinkInput!) { updateLink(id: $id, input: $input) { id } }";

#[tokio::test]
async fn an_edit_on_one_replica_is_seen_on_the_other_long_before_the_time_to_live() {
    let world = World::new().await;
    // With a time to live of a minute only the notification can explain a change.
    let settings = [
        ("QUARTET_REDIRECTS_CACHE_TTL_SECONDS", "60"),
        ("QUARTET_REDIRECTS_UNKNOWN_TTL_SECONDS", "60"),
    ];
    let (one, other) = (
        world.start_with(&settings).await,
        world.start_with(&settings).await,
    );
    assert_eq!(other.follow("announced").await.status(), 404);
    let link = one
        .create(json!({"url": "https://a.example/", "slug": "announced"}))
        .await;
    let leads_to = async |slug: &str, target: &str| {
        eventually(async || {
            (header(&other.follow(slug).await, "location") == target).then_some(())
        })
        .await;
    };
    leads_to("announced", "https://a.example/").await;

    one.data(
        ALICE,
        UPDATE,
        json!({"id": link["id"], "input": {"url": "https://b.example/"}}),
    )
    .await;
    assert_eq!(
        header(&one.follow("announced").await, "location"),
        "https://b.example/",
        "here at once"
    );
    leads_to("announced", "https://b.example/").await;

    one.data(
        ALICE,
        UPDATE,
        json!({"id": link["id"], "input": {"slug": "renamed"}}),
    )
    .await;
    leads_to("announced", "").await;
    leads_to("renamed", "https://b.example/").await;

    one.data(
        ALICE,
        UPDATE,
        json!({"id": link["id"], "input": {"enabled": false}}),
    )
    .await;
    leads_to("renamed", "").await;
    one.data(
        ALICE,
        UPDATE,
        json!({"id": link["id"], "input": {"enabled": true}}),
    )
    .await;
    leads_to("renamed", "https://b.example/").await;
    one.data(
        ALICE,
        "mutation($id: ID!) { deleteLink(id: $id) { id } }",
        json!({"id": link["id"]}),
    )
    .await;
    leads_to("renamed", "").await;
}

#[tokio::test]
async fn a_click_tells_nobody_to_forget_anything() {
    let world = World::new().await;
    let (one, other) = (world.start().await, world.start().await);
    let (id, slug) = one.link().await;
    let limited = one
        .create(json!({"url": "https://example.com/", "maxClicks": 100}))
        .await;
    let limited = limited["slug"].as_str().unwrap();
    for replica in [&one, &other] {
        replica.remember(&[&slug, limited]).await;
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
async fn replicas_share_a_volume_and_count_together() {
    let world = World::new().await;
    let (one, other) = (world.start().await, world.start().await);
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
    one.counts_become(&id, [200, 200, 1, 0]).await;
    let logs = || {
        std::fs::read_dir(world.volume.path().join("clicks"))
            .unwrap()
            .count()
    };
    assert_eq!(logs(), 2, "a directory each");
    one.stop().await;
    other.stop().await;
    assert_eq!(logs(), 0, "a clean stop leaves nothing");
}
