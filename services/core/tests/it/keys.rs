use std::process::Command;

use chrono::{DateTime, Utc};
use futures_util::future::join_all;
use quartet_common::clock::Clock;
use quartet_core::MIGRATOR;
use quartet_testing::TestDatabase;
use secrecy::SecretString;

use crate::support::{ADA, MASTER_KEY, ME, Replica, TestApp, problem_of};

#[tokio::test]
async fn concurrent_replicas_create_one_key() {
    let database = TestDatabase::create("core", &MIGRATOR).await;
    let clock = Clock::manual(DateTime::<Utc>::from(std::time::SystemTime::now()));
    let starts = (0..6).map(|_| Replica::start(&database, &clock, |_| {}));
    let replicas = join_all(starts).await;
    let results = join_all(replicas.iter().map(|one| one.state.run_jobs_once())).await;
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    let ids = join_all(replicas.iter().map(Replica::key_ids)).await;
    assert_eq!(ids[0].len(), 1);
    assert!(ids.iter().all(|some| *some == ids[0]));
    let tokens = replicas[0].join(ADA).await;
    for replica in &replicas {
        replica.me(&tokens).await;
    }
}

#[tokio::test]
async fn a_key_is_published_before_activation_and_until_its_tokens_expire() {
    let app = TestApp::start_with(|config| {
        config.keys.rotation_seconds = 10_000;
        config.keys.publish_ahead_seconds = 1000;
    })
    .await;
    let maintain = async || app.state.run_jobs_once().await.unwrap();
    let first = app.join(ADA).await;
    let old = first.key_id();
    assert_eq!(app.key_ids().await, [old.as_str()]);
    app.advance(8990);
    maintain().await;
    assert_eq!(app.key_ids().await, [old.as_str()], "not due yet");
    app.advance(20);
    maintain().await;
    let both = app.key_ids().await;
    assert_eq!(both.len(), 2, "published");
    assert_eq!(both[0], old);
    let new = both[1].clone();
    assert_eq!(app.log_in(ADA).await.key_id(), old, "not active yet");
    app.advance(980);
    let last_of_old = app.log_in(ADA).await;
    assert_eq!(last_of_old.key_id(), old);
    app.advance(20);
    let first_of_new = app.log_in(ADA).await;
    assert_eq!(
        first_of_new.key_id(),
        new,
        "becomes active by the clock alone"
    );
    maintain().await;
    assert_eq!(app.key_ids().await, both, "still published");
    app.advance(870);
    maintain().await;
    app.me(&last_of_old).await;
    app.me(&first_of_new).await;
    app.advance(700);
    maintain().await;
    assert_eq!(app.key_ids().await, [new], "retired");
}

#[tokio::test]
async fn rotate_keys_publishes_before_activation() {
    let app = TestApp::start().await;
    let old = app.join(ADA).await;
    rotate(&app, &[]);
    app.state.run_jobs_once().await.unwrap();
    assert_eq!(app.key_ids().await.len(), 2);
    assert_eq!(app.log_in(ADA).await.key_id(), old.key_id());
    app.me(&old).await;
    app.advance(3700);
    assert_ne!(app.log_in(ADA).await.key_id(), old.key_id());
}

#[tokio::test]
async fn rotate_keys_now_deletes_other_keys_and_replicas_follow() {
    let app = TestApp::start().await;
    let follower = app.replica(|_| {}).await;
    let old = app.join(ADA).await;
    follower.me(&old).await;
    rotate(&app, &["--now"]);
    // The command uses the system clock.
    app.advance(120);
    app.state.run_jobs_once().await.unwrap();
    let response = app.get(ME, old.access()).await;
    problem_of(response, 401, "unauthenticated").await;
    let new = app.log_in(ADA).await;
    assert_ne!(new.key_id(), old.key_id());
    assert_eq!(follower.key_ids().await, [old.key_id()], "not read yet");
    follower.me(&new).await;
    assert_eq!(follower.key_ids().await, [new.key_id()]);
    assert_eq!(follower.get(ME, old.access()).await.status(), 401);
}

#[tokio::test]
async fn unknown_key_ids_reload_keys_at_most_once_per_second() {
    let app = TestApp::start().await;
    let follower = app.replica(|_| {}).await;
    app.sign_up(ADA).await;
    app.advance(120);
    let mut newest = Vec::new();
    for _ in 0..2 {
        rotate(&app, &["--now"]);
        app.state.run_jobs_once().await.unwrap();
        newest.push(app.log_in(ADA).await);
        follower.get(ME, newest[0].access()).await;
    }
    let second = newest.pop().unwrap();
    let response = follower.get(ME, second.access()).await;
    problem_of(response, 401, "unauthenticated").await;
    app.advance(1);
    follower.me(&second).await;
}

#[tokio::test]
async fn a_different_master_key_is_reported_by_name() {
    let app = TestApp::start().await;
    let other = "ab".repeat(32);
    let change = |config: &mut quartet_core::Config| {
        config.keys.master_key = SecretString::from(other.clone());
    };
    let replica = Replica::start(&app.database, &app.clock, change).await;
    let error = replica.state.run_jobs_once().await.unwrap_err();
    let error = format!("{error:#}");
    assert!(error.contains("keys.master_key"), "{error}");
    assert!(!error.contains(&other), "{error}");
}

