//! A server that vanishes without closing its connections.

use std::time::Duration;

use quartet_common::config::Database;
use quartet_db::{self as db, statement};
use quartet_testing::{Proxy, TestDatabase};
use tokio::time::timeout;

/// With one connection: what is lost of it is lost of the whole pool.
#[tokio::test]
async fn a_server_that_vanishes_costs_one_statement_and_no_place_in_the_pool() {
    let database = TestDatabase::empty("core").await;
    let (server, url) = Proxy::start(&database.url()).await;
    let settings = Database {
        url: url.into(),
        max_connections: 1,
        acquire_timeout_seconds: 60,
        statement_timeout_seconds: 1,
        ..database.settings()
    };
    let pool = db::pool(&settings, "test").unwrap();
    let select = async || {
        let mut lease = db::write(&pool).await?;
        let one = sqlx::query_scalar::<_, i32>("SELECT 1");
        statement("test.select", one.fetch_one(&mut *lease)).await
    };
    let transaction = async || {
        let mut tx = db::begin(&pool).await?;
        let one = sqlx::query_scalar::<_, i32>("SELECT 1");
        let one = statement("test.select", one.fetch_one(&mut *tx)).await?;
        tx.commit().await.map(|()| one)
    };
    let idle = async || {
        while pool.num_idle() == 0 {
            tokio::task::yield_now().await;
        }
    };
    let limit = Duration::from_secs(10);
    assert_eq!(select().await.unwrap(), 1);
    idle().await;
    server.vanish();
    let error = timeout(limit, select()).await.expect("an end").unwrap_err();
    assert!(db::is_transient(&error), "{error}");
    let again = timeout(limit, transaction()).await;
    assert_eq!(again.expect("another connection").unwrap(), 1);

    // While nothing is asked.
    idle().await;
    let lease = db::read(&pool).await.unwrap();
    server.vanish();
    drop(lease);
    let again = timeout(limit, transaction()).await;
    assert_eq!(again.expect("another connection").unwrap(), 1);

    // The request ends before its statement has an answer.
    idle().await;
    server.vanish();
    let left = timeout(Duration::from_millis(50), transaction()).await;
    assert!(left.is_err(), "{left:?}");
    let again = timeout(limit, select()).await;
    assert_eq!(again.expect("another connection").unwrap(), 1);

    // Between the statements of a transaction, and its end.
    idle().await;
    let tx = db::begin(&pool).await.unwrap();
    server.vanish();
    let error = timeout(limit, tx.commit()).await.expect("an end");
    let error = error.unwrap_err();
    assert!(db::is_transient(&error), "{error}");
    let again = timeout(limit, transaction()).await;
    assert_eq!(again.expect("another connection").unwrap(), 1);

    idle().await;
    let tx = db::begin(&pool).await.unwrap();
    server.vanish();
    drop(tx);
    let again = timeout(limit, transaction()).await;
    assert_eq!(again.expect("another connection").unwrap(), 1);

    // A part of a transaction.
    idle().await;
    let mut tx = db::begin(&pool).await.unwrap();
    let part = tx.savepoint().await.unwrap();
    server.vanish();
    let error = timeout(limit, part.undo()).await.expect("an end");
    assert!(db::is_transient(&error.unwrap_err()));
    drop(tx);
    let again = timeout(limit, transaction()).await;
    assert_eq!(again.expect("another connection").unwrap(), 1);
}
