use std::collections::BTreeMap;

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    ADA, EVE, PASSWORD, TestApp, USERS, credentials, field, header, json_of, problem_of,
};

#[tokio::test]
async fn sign_up_returns_the_user_as_read_later() {
    let app = TestApp::start().await;
    let body = json!({"email": " Ada@Example.COM ", "password": PASSWORD, "display_name": " Ada "});
    let response = app.post(USERS, &body).await;
    assert_eq!(header(&response, "location"), "/v1/core/users/me");
    let tag = header(&response, "etag").to_owned();
    let user = json_of(response, 201).await;
    assert_eq!(user["email"], "Ada@example.com");
    assert_eq!(user["display_name"], "Ada");
    assert!(user["id"].as_str().unwrap().starts_with("usr_"));
    let tokens = app.log_in(ADA).await;
    let response = app.get(crate::support::ME, tokens.access()).await;
    assert_eq!(header(&response, "etag"), tag);
    assert_eq!(json_of(response, 200).await, user, "timestamps included");
}

#[tokio::test]
async fn sign_up_names_each_invalid_field() {
    let app = TestApp::start().await;
    let long_email = format!("ada@{}example.com", "label.".repeat(50));
    let cases: [(Value, &str, &str); 13] = [
        (credentials("ada", PASSWORD), "/email", "invalid_email"),
        (
            credentials("a\u{0}b@example.com", PASSWORD),
            "/email",
            "invalid_email",
        ),
        (credentials(&long_email, PASSWORD), "/email", "too_long"),
        (credentials(ADA, ""), "/password", "empty"),
        (credentials(ADA, "tangerine-moss"), "/password", "too_short"),
        (
            credentials(ADA, &"tangerine violin ".repeat(20)),
            "/password",
            "too_long",
        ),
        (
            credentials(ADA, "passwordpassword"),
            "/password",
            "easily_guessed",
        ),
        (
            credentials("lovelace@example.com", "lovelace1815lovelace"),
            "/password",
            "easily_guessed",
        ),
        (
            json!({"email": ADA, "password": PASSWORD, "display_name": " "}),
            "/display_name",
            "empty",
        ),
        (
            json!({"email": ADA, "password": PASSWORD, "display_name": "x".repeat(101)}),
            "/display_name",
            "too_long",
        ),
        (
            json!({"email": ADA, "password": PASSWORD, "display_name": "a\u{0}b"}),
            "/display_name",
            "control_character",
        ),
        (
            json!({"email": 5, "password": PASSWORD}),
            "/email",
            "invalid_value",
        ),
        (
            json!({"email": ADA, "password": ["s3cret"]}),
            "/password",
            "invalid_value",
        ),
    ];
    for (body, pointer, rule) in cases {
        let found = problem_of(app.post(USERS, &body).await, 422, "invalid_body").await;
        assert_eq!(found, field(pointer, rule), "{body}");
    }
    assert_eq!(
        app.number("SELECT count(*) FROM core.users").await,
        0,
        "no account was created"
    );
}

#[tokio::test]
async fn sign_up_names_all_invalid_fields_at_once() {
    let app = TestApp::start().await;
    let body = json!({"email": "x", "password": "y", "display_name": ""});
    let found = problem_of(app.post(USERS, &body).await, 422, "invalid_body").await;
    let pointers: Vec<&str> = found.iter().map(|(pointer, _)| pointer.as_str()).collect();
    assert_eq!(pointers, ["/email", "/display_name", "/password"]);
}

#[tokio::test]
async fn concurrent_sign_ups_with_one_email_create_one_user() {
    let app = TestApp::start_with(|config| {
        config.passwords.max_waiting = 200;
        config.throttle.address_free_failures = 1000;
    })
    .await;
    let spelled = |n: usize| -> String {
        let turned = ADA.chars().enumerate().map(|(place, letter)| {
            if (n >> (place % 7)) & 1 == 1 {
                letter.to_ascii_uppercase()
            } else {
                letter
            }
        });
        turned.collect()
    };
    let responses = join_all((0..100).map(|n| {
        let (app, email) = (&app, spelled(n));
        async move { app.post(USERS, &credentials(&email, PASSWORD)).await }
    }))
    .await;
    let mut counts: BTreeMap<u16, u32> = BTreeMap::new();
    for response in responses {
        *counts.entry(response.status().as_u16()).or_default() += 1;
    }
    assert_eq!(counts, BTreeMap::from([(201, 1), (409, 99)]));
    assert_eq!(app.number("SELECT count(*) FROM core.users").await, 1);
}

#[tokio::test]
async fn a_taken_email_names_field_and_rule() {
    let app = TestApp::start().await;
    app.sign_up(ADA).await;
    let response = app
        .post(USERS, &credentials("ADA@example.com", PASSWORD))
        .await;
    let found = problem_of(response, 409, "email_taken").await;
    assert_eq!(found, field("/email", "taken"));
}

#[tokio::test]
async fn an_idempotency_key_replays_the_response() {
    let app = TestApp::start().await;
    let send = |body: Value| {
        let request = app.request(Method::POST, USERS);
        let request = request.header("idempotency-key", "one").json(&body);
        async move { request.send().await.unwrap() }
    };
    let first = json_of(send(credentials(ADA, PASSWORD)).await, 201).await;
    let again = send(credentials(ADA, PASSWORD)).await;
    assert_eq!(header(&again, "idempotency-replayed"), "true");
    assert_eq!(json_of(again, 201).await, first);
    let other = send(credentials(EVE, PASSWORD)).await;
    let found = problem_of(other, 422, "idempotency_key_reused").await;
    assert_eq!(found, field("idempotency-key", "reused"));
    assert_eq!(app.number("SELECT count(*) FROM core.users").await, 1);
}
