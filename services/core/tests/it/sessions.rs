use serde_json::Value;

use crate::support::{ADA, EVE, ME, SESSIONS, Tokens, World, field, json_of, problem_of};

async fn page(world: &World, tokens: &Tokens, query: &str) -> Value {
    let path = format!("{SESSIONS}?{query}");
    json_of(world.get(&path, tokens.access()).await, 200).await
}

fn ids(page: &Value) -> Vec<String> {
    let data = page["data"].as_array().unwrap().iter();
    data.map(|session| session["id"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn sessions_are_listed_newest_first_in_pages() {
    let world = World::start().await;
    world.sign_up(ADA).await;
    world.join(EVE).await;
    let mut own = Vec::new();
    for _ in 0..5 {
        world.advance(1);
        own.push(world.log_in(ADA).await);
    }
    let (mut found, mut query) = (Vec::new(), "limit=2".to_owned());
    let mut sizes = Vec::new();
    loop {
        let page = page(&world, &own[2], &query).await;
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
async fn a_limit_out_of_bounds_is_moved_into_them() {
    let world = World::start().await;
    let tokens = world.join(ADA).await;
    world.log_in(ADA).await;
    assert_eq!(ids(&page(&world, &tokens, "limit=0").await).len(), 1);
    assert_eq!(ids(&page(&world, &tokens, "limit=100000").await).len(), 2);
}

#[tokio::test]
async fn a_revoked_session_is_over_at_once() {
    let world = World::start().await;
    let own = world.join(ADA).await;
    let other = world.log_in(ADA).await;
    let path = format!("{SESSIONS}/{}", other.session());
    assert_eq!(world.delete(&path, own.access()).await.status(), 204);
    problem_of(world.get(ME, other.access()).await, 401, "unauthenticated").await;
    let response = world.try_refresh(other.refresh()).await;
    problem_of(response, 401, "invalid_refresh_token").await;
    assert_eq!(ids(&page(&world, &own, "").await), [own.session()]);
    let again = world.delete(&path, own.access()).await;
    problem_of(again, 404, "not_found").await;
}

#[tokio::test]
async fn anothers_session_looks_as_if_there_were_none() {
    let world = World::start().await;
    let ada = world.join(ADA).await;
    let eve = world.join(EVE).await;
    let strangers = format!("{SESSIONS}/{}", ada.session());
    let nobodys = format!("{SESSIONS}/ses_00000000000000000000000000");
    let mut seen = Vec::new();
    for path in [strangers, nobodys] {
        let mut body = json_of(world.delete(&path, eve.access()).await, 404).await;
        body["request_id"] = Value::Null;
        body["instance"] = Value::Null;
        seen.push(body);
    }
    assert_eq!(seen[0], seen[1]);
    world.me(&ada).await;
}

#[tokio::test]
async fn current_logs_out() {
    let world = World::start().await;
    let own = world.join(ADA).await;
    let other = world.log_in(ADA).await;
    let path = format!("{SESSIONS}/current");
    assert_eq!(world.delete(&path, own.access()).await.status(), 204);
    problem_of(
        world.delete(&path, own.access()).await,
        401,
        "unauthenticated",
    )
    .await;
    world.me(&other).await;
}

#[tokio::test]
async fn with_one_session_too_many_the_oldest_ends() {
    let world = World::start_with(|config| config.sessions.max_per_user = 3).await;
    let eve = world.join(EVE).await;
    world.sign_up(ADA).await;
    let mut own = Vec::new();
    for _ in 0..4 {
        own.push(world.log_in(ADA).await);
    }
    assert_eq!(world.get(ME, own[0].access()).await.status(), 401);
    let expected: Vec<&str> = own[1..].iter().rev().map(Tokens::session).collect();
    assert_eq!(ids(&page(&world, &own[3], "").await), expected);
    world.me(&eve).await;
}

#[tokio::test]
async fn wrong_ids_and_cursors_are_named() {
    let world = World::start().await;
    let tokens = world.join(ADA).await;
    for id in [
        "x",
        "usr_01jd6x8rv3fq4t2m8n5k7c9e1z",
        "ses_UPPER",
        "%00",
        "ses_%F0%9F%92%A9",
    ] {
        let path = format!("{SESSIONS}/{id}");
        let response = world.delete(&path, tokens.access()).await;
        let found = problem_of(response, 400, "invalid_parameter").await;
        assert_eq!(found, field("id", "invalid_value"), "{id}");
    }
    // A cursor of another list, and one with a wrong place.
    let foreign = "WyJsaW5rcyIsInNlc18wMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMCJd";
    let wrong_place = "WyJzZXNzaW9ucyIsInVzcl94Il0";
    for cursor in ["x", "%00", foreign, wrong_place, &"A".repeat(5000)] {
        let path = format!("{SESSIONS}?cursor={cursor}");
        let response = world.get(&path, tokens.access()).await;
        let found = problem_of(response, 400, "invalid_parameter").await;
        assert_eq!(found, field("cursor", "invalid_cursor"), "{cursor}");
    }
    for (query, name) in [("limit=x", "limit"), ("page=2", "page")] {
        let response = world
            .get(&format!("{SESSIONS}?{query}"), tokens.access())
            .await;
        let found = problem_of(response, 400, "invalid_parameter").await;
        assert_eq!(found[0].0, name);
    }
}
