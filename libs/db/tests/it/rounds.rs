//! Rounds of bounded statements.

use std::sync::atomic::{AtomicUsize, Ordering};

use quartet_db::{Rounds, rounds};
use quartet_testing::TestDatabase;
use sqlx::{Executor as _, PgConnection, PgPool};

async fn delete(db: &mut PgConnection, limit: i64) -> Result<u64, sqlx::Error> {
    let delete = "DELETE FROM rows WHERE n IN (SELECT n FROM rows LIMIT $1)";
    let deleted = sqlx::query(delete).bind(limit).execute(db).await?;
    Ok(deleted.rows_affected())
}

async fn run(all: Rounds<'_>) -> Result<u64, sqlx::Error> {
    Ok(rounds!(all, |db, limit| delete(db, limit)))
}

#[tokio::test]
async fn rounds_end_with_one_that_is_not_full_or_when_stopped() {
    let database = TestDatabase::empty("core").await;
    let rows = "CREATE TABLE core.rows AS SELECT n FROM generate_series(1, 10) AS n";
    database
        .connect_as_owner()
        .await
        .execute(rows)
        .await
        .unwrap();
    let db = PgPool::connect(&database.url()).await.unwrap();
    let polls = AtomicUsize::new(0);
    let until_third = || polls.fetch_add(1, Ordering::Relaxed) >= 2;
    let always = || true;
    let runs: [(&(dyn Fn() -> bool + Sync), u64); 4] = [
        (&always, 2),
        (&until_third, 6),
        (&|| false, 2),
        (&always, 0),
    ];
    for (stopping, expected) in runs {
        let limit = 2;
        let rounds = Rounds {
            db: &db,
            limit,
            stopping,
        };
        assert_eq!(run(rounds).await.unwrap(), expected);
    }
}
