//! Postgres is killed and started again, by itself: not a proxy that is cut.

use quartet_devstack::{
    Options, Postgres,
    roles::{self, Passwords},
};
use quartet_links::MIGRATOR;
use tokio::task::spawn_blocking;

use crate::support::{Cluster, eventually, problem_code};

/// A server of its own with the schema; returns the URL of the service.
pub(crate) async fn server() -> (Postgres, String) {
    let (postgres, url, owner) = spawn_blocking(|| {
        let postgres = Postgres::find_or_start(&Options::throw_away()).unwrap();
        let database = postgres.create_database("links").unwrap();
        // As in production: what is committed survives a crash.
        let durable = "ALTER DATABASE links SET synchronous_commit = on";
        postgres.query(postgres.admin_url(), durable).unwrap();
        let passwords = Passwords::random().unwrap();
        roles::apply(&postgres, &database, &passwords).unwrap();
        let url = roles::url(&database, "links", &passwords).unwrap();
        let owner = roles::owner_url(&database, "links", &passwords).unwrap();
        (postgres, url.reveal(), owner.reveal())
    })
    .await
    .unwrap();
    let owner = sqlx::PgPool::connect(&owner).await.unwrap();
    let mut connection = quartet_db::write(&owner).await.unwrap();
    quartet_db::run(&MIGRATOR, &mut connection, "links")
        .await
        .unwrap();
    quartet_worker::migrate(&owner, "links").await.unwrap();
    (postgres, url)
}

#[tokio::test(flavor = "multi_thread")]
async fn redirects_go_on_while_postgres_is_killed_and_no_click_is_lost() {
    let (mut postgres, url) = server().await;
    let cluster = Cluster::new().await;
    let replica = cluster.start_with(&[("DATABASE_URL", url.as_str())]).await;
    let (id, slug) = replica.link().await;
    replica.warm_cache(&[&slug]).await;
    let mut followed = replica.metric("links_clicks_logged_total").await;
    for unknown in ["unknown1", "unknown2"] {
        postgres = spawn_blocking(|| {
            postgres.kill().unwrap();
            postgres
        })
        .await
        .unwrap();
        // At once: a connection that was idle for a second is tested first, and none can be opened.
        let started = std::time::Instant::now();
        assert_eq!(
            problem_code(replica.follow(unknown).await).await,
            (503, "database_unavailable".into())
        );
        assert!(started.elapsed() < std::time::Duration::from_secs(1));
        for _ in 0..100 {
            assert_eq!(replica.follow(&slug).await.status(), 302);
            followed += 1;
        }
        let ready = replica.client.get(replica.url("/ready")).send().await;
        assert_eq!(ready.unwrap().status(), 200);

        postgres = spawn_blocking(|| {
            postgres.start().unwrap();
            postgres
        })
        .await
        .unwrap();
        eventually(async || (replica.follow(unknown).await.status() == 404).then_some(())).await;
        eventually(async || (replica.total(&id).await? >= followed).then_some(())).await;
        replica.expect_counts(&id, [followed, followed, 1, 0]).await;
    }
    replica.stop().await;
}
