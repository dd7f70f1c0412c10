//! Connections that pass from one request to the next.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use futures_util::future::{join_all, poll_immediate};
use quartet_common::principal::Principal;
use quartet_db as db;
use quartet_testing::TestDatabase;
use sqlx::{PgPool, postgres::PgPoolOptions};
use tokio::time::timeout;

/// A pool of one connection, and how often it has come back.
fn pool(database: &TestDatabase) -> (PgPool, Arc<AtomicU32>) {
    pool_of(1, database)
}

fn pool_of(connections: u32, database: &TestDatabase) -> (PgPool, Arc<AtomicU32>) {
    let returns = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&returns);
    let pool = PgPoolOptions::new()
        .max_connections(connections)
        .test_before_acquire(false)
        .after_release(move |_, _| {
            counted.fetch_add(1, Ordering::Relaxed);
            Box::pin(async { Ok(true) })
        })
        .connect_lazy_with(db::options(&database.settings(), "test").unwrap());
    (pool, returns)
}

async fn select(pool: &PgPool) {
    let mut lease = db::read(pool).await.unwrap();
    let one = sqlx::query_scalar::<_, i32>("SELECT 1");
    assert_eq!(one.fetch_one(&mut *lease).await.unwrap(), 1);
}

async fn idle(pool: &PgPool) {
    while pool.num_idle() == 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn under_load_a_connection_passes_on_and_returns_now_and_then() {
    let database = TestDatabase::empty("core").await;
    let (pool, returns) = pool(&database);
    join_all((0..100).map(|_| select(&pool))).await;
    idle(&pool).await;
    // After each 33 leases, and at the end.
    assert_eq!(returns.load(Ordering::Relaxed), 4);
}

/// One that returns must not make the others return.
#[tokio::test]
async fn of_several_connections_few_return_at_a_time() {
    let database = TestDatabase::empty("core").await;
    let (pool, returns) = pool_of(4, &database);
    // While the pool grows, every connection returns.
    drop(join_all((0..4).map(|_| db::read(&pool))).await);
    while pool.num_idle() < 4 {
        tokio::task::yield_now().await;
    }
    returns.store(0, Ordering::Relaxed);
    let client = async || {
        for _ in 0..50 {
            select(&pool).await;
        }
    };
    join_all((0..32).map(|_| client())).await;
    assert_eq!(pool.size(), 4);
    // 1600 statements; 48 returns if nothing is amiss.
    let returns = returns.load(Ordering::Relaxed);
    assert!(returns < 160, "{returns}");
}

#[tokio::test]
async fn a_connection_whose_statement_is_canceled_is_tested() {
    let database = TestDatabase::empty("core").await;
    let (pool, returns) = pool(&database);
    select(&pool).await;
    idle(&pool).await;
    let canceled = async {
        let mut lease = db::read(&pool).await.unwrap();
        let sleep = sqlx::query("SELECT pg_sleep(0.3)").execute(&mut *lease);
        let answer = timeout(Duration::from_millis(20), sleep).await;
        assert!(answer.is_err(), "{answer:?}");
    };
    tokio::join!(canceled, select(&pool));
    idle(&pool).await;
    // After the first statement, the canceled one and the last one.
    assert_eq!(returns.load(Ordering::Relaxed), 3);
}

/// The next request would act for its user otherwise, in a transaction that is never committed.
#[tokio::test]
async fn a_transaction_that_is_canceled_while_it_begins_is_undone() {
    let database = TestDatabase::empty("core").await;
    let (pool, _) = pool(&database);
    let user = [Principal::parse("usr_a").unwrap()];
    select(&pool).await;
    for _ in 0..10 {
        cancel(&pool, || db::begin_as(&pool, &user)).await;
        assert_outside_a_transaction(&pool).await;
        cancel(&pool, || db::begin(&pool)).await;
        assert_outside_a_transaction(&pool).await;
    }
    assert_eq!(pool.size(), 1, "the connection is used again");
}

/// Drops what begins before it has an answer.
async fn cancel<T>(pool: &PgPool, begin: impl Fn() -> T)
where
    T: Future<Output = Result<db::Transaction, sqlx::Error>>,
{
    idle(pool).await;
    // Unless the answer is there at once.
    while let Some(begun) = poll_immediate(begin()).await {
        drop(begun);
        idle(pool).await;
    }
}

async fn assert_outside_a_transaction(pool: &PgPool) {
    let mut lease = db::write(pool).await.unwrap();
    let own: Option<String> =
        sqlx::query_scalar("SELECT current_setting('quartet.principals', true)")
            .fetch_one(&mut *lease)
            .await
            .unwrap();
    assert_eq!(own.unwrap_or_default(), "");
    let mut transaction = async || {
        let id = sqlx::query_scalar::<_, String>("SELECT pg_current_xact_id()::text");
        id.fetch_one(&mut *lease).await.unwrap()
    };
    assert_ne!(
        transaction().await,
        transaction().await,
        "each statement commits itself"
    );
}

#[tokio::test]
async fn a_request_that_leaves_its_place_is_passed_over() {
    let database = TestDatabase::empty("core").await;
    let (pool, returns) = pool(&database);
    let lease = db::read(&pool).await.unwrap();
    let left = (0..10).map(|_| timeout(Duration::from_millis(20), db::read(&pool)));
    assert!(join_all(left).await.iter().all(Result::is_err));
    tokio::join!(select(&pool), async { drop(lease) });
    idle(&pool).await;
    assert_eq!(returns.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_transaction_is_not_starved_by_statements() {
    let database = TestDatabase::empty("core").await;
    let (pool, _) = pool(&database);
    let statements = join_all((0..4).map(|_| async {
        loop {
            select(&pool).await;
        }
    }));
    let transaction = async {
        for _ in 0..3 {
            db::begin(&pool).await.unwrap().commit().await.unwrap();
        }
    };
    let limit = Duration::from_secs(20);
    tokio::select! {
        _ = statements => unreachable!("they do not end"),
        done = timeout(limit, transaction) => done.expect("the transaction has its turn"),
    }
}
