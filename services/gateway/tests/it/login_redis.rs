//! Sessions in a Redis that replicas share. Of two gateways, one serves requests on the direct path.

use std::time::Duration;

use futures_util::future::join_all;
use http::Method;
use quartet_auth::master_key::MasterKey;
use quartet_testing::RedisServer;
use serde_json::{Value, json};

use crate::{
    shared_limits::is_up,
    support::{
        Gateway, Lies, Provider, Visitor, client, echo, eventually, problem, route, serve, upstream,
    },
};

const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

async fn gateways(provider: &Provider, redis: &RedisServer, more: &str) -> [Gateway; 2] {
    let login = format!("store = \"redis\"\nencryption_key = \"{KEY}\"\n{more}");
    let settings = [
        upstream(&[serve(echo()).await]),
        format!(
            "[rate_limit_store]\nurl = \"{}\"\ntimeout_ms = 200\n",
            redis.url()
        ),
        provider.settings(&login),
        route("app", "/app/*", "login = \"main\""),
    ]
    .concat();
    let start = async |direct: &str| {
        let variables = [("QUARTET_SERVER_DIRECT_PATH", direct)];
        let gateway = Gateway::with_variables(&settings, &variables).await;
        is_up(&gateway, true).await;
        gateway
    };
    [start("true").await, start("false").await]
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_share_flows_sessions_and_refreshes() {
    let Some(redis) = RedisServer::start() else {
        return;
    };
    let provider = Provider::start().await;
    let [one, other] = gateways(&provider, &redis, "access_token_header = \"X-Token\"").await;
    // A flow begins at one replica and ends at the other.
    provider.lie(Lies {
        life_seconds: Some(20),
        ..Lies::default()
    });
    let here = Visitor::new(&one);
    let there = here.at(&other);
    let callback = here.to_callback("/app/x").await;
    assert_eq!(there.open(&callback).await.headers()["location"], "/app/x");
    assert_eq!(
        here.open(&callback).await.headers()["location"],
        "/app/x",
        "replayed"
    );
    // All replicas need another token at once.
    provider.lie(Lies {
        token_delay: Duration::from_millis(300),
        ..Lies::default()
    });
    let calls = (0..20).map(|at| {
        let visitor = if at % 2 == 0 { &here } else { &there };
        visitor.fetch(Method::GET, "/app/x")
    });
    let mut tokens = Vec::new();
    for response in join_all(calls).await {
        assert_eq!(response.status(), 200);
        let seen: Value = response.json().await.unwrap();
        let headers = seen["headers"].as_array().unwrap().clone();
        tokens.extend(headers.into_iter().filter(|pair| pair[0] == "x-token"));
    }
    assert_eq!((provider.refreshes(), provider.was_reused()), (1, false));
    assert!(
        tokens.len() == 20 && tokens.iter().all(|token| *token == tokens[0]),
        "{tokens:?}"
    );
    // Nothing in the store can be read.
    let mut found = 0;
    for (key, value) in values(&redis, 's').await {
        let text = String::from_utf8_lossy(&value).into_owned() + &key;
        let secrets = [
            "access-",
            "refresh-",
            "ada@",
            "user-1",
            &here.cookies()["__Host-quartet_main"],
        ];
        assert!(secrets.iter().all(|secret| !text.contains(secret)), "{key}");
        found += 1;
    }
    assert!(found > 0);
    // The end at one is the end at the other.
    assert_eq!(here.fetch(Method::POST, "/auth/logout").await.status(), 302);
    let kept = there.request(Method::GET, "/app/x");
    assert_eq!(
        kept.send().await.unwrap().status(),
        401,
        "the cookie is gone"
    );
}

/// All texts of a kind in the store.
async fn values(redis: &RedisServer, kind: char) -> Vec<(String, Vec<u8>)> {
    let client = redis::Client::open(redis.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let keys: Vec<String> = redis::cmd("KEYS")
        .arg(format!("quartet:login:*:{kind}:*"))
        .query_async(&mut connection)
        .await
        .unwrap();
    let mut found = Vec::new();
    for key in keys {
        let value: Vec<u8> = redis::cmd("GET")
            .arg(&key)
            .query_async(&mut connection)
            .await
            .unwrap();
        found.push((key, value));
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_everywhere() {
    let Some(redis) = RedisServer::start() else {
        return;
    };
    let provider = Provider::start().await;
    let [one, other] = gateways(&provider, &redis, "").await;
    let log_in = async || {
        let visitor = Visitor::new(&one);
        assert_eq!(visitor.follow("/app/x").await.0.status(), 200);
        assert_eq!(
            visitor
                .at(&other)
                .fetch(Method::GET, "/app/x")
                .await
                .status(),
            200
        );
        visitor
    };
    let is_over = async |visitor: &Visitor| {
        for gateway in [&one, &other] {
            let visitor = visitor.at(gateway);
            eventually("the session has ended", || async {
                (visitor.fetch(Method::GET, "/app/x").await.status() == 401).then_some(())
            })
            .await;
        }
    };
    // By the provider, at any replica.
    let visitor = log_in().await;
    let token = provider.logout_token(&json!({ "sid": "sid-1" }));
    let send = |gateway: &Gateway, token: &str| {
        let request = client()
            .post(gateway.url("/auth/backchannel"))
            .header("host", "app.example.org");
        request.body(format!("logout_token={token}")).send()
    };
    assert_eq!(send(&other, &token).await.unwrap().status(), 200);
    assert_eq!(
        send(&one, &token).await.unwrap().status(),
        400,
        "the token was used"
    );
    is_over(&visitor).await;
    // By an operator.
    let visitor = log_in().await;
    let listed: Value = other
        .admin("/sessions?login=main")
        .await
        .json()
        .await
        .unwrap();
    let sessions = listed["sessions"].as_array().unwrap();
    assert_eq!(sessions.len(), 1, "{listed}");
    let url = format!("http://{}/sessions/revoke", other.admin);
    let body = json!({ "login": "main", "user": "ada@example.org" });
    let ended = client().post(url).json(&body).send().await.unwrap();
    assert_eq!(ended.json::<Value>().await.unwrap()["ended"], 1);
    is_over(&visitor).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_away_closes_the_door_and_says_so() {
    let Some(mut redis) = RedisServer::start() else {
        return;
    };
    let provider = Provider::start().await;
    let [one, other] = gateways(&provider, &redis, "").await;
    let visitor = Visitor::new(&one);
    assert_eq!(visitor.follow("/app/x").await.0.status(), 200);
    redis.kill();
    for gateway in [&one, &other] {
        is_up(gateway, false).await;
        let visitor = visitor.at(gateway);
        eventually("what was known is forgotten", || async {
            let response = visitor.fetch(Method::GET, "/app/x").await;
            (response.status() == 503).then_some(())
        })
        .await;
        let script = visitor.fetch(Method::GET, "/app/x").await;
        problem(script, 503, "login_unavailable").await;
        let page = visitor.open("/app/x").await;
        assert_eq!(page.status(), 503);
        let html = page.text().await.unwrap();
        assert!(
            html.contains("Logging in is not possible at the moment"),
            "{html}"
        );
        assert!(
            !visitor.cookies().is_empty(),
            "the session may still be there"
        );
        // No flow begins that could not end.
        let stranger = Visitor::new(gateway);
        assert_eq!(stranger.open("/app/x").await.status(), 503);
        assert!(stranger.cookies().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_took_too_long_is_a_page_and_leaves_no_cookie() {
    let Some(redis) = RedisServer::start() else {
        return;
    };
    let provider = Provider::start().await;
    let gateways = gateways(&provider, &redis, "").await;
    let mut bytes = [0; 32];
    hex::decode_to_slice(KEY, &mut bytes).unwrap();
    let key = MasterKey::new(&bytes, &[]);
    let client = redis::Client::open(redis.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    // Also one that began in the future: the clock of one replica is off.
    for (gateway, shift) in gateways.iter().zip([-601, 660]) {
        let visitor = Visitor::new(gateway);
        let callback = visitor.to_callback("/app/x").await;
        let (place, sealed) = values(&redis, 'f').await.pop().unwrap();
        let opened = key.open(&place, &sealed).unwrap();
        let mut flow: Value = serde_json::from_slice(&opened).unwrap();
        flow["started_at"] = json!(flow["started_at"].as_i64().unwrap() + shift);
        let sealed = key.seal(&place, flow.to_string().as_bytes()).unwrap();
        let mut command = redis::cmd("SET");
        let set = command.arg(&place).arg(sealed);
        let _: String = set.query_async(&mut connection).await.unwrap();
        let page = visitor.open(&callback).await;
        assert_eq!(page.status(), 400, "{shift}");
        let html = page.text().await.unwrap();
        assert!(html.contains("This login is no longer valid"), "{html}");
        assert!(visitor.cookies().is_empty(), "{:?}", visitor.cookies());
        let mut command = redis::cmd("DEL");
        let delete = command.arg(&place);
        let deleted: usize = delete.query_async(&mut connection).await.unwrap();
        assert_eq!(deleted, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_opens_what_the_previous_one_has_sealed_while_it_is_listed() {
    let Some(redis) = RedisServer::start() else {
        return;
    };
    let provider = Provider::start().await;
    let [gateway, _] = gateways(&provider, &redis, "").await;
    let visitor = Visitor::new(&gateway);
    assert_eq!(visitor.follow("/app/x").await.0.status(), 200);
    let text = std::fs::read_to_string(gateway.file()).unwrap();
    let old = format!("encryption_key = \"{KEY}\"");
    let new = format!("encryption_key = \"{}\"", "ab".repeat(32));
    let both = format!("{new}\nprevious_{old}");
    gateway.reload(&text.replace(&old, &both)).await;
    assert_eq!(visitor.fetch(Method::GET, "/app/x").await.status(), 200);
    gateway.reload(&text.replace(&old, &new)).await;
    let refused = visitor.fetch(Method::GET, "/app/x").await;
    problem(refused, 401, "login_required").await;
    assert_eq!(visitor.follow("/app/x").await.0.status(), 200);
}
