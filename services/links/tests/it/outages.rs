//! Postgres is unavailable for a while.

use quartet_testing::Proxy;
use serde_json::json;

use crate::support::{ALICE, Cluster, Replica, eventually, header, problem_code};

/// A replica that reaches Postgres through a proxy, and one that reaches it directly.
async fn replicas_with_proxy(settings: &[(&str, &str)]) -> (Replica, Replica, Proxy) {
    let cluster = Cluster::new().await;
    let (proxy, url) = Proxy::start(&cluster.database.url()).await;
    proxy.resume();
    let mut all = vec![
        ("DATABASE_URL", url.as_str()),
        ("QUARTET_DATABASE_ACQUIRE_TIMEOUT_SECONDS", "1"),
    ];
    all.extend_from_slice(settings);
    let replica = cluster.start_with(&all).await;
    let other = cluster.start().await;
    (replica, other, proxy)
}

/// The status of `/ready`, and its checks.
async fn readiness(replica: &Replica) -> (u16, serde_json::Value) {
    let response = replica.client.get(replica.url("/ready")).send().await;
    let response = response.unwrap();
    let status = response.status().as_u16();
    let mut report: serde_json::Value = response.json().await.unwrap();
    (status, report["checks"].take())
}

#[tokio::test]
async fn links_redirect_for_a_day_without_postgres() {
    let clock = quartet_common::clock::Clock::manual("2026-05-01T00:00:00Z".parse().unwrap());
    let cluster = Cluster::at(clock).await;
    let (proxy, url) = Proxy::start(&cluster.database.url()).await;
    proxy.resume();
    let replica = cluster
        .start_with(&[
            ("DATABASE_URL", url.as_str()),
            ("QUARTET_DATABASE_ACQUIRE_TIMEOUT_SECONDS", "5"),
        ])
        .await;
    let (id, slug) = replica.link().await;
    replica.warm_cache(&[&slug]).await;
    let mut answered = replica.metric("links_clicks_logged_total").await;
    let outdated = async || replica.metric("links_redirects_outdated_total").await;

    proxy.disconnect();
    // Aging, outdated, and shortly before its end.
    for seconds in [50, 50, 80_000] {
        cluster.clock.advance(chrono::Duration::seconds(seconds));
        for _ in 0..5 {
            let started = std::time::Instant::now();
            assert_eq!(replica.follow(&slug).await.status(), 302);
            assert!(started.elapsed() < std::time::Duration::from_secs(2));
            answered += 1;
        }
    }
    assert!(outdated().await > 0);
    cluster.clock.advance(chrono::Duration::seconds(7000));
    for slug in [slug.as_str(), "never-seen"] {
        let answer = replica.follow(slug).await;
        assert_eq!(
            problem_code(answer).await,
            (503, "database_unavailable".into())
        );
    }

    proxy.resume();
    eventually(async || (replica.follow(&slug).await.status() == 302).then_some(())).await;
    eventually(async || (replica.total(&id).await? > answered).then_some(())).await;
    // What was read before the gap in the notifications is read again, at most once a second.
    cluster.clock.advance(chrono::Duration::seconds(2));
    assert_eq!(replica.follow(&slug).await.status(), 302);
    let before = outdated().await;
    assert_eq!(replica.follow(&slug).await.status(), 302);
    assert_eq!(outdated().await, before, "the link was read again");
}

#[tokio::test]
async fn an_aging_link_is_used_and_read_again_behind() {
    let clock = quartet_common::clock::Clock::manual("2026-05-01T00:00:00Z".parse().unwrap());
    let cluster = Cluster::at(clock).await;
    let replica = cluster.start().await;
    let (_, slug) = replica.link().await;
    replica.warm_cache(&[&slug]).await;
    // Nothing announces this edit.
    let mut admin = cluster.database.connect_as_admin().await;
    for statement in [
        "ALTER TABLE links.links DISABLE TRIGGER ALL",
        "UPDATE links.links SET url = 'https://moved.example/'",
    ] {
        sqlx::query(statement).execute(&mut admin).await.unwrap();
    }
    let target = async || header(&replica.follow(&slug).await, "location").to_owned();
    assert_eq!(target().await, "https://example.com/");
    cluster.clock.advance(chrono::Duration::seconds(46));
    let loads = replica.metric("links_redirect_loads_total").await;
    assert_eq!(target().await, "https://example.com/", "not kept waiting");
    eventually(async || (target().await == "https://moved.example/").then_some(())).await;
    assert_eq!(
        replica.metric("links_redirect_loads_total").await,
        loads + 1
    );
    // Nor does a clock that was set back keep a link from being read.
    sqlx::query("UPDATE links.links SET url = 'https://back.example/'")
        .execute(&mut admin)
        .await
        .unwrap();
    cluster.clock.advance(chrono::Duration::hours(-1));
    eventually(async || (target().await == "https://back.example/").then_some(())).await;
    // Too old to be used without a look.
    sqlx::query("UPDATE links.links SET url = 'https://again.example/'")
        .execute(&mut admin)
        .await
        .unwrap();
    cluster.clock.advance(chrono::Duration::seconds(100));
    assert_eq!(target().await, "https://again.example/");
}

