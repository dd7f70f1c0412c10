use std::borrow::Cow;

use quartet_common::principal::Principal;
use quartet_db as db;
use quartet_testing::{TestDatabase, until_waiting};
use sqlx::{
    PgPool,
    migrate::{Migration, MigrationType, Migrator},
};

const SCHEMA: &str = "core";

pub(crate) fn migrator(statements: &[&'static str]) -> Migrator {
    let migrations = (1..).zip(statements).map(|(version, sql)| {
        Migration::new(
            version,
            Cow::Owned(format!("step {version}")),
            MigrationType::Simple,
            sqlx::SqlStr::from_static(sql),
            false,
        )
    });
    let migrations: Vec<Migration> = migrations.collect();
    Migrator {
        migrations: Cow::Owned(migrations),
        table_name: "core._sqlx_migrations".into(),
        ..Migrator::DEFAULT
    }
}

#[tokio::test]
async fn replicas_that_migrate_at_once_wait_for_each_other() {
    let database = TestDatabase::empty(SCHEMA).await;
    let steps = migrator(&[
        "CREATE TABLE core.a (n int)",
        "INSERT INTO core.a SELECT pg_sleep(0.1) IS NULL::int",
    ]);
    let settings = database.settings();
    let all = (0..5).map(|_| db::migrate(&steps, &settings, SCHEMA));
    for result in futures_util::future::join_all(all).await {
        result.unwrap();
    }
    let pool = PgPool::connect(&database.url()).await.unwrap();
    let forged = "UPDATE core._sqlx_migrations SET success = false";
    let refused = sqlx::query(forged).execute(&pool).await.unwrap_err();
    assert!(
        refused.to_string().contains("permission denied"),
        "{refused}"
    );
    let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM core.a")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!(rows, 1);
}

/// Two that change the privileges of a table at once fail: "tuple concurrently updated".
#[tokio::test]
async fn replicas_with_nothing_to_migrate_wait_for_each_other_to_the_end() {
    let database = TestDatabase::empty(SCHEMA).await;
    let (steps, settings) = (
        migrator(&["CREATE TABLE core.a (n int)"]),
        database.settings(),
    );
    db::migrate(&steps, &settings, SCHEMA).await.unwrap();
    let mut admin = database.connect_as_admin().await;
    let revoke = "BEGIN; REVOKE INSERT ON core._sqlx_migrations FROM quartet_core";
    sqlx::raw_sql(revoke).execute(&mut admin).await.unwrap();
    let both_wait = async {
        until_waiting(&mut admin, 2).await;
        sqlx::raw_sql("ROLLBACK").execute(&mut admin).await.unwrap();
    };
    let migrate = || db::migrate(&steps, &settings, SCHEMA);
    let (first, second, ()) = tokio::join!(migrate(), migrate(), both_wait);
    first.unwrap();
    second.unwrap();
}

#[tokio::test]
async fn a_schema_that_is_behind_is_named_with_the_command_to_run() {
    let database = TestDatabase::empty(SCHEMA).await;
    let pool = PgPool::connect(&database.url()).await.unwrap();
    let old = migrator(&["CREATE TABLE core.a (n int)"]);
    let new = migrator(&["CREATE TABLE core.a (n int)", "CREATE TABLE core.b (n int)"]);

    let empty = db::ensure_current(&old, &pool, SCHEMA)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        empty.contains("migration 1 (step 1) is not applied"),
        "{empty}"
    );
    db::migrate(&old, &database.settings(), SCHEMA)
        .await
        .unwrap();
    db::ensure_current(&old, &pool, SCHEMA).await.unwrap();
    let behind = db::ensure_current(&new, &pool, SCHEMA)
        .await
        .unwrap_err()
        .to_string();
    assert!(behind.contains("migration 2 (step 2)"), "{behind}");
    assert!(behind.contains("run `quartet-core migrate`"), "{behind}");

    // A newer release migrates; the older one keeps running and may migrate without harm.
    db::migrate(&new, &database.settings(), SCHEMA)
        .await
        .unwrap();
    db::ensure_current(&old, &pool, SCHEMA).await.unwrap();
    db::migrate(&old, &database.settings(), SCHEMA)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_migration_that_was_changed_or_fails_changes_nothing() {
    let database = TestDatabase::empty(SCHEMA).await;
    let settings = database.settings();
    db::migrate(
        &migrator(&["CREATE TABLE core.a (n int)"]),
        &settings,
        SCHEMA,
    )
    .await
    .unwrap();
    let changed = migrator(&["CREATE TABLE core.a (n bigint)"]);
    let error = db::migrate(&changed, &settings, SCHEMA)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("migration 1 was changed after it was applied"),
        "{error}"
    );

    let broken = migrator(&[
        "CREATE TABLE core.a (n int)",
        "CREATE TABLE core.b (n int); SELECT 1 / 0",
    ]);
    db::migrate(&broken, &settings, SCHEMA).await.unwrap_err();
    let pool = PgPool::connect(&database.url()).await.unwrap();
    let half: bool = sqlx::query_scalar("SELECT to_regclass('core.b') IS NOT NULL")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert!(!half, "nothing half written");
}

#[tokio::test]
async fn a_pool_works_again_after_its_connections_were_cut() {
    let database = TestDatabase::empty(SCHEMA).await;
    let pool = db::pool(&database.settings(), "test").unwrap();
    sqlx::query("SELECT 1").execute(&pool).await.unwrap();
    let mut admin = database.connect_as_admin().await;
    sqlx::query(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE datname = current_database() AND usename = 'quartet_core'",
    )
    .execute(&mut admin)
    .await
    .unwrap();
    let mut failures = 0;
    while let Err(error) = sqlx::query("SELECT 1").execute(&pool).await {
        assert!(db::is_transient(&error), "{error}");
        failures += 1;
        assert!(failures <= 10, "a cut connection fails at most once");
    }
}

