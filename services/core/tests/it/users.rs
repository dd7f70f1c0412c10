use reqwest::{Method, Response, header::HeaderValue};
use serde_json::{Value, json};

use crate::support::{
    ADA, EVE, ME, PASSWORD, TestApp, Tokens, WRONG, field, header, json_of, problem_of,
};

const NEW_PASSWORD: &str = "gravel-lantern-otter";
const DAY: i64 = 86_400;

async fn send_if_match(
    app: &TestApp,
    method: Method,
    tokens: &Tokens,
    tag: &str,
    body: Option<Value>,
) -> Response {
    let request = app.request(method, ME).bearer_auth(tokens.access());
    let request = request.header("if-match", tag);
    let request = match body {
        Some(body) => request.json(&body),
        None => request,
    };
    request.send().await.unwrap()
}

fn confirmed() -> Value {
    json!({"current_password": PASSWORD})
}

async fn tag_of(app: &TestApp, tokens: &Tokens) -> String {
    header(&app.get(ME, tokens.access()).await, "etag").to_owned()
}

#[tokio::test]
async fn an_entity_tag_belongs_to_one_user() {
    let app = TestApp::start().await;
    let (ada, eve) = (app.join(ADA).await, app.join(EVE).await);
    let get = |tokens: &Tokens, tag: &str| {
        let request = app.request(Method::GET, ME).bearer_auth(tokens.access());
        let request = request.header("if-none-match", tag);
        async move { request.send().await.unwrap() }
    };
    let own = tag_of(&app, &ada).await;
    let known = get(&ada, &own).await;
    assert_eq!(known.status(), 304);
    for response in [known, app.get(ME, ada.access()).await] {
        assert_eq!(header(&response, "etag"), own);
        assert_eq!(header(&response, "cache-control"), "private, no-cache");
        assert_eq!(header(&response, "vary"), "authorization");
    }
    let other = json_of(get(&eve, &own).await, 200).await;
    assert_eq!(other["email"], EVE);
    app.patch(ada.access(), &json!({"display_name": "Ada"}))
        .await;
    assert_eq!(get(&ada, &own).await.status(), 200, "changed");
}

#[tokio::test]
async fn merge_patch_sets_clears_and_keeps_fields() {
    let app = TestApp::start().await;
    let tokens = app.join(ADA).await;
    let patch = async |body: Value| json_of(app.patch(tokens.access(), &body).await, 200).await;
    let named = patch(json!({"display_name": "Ada"})).await;
    assert_eq!(named["display_name"], "Ada");
    assert_eq!(named["email"], ADA);
    assert_eq!(named, app.me(&tokens).await);
    let tag = tag_of(&app, &tokens).await;
    for nothing in [
        json!({}),
        json!({"display_name": "Ada"}),
        json!({"email": ADA}),
    ] {
        assert_eq!(patch(nothing).await, named);
    }
    assert_eq!(tag_of(&app, &tokens).await, tag, "no new version");
    let respelled = patch(json!({"email": "Ada@example.com"})).await;
    assert_eq!(respelled["email"], "Ada@example.com", "without a password");
    let cleared = patch(json!({"display_name": null})).await;
    assert_eq!(cleared["display_name"], Value::Null);
}

#[tokio::test]
async fn an_invalid_patch_names_the_field_and_changes_nothing() {
    let app = TestApp::start().await;
    let tokens = app.join(ADA).await;
    let before = app.me(&tokens).await;
    let cases = [
        (json!({"email": null}), "/email", "null"),
        (json!({"password": null}), "/password", "null"),
        (
            json!({"current_password": null}),
            "/current_password",
            "null",
        ),
        (json!({"admin": true}), "/admin", "unknown"),
        (json!({"email": "x"}), "/email", "invalid_email"),
        (json!({"display_name": ""}), "/display_name", "empty"),
        (json!({"display_name": 5}), "/display_name", "invalid_value"),
        (
            json!({"password": "short", "current_password": PASSWORD}),
            "/password",
            "too_short",
        ),
        (
            json!({"password": "passwordpassword", "current_password": PASSWORD}),
            "/password",
            "easily_guessed",
        ),
        (
            json!({"password": "x".repeat(257), "current_password": PASSWORD}),
            "/password",
            "too_long",
        ),
    ];
    for (body, pointer, rule) in cases {
        let response = app.patch(tokens.access(), &body).await;
        let found = problem_of(response, 422, "invalid_body").await;
        assert_eq!(found, field(pointer, rule), "{body}");
    }
    assert_eq!(app.me(&tokens).await, before);
}

