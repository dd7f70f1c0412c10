//! Row-level security alone, in SQL as the service's own role.

use serde_json::json;
use sqlx::{PgConnection, Row, postgres::PgRow};

use crate::support::{ALICE, Replica};

const TABLES: [&str; 8] = [
    "links",
    "click_totals",
    "click_hours",
    "clicks",
    "visitors",
    "salts",
    "purges",
    "freed_slugs",
];

/// The number of rows of a table that a transaction of these principals sees.
async fn visible_rows(role: &mut PgConnection, principals: Option<&[&str]>, table: &str) -> i64 {
    run(role, "BEGIN").await.unwrap();
    if let Some(principals) = principals {
        let set = sqlx::query("SELECT set_config('quartet.principals', $1::text[]::text, true)")
            .bind(principals);
        set.execute(&mut *role).await.unwrap();
    }
    let query = sqlx::AssertSqlSafe(format!("SELECT count(*) FROM links.{table}"));
    let row: PgRow = sqlx::query(query).fetch_one(&mut *role).await.unwrap();
    run(role, "COMMIT").await.unwrap();
    row.get(0)
}

async fn run(role: &mut PgConnection, statement: &str) -> Result<u64, sqlx::Error> {
    sqlx::query(sqlx::AssertSqlSafe(statement.to_owned()))
        .execute(role)
        .await
        .map(|done| done.rows_affected())
}

fn sql_state(error: &sqlx::Error) -> String {
    let error = error.as_database_error().expect("an answer of Postgres");
    error.code().unwrap_or_default().into_owned()
}

async fn with_clicks() -> (Replica, String) {
    let replica = Replica::start().await;
    let (id, slug) = replica.link().await;
    replica.follow(&slug).await;
    replica.expect_counts(&id, [1, 1, 1, 0]).await;
    (replica, id)
}

#[tokio::test]
async fn transactions_see_only_the_rows_of_their_principals() {
    let (replica, _) = with_clicks().await;
    let mut role = replica.cluster.database.connect_as_role().await;
    let mut admin = replica.cluster.database.connect_as_admin().await;
    for table in &TABLES[..6] {
        let query = sqlx::AssertSqlSafe(format!("SELECT count(*) FROM links.{table}"));
        let rows: i64 = sqlx::query_scalar(query)
            .fetch_one(&mut admin)
            .await
            .unwrap();
        assert!(rows > 0, "{table} has rows");
    }
    for table in TABLES {
        for principals in [
            None,
            Some(&[][..]),
            Some(&["", "usr_bob", "%"]),
            Some(&["' OR true --", "usr_bob,usr_alice", "}"]),
        ] {
            assert_eq!(
                visible_rows(&mut role, principals, table).await,
                0,
                "{table} for {principals:?}"
            );
        }
        // Clicks are read by functions only.
        let own = ["links", "click_totals", "click_hours"].contains(&table);
        for principals in [&[ALICE][..], &["org_1", ALICE]] {
            assert_eq!(
                visible_rows(&mut role, Some(principals), table).await,
                i64::from(own),
                "{table} for {principals:?}"
            );
        }
    }
    assert_eq!(
        visible_rows(&mut role, None, "links").await,
        0,
        "the setting ends with its transaction"
    );
}