/// Old and new key open; the new one seals; after `reseal` the old one is not needed.
#[tokio::test]
async fn the_master_key_is_rotated_without_losing_keys_or_sessions() {
    let app = TestApp::start().await;
    let tokens = app.join(ADA).await;
    let new_key = "ab".repeat(32);
    let both = |config: &mut quartet_core::Config| {
        config.keys.master_key = SecretString::from(new_key.clone());
        config.keys.previous_master_keys = vec![SecretString::from(MASTER_KEY)];
    };
    let replica = app.replica(both).await;
    replica.me(&tokens).await;
    // The lost response of a refresh that another replica made with the old key.
    let refreshed = app.refresh(&tokens).await;
    assert_eq!(
        replica.refresh(&tokens).await.refresh(),
        refreshed.refresh()
    );

    run(
        &app,
        &["reseal"],
        &[
            ("QUARTET_KEYS_MASTER_KEY", &new_key),
            ("QUARTET_KEYS_PREVIOUS_MASTER_KEYS", MASTER_KEY),
        ],
    );
    let only_new = |config: &mut quartet_core::Config| {
        config.keys.master_key = SecretString::from(new_key.clone());
    };
    let after = Replica::start(&app.database, &app.clock, only_new).await;
    after.state.run_jobs_once().await.unwrap();
    after.me(&refreshed).await;
    assert_eq!(after.key_ids().await, app.key_ids().await);
}

/// A request with an unknown key id may have read the rows before a change and hand them over after it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_reload_puts_back_what_a_change_has_replaced() {
    let app = TestApp::start().await;
    let old = app.join(ADA).await;
    let mut owner = app.database.connect_as_owner().await;
    for round in 0..40 {
        let delete = sqlx::query("DELETE FROM core.signing_keys");
        delete.execute(&mut owner).await.unwrap();
        app.advance(2);
        let reload = app.get(ME, old.access());
        let (changed, _) = tokio::join!(app.state.run_jobs_once(), reload);
        changed.unwrap();
        let kids = sqlx::query_scalar("SELECT kid FROM core.signing_keys");
        let kids: Vec<String> = kids.fetch_all(&mut owner).await.unwrap();
        assert_eq!(app.key_ids().await, kids, "round {round}");
    }
}

/// The task that changes keys has the only connection, and a request with an unknown key id waits for it.
#[tokio::test]
async fn one_connection_is_enough_to_change_and_to_reload_keys() {
    let app = TestApp::start().await;
    app.sign_up(ADA).await;
    let replica = app
        .replica(|config| {
            config.database.max_connections = 1;
            config.database.acquire_timeout_seconds = 3;
        })
        .await;
    rotate(&app, &["--now"]);
    app.state.run_jobs_once().await.unwrap();
    let new = app.log_in(ADA).await;
    let mut owner = app.database.connect_as_owner().await;
    let lock = "SELECT pg_advisory_lock(hashtext('core.signing_keys'))";
    sqlx::query(lock).execute(&mut owner).await.unwrap();
    let waits = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    let request = async {
        while app.number(waits).await == 0 {}
        let release = async {
            // By then, the request has arrived.
            for _ in 0..20 {
                replica.key_ids().await;
            }
            let unlock = "SELECT pg_advisory_unlock_all()";
            sqlx::query(unlock).execute(&mut owner).await.unwrap();
        };
        tokio::join!(replica.get(ME, new.access()), release).0
    };
    let (changed, response) = tokio::join!(replica.state.run_jobs_once(), request);
    changed.unwrap();
    assert_eq!(response.status(), 200);
}

#[tokio::test]
async fn a_reload_that_fails_keeps_no_other_from_reading() {
    let app = TestApp::start().await;
    let follower = app.replica(|_| {}).await;
    app.sign_up(ADA).await;
    rotate(&app, &["--now"]);
    app.advance(120);
    app.state.run_jobs_once().await.unwrap();
    let new = app.log_in(ADA).await;
    let mut owner = app.database.connect_as_owner().await;
    let mut rename = async |statement: &'static str| {
        sqlx::query(statement).execute(&mut owner).await.unwrap();
    };
    rename("ALTER TABLE core.signing_keys RENAME TO away").await;
    assert_eq!(follower.get(ME, new.access()).await.status(), 500);
    rename("ALTER TABLE core.away RENAME TO signing_keys").await;
    follower.me(&new).await;
}

pub(crate) fn rotate(app: &TestApp, words: &[&str]) {
    let words = [&["rotate-keys"], words].concat();
    run(app, &words, &[("QUARTET_KEYS_MASTER_KEY", MASTER_KEY)]);
}

pub(crate) fn run(app: &TestApp, words: &[&str], variables: &[(&str, &str)]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_quartet-core"))
        .args(words)
        .env("DATABASE_URL", app.database.url())
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}
