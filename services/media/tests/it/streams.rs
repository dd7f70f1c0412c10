//! `user.deleted` through NATS.

use std::time::Duration;

use quartet_media::Service;
use quartet_service::{Base, Replica};
use quartet_testing::{EVENTS_SECRET, NatsServer, publish_user_deleted};
use tokio_util::sync::CancellationToken;

use crate::support::TestApp;

#[tokio::test(flavor = "multi_thread")]
async fn what_a_deleted_user_owned_is_erased() {
    let Some(server) = NatsServer::start() else {
        return;
    };
    let app = TestApp::start_with(|config| {
        config.events.secret = Some(EVENTS_SECRET.into());
        config.events.nats_url = Some(server.url().into());
    })
    .await;
    app.upload("usr_a", "public").await;
    app.upload("usr_b", "public").await;
    let config = app.config.clone();
    let base = Base::new::<Service>(&config, app.clock.clone(), CancellationToken::new()).unwrap();
    let mut replica = Replica::<Service>::new(config, base).unwrap();
    replica.work();
    publish_user_deleted(&server, "usr_a").await;
    let erased = async {
        while app.keys("quartet-public").await.len() > 1 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), erased)
        .await
        .unwrap();
}
