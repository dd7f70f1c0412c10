//! Postgres goes away and comes back.

use serde_json::json;

use crate::support::{ALICE, Proxy, Replica, World, eventually, problem};

/// A replica whose way to Postgres can be cut, and an uncut one for looking.
async fn cuttable(settings: &[(&str, &str)]) -> (Replica, Replica, Proxy) {
    let world = World::new().await;
    let (proxy, url) = Proxy::before(&world.database.url()).await;
    proxy.mend();
    let mut all = vec![
        ("DATABASE_URL", url.as_str()),
        ("QUARTET_DATABASE_ACQUIRE_TIMEOUT_SECONDS", "1"),
    ];
    all.extend_from_slice(settings);
    let replica = world.start_with(&all).await;
    let witness = world.start().await;
    (replica, witness, proxy)
}

#[tokio::test]
async fn remembered_links_work_without_postgres_and_no_click_is_lost() {
    let (replica, witness, proxy) = cuttable(&[]).await;
    let (id, slug) = replica.link().await;
    replica.remember(&[&slug]).await;
    let before = replica.metric("links_clicks_logged_total").await;
    proxy.cut();
    for _ in 0..100 {
        assert_eq!(replica.follow(&slug).await.status(), 302);
    }
    let unknown = replica.follow("not-remembered").await;
    assert_eq!(unknown.headers()["retry-after"], "1");
    assert_eq!(problem(unknown).await, (503, "database_unavailable".into()));
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
    proxy.mend();
    witness
        .counts_become(&id, [before + 100, before + 100, 1, 0])
        .await;
}

#[tokio::test]
async fn edits_that_were_missed_are_made_up_for_when_the_connection_is_back() {
    let ttl = ("QUARTET_REDIRECTS_CACHE_TTL_SECONDS", "60");
    let (replica, witness, proxy) = cuttable(&[ttl]).await;
    let (id, slug) = witness.link().await;
    assert_eq!(replica.follow(&slug).await.status(), 302);
    proxy.cut();
    let update =
        "mutation($id: ID!) { updateLink(id: $id, input: {url: \"https://b.example/\"}) { id } }";
    witness.data(ALICE, update, json!({"id": id})).await;
    proxy.mend();
    eventually(async || {
        let response = replica.follow(&slug).await;
        (response.headers().get("location")? == "https://b.example/").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_full_log_loses_clicks_openly_or_refuses_as_it_is_told() {
    let limit = [
        ("QUARTET_CLICKS_SEGMENT_BYTES", "4096"),
        ("QUARTET_CLICKS_LOG_LIMIT_BYTES", "4096"),
    ];
    let (replica, _witness, proxy) = cuttable(&limit).await;
    let (_, slug) = replica.link().await;
    replica.remember(&[&slug]).await;
    let lost = async || replica.metric("links_clicks_lost_total").await;
    let logged = async || replica.metric("links_clicks_logged_total").await;
    let before = logged().await;
    proxy.cut();
    for _ in 0..100 {
        assert_eq!(replica.follow(&slug).await.status(), 302);
    }
    assert_eq!(logged().await + lost().await, before + 100);
    assert!(lost().await > 0);
    let log_is = async || {
        let ready = replica.client.get(replica.url("/ready")).send().await;
        let report: serde_json::Value = ready.unwrap().json().await.unwrap();
        report["checks"]["click_log"].as_str().unwrap().to_owned()
    };
    assert_eq!(log_is().await, "cannot be written");
    proxy.mend();
    eventually(async || {
        replica.follow(&slug).await;
        (log_is().await == "ok").then_some(())
    })
    .await;

    let refuse = [
        limit[0],
        limit[1],
        ("QUARTET_CLICKS_WHEN_LOG_IS_FULL", "refuse"),
    ];
    let (replica, witness, proxy) = cuttable(&refuse).await;
    let (id, slug) = replica.link().await;
    replica.remember(&[&slug]).await;
    let mut answered = replica.metric("links_clicks_logged_total").await;
    proxy.cut();
    let refused = loop {
        let response = replica.follow(&slug).await;
        if response.status() != 302 {
            break response;
        }
        answered += 1;
    };
    assert_eq!(
        problem(refused).await,
        (503, "click_log_unavailable".into())
    );
    proxy.mend();
    witness.counts_become(&id, [answered, answered, 1, 0]).await;
    eventually(async || (replica.follow(&slug).await.status() == 302).then_some(())).await;
}

#[tokio::test]
async fn a_click_that_postgres_refuses_does_not_hold_up_the_others() {
    let world = World::new().await;
    let replica = world.start().await;
    let (id, slug) = replica.link().await;
    let mut admin = world.database.connect_as_admin().await;
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
    replica.counts_become(&id, [49, 49, 1, 0]).await;
    eventually(async || (replica.metric("links_clicks_rejected_total").await == 1).then_some(()))
        .await;
}