#[tokio::test]
async fn a_database_that_refuses_is_not_called_silent() {
    let database = TestDatabase::empty(SCHEMA).await;
    let name = &database.name;
    for (from, to, expected) in [
        (
            ":test@",
            ":wrong@",
            "the database refuses the role or its password",
        ),
        (name.as_str(), "none", "the database does not exist"),
    ] {
        let url = database.owner_url().replacen(from, to, 1);
        assert_ne!(url, database.owner_url());
        let mut settings = database.settings();
        settings.migrate_url = url.into();
        let error = db::migrate(&migrator(&[]), &settings, SCHEMA).await;
        let message = error.unwrap_err().to_string();
        assert!(message.starts_with(expected), "{message}");
        assert!(!message.contains("at line"), "{message}");
    }
    // The owner may not create another schema. Without its URL, the role that serves migrates and
    // may not create tables.
    let mut settings = database.settings();
    let other = db::migrate(&migrator(&[]), &settings, "other").await;
    settings.migrate_url = "".into();
    let steps = migrator(&["CREATE TABLE core.a (n int)"]);
    let own = db::migrate(&steps, &settings, SCHEMA).await;
    let message = other.unwrap_err().to_string();
    assert!(
        message.starts_with("the role lacks a privilege"),
        "{message}"
    );
    let causes = std::iter::successors(
        own.as_ref().err().map(|e| e as &dyn std::error::Error),
        |e| e.source(),
    );
    let text: Vec<String> = causes.map(ToString::to_string).collect();
    assert!(text.join(": ").contains("permission denied"), "{text:?}");
}

#[tokio::test]
async fn a_transaction_belongs_to_its_principals_whatever_their_names() {
    let database = TestDatabase::empty(SCHEMA).await;
    let pool = db::pool(&database.settings(), "test").unwrap();
    let current = "SELECT nullif(current_setting('quartet.principals', true), '')::text[]";
    let long = "x".repeat(255);
    for names in [
        vec!["usr_1"],
        vec!["usr_1", "org_1"],
        vec!["auth0|1", "null", "NULL"],
        vec!["a@b.example", "o'neill"],
        vec!["a\\'; COMMIT; --", "{}", "a,b", "a\"b", "\\"],
        vec!["\u{fc}"],
        vec![],
        vec![&long, "$1"],
    ] {
        let principals: Vec<Principal> = names
            .iter()
            .map(|name| Principal::parse(name).unwrap())
            .collect();
        let mut tx = db::begin_as(&pool, &principals).await.unwrap();
        let found: Vec<String> = sqlx::query_scalar(current)
            .fetch_one(&mut *tx)
            .await
            .unwrap();
        assert_eq!(found, names);
        tx.commit().await.unwrap();
        let after: Option<Vec<String>> =
            sqlx::query_scalar(current).fetch_one(&pool).await.unwrap();
        assert_eq!(after, None, "{names:?}");
    }
}

/// A long transaction holds the table; requests must not wait behind the migration.
#[tokio::test]
async fn a_migration_does_not_wait_for_a_table_for_long() {
    let database = TestDatabase::empty(SCHEMA).await;
    let settings = database.settings();
    let create = "CREATE TABLE core.a (n int)";
    db::migrate(&migrator(&[create]), &settings, SCHEMA)
        .await
        .unwrap();
    let pool = PgPool::connect(&database.url()).await.unwrap();
    let mut reading = db::begin(&pool).await.unwrap();
    let count = "SELECT count(*) FROM core.a";
    sqlx::query(count).execute(&mut *reading).await.unwrap();

    let steps = migrator(&[create, "ALTER TABLE core.a ADD COLUMN m int"]);
    let refused = db::migrate(&steps, &settings, SCHEMA).await.unwrap_err();
    let causes = std::iter::successors(Some(&refused as &dyn std::error::Error), |e| e.source());
    let text: Vec<String> = causes.map(ToString::to_string).collect();
    assert!(text.join(": ").contains("lock timeout"), "{text:?}");
    sqlx::query(count).execute(&pool).await.unwrap();
    reading.rollback().await.unwrap();
    db::migrate(&steps, &settings, SCHEMA).await.unwrap();
}

/// Whichever of them is refused.
#[tokio::test]
async fn urls_are_replaced_together_or_not_at_all() {
    let database = TestDatabase::empty(SCHEMA).await;
    let databases = db::Databases::default();
    let settings = database.settings();
    let keys = ["database.read_url", "database.url"];
    let pools = keys.map(|key| databases.open(key, &settings, "test").unwrap());
    let users = async || {
        let mut users = Vec::new();
        for pool in &pools {
            let user = sqlx::query_scalar("SELECT current_user::text");
            users.push(user.fetch_one(pool).await.unwrap());
        }
        users
    };
    let before: Vec<String> = users().await;
    let other = database.owner_url();
    let wrong = database.url().replacen(":test@", ":wrong@", 1);
    for urls in [[&other, &wrong], [&wrong, &other]] {
        let urls = [(keys[0], urls[0].as_str()), (keys[1], urls[1].as_str())];
        databases.rotate(&urls).await.unwrap_err();
        assert_eq!(users().await, before);
    }
    databases
        .rotate(&keys.map(|key| (key, other.as_str())))
        .await
        .unwrap();
    let after = users().await;
    assert!(after.iter().all(|user| !before.contains(user)), "{after:?}");
}
