//! Keys with which programs act for a user.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use futures_util::future::join_all;
use reqwest::{Method, Response};
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::support::{ADA, EVE, ME, PASSWORD, SESSIONS, TestApp, Tokens, json_of, problem_of};

const KEYS: &str = "/v1/core/api-keys";
const EXCHANGE: &str = "/internal/api-keys/exchange";
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const DAY: u64 = 86_400;

async fn start() -> TestApp {
    TestApp::start_with(|config| config.events.secret = Some(SecretString::from(SECRET))).await
}

async fn create(app: &TestApp, owner: &Tokens, body: Value) -> Response {
    let request = app.request(Method::POST, KEYS).bearer_auth(owner.access());
    request.json(&body).send().await.unwrap()
}

/// The id of a new key, and the key.
async fn created(app: &TestApp, owner: &Tokens, scopes: &[&str]) -> (String, String) {
    let body = json!({ "name": "a", "scopes": scopes });
    let key = json_of(create(app, owner, body).await, 201).await;
    (text(&key["api_key"]["id"]), text(&key["key"]))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// The access token that a key stands for.
async fn exchange(app: &TestApp, key: &str) -> Option<String> {
    let response = app
        .ask_signed(SECRET, EXCHANGE, &json!({ "key": key }))
        .await;
    let body = json_of(response, 200).await;
    body["access_token"].as_str().map(str::to_owned)
}

async fn exchanged(app: &TestApp, key: &str) -> String {
    exchange(app, key).await.unwrap()
}

fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

async fn revoke(app: &TestApp, owner: &Tokens, id: &str) -> Response {
    app.delete(&format!("{KEYS}/{id}"), owner.access()).await
}

#[tokio::test]
async fn a_key_is_shown_once_and_stands_for_a_token_with_its_scopes() {
    let app = start().await;
    let ada = app.join(ADA).await;
    let body = json!({
        "name": " Nightly export ", "scopes": ["links:write", "account:read", "links:write"],
        "expires_in": DAY,
    });
    let created = create(&app, &ada, body).await;
    assert_eq!(created.headers()["cache-control"], "no-store");
    let created = json_of(created, 201).await;
    let key = text(&created["key"]);
    let shown = &created["api_key"];
    assert_eq!(shown["name"], "Nightly export");
    assert_eq!(shown["scopes"], json!(["account:read", "links:write"]));
    assert_eq!(shown["last_used_at"], Value::Null);
    let list = || async { json_of(app.get(KEYS, ada.access()).await, 200).await };
    assert_eq!(list().await["data"], json!([shown]));
    assert!(key.starts_with("qrt_pat_"));

    app.advance(5);
    let token = exchanged(&app, &key).await;
    let (found, session) = (claims(&token), claims(ada.access()));
    assert_eq!(found["sub"], session["sub"]);
    assert_eq!(found["sid"], shown["id"]);
    assert_eq!(found["client_id"], shown["id"]);
    assert_eq!(found["scope"], "account:read links:write");
    assert_eq!(found.get("amr"), None);
    let me = json_of(app.get(ME, &token).await, 200).await;
    assert_eq!(me["email"], ADA);
    assert_ne!(list().await["data"][0]["last_used_at"], Value::Null);
}

#[tokio::test]
async fn a_key_permits_neither_more_than_its_scopes_nor_what_needs_a_login() {
    let app = start().await;
    let ada = app.join(ADA).await;
    let (id, reading) = created(&app, &ada, &["account:read"]).await;
    let (_, links) = created(&app, &ada, &["links:read"]).await;
    let (reading, links) = (
        exchanged(&app, &reading).await,
        exchanged(&app, &links).await,
    );
    let missing = json_of(app.get(ME, &links).await, 403).await;
    assert_eq!(
        missing["detail"],
        "the access token lacks the scope account:read"
    );
    for path in [SESSIONS, KEYS] {
        problem_of(app.get(path, &reading).await, 403, "forbidden").await;
    }
    let body = json!({ "name": "b", "scopes": ["account:read"] });
    let request = app.request(Method::POST, KEYS).bearer_auth(&reading);
    problem_of(request.json(&body).send().await.unwrap(), 403, "forbidden").await;
    let other = app.delete(&format!("{KEYS}/{id}"), &reading).await;
    problem_of(other, 403, "forbidden").await;
}

#[tokio::test]
async fn a_key_ends_when_it_is_revoked_or_expires_or_its_user_is_deleted() {
    let app = start().await;
    let (ada, eve) = (app.join(ADA).await, app.join(EVE).await);
    let (id, key) = created(&app, &ada, &["account:read"]).await;
    let token = exchanged(&app, &key).await;
    problem_of(revoke(&app, &eve, &id).await, 404, "not_found").await;
    assert_eq!(revoke(&app, &ada, &id).await.status(), 204);
    problem_of(revoke(&app, &ada, &id).await, 404, "not_found").await;
    assert_eq!(exchange(&app, &key).await, None);
    problem_of(app.get(ME, &token).await, 401, "unauthenticated").await;
    let feed = app
        .ask_signed(SECRET, "/internal/revocations", &json!({ "after": null }))
        .await;
    let feed = json_of(feed, 200).await;
    let revoked: Vec<&Value> = feed["revocations"].as_array().unwrap().iter().collect();
    assert_eq!(revoked.len(), 1);
    assert_eq!(revoked[0]["session_id"], id.as_str());
    assert_eq!(
        json_of(app.get(KEYS, ada.access()).await, 200).await["data"],
        json!([])
    );

    // Neither the token nor the key outlives the time of the key.
    let body = json!({ "name": "short", "scopes": ["account:read"], "expires_in": 60 });
    let short = text(&json_of(create(&app, &ada, body).await, 201).await["key"]);
    app.advance(59);
    let token = exchanged(&app, &short).await;
    assert_eq!(claims(&token)["exp"], app.clock.now().timestamp() + 1);
    app.advance(1);
    assert_eq!(exchange(&app, &short).await, None);

    let (id, key) = created(&app, &eve, &["account:read"]).await;
    let token = exchanged(&app, &key).await;
    let deleted = app.delete_account(eve.access(), PASSWORD).await;
    assert_eq!(deleted.status(), 204);
    assert_eq!(exchange(&app, &key).await, None);
    problem_of(app.get(ME, &token).await, 401, "unauthenticated").await;
    let feed = app
        .ask_signed(SECRET, "/internal/revocations", &json!({ "after": null }))
        .await;
    assert!(json_of(feed, 200).await.to_string().contains(&id));

    app.advance(40 * i64::try_from(DAY).unwrap());
    app.state.run_jobs_once().await.unwrap();
    assert_eq!(app.number("SELECT count(*) FROM core.api_keys").await, 0);
}

/// The races count the keys of one user before any is inserted.
#[tokio::test]
async fn a_user_has_as_many_keys_as_allowed() {
    let app = TestApp::start_with(|config| config.api_keys.max_per_user = 3).await;
    let ada = app.join(ADA).await;
    let body = json!({ "name": "a", "scopes": ["account:read"] });
    let all = join_all((0..12).map(|_| create(&app, &ada, body.clone()))).await;
    let (mut keys, mut refused) = (0, 0);
    for response in all {
        if response.status() == 201 {
            keys += 1;
        } else {
            problem_of(response, 409, "too_many_api_keys").await;
            refused += 1;
        }
    }
    assert_eq!((keys, refused), (3, 9));
    let list = json_of(app.get(KEYS, ada.access()).await, 200).await;
    let id = text(&list["data"][0]["id"]);
    assert_eq!(revoke(&app, &ada, &id).await.status(), 204);
    assert_eq!(create(&app, &ada, body).await.status(), 201);
}

#[tokio::test]
async fn a_stolen_access_token_creates_no_key() {
    let app = start().await;
    let ada = app.join(ADA).await;
    app.advance(3601);
    let refreshed = app.refresh(&ada).await;
    let body = json!({ "name": "a", "scopes": ["account:read"] });
    let response = create(&app, &refreshed, body).await;
    problem_of(response, 403, "stale_login").await;
}

#[tokio::test]
async fn wrong_requests_name_the_field_and_create_nothing() {
    let app = start().await;
    let ada = app.join(ADA).await;
    let scopes = json!(["account:read"]);
    let long = "x".repeat(101);
    for (body, pointer) in [
        (json!({ "name": "", "scopes": scopes }), "/name"),
        (json!({ "name": long, "scopes": scopes }), "/name"),
        (json!({ "name": "a", "scopes": [] }), "/scopes"),
        (
            json!({ "name": "a", "scopes": ["account:write"] }),
            "/scopes",
        ),
        (
            json!({ "name": "a", "scopes": ["links:read media:read"] }),
            "/scopes",
        ),
        (
            json!({ "name": "a", "scopes": scopes, "expires_in": 59 }),
            "/expires_in",
        ),
        (
            json!({ "name": "a", "scopes": scopes, "expires_in": 367 * DAY }),
            "/expires_in",
        ),
        (
            json!({ "name": "a", "scopes": scopes, "expires_in": u64::MAX }),
            "/expires_in",
        ),
    ] {
        let response = create(&app, &ada, body.clone()).await;
        let found = problem_of(response, 422, "invalid_body").await;
        assert_eq!(found[0].0, pointer, "{body}");
    }
    let count = app.number("SELECT count(*) FROM core.api_keys").await;
    assert_eq!(count, 0);
    for key in [
        "",
        "qrt_pat_",
        "qrt_ref_a",
        &format!("qrt_pat_{}", "A".repeat(51)),
    ] {
        assert_eq!(exchange(&app, key).await, None, "{key}");
    }
}

#[tokio::test]
async fn an_exchange_is_signed() {
    let app = start().await;
    let ada = app.join(ADA).await;
    let (_, key) = created(&app, &ada, &["account:read"]).await;
    let unsigned = app.post(EXCHANGE, &json!({ "key": key })).await;
    problem_of(unsigned, 401, "unauthenticated").await;
    let other = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let other = app
        .ask_signed(other, EXCHANGE, &json!({ "key": key }))
        .await;
    problem_of(other, 401, "unauthenticated").await;
}