#[tokio::test]
async fn rows_of_other_users_cannot_be_written() {
    let (replica, _) = with_clicks().await;
    let mut role = replica.cluster.database.connect_as_role().await;
    for subject in [
        "SET quartet.principals = ''",
        "SET quartet.principals = '{usr_bob}'",
    ] {
        run(&mut role, subject).await.unwrap();
        assert_eq!(
            run(
                &mut role,
                "UPDATE links.links SET url = 'https://evil.example/'"
            )
            .await
            .unwrap(),
            0
        );
        assert_eq!(run(&mut role, "DELETE FROM links.links").await.unwrap(), 0);
        assert_eq!(
            run(&mut role, "UPDATE links.click_totals SET people = 1000")
                .await
                .unwrap(),
            0
        );
        for insert in [
            "INSERT INTO links.links (id, owner, slug, url, created_at, updated_at) VALUES (gen_random_uuid(), 'usr_alice', 'forged', 'https://evil.example/', now(), now())",
            "INSERT INTO links.salts (day, salt) VALUES ('2000-01-01', decode(repeat('00', 16), 'hex'))",
            "INSERT INTO links.clicks (id, at, link_id, batch, device) VALUES (gen_random_uuid(), now(), gen_random_uuid(), 1, 'other')",
        ] {
            let error = run(&mut role, insert).await.unwrap_err();
            assert_eq!(sql_state(&error), "42501", "{error}");
        }
    }
    run(&mut role, "SET quartet.principals = '{usr_bob}'")
        .await
        .unwrap();
    let own = "INSERT INTO links.links (id, owner, slug, url, created_at, updated_at) VALUES (gen_random_uuid(), 'usr_bob', 'own', 'https://b.example/', now(), now())";
    assert_eq!(run(&mut role, own).await.unwrap(), 1);
    assert!(
        run(&mut role, "UPDATE links.links SET owner = 'usr_alice'")
            .await
            .is_err(),
        "the owner cannot be changed"
    );
}

#[tokio::test]
async fn partitions_cannot_be_read_directly() {
    let (replica, _) = with_clicks().await;
    let mut role = replica.cluster.database.connect_as_role().await;
    let query = "SELECT i.inhrelid::regclass::text FROM pg_inherits AS i WHERE i.inhparent IN ('links.clicks'::regclass, 'links.visitors'::regclass)";
    let partitions: Vec<String> = sqlx::query_scalar(query)
        .fetch_all(&mut role)
        .await
        .unwrap();
    assert!(partitions.len() > 10, "partitions are created ahead");
    run(&mut role, "SET quartet.principals = '{usr_alice}'")
        .await
        .unwrap();
    for partition in partitions {
        let error = run(&mut role, &format!("SELECT FROM {partition}")).await;
        assert_eq!(sql_state(&error.unwrap_err()), "42501", "{partition}");
    }
}

#[tokio::test]
async fn system_functions_do_not_leave_row_security_disabled() {
    let (replica, _) = with_clicks().await;
    let mut role = replica.cluster.database.connect_as_role().await;
    run(&mut role, "BEGIN").await.unwrap();
    run(&mut role, "SELECT * FROM links.find_redirect('none')")
        .await
        .unwrap();
    run(&mut role, "SELECT links.drop_salts('2000-01-01')")
        .await
        .unwrap();
    run(
        &mut role,
        "SELECT links.record_clicks('{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}')",
    )
    .await
    .unwrap();
    let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM links.links")
        .fetch_one(&mut role)
        .await
        .unwrap();
    assert_eq!(rows, 0, "in the same transaction");
    run(&mut role, "COMMIT").await.unwrap();
}

