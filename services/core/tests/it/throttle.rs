use std::collections::BTreeMap;

use futures_util::future::join_all;
use reqwest::{Method, Response};
use serde_json::json;

use crate::support::{
    ADA, EVE, ME, PASSWORD, TestApp, USERS, WRONG, credentials, header, json_of, problem_of,
};

async fn retry_after(response: Response) -> String {
    let seconds = header(&response, "retry-after").to_owned();
    problem_of(response, 429, "too_many_attempts").await;
    seconds
}

#[tokio::test]
async fn delays_double_until_a_successful_login() {
    let app = TestApp::start().await;
    app.sign_up(ADA).await;
    for _ in 0..6 {
        assert_eq!(app.try_log_in(ADA, WRONG).await.status(), 401);
    }
    for expected in [1, 2, 4, 8, 16, 32, 60, 60] {
        let delay = retry_after(app.try_log_in(ADA, PASSWORD).await).await;
        assert_eq!(delay, expected.to_string());
        app.advance(expected);
        assert_eq!(app.try_log_in(ADA, WRONG).await.status(), 401);
    }
    app.advance(60);
    app.log_in(ADA).await;
    for _ in 0..6 {
        assert_eq!(
            app.try_log_in(ADA, WRONG).await.status(),
            401,
            "failures are forgotten"
        );
    }
}

#[tokio::test]
async fn an_unknown_email_is_throttled_like_a_known_one() {
    let app = TestApp::start().await;
    for _ in 0..6 {
        assert_eq!(app.try_log_in(EVE, WRONG).await.status(), 401);
    }
    assert_eq!(retry_after(app.try_log_in(EVE, WRONG).await).await, "1");
}

#[tokio::test]
async fn failures_are_forgotten_after_the_configured_time() {
    let app = TestApp::start().await;
    for _ in 0..6 {
        app.try_log_in(EVE, WRONG).await;
    }
    app.advance(3601);
    for _ in 0..6 {
        assert_eq!(app.try_log_in(EVE, WRONG).await.status(), 401);
    }
}

#[tokio::test]
async fn concurrent_guesses_are_counted_one_by_one() {
    let app = TestApp::start_with(|config| config.passwords.max_concurrent = 4).await;
    app.sign_up(ADA).await;
    let mut counts: BTreeMap<u16, u32> = BTreeMap::new();
    for response in join_all((0..60).map(|_| app.try_log_in(ADA, WRONG))).await {
        *counts.entry(response.status().as_u16()).or_default() += 1;
    }
    assert_eq!(
        counts,
        BTreeMap::from([(401, 6), (429, 54)]),
        "five are free, the sixth starts the delays"
    );
}

#[tokio::test]
async fn failures_of_clients_that_disconnect_count() {
    let app = TestApp::start_with(|config| {
        config.passwords.memory_kib = 32 * 1024;
        config.passwords.iterations = 8;
    })
    .await;
    let own = app.join(ADA).await;
    let body = json!({"password": "gravel-lantern-otter", "current_password": WRONG});
    for n in 0..6 {
        let before = app.hashes();
        // In turn a login and a change that needs the password.
        let request = async {
            if n % 2 == 0 {
                app.try_log_in(ADA, WRONG).await
            } else {
                app.patch(own.access(), &body).await
            }
        };
        // The connection is closed while the hash is computed.
        tokio::select! {
            response = request => panic!("{response:?}"),
            () = app.until(|| app.hashes() > before) => {}
        }
    }
    retry_after(app.try_log_in(ADA, PASSWORD).await).await;
}

#[tokio::test]
async fn each_replica_allows_at_most_one_more_guess() {
    let app = TestApp::start().await;
    app.sign_up(ADA).await;
    let other = app.replica(|_| {}).await;
    let replicas = [&*app, &other];
    let guesses = (0..60).map(|n| replicas[n % 2].try_log_in(ADA, WRONG));
    let responses = join_all(guesses).await;
    let checked = responses.iter().filter(|response| response.status() == 401);
    assert!((6..=7).contains(&checked.count()));
}

#[tokio::test]
async fn failures_elsewhere_do_not_throttle_the_owner() {
    let app = TestApp::start().await;
    app.sign_up(ADA).await;
    for home in ["203.0.113.7", "2001:db8::7"] {
        assert_eq!(app.log_in_from(home, ADA, PASSWORD).await.status(), 201);
    }
    for n in 0..6 {
        let client = format!("198.51.100.{n}");
        assert_eq!(app.log_in_from(&client, ADA, WRONG).await.status(), 401);
    }
    let elsewhere = app.log_in_from("192.0.2.1", ADA, PASSWORD).await;
    assert_eq!(retry_after(elsewhere).await, "1");
    let wrong_at_home = app.log_in_from("203.0.113.7", ADA, WRONG).await;
    assert_eq!(wrong_at_home.status(), 401);
    let neighbor = app.log_in_from("2001:db8::ffff", ADA, PASSWORD).await;
    assert_eq!(neighbor.status(), 201, "the same /64 is the same network");
}

