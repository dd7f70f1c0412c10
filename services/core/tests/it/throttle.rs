use std::collections::BTreeMap;

use futures_util::future::join_all;
use reqwest::{Method, Response};
use serde_json::json;

use crate::support::{
    ADA, EVE, ME, PASSWORD, USERS, WRONG, World, credentials, header, json_of, problem_of,
};

async fn retry_after(response: Response) -> String {
    let seconds = header(&response, "retry-after").to_owned();
    problem_of(response, 429, "too_many_attempts").await;
    seconds
}

#[tokio::test]
async fn pauses_double_until_the_password_is_right() {
    let world = World::start().await;
    world.sign_up(ADA).await;
    for _ in 0..6 {
        assert_eq!(world.try_log_in(ADA, WRONG).await.status(), 401);
    }
    for pause in [1, 2, 4, 8, 16, 32, 60, 60] {
        let told = retry_after(world.try_log_in(ADA, PASSWORD).await).await;
        assert_eq!(told, pause.to_string());
        world.advance(pause);
        assert_eq!(world.try_log_in(ADA, WRONG).await.status(), 401);
    }
    world.advance(60);
    world.log_in(ADA).await;
    for _ in 0..6 {
        assert_eq!(
            world.try_log_in(ADA, WRONG).await.status(),
            401,
            "free again"
        );
    }
}

#[tokio::test]
async fn an_unknown_address_is_paused_like_a_known_one() {
    let world = World::start().await;
    for _ in 0..6 {
        assert_eq!(world.try_log_in(EVE, WRONG).await.status(), 401);
    }
    assert_eq!(retry_after(world.try_log_in(EVE, WRONG).await).await, "1");
}

#[tokio::test]
async fn failures_are_forgotten() {
    let world = World::start().await;
    for _ in 0..6 {
        world.try_log_in(EVE, WRONG).await;
    }
    world.advance(3601);
    for _ in 0..6 {
        assert_eq!(world.try_log_in(EVE, WRONG).await.status(), 401);
    }
}

#[tokio::test]
async fn guesses_at_once_count_one_after_the_other() {
    let world = World::start_with(|config| config.passwords.max_concurrent = 4).await;
    world.sign_up(ADA).await;
    let mut counts: BTreeMap<u16, u32> = BTreeMap::new();
    for answer in join_all((0..60).map(|_| world.try_log_in(ADA, WRONG))).await {
        *counts.entry(answer.status().as_u16()).or_default() += 1;
    }
    assert_eq!(
        counts,
        BTreeMap::from([(401, 6), (429, 54)]),
        "five are free, the sixth begins the pauses"
    );
}

#[tokio::test]
async fn each_further_replica_adds_one_guess_at_most() {
    let world = World::start().await;
    world.sign_up(ADA).await;
    let other = world.replica(|_| {}).await;
    let replicas = [&*world, &other];
    let guesses = (0..60).map(|n| replicas[n % 2].try_log_in(ADA, WRONG));
    let answers = join_all(guesses).await;
    let told = answers.iter().filter(|answer| answer.status() == 401);
    assert!((6..=7).contains(&told.count()));
}

#[tokio::test]
async fn strangers_cannot_shut_the_owner_out() {
    let world = World::start().await;
    world.sign_up(ADA).await;
    for home in ["203.0.113.7", "2001:db8::7"] {
        assert_eq!(world.log_in_from(home, ADA, PASSWORD).await.status(), 201);
    }
    for stranger in 0..6 {
        let client = format!("198.51.100.{stranger}");
        assert_eq!(world.log_in_from(&client, ADA, WRONG).await.status(), 401);
    }
    let elsewhere = world.log_in_from("192.0.2.1", ADA, PASSWORD).await;
    assert_eq!(retry_after(elsewhere).await, "1");
    let wrong_at_home = world.log_in_from("203.0.113.7", ADA, WRONG).await;
    assert_eq!(wrong_at_home.status(), 401);
    let neighbour = world.log_in_from("2001:db8::ffff", ADA, PASSWORD).await;
    assert_eq!(neighbour.status(), 201, "the same /64 is the same network");
}

#[tokio::test]
async fn at_home_guesses_are_counted_too() {
    let world = World::start().await;
    let home = "203.0.113.7";
    world.sign_up(ADA).await;
    assert_eq!(world.log_in_from(home, ADA, PASSWORD).await.status(), 201);
    let guesses = (0..60).map(|_| world.log_in_from(home, ADA, WRONG));
    let answers = join_all(guesses).await;
    let told = answers.iter().filter(|answer| answer.status() == 401);
    assert_eq!(told.count(), 6, "the same measure as for strangers");
    world.advance(1);
    assert_eq!(world.log_in_from(home, ADA, PASSWORD).await.status(), 201);
    assert_eq!(world.log_in_from(home, ADA, WRONG).await.status(), 401);
}

