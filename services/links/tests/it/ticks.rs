//! The durable jobs that the clock adds, through the queue.

use quartet_common::config::{self, COMMON_DEFAULTS, ConfigError};
use quartet_links::{Config, Service};
use quartet_service::{Base, Replica, Service as _, check, check_serving};
use quartet_testing::{assert_ticks_done, miss_ticks};
use tokio_util::sync::CancellationToken;

use crate::support::Cluster;

#[tokio::test(flavor = "multi_thread")]
async fn every_task_of_the_clock_is_done() {
    let cluster = Cluster::new().await;
    let mut db = cluster.database.connect_as_role().await;
    miss_ticks(&mut db, &["erase", "purge"]).await;
    let config = cluster.config(&[]);
    let stop = CancellationToken::new();
    let base = Base::new::<Service>(&config, cluster.clock.clone(), stop).unwrap();
    let metrics = base.metrics.clone();
    let mut replica = Replica::<Service>::new(config, base).unwrap();
    replica.work();
    assert_ticks_done(&mut db, &metrics, &["erase", "purge"]).await;
}

#[tokio::test]
async fn a_worker_behind_a_pooler_needs_no_url_to_listen_on() {
    let cluster = Cluster::new().await;
    let load = |check: fn(&Config) -> Result<(), ConfigError>| {
        let defaults = [COMMON_DEFAULTS, Service::DEFAULTS];
        let settings = cluster.environment(&[("QUARTET_DATABASE_POOLED", "true")]);
        config::load_checked::<Config>(&defaults, None, settings, check)
    };
    assert!(load(check).is_ok());
    let error = load(check_serving).unwrap_err().to_string();
    assert!(error.contains("events.listen_url"), "{error}");
}
