use futures_util::future::join_all;
use serde_json::Value;

use crate::support::{
    ADA, EVE, ME, PASSWORD, SESSIONS, TestApp, USERS, WRONG, credentials, header, json_of,
    problem_of,
};

#[tokio::test]
async fn login_returns_tokens() {
    let app = TestApp::start().await;
    app.sign_up(ADA).await;
    let response = app.try_log_in("ADA@EXAMPLE.com", PASSWORD).await;
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
async fn passwords_are_compared_in_nfc() {
    let app = TestApp::start().await;
    let body = crate::support::credentials(ADA, "caf\u{e9} au lait, encore");
    json_of(app.post(crate::support::USERS, &body).await, 201).await;
    let response = app.try_log_in(ADA, "cafe\u{301} au lait, encore").await;
    assert_eq!(response.status(), 201);
}

#[tokio::test]
async fn unknown_email_and_wrong_password_are_indistinguishable() {
    let app = TestApp::start().await;
    app.sign_up(ADA).await;
    let mut seen = Vec::new();
    for (email, password) in [(ADA, WRONG), (EVE, WRONG), (EVE, PASSWORD)] {
        let before = app.hashes();
        let response = app.try_log_in(email, password).await;
        let challenge = header(&response, "www-authenticate").to_owned();
        let mut body = json_of(response, 401).await;
        body["request_id"] = Value::Null;
        seen.push((body, challenge, app.hashes() - before));
    }
    assert_eq!(seen[0], seen[1]);
    assert_eq!(seen[0], seen[2]);
    assert_eq!(seen[0].0["code"], "invalid_credentials");
    assert_eq!(seen[0].2, 1, "one argon2 run");
}

#[tokio::test]
async fn login_rehashes_after_a_parameter_change() {
    let app = TestApp::start().await;
    app.sign_up(ADA).await;
    let stronger = app.replica(|config| config.passwords.iterations = 2).await;
    stronger.log_in(ADA).await;
    assert_eq!(stronger.hashes(), 2, "verified and rehashed");
    stronger.log_in(ADA).await;
    assert_eq!(stronger.hashes(), 3, "verified only");
    let current = "SELECT count(*) FROM core.passwords WHERE hash LIKE '%m=64,t=2,p=1%'";
    assert_eq!(app.number(current).await, 1);
    assert_eq!(
        stronger.try_log_in(ADA, WRONG).await.status(),
        401,
        "the rehash is of the same password"
    );
}

#[tokio::test]
async fn concurrent_rehashing_logins_all_succeed() {
    let app = TestApp::start().await;
    app.sign_up(ADA).await;
    let stronger = [
        app.replica(|config| config.passwords.iterations = 2).await,
        app.replica(|config| config.passwords.iterations = 2).await,
    ];
    let logins = (0..10).map(|n| stronger[n % 2].try_log_in(ADA, PASSWORD));
    for response in join_all(logins).await {
        assert_eq!(response.status(), 201);
    }
}

#[tokio::test]
async fn login_succeeds_when_rehashing_fails() {
    let app = TestApp::start().await;
    app.sign_up(ADA).await;
    let mut owner = app.database.connect_as_owner().await;
    sqlx::raw_sql(
        "CREATE FUNCTION core.refuse() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN RAISE EXCEPTION 'refused'; END $$;
         CREATE TRIGGER refuse BEFORE UPDATE ON core.passwords
             FOR EACH ROW EXECUTE FUNCTION core.refuse()",
    )
    .execute(&mut owner)
    .await
    .unwrap();
    let stronger = app.replica(|config| config.passwords.iterations = 2).await;
    stronger.log_in(ADA).await;
    assert_eq!(stronger.hashes(), 2, "rehashing was attempted");
}

#[tokio::test]
async fn a_full_hashing_queue_returns_503_and_recovers() {
    let app = TestApp::start_with(|config| {
        config.passwords.max_concurrent = 1;
        config.passwords.max_waiting = 0;
        // About half a second.
        config.passwords.memory_kib = 640;
        config.passwords.iterations = 1_000;
    })
    .await;
    let full = async {
        app.until(|| app.hashes() == 1).await;
        let response = app.post(USERS, &credentials(EVE, PASSWORD)).await;
        assert_eq!(header(&response, "retry-after"), "1");
        problem_of(response, 503, "unavailable").await;
    };
    let body = credentials(ADA, PASSWORD);
    let (first, ()) = tokio::join!(app.post(USERS, &body), full);
    assert_eq!(first.status(), 201);
    app.sign_up(EVE).await;
}

#[tokio::test]
#[expect(
    clippy::disallowed_methods,
    reason = "the transaction of the test needs no limit of time"
)]
async fn a_login_that_waits_for_the_database_keeps_no_one_from_hashing() {
    let app = TestApp::start_with(|config| {
        config.passwords.max_concurrent = 1;
        config.passwords.max_waiting = 0;
    })
    .await;
    app.sign_up(ADA).await;
    app.sign_up(EVE).await;
    let mut holder = app.database.connect_as_role().await;
    let mut tx = sqlx::Connection::begin(&mut holder).await.unwrap();
    sqlx::query(
        "SELECT u.id FROM core.users AS u JOIN core.emails AS e ON e.user_id = u.id
         WHERE e.address = 'ada@example.com' FOR UPDATE",
    )
    .fetch_one(&mut *tx)
    .await
    .unwrap();
    let others = async {
        app.until_a_query_waits_for_a_lock().await;
        app.log_in(EVE).await;
        tx.rollback().await.unwrap();
    };
    let (first, ()) = tokio::join!(app.try_log_in(ADA, PASSWORD), others);
    assert_eq!(first.status(), 201);
}