#[tokio::test]
async fn a_removed_log_directory_is_noticed_and_made_again() {
    let cluster = Cluster::new().await;
    let replica = cluster
        .start_with(&[("QUARTET_CLICKS_ADOPT_INTERVAL_SECONDS", "3600")])
        .await;
    let (id, slug) = replica.link().await;
    replica.warm_cache(&[&slug]).await;
    let mut followed = replica.metric("links_clicks_logged_total").await;
    let root = cluster.volume.path().join("clicks");
    for _ in 0..2 {
        let own = std::fs::read_dir(&root).unwrap().next().unwrap().unwrap();
        std::fs::remove_dir_all(own.path()).unwrap();
        // This click is not lost: the file is still open.
        assert_eq!(replica.follow(&slug).await.status(), 302);
        eventually(async || {
            let (status, _) = readiness(&replica).await;
            (status == 200 && own.path().join("lock").exists()).then_some(())
        })
        .await;
        assert_eq!(replica.follow(&slug).await.status(), 302);
        followed += 2;
        replica.expect_counts(&id, [followed, followed, 1, 0]).await;
    }
    // Nor can it be made again.
    std::fs::remove_dir_all(&root).unwrap();
    std::fs::write(&root, "not a directory").unwrap();
    eventually(async || {
        let (status, checks) = readiness(&replica).await;
        (status == 503 && checks["click_log"] == "cannot be written").then_some(())
    })
    .await;
    std::fs::remove_file(&root).unwrap();
    eventually(async || (readiness(&replica).await.0 == 200).then_some(())).await;
}

#[tokio::test]
async fn a_full_log_that_was_drained_is_ready_again_without_a_click() {
    let limit = [
        ("QUARTET_CLICKS_SEGMENT_BYTES", "4096"),
        ("QUARTET_CLICKS_LOG_LIMIT_BYTES", "4096"),
    ];
    let (replica, _other, proxy) = replicas_with_proxy(&limit).await;
    let (_, slug) = replica.link().await;
    replica.warm_cache(&[&slug]).await;
    proxy.disconnect();
    for _ in 0..100 {
        assert_eq!(replica.follow(&slug).await.status(), 302);
    }
    let (status, checks) = readiness(&replica).await;
    assert_eq!(
        (status, checks["click_log"].as_str()),
        (503, Some("is full"))
    );
    proxy.resume();
    eventually(async || (readiness(&replica).await.0 == 200).then_some(())).await;
}

/// As after a failover behind an address that stays: new connections work, and the others are silent.
#[tokio::test]
async fn clicks_are_stored_and_links_found_after_postgres_has_vanished_without_a_word() {
    let cluster = Cluster::new().await;
    let (server, url) = Proxy::start(&cluster.database.url()).await;
    let settings = [
        ("DATABASE_URL", url.as_str()),
        ("QUARTET_DATABASE_STATEMENT_TIMEOUT_SECONDS", "1"),
    ];
    let replica = cluster.start_with(&settings).await;
    let other = cluster.start_with(&settings[1..]).await;
    let ((id, slug), (_, unseen)) = (replica.link().await, replica.link().await);
    replica.warm_cache(&[&slug]).await;
    let before = replica.metric("links_clicks_logged_total").await;
    server.vanish();
    for _ in 0..10 {
        assert_eq!(replica.follow(&slug).await.status(), 302);
    }
    // Not cached, so that it needs Postgres.
    eventually(async || (replica.follow(&unseen).await.status() == 302).then_some(())).await;
    let all = before + 10;
    other.expect_counts(&id, [all, all, 1, 0]).await;
}

/// What an alert on a filling log needs.
#[tokio::test]
async fn metrics_show_how_the_log_fills_while_postgres_is_away() {
    let (replica, _other, proxy) = replicas_with_proxy(&[]).await;
    let (_, slug) = replica.link().await;
    replica.warm_cache(&[&slug]).await;
    proxy.disconnect();
    let bytes = async || replica.metric("links_click_log_bytes").await;
    assert_eq!(replica.follow(&slug).await.status(), 302);
    let first = eventually(async || Some(bytes().await).filter(|&bytes| bytes > 0)).await;
    for _ in 0..100 {
        assert_eq!(replica.follow(&slug).await.status(), 302);
    }
    eventually(async || (bytes().await > first + 100 * 40).then_some(())).await;
    let lag = async || replica.metric("links_click_log_lag_milliseconds").await;
    let lagging = eventually(async || Some(lag().await).filter(|&lag| lag > 0)).await;
    eventually(async || (lag().await > lagging).then_some(())).await;
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
    // Redirecting is the main job. Balancers that send nothing to a replica that is not ready would
    // otherwise turn an outage of Postgres into one of all redirects.
    let (status, checks) = readiness(&replica).await;
    assert_eq!((status, checks["click_log"].as_str()), (200, Some("ok")));
    assert_ne!(checks["database"], "ok");
    proxy.resume();
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
    proxy.resume();
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
    assert_eq!(log_check().await, "is full");
    proxy.resume();
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
    proxy.resume();
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
            "Mozilla/5.0 (iPad; CPU OS 17_5 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148"
        } else {
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0"
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