#[tokio::test]
async fn guesses_from_a_known_network_are_throttled() {
    let app = TestApp::start().await;
    let home = "203.0.113.7";
    app.sign_up(ADA).await;
    assert_eq!(app.log_in_from(home, ADA, PASSWORD).await.status(), 201);
    let guesses = (0..60).map(|_| app.log_in_from(home, ADA, WRONG));
    let responses = join_all(guesses).await;
    let checked = responses.iter().filter(|response| response.status() == 401);
    assert_eq!(checked.count(), 6, "the same limit as elsewhere");
    app.advance(1);
    assert_eq!(app.log_in_from(home, ADA, PASSWORD).await.status(), 201);
    assert_eq!(app.log_in_from(home, ADA, WRONG).await.status(), 401);
}

#[tokio::test]
async fn a_login_of_the_owner_does_not_reset_the_guessers_delay() {
    let app = TestApp::start().await;
    app.sign_up(ADA).await;
    let guesser = "198.51.100.1";
    assert_eq!(
        app.log_in_from("203.0.113.7", ADA, PASSWORD).await.status(),
        201
    );
    for _ in 0..6 {
        assert_eq!(app.log_in_from(guesser, ADA, WRONG).await.status(), 401);
    }
    assert_eq!(
        app.log_in_from("203.0.113.7", ADA, PASSWORD).await.status(),
        201
    );
    retry_after(app.log_in_from(guesser, ADA, WRONG).await).await;
}

#[tokio::test]
async fn a_network_whose_session_was_revoked_is_no_longer_known() {
    let app = TestApp::start().await;
    let own = app.join(ADA).await;
    let thief = "203.0.113.66";
    assert_eq!(app.log_in_from(thief, ADA, PASSWORD).await.status(), 201);
    let body = json!({"password": "gravel-lantern-otter", "current_password": PASSWORD});
    json_of(app.patch(own.access(), &body).await, 200).await;
    for n in 0..6 {
        let client = format!("198.51.100.{n}");
        assert_eq!(app.log_in_from(&client, ADA, WRONG).await.status(), 401);
    }
    retry_after(app.log_in_from(thief, ADA, PASSWORD).await).await;
}

#[tokio::test]
async fn one_client_ip_is_throttled_across_accounts() {
    let app = TestApp::start_with(|config| config.throttle.address_free_failures = 3).await;
    app.sign_up(ADA).await;
    let client = "203.0.113.66";
    for n in 0..4 {
        let email = format!("user{n}@example.com");
        assert_eq!(app.log_in_from(client, &email, WRONG).await.status(), 401);
    }
    assert_eq!(
        retry_after(app.log_in_from(client, ADA, PASSWORD).await).await,
        "1"
    );
    let other = app.log_in_from("203.0.113.67", ADA, PASSWORD).await;
    assert_eq!(other.status(), 201);
}

#[tokio::test]
async fn probing_for_taken_emails_is_throttled() {
    let app = TestApp::start_with(|config| config.throttle.address_free_failures = 3).await;
    app.sign_up(ADA).await;
    let sign_up = |client: &str| {
        let request = app.request(Method::POST, USERS);
        let request = request.header("x-forwarded-for", client);
        let request = request.json(&credentials(ADA, PASSWORD));
        async move { request.send().await.unwrap() }
    };
    let prober = "203.0.113.66";
    for _ in 0..4 {
        problem_of(sign_up(prober).await, 409, "email_taken").await;
    }
    assert_eq!(retry_after(sign_up(prober).await).await, "1");
    assert_eq!(sign_up("203.0.113.67").await.status(), 409);
    app.advance(1);
    assert_eq!(sign_up(prober).await.status(), 409);
    assert_eq!(retry_after(sign_up(prober).await).await, "2");
}

#[tokio::test]
async fn updates_to_taken_emails_are_throttled() {
    let app = TestApp::start_with(|config| config.throttle.address_free_failures = 3).await;
    app.sign_up(EVE).await;
    let tokens = app.join(ADA).await;
    let body = json!({"email": EVE, "current_password": PASSWORD});
    for _ in 0..4 {
        problem_of(app.patch(tokens.access(), &body).await, 409, "email_taken").await;
    }
    retry_after(app.patch(tokens.access(), &body).await).await;
    assert_eq!(
        app.get(ME, tokens.access()).await.status(),
        200,
        "reads still work"
    );
}

#[tokio::test]
async fn guesses_of_the_current_password_are_throttled() {
    let app = TestApp::start().await;
    let tokens = app.join(ADA).await;
    let body = json!({"password": "gravel-lantern-otter", "current_password": WRONG});
    for _ in 0..6 {
        let response = app.patch(tokens.access(), &body).await;
        problem_of(response, 403, "wrong_password").await;
    }
    retry_after(app.patch(tokens.access(), &body).await).await;
}