#[tokio::test]
async fn attempts_on_one_account_do_not_starve_others() {
    let app = TestApp::start_with(|config| config.passwords.max_waiting = 16).await;
    app.sign_up(ADA).await;
    for n in 0..10 {
        app.sign_up(&format!("other{n}@example.com")).await;
    }
    // Each from a network of its own.
    let flood = (0..90).map(|n| {
        let client = format!("198.51.100.{n}");
        let app = &app;
        async move { app.log_in_from(&client, ADA, WRONG).await.status() }
    });
    let others = (0..10).map(|n| {
        let (client, email) = (format!("203.0.113.{n}"), format!("other{n}@example.com"));
        let app = &app;
        async move { app.log_in_from(&client, &email, PASSWORD).await.status() }
    });
    let (flooded, others) = tokio::join!(join_all(flood), join_all(others));
    assert!(flooded.iter().any(|status| *status == 503), "{flooded:?}");
    assert!(others.iter().all(|status| *status == 201), "{others:?}");
}

/// Of the account itself and of others, more than wait for slots.
#[tokio::test]
async fn a_flood_from_nine_networks_keeps_no_one_out() {
    let app = TestApp::start_with(|config| {
        config.passwords.max_concurrent = 1;
        config.passwords.max_waiting = 16;
        // About 20 ms.
        config.passwords.memory_kib = 64;
        config.passwords.iterations = 400;
    })
    .await;
    app.sign_up(ADA).await;
    app.sign_up(EVE).await;
    let home = "203.0.113.7";
    let opened = app.log_in_from(home, ADA, PASSWORD).await;
    assert_eq!(opened.status(), 201, "the network is known");
    let before = app.hashes();
    let flood = (0..180).map(|n| {
        let client = format!("2001:db8:0:{:x}::1", n % 9);
        let email = if n < 90 {
            ADA.to_owned()
        } else {
            format!("unknown{n}@example.com")
        };
        let app = &app;
        async move { app.log_in_from(&client, &email, WRONG).await.status() }
    });
    let logins = async {
        app.until(|| app.hashes() > before + 1).await;
        let owner = app.log_in_from(home, ADA, PASSWORD);
        let other = app.log_in_from("203.0.113.8", EVE, PASSWORD);
        let (owner, other) = tokio::join!(owner, other);
        (owner.status(), other.status())
    };
    let (flooded, (owner, other)) = tokio::join!(join_all(flood), logins);
    assert!(flooded.iter().any(|status| *status == 503), "{flooded:?}");
    assert_eq!((owner.as_u16(), other.as_u16()), (201, 201));
}

