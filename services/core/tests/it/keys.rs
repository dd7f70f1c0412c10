use std::process::Command;

use chrono::{DateTime, Utc};
use futures_util::future::join_all;
use quartet_common::clock::Clock;
use quartet_core::{MIGRATOR, run_jobs_once};
use quartet_testing::TestDatabase;
use secrecy::SecretString;

use crate::support::{ADA, MASTER_KEY, ME, Replica, World, problem_of};

#[tokio::test]
async fn replicas_at_one_empty_database_agree_on_one_key() {
    let database = TestDatabase::create("core", &MIGRATOR).await;
    let clock = Clock::manual(DateTime::<Utc>::from(std::time::SystemTime::now()));
    let starts = (0..6).map(|_| Replica::start(&database, &clock, |_| {}));
    let replicas = join_all(starts).await;
    let made = join_all(replicas.iter().map(|one| run_jobs_once(&one.state))).await;
    assert!(made.iter().all(Result::is_ok), "{made:?}");
    let ids = join_all(replicas.iter().map(Replica::key_ids)).await;
    assert_eq!(ids[0].len(), 1);
    assert!(ids.iter().all(|some| *some == ids[0]));
    let tokens = replicas[0].join(ADA).await;
    for replica in &replicas {
        replica.me(&tokens).await;
    }
}

#[tokio::test]
async fn a_key_is_published_before_it_signs_and_as_long_as_its_tokens_live() {
    let world = World::start_with(|config| {
        config.keys.rotation_seconds = 10_000;
        config.keys.publish_ahead_seconds = 1000;
    })
    .await;
    let maintain = async || run_jobs_once(&world.state).await.unwrap();
    let first = world.join(ADA).await;
    let old = first.key_id();
    assert_eq!(world.key_ids().await, [old.as_str()]);
    world.advance(8990);
    maintain().await;
    assert_eq!(world.key_ids().await, [old.as_str()], "not due yet");
    world.advance(20);
    maintain().await;
    let both = world.key_ids().await;
    assert_eq!(both.len(), 2, "published");
    assert_eq!(both[0], old);
    let new = both[1].clone();
    assert_eq!(world.log_in(ADA).await.key_id(), old, "not signing yet");
    world.advance(980);
    let last_of_old = world.log_in(ADA).await;
    assert_eq!(last_of_old.key_id(), old);
    world.advance(20);
    let first_of_new = world.log_in(ADA).await;
    assert_eq!(first_of_new.key_id(), new, "took over without being told");
    maintain().await;
    assert_eq!(world.key_ids().await, both, "still published");
    world.advance(870);
    maintain().await;
    world.me(&last_of_old).await;
    world.me(&first_of_new).await;
    world.advance(700);
    maintain().await;
    assert_eq!(world.key_ids().await, [new], "retired");
}

#[tokio::test]
async fn a_rotation_by_hand_waits_for_the_publishing_time() {
    let world = World::start().await;
    let old = world.join(ADA).await;
    rotate(&world, &[]);
    run_jobs_once(&world.state).await.unwrap();
    assert_eq!(world.key_ids().await.len(), 2);
    assert_eq!(world.log_in(ADA).await.key_id(), old.key_id());
    world.me(&old).await;
    world.advance(3700);
    assert_ne!(world.log_in(ADA).await.key_id(), old.key_id());
}

#[tokio::test]
async fn a_rotation_at_once_drops_every_other_key_and_replicas_follow() {
    let world = World::start().await;
    let follower = world.replica(|_| {}).await;
    let old = world.join(ADA).await;
    follower.me(&old).await;
    rotate(&world, &["--now"]);
    // The command goes by the machine's clock.
    world.advance(120);
    run_jobs_once(&world.state).await.unwrap();
    let response = world.get(ME, old.access()).await;
    problem_of(response, 401, "unauthenticated").await;
    let new = world.log_in(ADA).await;
    assert_ne!(new.key_id(), old.key_id());
    assert_eq!(follower.key_ids().await, [old.key_id()], "not read yet");
    follower.me(&new).await;
    assert_eq!(follower.key_ids().await, [new.key_id()]);
    assert_eq!(follower.get(ME, old.access()).await.status(), 401);
}

#[tokio::test]
async fn unknown_keys_do_not_make_the_database_be_asked_each_time() {
    let world = World::start().await;
    let follower = world.replica(|_| {}).await;
    world.sign_up(ADA).await;
    world.advance(120);
    let mut newest = Vec::new();
    for _ in 0..2 {
        rotate(&world, &["--now"]);
        run_jobs_once(&world.state).await.unwrap();
        newest.push(world.log_in(ADA).await);
        follower.get(ME, newest[0].access()).await;
    }
    let second = newest.pop().unwrap();
    let response = follower.get(ME, second.access()).await;
    problem_of(response, 401, "unauthenticated").await;
    world.advance(1);
    follower.me(&second).await;
}

#[tokio::test]
async fn a_wrong_master_key_is_named() {
    let world = World::start().await;
    let other = "ab".repeat(32);
    let change = |config: &mut quartet_core::Config| {
        config.keys.master_key = SecretString::from(other.clone());
    };
    let replica = Replica::start(&world.database, &world.clock, change).await;
    let error = run_jobs_once(&replica.state).await.unwrap_err();
    let error = format!("{error:#}");
    assert!(error.contains("keys.master_key"), "{error}");
    assert!(!error.contains(&other), "{error}");
}

fn rotate(world: &World, words: &[&str]) {
    let output = Command::new(env!("CARGO_BIN_EXE_quartet-core"))
        .arg("rotate-keys")
        .args(words)
        .env("DATABASE_URL", world.database.url())
        .env("QUARTET_KEYS_MASTER_KEY", MASTER_KEY)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}
