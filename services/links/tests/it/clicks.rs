//! What is counted.

use chrono::{DateTime, Duration, Utc};
use quartet_common::clock::Clock;
use serde_json::json;
use sqlx::Row;

use crate::{
    fairness::waiting,
    support::{ALICE, BROWSER, Cluster, Replica, eventually},
};

#[tokio::test]
async fn people_are_unique_once_a_day_and_bots_are_counted_separately() {
    let replica = Replica::start().await;
    let (id, slug) = replica.link().await;
    let visit = async |agent: &str, client_ip: &str| {
        let request = replica
            .client
            .get(replica.url(&format!("/s/{slug}")))
            .header("user-agent", agent);
        assert_eq!(
            request
                .header("x-forwarded-for", client_ip)
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
    replica.expect_counts(&id, [7, 4, 3, 3]).await;
}

#[tokio::test]
async fn opting_out_of_tracking_counts_the_click_and_records_nothing() {
    let replica = Replica::start().await;
    let (id, slug) = replica.link().await;
    for header in ["dnt", "sec-gpc"] {
        let request = replica
            .visit(&slug)
            .header(header, "1")
            .header("referer", "https://a.example/");
        request.header("cf-ipcountry", "DE").send().await.unwrap();
    }
    replica.expect_counts(&id, [2, 2, 0, 0]).await;
    let mut admin = replica.cluster.database.connect_as_admin().await;
    let recorded = sqlx::query(
        "SELECT count(*) FROM links.clicks WHERE coalesce(visitor::text, country, referrer_host) IS NOT NULL",
    );
    assert_eq!(
        recorded
            .fetch_one(&mut admin)
            .await
            .unwrap()
            .get::<i64, _>(0),
        0
    );
}

#[tokio::test]
async fn salts_change_daily_and_old_ones_are_deleted() {
    let cluster = Cluster::at(Clock::manual("2026-05-01T23:30:00Z".parse().unwrap())).await;
    let replica = cluster.start().await;
    let (id, slug) = replica.link().await;
    replica.follow(&slug).await;
    replica.follow(&slug).await;
    cluster.clock.advance(Duration::hours(1));
    // The next day's salt was fetched an hour ahead.
    replica.follow(&slug).await;
    replica.expect_counts(&id, [3, 3, 2, 0]).await;
    let mut admin = cluster.database.connect_as_admin().await;
    let salts = sqlx::query("SELECT count(*), count(DISTINCT salt) FROM links.salts");
    let row = salts.fetch_one(&mut admin).await.unwrap();
    assert_eq!((row.get::<i64, _>(0), row.get::<i64, _>(1)), (2, 2));
    cluster.clock.advance(Duration::hours(48));
    let other = cluster.start().await;
    let days: Vec<chrono::NaiveDate> =
        sqlx::query_scalar("SELECT day FROM links.salts ORDER BY day")
            .fetch_all(&mut admin)
            .await
            .unwrap();
    assert_eq!(days, ["2026-05-04".parse().unwrap()]);
    drop(other);
}

#[tokio::test]
async fn series_fill_hours_and_days_without_clicks_with_zeros() {
    let cluster = Cluster::at(Clock::manual("2026-05-01T22:50:00Z".parse().unwrap())).await;
    let replica = cluster.start().await;
    let (id, slug) = replica.link().await;
    replica.follow(&slug).await;
    cluster.clock.advance(Duration::minutes(30));
    replica.follow(&slug).await;
    replica
        .client
        .get(replica.url(&format!("/s/{slug}")))
        .send()
        .await
        .unwrap();
    cluster.clock.advance(Duration::hours(2));
    // The other replica starts with the new day's salt.
    let other = cluster.start().await;
    other.follow(&slug).await;
    other.expect_counts(&id, [4, 3, 2, 1]).await;
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
async fn clicks_are_in_the_partition_of_their_day_and_the_default_partition_is_emptied() {
    let cluster = Cluster::at(Clock::manual("2026-05-01T12:00:00Z".parse().unwrap())).await;
    let replica = cluster.start().await;
    let (id, slug) = replica.link().await;
    replica.follow(&slug).await;
    replica.expect_counts(&id, [1, 1, 1, 0]).await;
    // Beyond the partitions that were created ahead.
    cluster.clock.advance(Duration::days(20));
    replica.follow(&slug).await;
    replica.expect_counts(&id, [2, 2, 1, 0]).await;
    let mut admin = cluster.database.connect_as_admin().await;
    let query = "SELECT tableoid::regclass::text FROM links.clicks ORDER BY at";
    let partitions: Vec<String> = sqlx::query_scalar(query)
        .fetch_all(&mut admin)
        .await
        .unwrap();
    assert_eq!(
        partitions,
        ["links.clicks_20260501", "links.clicks_default"]
    );
    let other = cluster.start().await;
    let partitions: Vec<String> = sqlx::query_scalar(query)
        .fetch_all(&mut admin)
        .await
        .unwrap();
    assert_eq!(
        partitions,
        ["links.clicks_20260501", "links.clicks_20260521"]
    );
    assert_eq!(other.counts(&id).await, [2, 2, 1, 0]);
    let old: i64 = sqlx::query_scalar("SELECT count(*) FROM links.visitors")
        .fetch_one(&mut admin)
        .await
        .unwrap();
    assert_eq!(old, 0, "visitors of old days are deleted");
}

#[tokio::test]
async fn clicks_are_deleted_after_retention_days_and_counts_stay() {
    let cluster = Cluster::at(Clock::manual("2026-05-01T12:00:00Z".parse().unwrap())).await;
    let replica = cluster.start().await;
    let (id, slug) = replica.link().await;
    replica.follow(&slug).await;
    replica.expect_counts(&id, [1, 1, 1, 0]).await;
    cluster.clock.advance(Duration::days(31));
    let other = cluster
        .start_with(&[("QUARTET_CLICKS_RETENTION_DAYS", "30")])
        .await;
    let mut admin = cluster.database.connect_as_admin().await;
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM links.clicks")
        .fetch_one(&mut admin)
        .await
        .unwrap();
    assert_eq!(left, 0);
    assert_eq!(other.counts(&id).await, [1, 1, 1, 0]);
}

#[tokio::test]
async fn clicks_of_a_deleted_link_are_purged() {
    let cluster = Cluster::new().await;
    let replica = cluster.start().await;
    let (id, slug) = replica.link().await;
    replica.follow(&slug).await;
    replica.expect_counts(&id, [1, 1, 1, 0]).await;
    replica
        .data(
            ALICE,
            "mutation($id: ID!) { deleteLink(id: $id) { id } }",
            json!({"id": id}),
        )
        .await;
    // Maintenance runs when a replica starts.
    let other = cluster.start().await;
    let mut admin = cluster.database.connect_as_admin().await;
    eventually(async || {
        let query = "SELECT (SELECT count(*) FROM links.clicks) + (SELECT count(*) FROM links.visitors) + (SELECT count(*) FROM links.purges)";
        let left: i64 = sqlx::query_scalar(query).fetch_one(&mut admin).await.unwrap();
        (left == 0).then_some(())
    })
    .await;
    drop(other);
}

#[tokio::test]
async fn a_link_that_cannot_be_purged_keeps_neither_others_nor_the_heartbeat_waiting() {
    let cluster = Cluster::new().await;
    let replica = cluster.start().await;
    let mut links = Vec::new();
    for _ in 0..3 {
        let (id, slug) = replica.link().await;
        replica.follow(&slug).await;
        replica.expect_counts(&id, [1, 1, 1, 0]).await;
        links.push(id);
    }
    let mut admin = cluster.database.connect_as_admin().await;
    // The first in the order of the ids.
    let statement = "CREATE FUNCTION links.stuck() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE EXCEPTION 'stuck'; END $$;
        CREATE TRIGGER stuck BEFORE DELETE ON links.clicks FOR EACH ROW
        WHEN (OLD.link_id = (SELECT id FROM links.links ORDER BY id LIMIT 1))
        EXECUTE FUNCTION links.stuck()";
    let first: uuid::Uuid = sqlx::query_scalar("SELECT id FROM links.links ORDER BY id LIMIT 1")
        .fetch_one(&mut admin)
        .await
        .unwrap();
    let statement = statement.replace(
        "(SELECT id FROM links.links ORDER BY id LIMIT 1)",
        &format!("'{first}'"),
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(statement))
        .execute(&mut admin)
        .await
        .unwrap();
    for id in &links {
        let delete = "mutation($id: ID!) { deleteLink(id: $id) { id } }";
        replica.data(ALICE, delete, json!({"id": id})).await;
    }
    // Jobs run when a replica starts, and it starts although one of them fails.
    let other = cluster.start().await;
    eventually(async || {
        let left: Vec<uuid::Uuid> = sqlx::query_scalar("SELECT link_id FROM links.purges")
            .fetch_all(&mut admin)
            .await
            .unwrap();
        (left == [first]).then_some(())
    })
    .await;
    drop(other);
}

/// What a long run leaves is for the next one; a run that took as long as it takes would fail.
#[tokio::test]
async fn a_purge_ends_in_time() {
    let cluster = Cluster::at(Clock::manual(DateTime::<Utc>::from(
        std::time::SystemTime::now(),
    )))
    .await;
    let replica = cluster.start().await;
    let mut links = Vec::new();
    for _ in 0..2 {
        let (id, slug) = replica.link().await;
        replica.follow(&slug).await;
        replica.expect_counts(&id, [1, 1, 1, 0]).await;
        links.push(id);
    }
    let mut blocker = cluster.database.connect_as_admin().await;
    let block = "BEGIN; LOCK TABLE links.clicks IN SHARE MODE";
    sqlx::raw_sql(block).execute(&mut blocker).await.unwrap();
    for id in &links {
        let delete = "mutation($id: ID!) { deleteLink(id: $id) { id } }";
        replica.data(ALICE, delete, json!({"id": id})).await;
    }
    // The purge begins with the process, if a tick has not begun one.
    let _other = cluster.start().await;
    let mut admin = cluster.database.connect_as_admin().await;
    eventually(async || (waiting(&mut admin).await > 0).then_some(())).await;
    cluster.clock.advance(Duration::minutes(11));
    sqlx::raw_sql("COMMIT").execute(&mut blocker).await.unwrap();
    let running =
        "SELECT count(*) FROM links.jobs WHERE locked_at IS NOT NULL AND task_identifier = 'purge'";
    let mut number = async |query: &'static str| -> i64 {
        sqlx::query_scalar(query)
            .fetch_one(&mut admin)
            .await
            .unwrap()
    };
    eventually(async || (number(running).await == 0).then_some(())).await;
    let left = "SELECT count(*) FROM links.purges";
    assert_eq!(number(left).await, 1, "one step, and no failure");
    let failed = "SELECT count(*) FROM links.jobs WHERE last_error IS NOT NULL";
    assert_eq!(number(failed).await, 0);
    let _third = cluster.start().await;
    eventually(async || (number(left).await == 0).then_some(())).await;
}
