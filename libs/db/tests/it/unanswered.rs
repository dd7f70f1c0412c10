//! A server that vanishes without closing its connections.

use std::time::Duration;

use quartet_common::config::Database;
use quartet_db::{self as db, statement};
use quartet_testing::{Proxy, TestDatabase};
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(10);

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
    let serves_again = async || {
        let again = timeout(LIMIT, transaction()).await;
        assert_eq!(again.expect("another connection").unwrap(), 1);
    };
    assert_eq!(select().await.unwrap(), 1);
    idle().await;
    server.vanish();
    let error = timeout(LIMIT, select()).await.expect("an end").unwrap_err();
    assert!(db::is_transient(&error), "{error}");
    serves_again().await;

    // While nothing is asked.
    idle().await;
    let lease = db::read(&pool).await.unwrap();
    server.vanish();
    drop(lease);
    serves_again().await;

    // The request ends before its statement has an answer.
    idle().await;
    server.vanish();
    let left = timeout(Duration::from_millis(50), transaction());
    assert!(left.await.is_err());
    serves_again().await;

    // Between the statements of a transaction, and its end.
    idle().await;
    let tx = db::begin(&pool).await.unwrap();
    server.vanish();
    let error = timeout(LIMIT, tx.commit()).await.expect("an end");
    assert!(db::is_transient(&error.unwrap_err()));
    serves_again().await;

    idle().await;
    let tx = db::begin(&pool).await.unwrap();
    server.vanish();
    drop(tx);
    serves_again().await;

    // A part of a transaction, at its end and at its begin.
    idle().await;
    let tx = db::begin(&pool).await.unwrap();
    let part = tx.savepoint().await.unwrap();
    server.vanish();
    let error = timeout(LIMIT, part.undo()).await.expect("an end");
    assert!(db::is_transient(&error.unwrap_err()));
    serves_again().await;

    idle().await;
    let tx = db::begin(&pool).await.unwrap();
    server.vanish();
    let error = timeout(LIMIT, tx.savepoint()).await.expect("an end");
    assert!(db::is_transient(&error.unwrap_err()));
    serves_again().await;
}

/// The answer arrives after the request has ended: nothing of its transaction is kept, and the next one
/// on the same connection is whole.
#[tokio::test]
async fn a_part_that_is_not_waited_for_ends_its_transaction() {
    let database = TestDatabase::empty("core").await;
    let mut owner = database.connect_as_owner().await;
    let create = sqlx::raw_sql("CREATE TABLE core.a (n int)");
    create.execute(&mut owner).await.unwrap();
    let (server, url) = Proxy::start(&database.url()).await;
    let settings = Database {
        url: url.into(),
        max_connections: 1,
        ..database.settings()
    };
    let pool = db::pool(&settings, "test").unwrap();
    let insert = async |tx: &mut db::Transaction, n: i32| {
        let insert = sqlx::query("INSERT INTO core.a VALUES ($1)").bind(n);
        insert.execute(&mut **tx).await.unwrap();
    };
    let mut tx = db::begin(&pool).await.unwrap();
    insert(&mut tx, 1).await;
    // A simple query, such as those that begin and end transactions.
    server.hold_requests("Q");
    tokio::select! {
        part = tx.savepoint() => panic!("{part:?}"),
        () = server.held() => server.resume(),
    }
    let mut tx = db::begin(&pool).await.unwrap();
    insert(&mut tx, 2).await;
    let mut part = tx.savepoint().await.unwrap();
    let three = sqlx::query("INSERT INTO core.a VALUES (3)");
    three.execute(&mut *part).await.unwrap();
    let part = part.undo().await.unwrap().savepoint().await.unwrap();
    drop(part);
    let mut tx = db::begin(&pool).await.unwrap();
    insert(&mut tx, 4).await;
    let mut part = tx.savepoint().await.unwrap();
    let five = sqlx::query("INSERT INTO core.a VALUES (5)");
    five.execute(&mut *part).await.unwrap();
    tx = part.keep().await.unwrap();
    insert(&mut tx, 6).await;
    tx.commit().await.unwrap();
    let kept: Vec<i32> = sqlx::query_scalar("SELECT n FROM core.a ORDER BY n")
        .fetch_all(&mut owner)
        .await
        .unwrap();
    assert_eq!(kept, [4, 5, 6]);
    assert_eq!(pool.size(), 1);
}
