//! What a click counts for.

use chrono::Duration;
use quartet_common::clock::Clock;
use serde_json::json;
use sqlx::Row;

use crate::support::{ALICE, BROWSER, Replica, World, eventually};

#[tokio::test]
async fn people_are_counted_once_a_day_and_bots_apart() {
    let replica = Replica::alone().await;
    let (id, slug) = replica.link().await;
    let visit = async |agent: &str, address: &str| {
        let request = replica
            .client
            .get(replica.url(&format!("/s/{slug}")))
            .header("user-agent", agent);
        assert_eq!(
            request
                .header("x-forwarded-for", address)
                .send()
                .await
                .unwrap()
                .status(),
            302
        );
    };
    visit(BROWSER, "192.0.2.1").await;
    visit(BROWSER, "192.0.2.1").await;
    visit(BROWSER, "192.0.2.2").await;
    visit("Mozilla/5.0 (iPhone) Mobile", "192.0.2.1").await;
    visit("Googlebot/2.1", "192.0.2.3").await;
    replica
        .client
        .head(replica.url(&format!("/s/{slug}")))
        .header("user-agent", BROWSER)
        .send()
        .await
        .unwrap();
    replica
        .visit(&slug)
        .header("sec-purpose", "prefetch")
        .send()
        .await
        .unwrap();
    replica.counts_become(&id, [7, 4, 3, 3]).await;
}

#[tokio::test]
async fn who_asks_not_to_be_tracked_is_counted_and_nothing_is_kept() {
    let replica = Replica::alone().await;
    let (id, slug) = replica.link().await;
    for header in ["dnt", "sec-gpc"] {
        let request = replica
            .visit(&slug)
            .header(header, "1")
            .header("referer", "https://a.example/");
        request.header("cf-ipcountry", "DE").send().await.unwrap();
    }
    replica.counts_become(&id, [2, 2, 0, 0]).await;
    let mut admin = replica.world.database.connect_as_admin().await;
    let kept = sqlx::query(
        "SELECT count(*) FROM links.clicks WHERE coalesce(visitor::text, country, referrer_host) IS NOT NULL",
    );
    assert_eq!(
        kept.fetch_one(&mut admin).await.unwrap().get::<i64, _>(0),
        0
    );
}

#[tokio::test]
async fn a_new_day_has_a_new_salt_and_old_salts_are_deleted() {
    let world = World::at(Clock::manual("2026-05-01T23:30:00Z".parse().unwrap())).await;
    let replica = world.start().await;
    let (id, slug) = replica.link().await;
    replica.follow(&slug).await;
    replica.follow(&slug).await;
    world.clock.advance(Duration::hours(1));
    // Tomorrow's salt was fetched an hour ahead.
    replica.follow(&slug).await;
    replica.counts_become(&id, [3, 3, 2, 0]).await;
    let mut admin = world.database.connect_as_admin().await;
    let salts = sqlx::query("SELECT count(*), count(DISTINCT salt) FROM links.salts");
    let row = salts.fetch_one(&mut admin).await.unwrap();
    assert_eq!((row.get::<i64, _>(0), row.get::<i64, _>(1)), (2, 2));
    world.clock.advance(Duration::hours(48));
    let other = world.start().await;
    let days: Vec<chrono::NaiveDate> =
        sqlx::query_scalar("SELECT day FROM links.salts ORDER BY day")
            .fetch_all(&mut admin)
            .await
            .unwrap();
    assert_eq!(days, ["2026-05-04".parse().unwrap()]);
    drop(other);
}

