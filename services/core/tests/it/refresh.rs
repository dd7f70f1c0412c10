use futures_util::future::join_all;
use secrecy::SecretString;

use crate::support::{ADA, ME, TestApp, Tokens, field, json_of, problem_of};

async fn assert_ended(app: &TestApp, tokens: &Tokens) {
    let response = app.try_refresh(tokens.refresh()).await;
    problem_of(response, 401, "invalid_refresh_token").await;
    assert_eq!(app.get(ME, tokens.access()).await.status(), 401);
}

#[tokio::test]
async fn refresh_returns_new_tokens_of_the_same_session() {
    let app = TestApp::start().await;
    let first = app.join(ADA).await;
    app.advance(60);
    let second = app.refresh(&first).await;
    assert_ne!(second.refresh(), first.refresh());
    assert_ne!(second.access(), first.access());
    assert_eq!(second.session(), first.session());
    let third = app.refresh(&second).await;
    app.me(&third).await;
}

#[tokio::test]
async fn concurrent_refreshes_return_one_successor() {
    let app = TestApp::start().await;
    let first = app.join(ADA).await;
    let responses = join_all((0..20).map(|_| app.refresh(&first))).await;
    assert!(
        responses
            .iter()
            .all(|one| one.refresh() == responses[0].refresh())
    );
    assert_eq!(
        app.number("SELECT count(*) FROM core.refresh_tokens").await,
        1
    );
    app.me(&responses[19]).await;
    app.refresh(&responses[7]).await;
}

#[tokio::test]
async fn a_used_token_returns_its_successor_within_the_grace_period() {
    let app = TestApp::start().await;
    let first = app.join(ADA).await;
    let second = app.refresh(&first).await;
    app.advance(10);
    let again = app.refresh(&first).await;
    assert_eq!(again.refresh(), second.refresh());
    assert_eq!(again.session(), second.session());
}

#[tokio::test]
async fn reuse_after_the_grace_period_ends_the_session() {
    let app = TestApp::start().await;
    let first = app.join(ADA).await;
    let other = app.log_in(ADA).await;
    let second = app.refresh(&first).await;
    app.advance(11);
    let response = app.try_refresh(first.refresh()).await;
    problem_of(response, 401, "invalid_refresh_token").await;
    assert_ended(&app, &second).await;
    app.me(&other).await;
}

#[tokio::test]
async fn reuse_after_the_successor_was_used_ends_the_session() {
    let app = TestApp::start().await;
    let first = app.join(ADA).await;
    let second = app.refresh(&first).await;
    let third = app.refresh(&second).await;
    let response = app.try_refresh(first.refresh()).await;
    problem_of(response, 401, "invalid_refresh_token").await;
    assert_ended(&app, &third).await;
}

/// A session holds one row, however often it is refreshed, and each of its older tokens ends it.
#[tokio::test]
async fn a_thousand_refreshes_leave_one_row_and_the_first_token_still_ends_the_session() {
    let app = TestApp::start().await;
    let first = app.join(ADA).await;
    let mut last = app.refresh(&first).await;
    for _ in 1..1000 {
        last = app.refresh(&last).await;
    }
    assert_eq!(
        app.number("SELECT count(*) FROM core.refresh_tokens").await,
        1
    );
    let other = app.log_in(ADA).await;
    let response = app.try_refresh(first.refresh()).await;
    problem_of(response, 401, "invalid_refresh_token").await;
    assert_ended(&app, &last).await;
    app.me(&other).await;
}

#[tokio::test]
async fn each_older_token_ends_the_session() {
    for age in 2..=4 {
        let app = TestApp::start().await;
        let mut tokens = vec![app.join(ADA).await];
        for _ in 0..4 {
            tokens.push(app.refresh(&tokens[tokens.len() - 1]).await);
        }
        let older = &tokens[4 - age];
        let response = app.try_refresh(older.refresh()).await;
        problem_of(response, 401, "invalid_refresh_token").await;
        assert_ended(&app, &tokens[4]).await;
    }
}

