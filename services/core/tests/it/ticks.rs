//! The durable jobs that the clock adds, through the queue.

use quartet_common::clock::Clock;
use quartet_core::{MIGRATOR, Service};
use quartet_service::{Base, Replica};
use quartet_testing::{TestDatabase, assert_ticks_done, miss_ticks};
use tokio_util::sync::CancellationToken;

use crate::support::config;

#[tokio::test(flavor = "multi_thread")]
async fn every_task_of_the_clock_is_done() {
    let database = TestDatabase::create("core", &MIGRATOR).await;
    let mut db = database.connect_as_role().await;
    miss_ticks(&mut db, &["purge"]).await;
    let mut config = config();
    config.database = database.settings();
    let base = Base::new::<Service>(&config, Clock::system(), CancellationToken::new()).unwrap();
    let metrics = base.metrics.clone();
    let mut replica = Replica::<Service>::new(config, base).unwrap();
    replica.work();
    assert_ticks_done(&mut db, &metrics, &["purge"]).await;
}
