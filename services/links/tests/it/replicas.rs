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

#[tokio::test]
async fn many_edits_of_one_statement_are_few_notifications() {
    let cluster = Cluster::new().await;
    let replica = cluster.start().await;
    assert_eq!(replica.follow("bulk-119").await.status(), 404);
    let mut listener = sqlx::postgres::PgListener::connect(&cluster.database.url())
        .await
        .unwrap();
    listener.listen("links_edits").await.unwrap();
    let mut admin = cluster.database.connect_as_admin().await;
    for (statement, notifications) in [
        (
            "INSERT INTO links.links (id, owner, slug, url, created_at, updated_at)
             SELECT gen_random_uuid(), 'usr_alice', 'bulk-' || n, 'https://a.example/', now(), now()
             FROM generate_series(0, 119) AS n",
            3,
        ),
        ("UPDATE links.links SET title = 'new', uses = uses + 1", 0),
        (
            "UPDATE links.links SET url = 'https://b.example/' WHERE slug < 'bulk-5'",
            2,
        ),
        ("DELETE FROM links.links WHERE slug = 'bulk-0'", 1),
        ("DELETE FROM links.links WHERE slug = 'bulk-0'", 0),
    ] {
        sqlx::query(statement).execute(&mut admin).await.unwrap();
        sqlx::query("SELECT pg_notify('links_edits', 'end')")
            .execute(&mut admin)
            .await
            .unwrap();
        let mut seen = 0;
        loop {
            let notification = listener.recv().await.unwrap();
            if notification.payload() == "end" {
                break;
            }
            assert!(notification.payload().len() < 8000);
            seen += 1;
        }
        assert_eq!(seen, notifications, "{statement}");
    }
    eventually(async || (replica.follow("bulk-119").await.status() == 302).then_some(())).await;
    eventually(async || (replica.follow("bulk-0").await.status() == 404).then_some(())).await;
}
