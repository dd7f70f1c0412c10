//! The feed of sessions that have ended.

use std::time::Duration;

use reqwest::{Method, Response};
use secrecy::SecretString;
use serde_json::{Value, json};
use sqlx::Executor as _;

use crate::support::{ADA, EVE, SESSIONS, TestApp, json_of, problem_of};

const FEED: &str = "/internal/revocations";
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
/// Tokens live for 15 minutes; clocks may differ by five, and one more.
const RETENTION_SECONDS: i64 = 900 + 360;
const DEADLINE: Duration = Duration::from_secs(20);

async fn start() -> TestApp {
    TestApp::start_with(|config| config.events.secret = Some(SecretString::from(SECRET))).await
}

async fn ask(app: &TestApp, body: &Value) -> Response {
    app.ask_signed(SECRET, FEED, body).await
}

/// The sessions after a cursor, on one page, and the next cursor.
async fn read(app: &TestApp, after: Option<&str>) -> (Vec<String>, String) {
    let page = json_of(ask(app, &json!({ "after": after })).await, 200).await;
    assert_eq!(page["more"], false);
    let sessions = page["revocations"].as_array().unwrap().iter();
    let sessions = sessions.map(|revoked| revoked["session_id"].as_str().unwrap().to_owned());
    (
        sessions.collect(),
        page["next"].as_str().unwrap().to_owned(),
    )
}

/// Reads on until a page is empty. Revocations are read again while a transaction is open anywhere on the
/// server, and other tests have theirs there.
async fn nothing_follows(app: &TestApp, mut cursor: String) {
    let all_read = async {
        loop {
            let (found, next) = read(app, Some(&cursor)).await;
            if found.is_empty() {
                return;
            }
            cursor = next;
        }
    };
    tokio::time::timeout(DEADLINE, all_read).await.unwrap();
}

#[tokio::test]
async fn ended_sessions_are_in_the_feed_until_their_tokens_have_expired() {
    let app = start().await;
    let (ada, other) = (app.join(ADA).await, app.log_in(ADA).await);
    let eve = app.join(EVE).await;
    let (none, cursor) = read(&app, None).await;
    assert!(none.is_empty());
    // By logging out, by the reuse of a refresh token, and by deleting the account.
    let out = app
        .delete(&format!("{SESSIONS}/current"), ada.access())
        .await;
    assert_eq!(out.status(), 204);
    let page = json_of(ask(&app, &json!({ "after": cursor })).await, 200).await;
    let until = app.clock.now().timestamp() + RETENTION_SECONDS;
    let expected = json!([{ "session_id": ada.session(), "until": until }]);
    assert_eq!(page["revocations"], expected);
    app.refresh(&other).await;
    app.advance(60);
    assert_eq!(app.try_refresh(other.refresh()).await.status(), 401);
    let deleted = app
        .delete_account(eve.access(), crate::support::PASSWORD)
        .await;
    assert_eq!(deleted.status(), 204);
    let next = page["next"].as_str().unwrap();
    let (found, next) = read(&app, Some(next)).await;
    assert!(
        found.ends_with(&[other.session().to_owned(), eve.session().to_owned()]),
        "{found:?}"
    );
    nothing_follows(&app, next).await;

    app.advance(RETENTION_SECONDS - 60);
    app.state.run_jobs_once().await.unwrap();
    let (found, _) = read(&app, None).await;
    assert_eq!(found.len(), 2);
    app.advance(61);
    let (found, _) = read(&app, None).await;
    assert!(found.is_empty());
    app.state.run_jobs_once().await.unwrap();
    assert_eq!(app.number("SELECT count(*) FROM core.revocations").await, 0);
}

/// A transaction that ends after a later one is not skipped.
#[tokio::test]
async fn overlapping_transactions_lose_nothing() {
    let app = start().await;
    let (slow, fast) = (app.join(ADA).await, app.join(EVE).await);
    let (_, cursor) = read(&app, None).await;
    let mut open = app.database.connect_as_admin().await;
    let revoke = "UPDATE core.sessions SET revoked_at = now(), revoked_reason = 'test' \
                  WHERE user_id = (SELECT user_id FROM core.emails WHERE address = 'ada@example.com')";
    open.execute("BEGIN").await.unwrap();
    open.execute(revoke).await.unwrap();
    let out = app
        .delete(&format!("{SESSIONS}/current"), fast.access())
        .await;
    assert_eq!(out.status(), 204);
    let (found, cursor) = read(&app, Some(&cursor)).await;
    assert_eq!(found, [fast.session()]);
    open.execute("COMMIT").await.unwrap();
    let (found, cursor) = read(&app, Some(&cursor)).await;
    assert_eq!(found, [slow.session(), fast.session()]);
    nothing_follows(&app, cursor).await;
}

#[tokio::test]
async fn a_long_feed_has_pages() {
    let app = start().await;
    app.join(ADA).await;
    let mut admin = app.database.connect_as_admin().await;
    admin
        .execute(
            "INSERT INTO core.revocations (session_id, revoked_at)
             SELECT gen_random_uuid(), now() FROM generate_series(1, 2500)",
        )
        .await
        .unwrap();
    let (mut after, mut all, mut pages) = (Value::Null, Vec::new(), 0);
    loop {
        let page = json_of(ask(&app, &json!({ "after": after })).await, 200).await;
        all.extend(page["revocations"].as_array().unwrap().clone());
        after = page["next"].clone();
        pages += 1;
        if page["more"] == false {
            break;
        }
    }
    let mut ids: Vec<&str> = all
        .iter()
        .map(|it| it["session_id"].as_str().unwrap())
        .collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!((pages, all.len(), ids.len()), (3, 2500, 2500));
    // As after a backup was restored: the cursor is ahead of the database.
    let ahead = json!({ "after": "9000000000000000000.9000000000000000000" });
    let page = json_of(ask(&app, &ahead).await, 200).await;
    assert_eq!(page["revocations"].as_array().unwrap().len(), 1000);
}

#[tokio::test]
async fn requests_are_signed() {
    let app = start().await;
    let unsigned = app.post(FEED, &json!({ "after": null })).await;
    problem_of(unsigned, 401, "unauthenticated").await;
    let token = app.join(ADA).await;
    let request = app.request(Method::POST, FEED).bearer_auth(token.access());
    let bearer = request
        .json(&json!({ "after": null }))
        .send()
        .await
        .unwrap();
    problem_of(bearer, 401, "unauthenticated").await;
    let signed = ask(&app, &json!({ "after": "x" })).await;
    problem_of(signed, 422, "invalid_body").await;
    let signed = ask(&app, &json!({ "after": null, "limit": 1 })).await;
    problem_of(signed, 422, "invalid_body").await;
    let without = TestApp::start().await;
    problem_of(
        ask(&without, &json!({ "after": null })).await,
        503,
        "unavailable",
    )
    .await;
}
