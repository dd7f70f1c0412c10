//! The durable jobs that the clock adds, through the queue.

use quartet_common::clock::Clock;
use quartet_media::Service;
use quartet_service::{Base, Replica};
use quartet_testing::{assert_ticks_done, miss_ticks};
use tokio_util::sync::CancellationToken;

use crate::support::TestApp;

#[tokio::test(flavor = "multi_thread")]
async fn every_task_of_the_clock_is_done() {
    let app = TestApp::start().await;
    let tasks = ["erase", "purge", "sweep"];
    let mut db = app.database.connect_as_role().await;
    miss_ticks(&mut db, &tasks).await;
    let config = app.config.clone();
    let base = Base::new::<Service>(&config, Clock::system(), CancellationToken::new()).unwrap();
    let metrics = base.metrics.clone();
    let mut replica = Replica::<Service>::new(config, base).unwrap();
    replica.work();
    assert_ticks_done(&mut db, &metrics, &tasks).await;
}