#[tokio::test]
async fn session_records_client_ip_and_truncated_user_agent() {
    let app = TestApp::start().await;
    app.sign_up(ADA).await;
    let request = app.request(reqwest::Method::POST, SESSIONS);
    let request = request
        .header("x-forwarded-for", "203.0.113.7")
        .header("user-agent", "a".repeat(5000))
        .json(&crate::support::credentials(ADA, PASSWORD));
    let tokens = crate::support::Tokens(json_of(request.send().await.unwrap(), 201).await);
    let page = json_of(app.get(SESSIONS, tokens.access()).await, 200).await;
    assert_eq!(page["data"][0]["client_address"], "203.0.113.7");
    assert_eq!(page["data"][0]["user_agent"].as_str().unwrap().len(), 256);
    assert_eq!(app.get(ME, tokens.access()).await.status(), 200);
}

#[tokio::test]
async fn user_agents_beyond_ascii_are_shown() {
    let app = TestApp::start().await;
    app.sign_up(ADA).await;
    let long = "\u{e9}".repeat(200);
    let cases = [
        (
            &b"T\xe9l\xe9phone/1"[..],
            "T\u{fffd}l\u{fffd}phone/1".to_owned(),
        ),
        (
            "T\u{e9}l\u{e9}phone/1".as_bytes(),
            "T\u{e9}l\u{e9}phone/1".to_owned(),
        ),
        (long.as_bytes(), "\u{e9}".repeat(128)),
    ];
    for (sent, shown) in cases {
        let agent = reqwest::header::HeaderValue::from_bytes(sent).unwrap();
        let request = app.request(reqwest::Method::POST, SESSIONS);
        let request = request.header("user-agent", agent);
        let request = request.json(&crate::support::credentials(ADA, PASSWORD));
        let tokens = crate::support::Tokens(json_of(request.send().await.unwrap(), 201).await);
        let page = json_of(app.get(SESSIONS, tokens.access()).await, 200).await;
        assert_eq!(page["data"][0]["user_agent"], shown);
    }
}

/// The bound is `max_concurrent` times `memory_kib`, however many log in and whatever their hashes need.
#[tokio::test]
async fn hashing_takes_no_more_memory_than_its_slots_and_uses_it_again() {
    const HELD: &str = "core_password_hashing_bytes";
    let slots = 2;
    let app = TestApp::start_with(|config| config.passwords.max_concurrent = slots).await;
    assert_eq!(app.metric(HELD), 0, "nothing before the first hash");
    app.sign_up(ADA).await;
    // Once hashed with more memory, which is freed after the login that needs it.
    let stronger = app
        .replica(|config| config.passwords.memory_kib = 1024)
        .await;
    stronger.sign_up(EVE).await;
    assert_eq!(
        stronger.metric(HELD),
        1024 * 1024,
        "one slot has been in use"
    );

    let bound = slots as u64 * 64 * 1024;
    for round in 0..25 {
        let ip = |n: usize| format!("192.0.2.{}", n % 200);
        let logins = (0..8).map(|n| {
            let (client, app) = (ip(round * 8 + n), &app);
            async move { app.log_in_from(&client, ADA, PASSWORD).await.status() }
        });
        let mut logins = Box::pin(join_all(logins));
        loop {
            tokio::select! {
                done = &mut logins => {
                    assert!(done.iter().all(|status| *status == 201), "{done:?}");
                    break;
                }
                () = tokio::task::yield_now() => assert!(app.metric(HELD) <= bound),
            }
        }
    }
    app.log_in(EVE).await;
    let held = app.metric(HELD);
    assert!(0 < held && held <= bound, "{held}");
}
