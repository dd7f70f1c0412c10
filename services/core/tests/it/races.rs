//! Races. A test holds a lock to make the service wait at a known point.

#![expect(
    clippy::disallowed_methods,
    reason = "the transactions of the tests need no limit of time"
)]

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;
use sqlx::Connection;

use crate::support::{ADA, ME, PASSWORD, TestApp, USERS, credentials, header, json_of, problem_of};

/// Applies `change` while a login that has verified the password waits for the user's row.
async fn change_during_login(change: &'static str) {
    let app = TestApp::start().await;
    app.sign_up(ADA).await;
    let mut holder = app.database.connect_as_role().await;
    let mut tx = holder.begin().await.unwrap();
    sqlx::query("SELECT id FROM core.users FOR UPDATE")
        .fetch_one(&mut *tx)
        .await
        .unwrap();
    let changing = async {
        app.until_a_query_waits_for_a_lock().await;
        sqlx::query(change).execute(&mut *tx).await.unwrap();
        tx.commit().await.unwrap();
    };
    let (login, ()) = tokio::join!(app.try_log_in(ADA, PASSWORD), changing);
    problem_of(login, 401, "invalid_credentials").await;
    assert_eq!(app.number("SELECT count(*) FROM core.sessions").await, 0);
}

#[tokio::test]
async fn login_fails_when_the_password_changes_meanwhile() {
    change_during_login("UPDATE core.passwords SET hash = replace(hash, '$argon2id', '$argon2i')")
        .await;
}

#[tokio::test]
async fn login_fails_when_the_user_is_deleted_meanwhile() {
    change_during_login("UPDATE core.users SET deleted_at = now()").await;
}

/// The owner of a stolen account changes the password while the thief deletes it.
#[tokio::test]
async fn deletion_fails_when_the_password_changes_meanwhile() {
    let app = TestApp::start().await;
    let tokens = app.join(ADA).await;
    let mut holder = app.database.connect_as_role().await;
    let mut tx = holder.begin().await.unwrap();
    sqlx::query("SELECT id FROM core.users FOR UPDATE")
        .fetch_one(&mut *tx)
        .await
        .unwrap();
    let changing = async {
        app.until_a_query_waits_for_a_lock().await;
        let change = "UPDATE core.passwords SET hash = replace(hash, '$argon2id', '$argon2i')";
        sqlx::query(change).execute(&mut *tx).await.unwrap();
        tx.commit().await.unwrap();
    };
    let deletion = app.delete_account(tokens.access(), PASSWORD);
    let (deleted, ()) = tokio::join!(deletion, changing);
    problem_of(deleted, 403, "wrong_password").await;
    app.me(&tokens).await;
}

#[tokio::test]
async fn disconnecting_before_the_commit_creates_no_user() {
    let app = TestApp::start().await;
    let mut holder = app.database.connect_as_role().await;
    let mut tx = holder.begin().await.unwrap();
    sqlx::query("LOCK TABLE core.users IN SHARE MODE")
        .execute(&mut *tx)
        .await
        .unwrap();
    let request = app.request(Method::POST, USERS);
    let request = request.json(&credentials(ADA, PASSWORD));
    let client = tokio::spawn(request.send());
    app.until_a_query_waits_for_a_lock().await;
    client.abort();
    app.until(|| app.active("POST") == 0).await;
    tx.rollback().await.unwrap();
    // The statement continues after the disconnect; it must not be committed.
    let busy = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
         AND backend_type = 'client backend' AND state <> 'idle' AND pid <> pg_backend_pid()";
    app.until_zero(busy).await;
    assert_eq!(app.number("SELECT count(*) FROM core.users").await, 0);
    app.join(ADA).await;
}

#[tokio::test]
async fn concurrent_updates_without_if_match_all_succeed() {
    let app = TestApp::start().await;
    let tokens = app.join(ADA).await;
    let patches = (0..20).map(|n| {
        let (app, tokens) = (&app, &tokens);
        async move {
            let body = json!({ "display_name": format!("Ada {n}") });
            app.patch(tokens.access(), &body).await
        }
    });
    for response in join_all(patches).await {
        assert_eq!(response.status(), 200);
    }
    assert_eq!(app.number("SELECT version FROM core.users").await, 21);
}

#[tokio::test]
async fn concurrent_updates_with_if_match_succeed_once() {
    let app = TestApp::start().await;
    let tokens = app.join(ADA).await;
    let response = app.get(ME, tokens.access()).await;
    let tag = header(&response, "etag").to_owned();
    let patches = (0..20).map(|n| {
        let request = app.request(Method::PATCH, ME);
        let request = request.bearer_auth(tokens.access());
        let request = request.header("if-match", &tag);
        let request = request.json(&json!({ "display_name": format!("Ada {n}") }));
        async move { request.send().await.unwrap() }
    });
    let responses = join_all(patches).await;
    let succeeded = responses.iter().filter(|response| response.status() == 200);
    assert_eq!(succeeded.count(), 1);
    let rejected = responses.iter().filter(|response| response.status() == 412);
    assert_eq!(rejected.count(), 19);
}

#[tokio::test]
async fn a_sign_up_whose_client_leaves_creates_one_account_and_keeps_no_key() {
    let app = TestApp::start().await;
    for round in 0..20 {
        let email = format!("ada{round}@example.com");
        let send = || {
            let request = app.request(Method::POST, USERS);
            let request = request.header("idempotency-key", &email);
            request.json(&credentials(&email, PASSWORD)).send()
        };
        let _ = tokio::time::timeout(Duration::from_micros(round * 500), send()).await;
        let left = Instant::now();
        let mut again = send().await.unwrap();
        while again.status() == 409 {
            problem_of(again, 409, "request_in_flight").await;
            assert!(left.elapsed() < Duration::from_secs(3), "the key is locked");
            tokio::time::sleep(Duration::from_millis(5)).await;
            again = send().await.unwrap();
        }
        json_of(again, 201).await;
    }
    assert_eq!(app.number("SELECT count(*) FROM core.users").await, 20);
}
