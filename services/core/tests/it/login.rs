use futures_util::future::join_all;
use serde_json::Value;

use crate::support::{ADA, EVE, ME, PASSWORD, SESSIONS, WRONG, World, header, json_of, problem_of};

#[tokio::test]
async fn whoever_knows_the_password_gets_tokens() {
    let world = World::start().await;
    world.sign_up(ADA).await;
    let response = world.try_log_in("ADA@EXAMPLE.com", PASSWORD).await;
    assert_eq!(header(&response, "cache-control"), "no-store");
    let tokens = json_of(response, 201).await;
    assert_eq!(tokens["token_type"], "Bearer");
    assert_eq!(tokens["expires_in"], 900);
    assert!(
        tokens["refresh_token"]
            .as_str()
            .unwrap()
            .starts_with("qrt_ref_")
    );
}

#[tokio::test]
async fn a_password_typed_on_another_keyboard_is_the_same() {
    let world = World::start().await;
    let body = crate::support::credentials(ADA, "caf\u{e9} au lait, encore");
    json_of(world.post(crate::support::USERS, &body).await, 201).await;
    let response = world.try_log_in(ADA, "cafe\u{301} au lait, encore").await;
    assert_eq!(response.status(), 201);
}

#[tokio::test]
async fn a_wrong_address_and_a_wrong_password_look_and_cost_the_same() {
    let world = World::start().await;
    world.sign_up(ADA).await;
    let mut seen = Vec::new();
    for (email, password) in [(ADA, WRONG), (EVE, WRONG), (EVE, PASSWORD)] {
        let before = world.hashes();
        let response = world.try_log_in(email, password).await;
        let challenge = header(&response, "www-authenticate").to_owned();
        let mut body = json_of(response, 401).await;
        body["request_id"] = Value::Null;
        seen.push((body, challenge, world.hashes() - before));
    }
    assert_eq!(seen[0], seen[1]);
    assert_eq!(seen[0], seen[2]);
    assert_eq!(seen[0].0["code"], "invalid_credentials");
    assert_eq!(seen[0].2, 1, "one argon2 run");
}

#[tokio::test]
async fn a_login_hashes_anew_when_the_parameters_have_changed() {
    let world = World::start().await;
    world.sign_up(ADA).await;
    let stronger = world
        .replica(|config| config.passwords.iterations = 2)
        .await;
    stronger.log_in(ADA).await;
    assert_eq!(stronger.hashes(), 2, "verified, and hashed anew");
    stronger.log_in(ADA).await;
    assert_eq!(stronger.hashes(), 3, "only verified");
    let current = "SELECT count(*) FROM core.users WHERE password_hash LIKE '%m=64,t=2,p=1%'";
    assert_eq!(world.number(current).await, 1);
    assert_eq!(
        stronger.try_log_in(ADA, WRONG).await.status(),
        401,
        "still a password"
    );
}

#[tokio::test]
async fn logins_that_hash_anew_at_once_all_get_in() {
    let world = World::start().await;
    world.sign_up(ADA).await;
    let stronger = [
        world
            .replica(|config| config.passwords.iterations = 2)
            .await,
        world
            .replica(|config| config.passwords.iterations = 2)
            .await,
    ];
    let logins = (0..10).map(|n| stronger[n % 2].try_log_in(ADA, PASSWORD));
    for answer in join_all(logins).await {
        assert_eq!(answer.status(), 201);
    }
}

#[tokio::test]
async fn a_right_password_that_cannot_be_hashed_anew_is_right() {
    let world = World::start().await;
    world.sign_up(ADA).await;
    let mut role = world.database.connect_as_role().await;
    sqlx::raw_sql(
        "CREATE FUNCTION core.refuse() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN RAISE EXCEPTION 'refused'; END $$;
         CREATE TRIGGER refuse BEFORE UPDATE ON core.users
             FOR EACH ROW EXECUTE FUNCTION core.refuse()",
    )
    .execute(&mut role)
    .await
    .unwrap();
    let stronger = world
        .replica(|config| config.passwords.iterations = 2)
        .await;
    stronger.log_in(ADA).await;
    assert_eq!(stronger.hashes(), 2, "it was tried");
}

#[tokio::test]
async fn a_full_queue_is_told_and_nobody_else_is_harmed() {
    let world = World::start_with(|config| {
        config.passwords.max_concurrent = 1;
        config.passwords.max_waiting = 0;
    })
    .await;
    world.sign_up(ADA).await;
    world.sign_up(EVE).await;
    // A login that has to wait for its user's row keeps the only place.
    let mut holder = world.database.connect_as_role().await;
    let mut tx = sqlx::Connection::begin(&mut holder).await.unwrap();
    sqlx::query("SELECT id FROM core.users WHERE email = 'ada@example.com' FOR UPDATE")
        .fetch_one(&mut *tx)
        .await
        .unwrap();
    let full = async {
        world.somebody_waits_for_a_lock().await;
        let response = world.try_log_in(EVE, PASSWORD).await;
        assert_eq!(header(&response, "retry-after"), "1");
        problem_of(response, 503, "unavailable").await;
        tx.rollback().await.unwrap();
    };
    let (first, ()) = tokio::join!(world.try_log_in(ADA, PASSWORD), full);
    assert_eq!(first.status(), 201);
    world.log_in(EVE).await;
}

#[tokio::test]
async fn the_client_is_noted_and_a_long_agent_is_cut() {
    let world = World::start().await;
    world.sign_up(ADA).await;
    let request = world.request(reqwest::Method::POST, SESSIONS);
    let request = request
        .header("x-forwarded-for", "203.0.113.7")
        .header("user-agent", "a".repeat(5000))
        .json(&crate::support::credentials(ADA, PASSWORD));
    let tokens = crate::support::Tokens(json_of(request.send().await.unwrap(), 201).await);
    let page = json_of(world.get(SESSIONS, tokens.access()).await, 200).await;
    assert_eq!(page["data"][0]["client_address"], "203.0.113.7");
    assert_eq!(page["data"][0]["user_agent"].as_str().unwrap().len(), 256);
    assert_eq!(world.get(ME, tokens.access()).await.status(), 200);
}
