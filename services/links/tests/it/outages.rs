//! Postgres is unavailable for a while.

use serde_json::json;

use crate::support::{ALICE, Cluster, Proxy, Replica, eventually, problem_code};

/// A replica that reaches Postgres through a proxy, and one that reaches it directly.
async fn replicas_with_proxy(settings: &[(&str, &str)]) -> (Replica, Replica, Proxy) {
    let cluster = Cluster::new().await;
    let (proxy, url) = Proxy::start(&cluster.database.url()).await;
    proxy.reconnect();
    let mut all = vec![
        ("DATABASE_URL", url.as_str()),
        ("QUARTET_DATABASE_ACQUIRE_TIMEOUT_SECONDS", "1"),
    ];
    all.extend_from_slice(settings);
    let replica = cluster.start_with(&all).await;
    let other = cluster.start().await;
    (replica, other, proxy)
}

#[tokio::test]
async fn cached_links_redirect_without_postgres_and_no_click_is_lost() {
    let (replica, other, proxy) = replicas_with_proxy(&[]).await;
    let (id, slug) = replica.link().await;
    replica.warm_cache(&[&slug]).await;
    let before = replica.metric("links_clicks_logged_total").await;
    proxy.disconnect();
    for _ in 0..100 {
        assert_eq!(replica.follow(&slug).await.status(), 302);
    }
    let unknown = replica.follow("not-cached").await;
    assert_eq!(unknown.headers()["retry-after"], "1");
    assert_eq!(
        problem_code(unknown).await,
        (503, "database_unavailable".into())
    );
    let error = replica
        .error(ALICE, "{ links { totalCount } }", json!({}))
        .await;
    assert_eq!(error["extensions"]["code"], "DATABASE_UNAVAILABLE");
    assert_eq!(
        replica
            .client
            .get(replica.url("/health"))
            .send()
            .await
            .unwrap()
            .status(),
        200
    );
    assert_eq!(
        replica
            .client
            .get(replica.url("/ready"))
            .send()
            .await
            .unwrap()
            .status(),
        503
    );
    proxy.reconnect();
    other
        .expect_counts(&id, [before + 100, before + 100, 1, 0])
        .await;
}

#[tokio::test]
async fn missed_edits_take_effect_after_reconnection() {
    let ttl = ("QUARTET_REDIRECTS_CACHE_REFRESH_SECONDS", "60");
    let (replica, other, proxy) = replicas_with_proxy(&[ttl]).await;
    let (id, slug) = other.link().await;
    assert_eq!(replica.follow(&slug).await.status(), 302);
    proxy.disconnect();
    let update =
        "mutation($id: ID!) { updateLink(id: $id, input: {url: \"https://b.example/\"}) { id } }";
    other.data(ALICE, update, json!({"id": id})).await;
    proxy.reconnect();
    eventually(async || {
        let response = replica.follow(&slug).await;
        (response.headers().get("location")? == "https://b.example/").then_some(())
    })
    .await;
}

#[tokio::test]
async fn full_log_drops_clicks_or_refuses_redirects_as_configured() {
    let limit = [
        ("QUARTET_CLICKS_SEGMENT_BYTES", "4096"),
        ("QUARTET_CLICKS_LOG_LIMIT_BYTES", "4096"),
    ];
    let (replica, _other, proxy) = replicas_with_proxy(&limit).await;
    let (_, slug) = replica.link().await;
    replica.warm_cache(&[&slug]).await;
    let dropped = async || replica.metric("links_clicks_lost_total").await;
    let logged = async || replica.metric("links_clicks_logged_total").await;
    let before = logged().await;
    proxy.disconnect();
    for _ in 0..100 {
        assert_eq!(replica.follow(&slug).await.status(), 302);
    }
    assert_eq!(logged().await + dropped().await, before + 100);
    assert!(dropped().await > 0);
    let log_check = async || {
        let ready = replica.client.get(replica.url("/ready")).send().await;
        let report: serde_json::Value = ready.unwrap().json().await.unwrap();
        report["checks"]["click_log"].as_str().unwrap().to_owned()
    };
    assert_eq!(log_check().await, "cannot be written");
    proxy.reconnect();
    eventually(async || {
        replica.follow(&slug).await;
        (log_check().await == "ok").then_some(())
    })
    .await;

    let refuse = [
        limit[0],
        limit[1],
        ("QUARTET_CLICKS_WHEN_LOG_IS_FULL", "refuse"),
    ];
    let (replica, other, proxy) = replicas_with_proxy(&refuse).await;
    let (id, slug) = replica.link().await;
    replica.warm_cache(&[&slug]).await;
    let mut answered = replica.metric("links_clicks_logged_total").await;
    proxy.disconnect();
    let refused = loop {
        let response = replica.follow(&slug).await;
        if response.status() != 302 {
            break response;
        }
        answered += 1;
    };
    assert_eq!(
        problem_code(refused).await,
        (503, "click_log_unavailable".into())
    );
    proxy.reconnect();
    other.expect_counts(&id, [answered, answered, 1, 0]).await;
    eventually(async || (replica.follow(&slug).await.status() == 302).then_some(())).await;
}

#[tokio::test]
async fn rejected_click_does_not_block_the_others() {
    let cluster = Cluster::new().await;
    let replica = cluster.start().await;
    let (id, slug) = replica.link().await;
    let mut admin = cluster.database.connect_as_admin().await;
    let rule = "ALTER TABLE links.clicks ADD CONSTRAINT no_tablets CHECK (device <> 'tablet')";
    sqlx::query(rule).execute(&mut admin).await.unwrap();
    let visits = (0..50).map(|n| {
        let agent = if n == 20 {
            "Mozilla/5.0 (iPad)"
        } else {
            "Mozilla/5.0 (Windows NT 10.0)"
        };
        replica
            .client
            .get(replica.url(&format!("/s/{slug}")))
            .header("user-agent", agent)
            .send()
    });
    for answer in futures_util::future::join_all(visits).await {
        assert_eq!(answer.unwrap().status(), 302);
    }
    replica.expect_counts(&id, [49, 49, 1, 0]).await;
    eventually(async || (replica.metric("links_clicks_rejected_total").await == 1).then_some(()))
        .await;
}
