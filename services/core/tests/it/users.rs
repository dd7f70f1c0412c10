use quartet_core::run_jobs_once;
use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::support::{ADA, EVE, ME, PASSWORD, Tokens, World, field, header, json_of, problem_of};

const NEW_PASSWORD: &str = "gravel-lantern-otter";
const DAY: i64 = 86_400;

async fn send_if_match(
    world: &World,
    method: Method,
    tokens: &Tokens,
    tag: &str,
    body: Option<Value>,
) -> Response {
    let request = world.request(method, ME).bearer_auth(tokens.access());
    let request = request.header("if-match", tag);
    let request = match body {
        Some(body) => request.json(&body),
        None => request,
    };
    request.send().await.unwrap()
}

async fn tag_of(world: &World, tokens: &Tokens) -> String {
    header(&world.get(ME, tokens.access()).await, "etag").to_owned()
}

#[tokio::test]
async fn an_entity_tag_belongs_to_one_user() {
    let world = World::start().await;
    let (ada, eve) = (world.join(ADA).await, world.join(EVE).await);
    let get = |tokens: &Tokens, tag: &str| {
        let request = world.request(Method::GET, ME).bearer_auth(tokens.access());
        let request = request.header("if-none-match", tag);
        async move { request.send().await.unwrap() }
    };
    let own = tag_of(&world, &ada).await;
    let known = get(&ada, &own).await;
    assert_eq!(known.status(), 304);
    for response in [known, world.get(ME, ada.access()).await] {
        assert_eq!(header(&response, "etag"), own);
        assert_eq!(header(&response, "cache-control"), "private, no-cache");
        assert_eq!(header(&response, "vary"), "authorization");
    }
    let other = json_of(get(&eve, &own).await, 200).await;
    assert_eq!(other["email"], EVE);
    world
        .patch(ada.access(), &json!({"display_name": "Ada"}))
        .await;
    assert_eq!(get(&ada, &own).await.status(), 200, "changed");
}

#[tokio::test]
async fn a_merge_patch_sets_clears_and_leaves() {
    let world = World::start().await;
    let tokens = world.join(ADA).await;
    let patch = async |body: Value| json_of(world.patch(tokens.access(), &body).await, 200).await;
    let named = patch(json!({"display_name": "Ada"})).await;
    assert_eq!(named["display_name"], "Ada");
    assert_eq!(named["email"], ADA);
    assert_eq!(named, world.me(&tokens).await);
    let tag = tag_of(&world, &tokens).await;
    for nothing in [
        json!({}),
        json!({"display_name": "Ada"}),
        json!({"email": ADA}),
    ] {
        assert_eq!(patch(nothing).await, named);
    }
    assert_eq!(tag_of(&world, &tokens).await, tag, "no new version");
    let respelled = patch(json!({"email": "Ada@example.com"})).await;
    assert_eq!(respelled["email"], "Ada@example.com", "without a password");
    let cleared = patch(json!({"display_name": null})).await;
    assert_eq!(cleared["display_name"], Value::Null);
}

#[tokio::test]
async fn a_broken_patch_is_named_and_changes_nothing() {
    let world = World::start().await;
    let tokens = world.join(ADA).await;
    let before = world.me(&tokens).await;
    let cases = [
        (json!({"email": null}), "/email", "null"),
        (json!({"password": null}), "/password", "null"),
        (
            json!({"current_password": null}),
            "/current_password",
            "null",
        ),
        (json!({"admin": true}), "/admin", "invalid_value"),
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
        let response = world.patch(tokens.access(), &body).await;
        let found = problem_of(response, 422, "invalid_body").await;
        assert_eq!(found, field(pointer, rule), "{body}");
    }
    assert_eq!(world.me(&tokens).await, before);
}

#[tokio::test]
async fn if_match_keeps_changes_to_the_version_they_are_meant_for() {
    let world = World::start().await;
    let tokens = world.join(ADA).await;
    let old = tag_of(&world, &tokens).await;
    let name = |text: &str| Some(json!({ "display_name": text }));
    let patch = async |tag: &str, text: &str| {
        send_if_match(&world, Method::PATCH, &tokens, tag, name(text)).await
    };
    let response = patch(&old, "Ada").await;
    let new = header(&response, "etag").to_owned();
    assert_eq!(response.status(), 200);
    let stale = problem_of(patch(&old, "Eve").await, 412, "precondition_failed").await;
    assert_eq!(stale, field("if-match", "stale"));
    let stale = send_if_match(&world, Method::DELETE, &tokens, &old, None).await;
    problem_of(stale, 412, "precondition_failed").await;
    assert_eq!(patch("*", "Ada L.").await.status(), 200);
    let gone = send_if_match(&world, Method::DELETE, &tokens, &new, None).await;
    assert_eq!(gone.status(), 412, "there was a change");
    let current = tag_of(&world, &tokens).await;
    let gone = send_if_match(&world, Method::DELETE, &tokens, &current, None).await;
    assert_eq!(gone.status(), 204);
}

