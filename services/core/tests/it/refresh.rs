use futures_util::future::join_all;
use secrecy::SecretString;

use crate::support::{ADA, ME, Tokens, World, field, json_of, problem_of};

async fn assert_ended(world: &World, tokens: &Tokens) {
    let response = world.try_refresh(tokens.refresh()).await;
    problem_of(response, 401, "invalid_refresh_token").await;
    assert_eq!(world.get(ME, tokens.access()).await.status(), 401);
}

#[tokio::test]
async fn each_refresh_gives_new_tokens_of_the_same_session() {
    let world = World::start().await;
    let first = world.join(ADA).await;
    world.advance(60);
    let second = world.refresh(&first).await;
    assert_ne!(second.refresh(), first.refresh());
    assert_ne!(second.access(), first.access());
    assert_eq!(second.session(), first.session());
    let third = world.refresh(&second).await;
    world.me(&third).await;
}

#[tokio::test]
async fn refreshes_at_once_give_one_successor_and_nobody_is_logged_out() {
    let world = World::start().await;
    let first = world.join(ADA).await;
    let answers = join_all((0..20).map(|_| world.refresh(&first))).await;
    assert!(
        answers
            .iter()
            .all(|one| one.refresh() == answers[0].refresh())
    );
    assert_eq!(
        world
            .number("SELECT count(*) FROM core.refresh_tokens")
            .await,
        2
    );
    world.me(&answers[19]).await;
    world.refresh(&answers[7]).await;
}

#[tokio::test]
async fn a_spent_token_within_the_grace_gives_the_same_successor() {
    let world = World::start().await;
    let first = world.join(ADA).await;
    let second = world.refresh(&first).await;
    world.advance(10);
    let again = world.refresh(&first).await;
    assert_eq!(again.refresh(), second.refresh());
    assert_eq!(again.session(), second.session());
}

#[tokio::test]
async fn a_spent_token_after_the_grace_ends_the_session() {
    let world = World::start().await;
    let first = world.join(ADA).await;
    let other = world.log_in(ADA).await;
    let second = world.refresh(&first).await;
    world.advance(11);
    let response = world.try_refresh(first.refresh()).await;
    problem_of(response, 401, "invalid_refresh_token").await;
    assert_ended(&world, &second).await;
    world.me(&other).await;
}

#[tokio::test]
async fn a_spent_token_whose_successor_is_spent_ends_the_session() {
    let world = World::start().await;
    let first = world.join(ADA).await;
    let second = world.refresh(&first).await;
    let third = world.refresh(&second).await;
    let response = world.try_refresh(first.refresh()).await;
    problem_of(response, 401, "invalid_refresh_token").await;
    assert_ended(&world, &third).await;
}

#[tokio::test]
async fn a_session_that_rests_too_long_ends() {
    let world = World::start_with(|config| config.sessions.idle_ttl_seconds = 1000).await;
    let mut tokens = world.join(ADA).await;
    for _ in 0..3 {
        world.advance(999);
        tokens = world.refresh(&tokens).await;
    }
    world.advance(1000);
    assert_ended(&world, &tokens).await;
}

#[tokio::test]
async fn a_session_ends_however_busy_it_is() {
    let world = World::start_with(|config| {
        config.sessions.idle_ttl_seconds = 1000;
        config.sessions.absolute_ttl_seconds = 2500;
    })
    .await;
    let mut tokens = world.join(ADA).await;
    for _ in 0..2 {
        world.advance(900);
        tokens = world.refresh(&tokens).await;
    }
    world.advance(700);
    assert_ended(&world, &tokens).await;
}

#[tokio::test]
async fn a_malformed_token_is_told_by_field_and_an_unknown_one_is_not() {
    let world = World::start().await;
    let tokens = world.join(ADA).await;
    let good = tokens.refresh();
    for wrong in [
        "",
        "x",
        &good[1..],
        &good[..good.len() - 1],
        &format!("{good}0"),
        "qrt_ref_ü",
    ] {
        let response = world.try_refresh(wrong).await;
        let found = problem_of(response, 401, "invalid_refresh_token").await;
        assert_eq!(found, field("/refresh_token", "malformed"), "{wrong}");
    }
    // 32 zero bytes and the CRC-32 of their 43 letters.
    let secret = "A".repeat(43);
    let unknown = format!("qrt_ref_{secret}{:08x}", crc32fast::hash(secret.as_bytes()));
    let response = world.try_refresh(&unknown).await;
    let found = problem_of(response, 401, "invalid_refresh_token").await;
    assert!(found.is_empty(), "well formed");
    world.refresh(&tokens).await;
}

#[tokio::test]
async fn a_replica_that_cannot_sign_spends_nothing() {
    let world = World::start().await;
    let first = world.join(ADA).await;
    let broken = world
        .replica(|config| config.keys.master_key = SecretString::from("ab".repeat(32)))
        .await;
    let response = broken.try_refresh(first.refresh()).await;
    problem_of(response, 500, "internal").await;
    let sessions = "SELECT count(*) FROM core.sessions";
    let before = world.number(sessions).await;
    let login = broken.try_log_in(ADA, crate::support::PASSWORD).await;
    problem_of(login, 500, "internal").await;
    assert_eq!(world.number(sessions).await, before);
    let second = world.refresh(&first).await;
    // Within the grace the other master key would make a successor that nobody knows.
    let response = broken.try_refresh(first.refresh()).await;
    problem_of(response, 401, "invalid_refresh_token").await;
    let again = json_of(world.try_refresh(first.refresh()).await, 200).await;
    assert_eq!(again["refresh_token"], second.refresh());
}
