//! Behind PgBouncer in transaction mode, whose sessions change hands.

use std::collections::BTreeSet;

use quartet_common::principal::Principal;
use quartet_db as db;
use quartet_testing::{Pooler, TestDatabase};
use sqlx::{Executor as _, PgPool};

const SCHEMA: &str = "core";

struct World {
    pool: PgPool,
    pooler: Pooler,
    database: TestDatabase,
}

/// `None` where PgBouncer is not installed.
async fn world() -> Option<World> {
    let database = TestDatabase::empty(SCHEMA).await;
    let mut owner = database.connect_as_owner().await;
    let table = "CREATE TABLE core.rows (n int, owner text)";
    owner.execute(table).await.unwrap();
    let pooler = Pooler::start(&database)?;
    let pool = db::pool(&pooler.settings(&database), "test").unwrap();
    Some(World {
        pool,
        pooler,
        database,
    })
}

async fn count(pool: &PgPool) -> i64 {
    let mut read = db::read(pool).await.unwrap();
    let count = sqlx::query_scalar("SELECT count(*) FROM core.rows");
    count.fetch_one(&mut *read).await.unwrap()
}

/// Statements with parameters, which sqlx prepares, from more connections than there are sessions.
#[tokio::test]
async fn statements_of_many_connections_share_few_sessions() {
    let Some(world) = world().await else { return };
    let one = async |n: i32| {
        let mut write = db::write(&world.pool).await.unwrap();
        let insert = sqlx::query("INSERT INTO rows VALUES ($1, $2)")
            .bind(n)
            .bind("none");
        insert.execute(&mut *write).await.unwrap();
        write.commit().await.unwrap();

        let user = [Principal::parse(&format!("usr_{n}")).unwrap()];
        let mut tx = db::begin_as(&world.pool, &user).await.unwrap();
        let select = "SELECT current_setting('quartet.principals'), pg_backend_pid(), $1 + 1";
        let row: (String, i32, i32) = sqlx::query_as(select)
            .bind(n)
            .fetch_one(&mut *tx)
            .await
            .unwrap();
        tx.commit().await.unwrap();
        assert_eq!((row.0, row.2), (format!("{{\"usr_{n}\"}}"), n + 1));

        let mut read = db::read(&world.pool).await.unwrap();
        let left = "SELECT coalesce(current_setting('quartet.principals', true), ''), $1";
        let left: (String, i32) = sqlx::query_as(left)
            .bind(n)
            .fetch_one(&mut *read)
            .await
            .unwrap();
        assert_eq!(
            left,
            (String::new(), n),
            "a setting outlived its transaction"
        );
        row.1
    };
    let sessions = futures_util::future::join_all((0..200).map(one)).await;
    let sessions: BTreeSet<i32> = sessions.into_iter().collect();
    assert!((2..=3).contains(&sessions.len()), "{sessions:?}");
    assert_eq!(count(&world.pool).await, 200);
}

#[tokio::test]
async fn what_is_not_committed_is_lost_and_reads_cannot_write() {
    let Some(world) = world().await else { return };
    let insert = "INSERT INTO rows VALUES (1, 'x')";
    let mut write = db::write(&world.pool).await.unwrap();
    write.execute(insert).await.unwrap();
    drop(write);
    assert_eq!(count(&world.pool).await, 0);
    let mut read = db::read(&world.pool).await.unwrap();
    let refused = read.execute(insert).await.unwrap_err();
    assert!(
        refused.to_string().contains("read-only transaction"),
        "{refused}"
    );
    drop(read);
    let mut tx = db::begin(&world.pool).await.unwrap();
    tx.execute(insert).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(count(&world.pool).await, 1);
}

/// The setting is what makes it work: PgBouncer refuses the options of a direct connection.
#[tokio::test]
async fn a_direct_connection_is_refused_by_the_pooler() {
    let Some(world) = world().await else { return };
    let mut settings = world.pooler.settings(&world.database);
    settings.pooled = false;
    let pool = db::pool(&settings, "test").unwrap();
    let refused = db::ping(pool.clone()).await;
    assert!(refused.is_err(), "unsupported startup parameter");
    let steps = super::db::migrator(&["CREATE TABLE core.a (n int)"]);
    let checked = db::ensure_current(&steps, &pool, SCHEMA).await;
    let message = checked.unwrap_err().to_string();
    assert!(message.contains("set database.pooled"), "{message}");
    db::ping(world.pool.clone()).await.unwrap();
}

#[tokio::test]
async fn the_schema_is_checked_and_statements_have_an_end() {
    let Some(world) = world().await else { return };
    let settings = world.pooler.settings(&world.database);
    let steps = super::db::migrator(&["CREATE TABLE core.a (n int)"]);
    db::migrate(&steps, &settings, SCHEMA).await.unwrap();
    db::ensure_current(&steps, &world.pool, SCHEMA)
        .await
        .unwrap();

    let mut admin = world.database.connect_as_admin().await;
    let reset = format!(
        "ALTER ROLE quartet_core IN DATABASE {} RESET statement_timeout",
        world.database.name
    );
    admin
        .execute(sqlx::raw_sql(sqlx::AssertSqlSafe(reset)))
        .await
        .unwrap();
    // Sessions that PgBouncer opens from now on.
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND usename = 'quartet_core'";
    admin.execute(end).await.unwrap();
    let error = loop {
        // A cut session fails one statement.
        match db::ensure_current(&steps, &world.pool, SCHEMA).await {
            Err(error) if error.to_string().contains("statement_timeout") => break error,
            Err(_) => {}
            Ok(()) => panic!("statements without an end are accepted"),
        }
    };
    assert!(error.to_string().contains("database.pooled"), "{error}");

    let mut settings = settings;
    settings.migrate_url = "".into();
    let refused = db::migrate(&steps, &settings, SCHEMA).await.unwrap_err();
    assert!(
        refused.to_string().contains("database.migrate_url"),
        "{refused}"
    );
}
