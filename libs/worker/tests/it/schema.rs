//! Replicas that create the queue at once.

use futures_util::future::join_all;
use quartet_testing::{TestDatabase, until_waiting};
use sqlx::PgPool;

#[tokio::test]
async fn replicas_that_create_the_queue_at_once_wait_for_each_other() {
    let database = TestDatabase::empty("core").await;
    let owners = join_all((0..5).map(|_| owner(&database))).await;
    let all = owners.iter().map(|it| quartet_worker::migrate(it, "core"));
    for result in join_all(all).await {
        result.unwrap();
    }
}

/// Two that change the privileges of a table at once fail: "tuple concurrently updated".
#[tokio::test]
async fn replicas_with_nothing_to_create_wait_for_each_other_to_the_end() {
    let database = TestDatabase::empty("core").await;
    quartet_worker::migrate(&owner(&database).await, "core")
        .await
        .unwrap();
    let (first, second) = (owner(&database).await, owner(&database).await);
    let mut admin = database.connect_as_admin().await;
    let revoke = "BEGIN; REVOKE INSERT ON core.migrations FROM quartet_core";
    sqlx::raw_sql(revoke).execute(&mut admin).await.unwrap();
    let both_wait = async {
        until_waiting(&mut admin, 2).await;
        sqlx::raw_sql("ROLLBACK").execute(&mut admin).await.unwrap();
    };
    let migrate = |owner| quartet_worker::migrate(owner, "core");
    let (first, second, ()) = tokio::join!(migrate(&first), migrate(&second), both_wait);
    first.unwrap();
    second.unwrap();
}

async fn owner(database: &TestDatabase) -> PgPool {
    PgPool::connect(&database.owner_url()).await.unwrap()
}