/// What a client may know without a token, such as the id of a session, must not end one.
#[tokio::test]
async fn a_forged_token_ends_no_session() {
    let app = TestApp::start().await;
    let tokens = app.join(ADA).await;
    let other = app.log_in(ADA).await;
    // The secret of one session with the family of another.
    let forge = |family: &str| {
        let secrets = format!("{family}{}", &other.refresh()[8 + 22..8 + 64]);
        format!(
            "qrt_ref_{secrets}{:08x}",
            crc32fast::hash(secrets.as_bytes())
        )
    };
    let unknown = forge(&"A".repeat(22));
    let response = app.try_refresh(&unknown).await;
    problem_of(response, 401, "invalid_refresh_token").await;
    app.me(&tokens).await;
    app.me(&other).await;
    // A client that has the family has had one of its tokens.
    let known = forge(&tokens.refresh()[8..8 + 22]);
    let response = app.try_refresh(&known).await;
    problem_of(response, 401, "invalid_refresh_token").await;
    assert_ended(&app, &tokens).await;
    app.refresh(&other).await;
}

#[tokio::test]
async fn an_idle_session_expires() {
    let app = TestApp::start_with(|config| config.sessions.idle_ttl_seconds = 1000).await;
    let mut tokens = app.join(ADA).await;
    for _ in 0..3 {
        app.advance(999);
        tokens = app.refresh(&tokens).await;
    }
    app.advance(1000);
    assert_ended(&app, &tokens).await;
}

#[tokio::test]
async fn an_active_session_expires_at_its_absolute_lifetime() {
    let app = TestApp::start_with(|config| {
        config.sessions.idle_ttl_seconds = 1000;
        config.sessions.absolute_ttl_seconds = 2500;
    })
    .await;
    let mut tokens = app.join(ADA).await;
    for _ in 0..2 {
        app.advance(900);
        tokens = app.refresh(&tokens).await;
    }
    app.advance(700);
    assert_ended(&app, &tokens).await;
}

#[tokio::test]
async fn a_malformed_refresh_token_names_the_field_and_an_unknown_one_does_not() {
    let app = TestApp::start().await;
    let tokens = app.join(ADA).await;
    let good = tokens.refresh();
    for malformed in [
        "",
        "x",
        &good[1..],
        &good[..good.len() - 1],
        &format!("{good}0"),
        "qrt_ref_ü",
    ] {
        let response = app.try_refresh(malformed).await;
        let found = problem_of(response, 401, "invalid_refresh_token").await;
        assert_eq!(found, field("/refresh_token", "malformed"), "{malformed}");
    }
    // 48 zero bytes and the CRC-32 of their 64 characters.
    let secret = "A".repeat(64);
    let unknown = format!("qrt_ref_{secret}{:08x}", crc32fast::hash(secret.as_bytes()));
    let response = app.try_refresh(&unknown).await;
    let found = problem_of(response, 401, "invalid_refresh_token").await;
    assert!(found.is_empty(), "well formed");
    app.refresh(&tokens).await;
}

#[tokio::test]
async fn a_replica_that_cannot_sign_uses_no_token() {
    let app = TestApp::start().await;
    let first = app.join(ADA).await;
    let broken = app
        .replica(|config| config.keys.master_key = SecretString::from("ab".repeat(32)))
        .await;
    let response = broken.try_refresh(first.refresh()).await;
    problem_of(response, 500, "internal").await;
    let sessions = "SELECT count(*) FROM core.sessions";
    let before = app.number(sessions).await;
    let login = broken.try_log_in(ADA, crate::support::PASSWORD).await;
    problem_of(login, 500, "internal").await;
    assert_eq!(app.number(sessions).await, before);
    let second = app.refresh(&first).await;
    // Within the grace period the other master key derives a successor that was never stored.
    let response = broken.try_refresh(first.refresh()).await;
    problem_of(response, 401, "invalid_refresh_token").await;
    let again = json_of(app.try_refresh(first.refresh()).await, 200).await;
    assert_eq!(again["refresh_token"], second.refresh());
}