#[tokio::test]
async fn row_security_is_forced_on_every_table() {
    let replica = Replica::start().await;
    let mut admin = replica.cluster.database.connect_as_admin().await;
    let query =
        "SELECT c.relname::text FROM pg_class AS c WHERE c.relnamespace = 'links'::regnamespace
        AND c.relkind IN ('r', 'p') AND NOT (c.relrowsecurity AND c.relforcerowsecurity)";
    let mut open: Vec<String> = sqlx::query_scalar(query)
        .fetch_all(&mut admin)
        .await
        .unwrap();
    open.sort();
    // No request reads the two tables of events: what another service has sent, and whom to erase. Nor
    // those of the queue of durable jobs, which belong to no user: grants protect them, and the role
    // of the service may neither define nor truncate them. Responses that are kept for idempotency keys are
    // sealed, each for the request that it answered.
    let queue = [
        "_private_job_queues",
        "_private_job_retirements",
        "_private_jobs",
        "_private_known_crontabs",
        "_private_tasks",
        "_private_workers",
        "migrations",
    ];
    let others = [
        "_sqlx_migrations",
        "erasures",
        "idempotency_keys",
        "inbox",
        "inbox_retries",
    ];
    let mut expected: Vec<&str> = queue.into_iter().chain(others).collect();
    expected.sort_unstable();
    assert_eq!(open, expected);
    let mut role = replica.cluster.database.connect_as_role().await;
    for table in queue {
        for statement in [
            format!("TRUNCATE links.{table} CASCADE"),
            format!("DROP TABLE links.{table} CASCADE"),
            format!("ALTER TABLE links.{table} ADD COLUMN more integer"),
            format!(
                "CREATE TRIGGER more BEFORE INSERT ON links.{table}
                     EXECUTE FUNCTION suppress_redundant_updates_trigger()"
            ),
        ] {
            let error = run(&mut role, &statement).await.unwrap_err();
            assert_eq!(sql_state(&error), "42501", "{statement}: {error}");
        }
    }
    let error = run(&mut role, "DELETE FROM links.migrations").await;
    assert_eq!(
        sql_state(&error.unwrap_err()),
        "42501",
        "the book is read only"
    );
    let data = replica
        .data("usr_carol", "{ links { totalCount } }", json!({}))
        .await;
    assert_eq!(data["links"]["totalCount"], 0);
}

#[tokio::test]
async fn no_user_can_have_the_clicks_of_a_stranger_purged_or_reserve_a_slug() {
    let (replica, _) = with_clicks().await;
    let mut role = replica.cluster.database.connect_as_role().await;
    for statement in [
        "INSERT INTO links.purges (link_id) SELECT gen_random_uuid()",
        "INSERT INTO links.freed_slugs (slug, owner, until) VALUES ('bank', 'usr_bob', now() + interval '1 year')",
    ] {
        run(&mut role, "BEGIN").await.unwrap();
        run(
            &mut role,
            "SELECT set_config('quartet.principals', '{usr_bob}', true)",
        )
        .await
        .unwrap();
        let error = run(&mut role, statement).await.unwrap_err();
        assert_eq!(sql_state(&error), "42501", "{statement}: {error}");
        run(&mut role, "ROLLBACK").await.unwrap();
    }
}

/// Even a statement that sets quartet.system: the privileges are missing.
#[tokio::test]
async fn the_role_of_the_service_can_neither_change_nor_delete_clicks() {
    let (replica, id) = with_clicks().await;
    let mut role = replica.cluster.database.connect_as_role().await;
    run(&mut role, "SET quartet.system = 'on'").await.unwrap();
    for table in ["links.clicks", "links.visitors"] {
        for statement in [
            format!("UPDATE {table} SET link_id = gen_random_uuid()"),
            format!("DELETE FROM {table}"),
            format!("TRUNCATE {table}"),
            format!("SELECT FROM {table} FOR UPDATE"),
            format!("ALTER TABLE {table} DISABLE ROW LEVEL SECURITY"),
            format!("DROP TABLE {table}"),
        ] {
            let error = run(&mut role, &statement).await.unwrap_err();
            assert_eq!(sql_state(&error), "42501", "{statement}: {error}");
        }
    }
    let error = run(&mut role, "DELETE FROM links._sqlx_migrations").await;
    assert_eq!(sql_state(&error.unwrap_err()), "42501");
    replica.expect_counts(&id, [1, 1, 1, 0]).await;
}

/// A function of the owner must not be led to objects of another by the caller's search path.
#[tokio::test]
async fn functions_of_the_owner_fix_their_search_path() {
    let replica = Replica::start().await;
    let mut admin = replica.cluster.database.connect_as_admin().await;
    let query = "SELECT p.proname::text FROM pg_proc AS p
        WHERE p.pronamespace = 'links'::regnamespace AND p.prosecdef
        AND NOT coalesce(p.proconfig @> ARRAY['search_path=pg_catalog, pg_temp'], false)";
    let open: Vec<String> = sqlx::query_scalar(query)
        .fetch_all(&mut admin)
        .await
        .unwrap();
    assert_eq!(open, Vec::<String>::new());
}