#[tokio::test]
async fn if_match_rejects_other_versions() {
    let app = TestApp::start().await;
    let tokens = app.join(ADA).await;
    let old = tag_of(&app, &tokens).await;
    let name = |text: &str| Some(json!({ "display_name": text }));
    let patch = async |tag: &str, text: &str| {
        send_if_match(&app, Method::PATCH, &tokens, tag, name(text)).await
    };
    let response = patch(&old, "Ada").await;
    let new = header(&response, "etag").to_owned();
    assert_eq!(response.status(), 200);
    let stale = problem_of(patch(&old, "Eve").await, 412, "precondition_failed").await;
    assert_eq!(stale, field("if-match", "stale"));
    let stale = send_if_match(&app, Method::DELETE, &tokens, &old, Some(confirmed())).await;
    problem_of(stale, 412, "precondition_failed").await;
    assert_eq!(patch("*", "Ada L.").await.status(), 200);
    let gone = send_if_match(&app, Method::DELETE, &tokens, &new, Some(confirmed())).await;
    assert_eq!(gone.status(), 412, "changed since");
    let current = tag_of(&app, &tokens).await;
    let gone = send_if_match(&app, Method::DELETE, &tokens, &current, Some(confirmed())).await;
    assert_eq!(gone.status(), 204);
}

/// RFC 9110, 8.8.3: a tag may have bytes beyond ASCII. A condition that is not understood does not hold.
#[tokio::test]
async fn an_if_match_beyond_ascii_is_a_condition() {
    let app = TestApp::start().await;
    let tokens = app.join(ADA).await;
    let before = app.me(&tokens).await;
    for tag in [&b"\"\xe4\""[..], "\"\u{e4}\"".as_bytes()] {
        let request = app.request(Method::PATCH, ME).bearer_auth(tokens.access());
        let request = request.header("if-match", HeaderValue::from_bytes(tag).unwrap());
        let request = request.json(&json!({"display_name": "Eve"}));
        let refused = request.send().await.unwrap();
        problem_of(refused, 412, "precondition_failed").await;
    }
    assert_eq!(app.me(&tokens).await, before);
}

#[tokio::test]
async fn a_new_email_requires_the_current_password() {
    let app = TestApp::start().await;
    app.sign_up(EVE).await;
    let tokens = app.join(ADA).await;
    let patch = async |body: Value| app.patch(tokens.access(), &body).await;
    let missing = patch(json!({"email": "new@example.com"})).await;
    let found = problem_of(missing, 403, "password_needed").await;
    assert_eq!(found, field("/current_password", "missing"));
    let wrong = patch(json!({"email": "new@example.com", "current_password": "no"})).await;
    let found = problem_of(wrong, 403, "wrong_password").await;
    assert_eq!(found, field("/current_password", "wrong"));
    let taken = patch(json!({"email": "EVE@example.com", "current_password": PASSWORD})).await;
    let found = problem_of(taken, 409, "email_taken").await;
    assert_eq!(found, field("/email", "taken"));
    let changed = patch(json!({"email": "new@example.com", "current_password": PASSWORD})).await;
    assert_eq!(json_of(changed, 200).await["email"], "new@example.com");
    assert_eq!(app.try_log_in(ADA, PASSWORD).await.status(), 401);
    app.log_in("new@example.com").await;
    app.join(ADA).await;
}

#[tokio::test]
async fn a_new_password_ends_every_other_session() {
    let app = TestApp::start().await;
    let own = app.join(ADA).await;
    let other = app.log_in(ADA).await;
    let bystander = app.join(EVE).await;
    let missing = app
        .patch(own.access(), &json!({"password": NEW_PASSWORD}))
        .await;
    problem_of(missing, 403, "password_needed").await;
    let body = json!({"password": NEW_PASSWORD, "current_password": PASSWORD});
    json_of(app.patch(own.access(), &body).await, 200).await;
    assert_eq!(app.get(ME, other.access()).await.status(), 401);
    assert_eq!(app.try_refresh(other.refresh()).await.status(), 401);
    app.me(&app.refresh(&own).await).await;
    app.me(&bystander).await;
    assert_eq!(app.try_log_in(ADA, PASSWORD).await.status(), 401);
    assert_eq!(app.try_log_in(ADA, NEW_PASSWORD).await.status(), 201);
}

#[tokio::test]
async fn deleting_an_account_ends_its_sessions_and_frees_its_email() {
    let app = TestApp::start().await;
    let first = app.sign_up(ADA).await;
    let (own, other) = (app.log_in(ADA).await, app.log_in(ADA).await);
    assert_eq!(
        app.delete_account(own.access(), PASSWORD).await.status(),
        204
    );
    for tokens in [&own, &other] {
        assert_eq!(app.get(ME, tokens.access()).await.status(), 401);
        assert_eq!(app.try_refresh(tokens.refresh()).await.status(), 401);
    }
    assert_eq!(app.try_log_in(ADA, PASSWORD).await.status(), 401);
    let second = app.sign_up(ADA).await;
    assert_ne!(second["id"], first["id"]);
    app.log_in(ADA).await;
    assert_eq!(app.try_refresh(own.refresh()).await.status(), 401);
}

#[tokio::test]
async fn deleting_an_account_requires_a_recent_login() {
    let app = TestApp::start().await;
    let old = app.join(ADA).await;
    app.advance(3601);
    let old = app.refresh(&old).await;
    problem_of(
        app.delete_account(old.access(), PASSWORD).await,
        403,
        "stale_login",
    )
    .await;
    let fresh = app.log_in(ADA).await;
    assert_eq!(
        app.delete_account(fresh.access(), PASSWORD).await.status(),
        204
    );
}

