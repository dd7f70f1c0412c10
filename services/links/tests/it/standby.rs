//! Statistics come from a standby, as old as the settings allow and no older.

use quartet_devstack::{Postgres, PostgresUrl};
use serde_json::json;
use tokio::task::spawn_blocking;

use crate::{
    restarts::server,
    support::{ALICE, Cluster, Replica, eventually},
};

async fn on(standby: Postgres, sql: &'static str) -> Postgres {
    spawn_blocking(move || {
        standby.query(standby.admin_url(), sql).unwrap();
        standby
    })
    .await
    .unwrap()
}

/// Clicks of the link in its series of days.
async fn series(replica: &Replica, id: &str) -> i64 {
    let query = "query($id: ID!) { link(id: $id) { clicks { series(by: DAY) { total } } } }";
    let data = replica.data(ALICE, query, json!({"id": id})).await;
    let points = data["link"]["clicks"]["series"].as_array().unwrap();
    points
        .iter()
        .map(|point| point["total"].as_i64().unwrap())
        .sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn statistics_are_read_from_a_standby_until_it_lags_too_far() {
    let (primary, url) = server().await;
    let (primary, mut standby) = spawn_blocking(move || {
        let standby = primary.standby().unwrap();
        (primary, standby)
    })
    .await
    .unwrap();
    let named: PostgresUrl = url.parse().unwrap();
    let read_url = url.replace(named.host(), standby.admin_url().host());
    let cluster = Cluster::new().await;
    let start = async |max_lag: &str| {
        let settings = [
            ("DATABASE_URL", url.as_str()),
            ("QUARTET_DATABASE_READ_URL", read_url.as_str()),
            ("QUARTET_DATABASE_READ_MAX_LAG_SECONDS", max_lag),
        ];
        cluster.start_with(&settings).await
    };
    let (strict, patient) = (start("2").await, start("3600").await);
    let (id, slug) = strict.link().await;
    strict.follow(&slug).await;
    strict.expect_counts(&id, [1, 1, 1, 0]).await;
    eventually(async || (series(&patient, &id).await == 1).then_some(())).await;

    // Shows that the standby is asked at all: it does not have the second click.
    standby = on(standby, "SELECT pg_wal_replay_pause()").await;
    let paused = "DO $$ BEGIN WHILE pg_get_wal_replay_pause_state() <> 'paused' LOOP
        PERFORM pg_sleep(0.01); END LOOP; END $$";
    standby = on(standby, paused).await;
    strict.follow(&slug).await;
    strict.expect_counts(&id, [2, 2, 1, 0]).await;
    assert_eq!(series(&patient, &id).await, 1, "an hour is allowed");
    // Two seconds are not: the primary is asked instead.
    eventually(async || (series(&strict, &id).await == 2).then_some(())).await;
    standby = on(standby, "SELECT pg_wal_replay_resume()").await;
    eventually(async || (series(&patient, &id).await == 2).then_some(())).await;

    // Without its standby, each asks the primary.
    standby = spawn_blocking(move || {
        standby.kill().unwrap();
        standby
    })
    .await
    .unwrap();
    strict.follow(&slug).await;
    strict.expect_counts(&id, [3, 3, 1, 0]).await;
    for replica in [&strict, &patient] {
        assert_eq!(series(replica, &id).await, 3);
    }
    strict.stop().await;
    patient.stop().await;
    drop((primary, standby));
}
