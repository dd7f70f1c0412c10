//! What happens between looking and acting: a test holds a row so that the service has to wait.

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;
use sqlx::Connection;

use crate::support::{ADA, ME, PASSWORD, USERS, World, credentials, header, problem_of};

/// A login that has verified the password waits for the user's row; meanwhile `change` happens.
async fn change_during_login(change: &'static str) {
    let world = World::start().await;
    world.sign_up(ADA).await;
    let mut holder = world.database.connect_as_role().await;
    let mut tx = holder.begin().await.unwrap();
    sqlx::query("SELECT id FROM core.users FOR UPDATE")
        .fetch_one(&mut *tx)
        .await
        .unwrap();
    let changing = async {
        world.somebody_waits_for_a_lock().await;
        sqlx::query(change).execute(&mut *tx).await.unwrap();
        tx.commit().await.unwrap();
    };
    let (login, ()) = tokio::join!(world.try_log_in(ADA, PASSWORD), changing);
    problem_of(login, 401, "invalid_credentials").await;
    assert_eq!(world.number("SELECT count(*) FROM core.sessions").await, 0);
}

#[tokio::test]
async fn a_password_changed_during_a_login_keeps_the_old_one_out() {
    change_during_login(
        "UPDATE core.users SET password_hash = replace(password_hash, '$argon2id', '$argon2i')",
    )
    .await;
}

#[tokio::test]
async fn a_user_deleted_during_a_login_stays_out() {
    change_during_login("UPDATE core.users SET deleted_at = now()").await;
}

#[tokio::test]
async fn a_client_that_leaves_before_the_commit_leaves_no_user() {
    let world = World::start().await;
    let mut holder = world.database.connect_as_role().await;
    let mut tx = holder.begin().await.unwrap();
    sqlx::query("LOCK TABLE core.users IN SHARE MODE")
        .execute(&mut *tx)
        .await
        .unwrap();
    let request = world.request(Method::POST, USERS);
    let request = request.json(&credentials(ADA, PASSWORD));
    let client = tokio::spawn(request.send());
    world.somebody_waits_for_a_lock().await;
    client.abort();
    world.until(|| world.active("POST") == 0).await;
    tx.rollback().await.unwrap();
    // The statement goes on without its client; what counts is that nobody commits it.
    let busy = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
         AND backend_type = 'client backend' AND state <> 'idle' AND pid <> pg_backend_pid()";
    world.until_zero(busy).await;
    assert_eq!(world.number("SELECT count(*) FROM core.users").await, 0);
    world.join(ADA).await;
}

#[tokio::test]
async fn changes_at_once_without_if_match_all_happen() {
    let world = World::start().await;
    let tokens = world.join(ADA).await;
    let patches = (0..20).map(|n| {
        let (world, tokens) = (&world, &tokens);
        async move {
            let body = json!({ "display_name": format!("Ada {n}") });
            world.patch(tokens.access(), &body).await
        }
    });
    for answer in join_all(patches).await {
        assert_eq!(answer.status(), 200);
    }
    assert_eq!(world.number("SELECT version FROM core.users").await, 21);
}

#[tokio::test]
async fn of_changes_at_once_to_one_version_one_happens() {
    let world = World::start().await;
    let tokens = world.join(ADA).await;
    let response = world.get(ME, tokens.access()).await;
    let tag = header(&response, "etag").to_owned();
    let patches = (0..20).map(|n| {
        let request = world.request(Method::PATCH, ME);
        let request = request.bearer_auth(tokens.access());
        let request = request.header("if-match", &tag);
        let request = request.json(&json!({ "display_name": format!("Ada {n}") }));
        async move { request.send().await.unwrap() }
    });
    let answers = join_all(patches).await;
    let made = answers.iter().filter(|answer| answer.status() == 200);
    assert_eq!(made.count(), 1);
    let refused = answers.iter().filter(|answer| answer.status() == 412);
    assert_eq!(refused.count(), 19);
}
