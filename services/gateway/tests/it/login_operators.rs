//! What operators see of sessions and end, with a store that has thousands of them.

use http::Method;
use quartet_auth::master_key::MasterKey;
use quartet_common::clock::Clock;
use quartet_testing::RedisServer;
use serde_json::{Value, json};

use crate::{
    login_redis::{KEY, gateways, session_places},
    support::{Gateway, Provider, Visitor, client},
};

/// More than one request reads.
const MANY: usize = 5_200;
const ALL: &str = "quartet:login:main:all:";

/// Sessions of one user, most of which end in the same second. Their names, in the order of their ends.
async fn stored(redis: &RedisServer, count: usize) -> Vec<String> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(KEY, &mut bytes).unwrap();
    let key = MasterKey::new(&bytes, &[]);
    let now = Clock::system().now().timestamp();
    let client = redis::Client::open(redis.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let mut names = Vec::new();
    let mut pipe = redis::pipe();
    for number in 0..count {
        let name = format!("{number:064x}");
        let ends_at = now + if number < count / 10 { 500 } else { 600 };
        let place = format!("quartet:login:main:s:{name}");
        let session = json!({
            "record": {
                "identity": {
                    "issuer": "https://p", "subject": format!("bulk-{number}"), "sid": null,
                    "email": "bulk@example.org", "email_verified": true, "username": null,
                    "name": null, "groups": [], "hosted_domain": null,
                },
                "tokens": { "access": null, "expires_at": null, "refresh": null, "id": null },
                "csrf": "c", "created_at": now, "ends_at": ends_at, "generation": 0,
            },
            "seen_at": now,
        });
        let sealed = key.seal(&place, session.to_string().as_bytes()).unwrap();
        pipe.cmd("SET").arg(&place).arg(sealed).ignore();
        pipe.cmd("ZADD").arg(ALL).arg(ends_at).arg(&name).ignore();
        names.push(name);
    }
    let _: () = pipe.query_async(&mut connection).await.unwrap();
    names
}

async fn list(gateway: &Gateway, query: &str) -> Value {
    let path = format!("/sessions?login=main{query}");
    gateway.admin(&path).await.json().await.unwrap()
}

async fn revoke(gateway: &Gateway, body: &Value) -> reqwest::Response {
    let url = format!("http://{}/sessions/revoke", gateway.admin);
    client().post(url).json(body).send().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn revoking_many_sessions_ends_them_part_by_part() {
    let Some(redis) = RedisServer::start() else {
        return;
    };
    let provider = Provider::start().await;
    let [gateway, _] = gateways(&provider, &redis, "").await;
    let visitor = Visitor::new(&gateway);
    assert_eq!(visitor.follow("/app/x").await.0.status(), 200);
    stored(&redis, MANY).await;
    let mut body = json!({ "login": "main", "user": "bulk@example.org" });
    let (mut ended, mut requests) = (0, 0);
    loop {
        let answer: Value = revoke(&gateway, &body).await.json().await.unwrap();
        let part = usize::try_from(answer["ended"].as_u64().unwrap()).unwrap();
        assert!(part <= 5_000, "{answer}");
        (ended, requests) = (ended + part, requests + 1);
        // What was read is ended already.
        let left = redis.command(&["ZCARD", ALL]).parse::<usize>().unwrap();
        assert_eq!(left, MANY + 1 - ended);
        assert_eq!(answer["complete"], answer["next"].is_null(), "{answer}");
        if answer["complete"] == true {
            break;
        }
        body["after"] = answer["next"].clone();
    }
    assert_eq!(ended, MANY);
    assert!(requests > 1);
    // Of the others, none has ended.
    assert_eq!(visitor.fetch(Method::GET, "/app/x").await.status(), 200);
    assert_eq!(session_places(&redis).len(), 1);
    body["after"] = json!("no cursor");
    assert_eq!(revoke(&gateway, &body).await.status(), 422);
    let malformed = gateway.admin("/sessions?login=main&after=x").await;
    assert_eq!(malformed.status(), 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_a_list_miss_no_session_while_others_end() {
    let Some(redis) = RedisServer::start() else {
        return;
    };
    let provider = Provider::start().await;
    let [gateway, _] = gateways(&provider, &redis, "").await;
    let names = stored(&redis, 120).await;
    let shown = |page: &Value| -> Vec<String> {
        let sessions = page["sessions"].as_array().unwrap().iter();
        let ids = sessions.map(|session| session["id"].as_str().unwrap().to_owned());
        ids.collect()
    };
    let expected = |from: usize, to: usize| -> Vec<String> {
        let names = names[from..to].iter();
        names.map(|name| name[..32].to_owned()).collect()
    };
    // The ids of these sessions are alike: subjects tell them apart.
    let subjects = |page: &Value| -> Vec<String> {
        let sessions = page["sessions"].as_array().unwrap().iter();
        let users = sessions.map(|session| session["user"].as_str().unwrap().to_owned());
        users.collect()
    };
    let numbered = |from: usize, to: usize| -> Vec<String> {
        (from..to).map(|number| format!("bulk-{number}")).collect()
    };
    let first = list(&gateway, "&limit=40").await;
    assert_eq!(subjects(&first), numbered(0, 40));
    assert_eq!(shown(&first), expected(0, 40));
    // All that were shown end, also the one at which the next page begins.
    for name in &names[..40] {
        redis.command(&["ZREM", ALL, name]);
    }
    let next = first["next"].as_str().unwrap();
    let second = list(&gateway, &format!("&limit=40&after={next}")).await;
    assert_eq!(subjects(&second), numbered(40, 80));
    // Only the last one that was shown.
    redis.command(&["ZREM", ALL, &names[79]]);
    let next = second["next"].as_str().unwrap();
    let mut rest = Vec::new();
    let mut after = Some(next.to_owned());
    while let Some(next) = after {
        let page = list(&gateway, &format!("&limit=7&after={next}")).await;
        rest.extend(subjects(&page));
        after = page["next"].as_str().map(str::to_owned);
    }
    assert_eq!(rest, numbered(80, 120));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_session_ends_by_its_id() {
    let Some(redis) = RedisServer::start() else {
        return;
    };
    let provider = Provider::start().await;
    let [gateway, _] = gateways(&provider, &redis, "").await;
    let visitor = Visitor::new(&gateway);
    assert_eq!(visitor.follow("/app/x").await.0.status(), 200);
    let name = session_places(&redis)[0].rsplit(':').next().unwrap()[..32].to_owned();
    stored(&redis, 300).await;
    let end = async |id: &str| {
        let url = format!("http://{}/sessions/{id}?login=main", gateway.admin);
        client().delete(url).send().await.unwrap().status()
    };
    // Not by a part of it, and not by a pattern.
    for id in [
        &name[..31],
        "*",
        &format!("{}*", &name[..31]),
        &"?".repeat(32),
    ] {
        assert_eq!(end(id).await, 404, "{id}");
    }
    assert_eq!(visitor.fetch(Method::GET, "/app/x").await.status(), 200);
    assert_eq!(end(&name).await, 204);
    assert_eq!(visitor.fetch(Method::GET, "/app/x").await.status(), 401);
    assert_eq!(end(&name).await, 404);
}