#[tokio::test]
async fn a_new_address_needs_the_current_password() {
    let world = World::start().await;
    world.sign_up(EVE).await;
    let tokens = world.join(ADA).await;
    let patch = async |body: Value| world.patch(tokens.access(), &body).await;
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
    assert_eq!(world.try_log_in(ADA, PASSWORD).await.status(), 401);
    world.log_in("new@example.com").await;
    world.join(ADA).await;
}

#[tokio::test]
async fn a_new_password_ends_every_other_session() {
    let world = World::start().await;
    let own = world.join(ADA).await;
    let other = world.log_in(ADA).await;
    let bystander = world.join(EVE).await;
    let missing = world
        .patch(own.access(), &json!({"password": NEW_PASSWORD}))
        .await;
    problem_of(missing, 403, "password_needed").await;
    let body = json!({"password": NEW_PASSWORD, "current_password": PASSWORD});
    json_of(world.patch(own.access(), &body).await, 200).await;
    assert_eq!(world.get(ME, other.access()).await.status(), 401);
    assert_eq!(world.try_refresh(other.refresh()).await.status(), 401);
    world.me(&world.refresh(&own).await).await;
    world.me(&bystander).await;
    assert_eq!(world.try_log_in(ADA, PASSWORD).await.status(), 401);
    assert_eq!(world.try_log_in(ADA, NEW_PASSWORD).await.status(), 201);
}

#[tokio::test]
async fn a_deleted_account_is_gone_at_once_and_its_address_is_free() {
    let world = World::start().await;
    let first = world.sign_up(ADA).await;
    let (own, other) = (world.log_in(ADA).await, world.log_in(ADA).await);
    assert_eq!(world.delete(ME, own.access()).await.status(), 204);
    for tokens in [&own, &other] {
        assert_eq!(world.get(ME, tokens.access()).await.status(), 401);
        assert_eq!(world.try_refresh(tokens.refresh()).await.status(), 401);
    }
    assert_eq!(world.try_log_in(ADA, PASSWORD).await.status(), 401);
    let second = world.sign_up(ADA).await;
    assert_ne!(second["id"], first["id"]);
    world.log_in(ADA).await;
    assert_eq!(world.try_refresh(own.refresh()).await.status(), 401);
}

#[tokio::test]
async fn deleting_needs_a_fresh_login() {
    let world = World::start().await;
    let old = world.join(ADA).await;
    world.advance(3601);
    let old = world.refresh(&old).await;
    problem_of(world.delete(ME, old.access()).await, 403, "stale_login").await;
    let fresh = world.log_in(ADA).await;
    assert_eq!(world.delete(ME, fresh.access()).await.status(), 204);
}

#[tokio::test]
async fn what_is_deleted_is_removed_after_thirty_days_in_batches() {
    let world = World::start_with(|config| config.retention.batch = 2).await;
    for n in 0..5 {
        let tokens = world.join(&format!("user{n}@example.com")).await;
        world.refresh(&tokens).await;
        assert_eq!(world.delete(ME, tokens.access()).await.status(), 204);
    }
    let stays = world.join(ADA).await;
    let users = "SELECT count(*) FROM core.users";
    world.advance(30 * DAY - 60);
    world.log_in(ADA).await;
    run_jobs_once(&world.state).await.unwrap();
    assert_eq!(world.number(users).await, 6, "not before");
    world.advance(120);
    run_jobs_once(&world.state).await.unwrap();
    assert_eq!(world.number(users).await, 1);
    assert_eq!(
        world
            .number("SELECT count(*) FROM core.refresh_tokens")
            .await,
        2
    );
    assert_eq!(
        world.try_refresh(stays.refresh()).await.status(),
        401,
        "rested for 30 days"
    );
}

#[tokio::test]
async fn ended_sessions_and_old_failures_are_removed() {
    let world = World::start_with(|config| config.retention.batch = 1).await;
    world.sign_up(ADA).await;
    for _ in 0..3 {
        let tokens = world.refresh(&world.log_in(ADA).await).await;
        let path = format!("/v1/core/sessions/{}", tokens.session());
        assert_eq!(world.delete(&path, tokens.access()).await.status(), 204);
        world.try_log_in(EVE, crate::support::WRONG).await;
    }
    let live = world.log_in(ADA).await;
    let sessions = "SELECT count(*) FROM core.sessions";
    world.advance(7 * DAY - 1);
    run_jobs_once(&world.state).await.unwrap();
    assert_eq!(world.number(sessions).await, 4);
    assert_eq!(world.number("SELECT count(*) FROM core.throttles").await, 0);
    world.advance(2);
    run_jobs_once(&world.state).await.unwrap();
    assert_eq!(world.number(sessions).await, 1);
    assert_eq!(
        world
            .number("SELECT count(*) FROM core.refresh_tokens")
            .await,
        1
    );
    world.refresh(&live).await;
}