#[tokio::test]
async fn series_show_hours_and_days_with_zeros_between() {
    let world = World::at(Clock::manual("2026-05-01T22:50:00Z".parse().unwrap())).await;
    let replica = world.start().await;
    let (id, slug) = replica.link().await;
    replica.follow(&slug).await;
    world.clock.advance(Duration::minutes(30));
    replica.follow(&slug).await;
    replica
        .client
        .get(replica.url(&format!("/s/{slug}")))
        .send()
        .await
        .unwrap();
    world.clock.advance(Duration::hours(2));
    // Another replica has the new day's salt.
    let other = world.start().await;
    other.follow(&slug).await;
    other.counts_become(&id, [4, 3, 2, 1]).await;
    let query = "query($id: ID!) { link(id: $id) { clicks { lastAt
        hours: series(by: HOUR, from: \"2026-05-01T22:00:00Z\") { at total people unique bots }
        days: series(by: DAY, from: \"2026-04-30T12:00:00Z\") { at total unique } } } }";
    let data = replica.data(ALICE, query, json!({"id": id})).await;
    let clicks = &data["link"]["clicks"];
    let point = |at: &str, counts: [i64; 4]| {
        let [total, people, unique, bots] = counts;
        json!({"at": format!("2026-05-{at}:00:00+00:00"), "total": total, "people": people, "unique": unique, "bots": bots})
    };
    assert_eq!(
        clicks["hours"],
        json!([
            point("01T22", [1, 1, 1, 0]),
            point("01T23", [2, 1, 0, 1]),
            point("02T00", [0, 0, 0, 0]),
            point("02T01", [1, 1, 1, 0]),
        ])
    );
    assert_eq!(
        clicks["days"],
        json!([
            {"at": "2026-04-30T00:00:00+00:00", "total": 0, "unique": 0},
            {"at": "2026-05-01T00:00:00+00:00", "total": 3, "unique": 1},
            {"at": "2026-05-02T00:00:00+00:00", "total": 1, "unique": 1},
        ])
    );
    assert_eq!(clicks["lastAt"], "2026-05-02T01:20:00+00:00");
}

#[tokio::test]
async fn clicks_lie_in_the_partition_of_their_day_and_the_net_is_emptied() {
    let world = World::at(Clock::manual("2026-05-01T12:00:00Z".parse().unwrap())).await;
    let replica = world.start().await;
    let (id, slug) = replica.link().await;
    replica.follow(&slug).await;
    replica.counts_become(&id, [1, 1, 1, 0]).await;
    // Beyond the partitions that were made ahead.
    world.clock.advance(Duration::days(20));
    replica.follow(&slug).await;
    replica.counts_become(&id, [2, 2, 1, 0]).await;
    let mut admin = world.database.connect_as_admin().await;
    let query = "SELECT tableoid::regclass::text FROM links.clicks ORDER BY at";
    let places: Vec<String> = sqlx::query_scalar(query)
        .fetch_all(&mut admin)
        .await
        .unwrap();
    assert_eq!(places, ["links.clicks_20260501", "links.clicks_default"]);
    let other = world.start().await;
    let places: Vec<String> = sqlx::query_scalar(query)
        .fetch_all(&mut admin)
        .await
        .unwrap();
    assert_eq!(places, ["links.clicks_20260501", "links.clicks_20260521"]);
    assert_eq!(other.counts(&id).await, [2, 2, 1, 0]);
    let old: i64 = sqlx::query_scalar("SELECT count(*) FROM links.visitors")
        .fetch_one(&mut admin)
        .await
        .unwrap();
    assert_eq!(old, 0, "visitors of old days are forgotten");
}

#[tokio::test]
async fn clicks_are_dropped_after_their_time_and_the_counts_stay() {
    let world = World::at(Clock::manual("2026-05-01T12:00:00Z".parse().unwrap())).await;
    let replica = world.start().await;
    let (id, slug) = replica.link().await;
    replica.follow(&slug).await;
    replica.counts_become(&id, [1, 1, 1, 0]).await;
    world.clock.advance(Duration::days(31));
    let other = world
        .start_with(&[("QUARTET_CLICKS_RETENTION_DAYS", "30")])
        .await;
    let mut admin = world.database.connect_as_admin().await;
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM links.clicks")
        .fetch_one(&mut admin)
        .await
        .unwrap();
    assert_eq!(left, 0);
    assert_eq!(other.counts(&id).await, [1, 1, 1, 0]);
}

#[tokio::test]
async fn clicks_of_a_deleted_link_are_purged() {
    let world = World::new().await;
    let replica = world.start().await;
    let (id, slug) = replica.link().await;
    replica.follow(&slug).await;
    replica.counts_become(&id, [1, 1, 1, 0]).await;
    replica
        .data(
            ALICE,
            "mutation($id: ID!) { deleteLink(id: $id) { id } }",
            json!({"id": id}),
        )
        .await;
    // Maintenance runs at the start of a replica.
    let other = world.start().await;
    let mut admin = world.database.connect_as_admin().await;
    eventually(async || {
        let query = "SELECT (SELECT count(*) FROM links.clicks) + (SELECT count(*) FROM links.visitors) + (SELECT count(*) FROM links.purges)";
        let left: i64 = sqlx::query_scalar(query).fetch_one(&mut admin).await.unwrap();
        (left == 0).then_some(())
    })
    .await;
    drop(other);
}