#[tokio::test]
async fn deleting_an_account_requires_its_password() {
    let app = TestApp::start().await;
    let own = app.join(ADA).await;
    let bare = app.delete(ME, own.access()).await;
    let found = problem_of(bare, 422, "invalid_body").await;
    assert_eq!(found, field("/current_password", "missing"));
    for body in [
        json!({}),
        json!({"current_password": null}),
        json!({"current_password": ""}),
    ] {
        let request = app.request(Method::DELETE, ME).bearer_auth(own.access());
        let response = request.json(&body).send().await.unwrap();
        problem_of(response, 422, "invalid_body").await;
    }
    let guess = || app.delete_account(own.access(), WRONG);
    problem_of(guess().await, 403, "wrong_password").await;
    // As many as a login lets pass, whichever way is tried.
    for _ in 0..4 {
        guess().await;
    }
    app.try_log_in(ADA, WRONG).await;
    problem_of(guess().await, 429, "too_many_attempts").await;
    let right = app.delete_account(own.access(), PASSWORD).await;
    problem_of(right, 429, "too_many_attempts").await;
    app.me(&own).await;
    app.advance(60);
    let deleted = app.delete_account(own.access(), PASSWORD).await;
    assert_eq!(deleted.status(), 204);
    assert_eq!(app.try_log_in(ADA, PASSWORD).await.status(), 401);
}

#[tokio::test]
async fn deleted_users_are_purged_after_thirty_days_in_batches() {
    let app = TestApp::start_with(|config| config.retention.batch = 2).await;
    for n in 0..5 {
        let tokens = app.join(&format!("user{n}@example.com")).await;
        app.refresh(&tokens).await;
        assert_eq!(
            app.delete_account(tokens.access(), PASSWORD).await.status(),
            204
        );
    }
    let stays = app.join(ADA).await;
    let users = "SELECT count(*) FROM core.users";
    app.advance(30 * DAY - 60);
    app.log_in(ADA).await;
    app.state.run_jobs_once().await.unwrap();
    assert_eq!(app.number(users).await, 6, "not before");
    app.advance(120);
    app.state.run_jobs_once().await.unwrap();
    assert_eq!(app.number(users).await, 1);
    assert_eq!(
        app.number("SELECT count(*) FROM core.refresh_tokens").await,
        2
    );
    assert_eq!(
        app.try_refresh(stays.refresh()).await.status(),
        401,
        "idle for 30 days"
    );
}

#[tokio::test]
async fn ended_sessions_and_old_failures_are_purged() {
    let app = TestApp::start_with(|config| config.retention.batch = 1).await;
    app.sign_up(ADA).await;
    for _ in 0..3 {
        let tokens = app.refresh(&app.log_in(ADA).await).await;
        let path = format!("/v1/core/sessions/{}", tokens.session());
        assert_eq!(app.delete(&path, tokens.access()).await.status(), 204);
        app.try_log_in(EVE, crate::support::WRONG).await;
    }
    let live = app.log_in(ADA).await;
    let sessions = "SELECT count(*) FROM core.sessions";
    app.advance(7 * DAY - 1);
    app.state.run_jobs_once().await.unwrap();
    assert_eq!(app.number(sessions).await, 4);
    assert_eq!(app.number("SELECT count(*) FROM core.throttles").await, 0);
    app.advance(2);
    app.state.run_jobs_once().await.unwrap();
    assert_eq!(app.number(sessions).await, 1);
    assert_eq!(
        app.number("SELECT count(*) FROM core.refresh_tokens").await,
        1
    );
    app.refresh(&live).await;
}

/// A run that took as long as there is something to delete would fail at its time limit.
#[tokio::test]
async fn a_purge_leaves_the_rest_to_the_next_run() {
    let app = TestApp::start_with(|config| config.retention.batch = 1).await;
    for n in 0..3 {
        let tokens = app.join(&format!("user{n}@example.com")).await;
        let deleted = app.delete_account(tokens.access(), PASSWORD).await;
        assert_eq!(deleted.status(), 204);
    }
    app.advance(30 * DAY + 60);
    let users = "SELECT count(*) FROM core.users";
    let mut blocker = app.database.connect_as_admin().await;
    let block = "BEGIN; LOCK TABLE core.users IN SHARE MODE";
    sqlx::raw_sql(block).execute(&mut blocker).await.unwrap();
    let unblock = async {
        app.until_a_query_waits_for_a_lock().await;
        app.advance(11 * 60);
        sqlx::raw_sql("COMMIT").execute(&mut blocker).await.unwrap();
    };
    let (purged, ()) = tokio::join!(app.state.run_jobs_once(), unblock);
    purged.unwrap();
    assert_eq!(app.number(users).await, 2);
    app.state.run_jobs_once().await.unwrap();
    assert_eq!(app.number(users).await, 0);
}