#[tokio::test]
async fn an_owner_who_gets_in_does_not_help_the_guesser() {
    let world = World::start().await;
    world.sign_up(ADA).await;
    let guesser = "198.51.100.1";
    assert_eq!(
        world
            .log_in_from("203.0.113.7", ADA, PASSWORD)
            .await
            .status(),
        201
    );
    for _ in 0..6 {
        assert_eq!(world.log_in_from(guesser, ADA, WRONG).await.status(), 401);
    }
    assert_eq!(
        world
            .log_in_from("203.0.113.7", ADA, PASSWORD)
            .await
            .status(),
        201
    );
    retry_after(world.log_in_from(guesser, ADA, WRONG).await).await;
}

#[tokio::test]
async fn an_address_whose_session_was_ended_by_force_is_a_stranger_again() {
    let world = World::start().await;
    let own = world.join(ADA).await;
    let thief = "203.0.113.66";
    assert_eq!(world.log_in_from(thief, ADA, PASSWORD).await.status(), 201);
    let body = json!({"password": "gravel-lantern-otter", "current_password": PASSWORD});
    json_of(world.patch(own.access(), &body).await, 200).await;
    for stranger in 0..6 {
        let client = format!("198.51.100.{stranger}");
        assert_eq!(world.log_in_from(&client, ADA, WRONG).await.status(), 401);
    }
    retry_after(world.log_in_from(thief, ADA, PASSWORD).await).await;
}

#[tokio::test]
async fn one_address_is_paused_over_all_accounts() {
    let world = World::start_with(|config| config.throttle.address_free_failures = 3).await;
    world.sign_up(ADA).await;
    let client = "203.0.113.66";
    for n in 0..4 {
        let email = format!("user{n}@example.com");
        assert_eq!(world.log_in_from(client, &email, WRONG).await.status(), 401);
    }
    assert_eq!(
        retry_after(world.log_in_from(client, ADA, PASSWORD).await).await,
        "1"
    );
    let other = world.log_in_from("203.0.113.67", ADA, PASSWORD).await;
    assert_eq!(other.status(), 201);
}

#[tokio::test]
async fn whoever_asks_for_taken_addresses_has_to_pause() {
    let world = World::start_with(|config| config.throttle.address_free_failures = 3).await;
    world.sign_up(ADA).await;
    let sign_up = |client: &str| {
        let request = world.request(Method::POST, USERS);
        let request = request.header("x-forwarded-for", client);
        let request = request.json(&credentials(ADA, PASSWORD));
        async move { request.send().await.unwrap() }
    };
    let asker = "203.0.113.66";
    for _ in 0..4 {
        problem_of(sign_up(asker).await, 409, "email_taken").await;
    }
    assert_eq!(retry_after(sign_up(asker).await).await, "1");
    assert_eq!(sign_up("203.0.113.67").await.status(), 409);
    world.advance(1);
    assert_eq!(sign_up(asker).await.status(), 409);
    assert_eq!(retry_after(sign_up(asker).await).await, "2");
}

#[tokio::test]
async fn a_change_to_a_taken_address_counts_as_well() {
    let world = World::start_with(|config| config.throttle.address_free_failures = 3).await;
    world.sign_up(EVE).await;
    let tokens = world.join(ADA).await;
    let body = json!({"email": EVE, "current_password": PASSWORD});
    for _ in 0..4 {
        problem_of(
            world.patch(tokens.access(), &body).await,
            409,
            "email_taken",
        )
        .await;
    }
    retry_after(world.patch(tokens.access(), &body).await).await;
    assert_eq!(
        world.get(ME, tokens.access()).await.status(),
        200,
        "reading goes on"
    );
}

#[tokio::test]
async fn guesses_of_the_current_password_are_paused() {
    let world = World::start().await;
    let tokens = world.join(ADA).await;
    let body = json!({"password": "gravel-lantern-otter", "current_password": WRONG});
    for _ in 0..6 {
        let response = world.patch(tokens.access(), &body).await;
        problem_of(response, 403, "wrong_password").await;
    }
    retry_after(world.patch(tokens.access(), &body).await).await;
}
