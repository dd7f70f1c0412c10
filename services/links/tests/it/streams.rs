//! `user.deleted` through NATS.

use quartet_testing::{EVENTS_SECRET, NatsServer, publish_user_deleted};

use crate::support::{ALICE, Cluster, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn the_links_of_a_deleted_user_are_erased() {
    let Some(server) = NatsServer::start() else {
        return;
    };
    let cluster = Cluster::new().await;
    let url = server.url();
    let settings = [
        ("QUARTET_EVENTS_SECRET", EVENTS_SECRET),
        ("QUARTET_EVENTS_NATS_URL", url.as_str()),
    ];
    let replica = cluster.start_with(&settings).await;
    replica.link().await;
    publish_user_deleted(&server, ALICE).await;
    let mut admin = cluster.database.connect_as_admin().await;
    let left = "SELECT count(*) FROM links.links";
    eventually(async || {
        let left: i64 = sqlx::query_scalar(left)
            .fetch_one(&mut admin)
            .await
            .unwrap();
        (left == 0).then_some(())
    })
    .await;
    replica.stop().await;
}
