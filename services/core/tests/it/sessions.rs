use serde_json::Value;

use crate::support::{ADA, EVE, ME, SESSIONS, TestApp, Tokens, field, json_of, problem_of};

async fn page(app: &TestApp, tokens: &Tokens, query: &str) -> Value {
    let path = format!("{SESSIONS}?{query}");
    json_of(app.get(&path, tokens.access()).await, 200).await
}

fn ids(page: &Value) -> Vec<String> {
    let data = page["data"].as_array().unwrap().iter();
    data.map(|session| session["id"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn sessions_are_listed_newest_first_in_pages() {
    let app = TestApp::start().await;
    app.sign_up(ADA).await;
    app.join(EVE).await;
    let mut own = Vec::new();
    for _ in 0..5 {
        app.advance(1);
        own.push(app.log_in(ADA).await);
    }
    let (mut found, mut query) = (Vec::new(), "limit=2".to_owned());
    let mut sizes = Vec::new();
    loop {
        let page = page(&app, &own[2], &query).await;
        sizes.push(page["data"].as_array().unwrap().len());
        found.extend(page["data"].as_array().unwrap().clone());
        let Some(cursor) = page["next_cursor"].as_str() else {
            assert_eq!(page["has_more"], false);
            break;
        };
        assert_eq!(page["has_more"], true);
        query = format!("limit=2&cursor={cursor}");
    }
    assert_eq!(sizes, [2, 2, 1]);
    let expected: Vec<(&str, bool)> = own
        .iter()
        .rev()
        .map(|tokens| (tokens.session(), tokens.session() == own[2].session()))
        .collect();
    let found: Vec<(&str, bool)> = found
        .iter()
        .map(|session| {
            let id = session["id"].as_str().unwrap();
            (id, session["current"].as_bool().unwrap())
        })
        .collect();
    assert_eq!(found, expected);
}

#[tokio::test]
async fn limit_is_clamped() {
    let app = TestApp::start().await;
    let tokens = app.join(ADA).await;
    app.log_in(ADA).await;
    assert_eq!(ids(&page(&app, &tokens, "limit=0").await).len(), 1);
    assert_eq!(ids(&page(&app, &tokens, "limit=100000").await).len(), 2);
}

#[tokio::test]
async fn a_revoked_session_ends_at_once() {
    let app = TestApp::start().await;
    let own = app.join(ADA).await;
    let other = app.log_in(ADA).await;
    let path = format!("{SESSIONS}/{}", other.session());
    assert_eq!(app.delete(&path, own.access()).await.status(), 204);
    problem_of(app.get(ME, other.access()).await, 401, "unauthenticated").await;
    let response = app.try_refresh(other.refresh()).await;
    problem_of(response, 401, "invalid_refresh_token").await;
    assert_eq!(ids(&page(&app, &own, "").await), [own.session()]);
    let again = app.delete(&path, own.access()).await;
    problem_of(again, 404, "not_found").await;
}

#[tokio::test]
async fn sessions_of_other_users_are_indistinguishable_from_missing_ones() {
    let app = TestApp::start().await;
    let ada = app.join(ADA).await;
    let eve = app.join(EVE).await;
    let foreign = format!("{SESSIONS}/{}", ada.session());
    let missing = format!("{SESSIONS}/ses_00000000000000000000000000");
    let mut seen = Vec::new();
    for path in [foreign, missing] {
        let mut body = json_of(app.delete(&path, eve.access()).await, 404).await;
        body["request_id"] = Value::Null;
        body["instance"] = Value::Null;
        seen.push(body);
    }
    assert_eq!(seen[0], seen[1]);
    app.me(&ada).await;
}

#[tokio::test]
async fn deleting_the_current_session_logs_out() {
    let app = TestApp::start().await;
    let own = app.join(ADA).await;
    let other = app.log_in(ADA).await;
    let path = format!("{SESSIONS}/current");
    assert_eq!(app.delete(&path, own.access()).await.status(), 204);
    problem_of(
        app.delete(&path, own.access()).await,
        401,
        "unauthenticated",
    )
    .await;
    app.me(&other).await;
}

#[tokio::test]
async fn exceeding_max_per_user_ends_the_oldest_session() {
    let app = TestApp::start_with(|config| config.sessions.max_per_user = 3).await;
    let eve = app.join(EVE).await;
    app.sign_up(ADA).await;
    let mut own = Vec::new();
    for _ in 0..4 {
        own.push(app.log_in(ADA).await);
    }
    assert_eq!(app.get(ME, own[0].access()).await.status(), 401);
    let expected: Vec<&str> = own[1..].iter().rev().map(Tokens::session).collect();
    assert_eq!(ids(&page(&app, &own[3], "").await), expected);
    app.me(&eve).await;
}

#[tokio::test]
async fn invalid_ids_and_cursors_name_the_parameter() {
    let app = TestApp::start().await;
    let tokens = app.join(ADA).await;
    for id in [
        "x",
        "usr_01jd6x8rv3fq4t2m8n5k7c9e1z",
        "ses_UPPER",
        "%00",
        "ses_%F0%9F%92%A9",
    ] {
        let path = format!("{SESSIONS}/{id}");
        let response = app.delete(&path, tokens.access()).await;
        let found = problem_of(response, 400, "invalid_parameter").await;
        assert_eq!(found, field("id", "invalid_value"), "{id}");
    }
    // A cursor of another list, and one with an id of another type.
    let foreign = "WyJsaW5rcyIsInNlc18wMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMCJd";
    let wrong_type = "WyJzZXNzaW9ucyIsInVzcl94Il0";
    for cursor in ["x", "%00", foreign, wrong_type, &"A".repeat(5000)] {
        let path = format!("{SESSIONS}?cursor={cursor}");
        let response = app.get(&path, tokens.access()).await;
        let found = problem_of(response, 400, "invalid_parameter").await;
        assert_eq!(found, field("cursor", "invalid_cursor"), "{cursor}");
    }
    for (query, name) in [("limit=x", "limit"), ("page=2", "page")] {
        let response = app
            .get(&format!("{SESSIONS}?{query}"), tokens.access())
            .await;
        let found = problem_of(response, 400, "invalid_parameter").await;
        assert_eq!(found[0].0, name);
    }
}

#[tokio::test]
async fn sessions_work_behind_a_pooler_in_transaction_mode() {
    let Some(app) = TestApp::start_pooled().await else {
        return;
    };
    let tokens = app.join(ADA).await;
    let tokens = app.refresh(&tokens).await;
    app.me(&tokens).await;
    assert_eq!(app.try_log_in(ADA, "not this password").await.status(), 401);
    let logins = (0..20).map(|_| app.log_in(ADA));
    for tokens in futures_util::future::join_all(logins).await {
        app.me(&tokens).await;
    }
    app.state.run_jobs_once().await.unwrap();
}
