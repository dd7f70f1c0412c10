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

pub(crate) const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

pub(crate) async fn gateways(provider: &Provider, redis: &RedisServer, more: &str) -> [Gateway; 2] {
    let login = format!("store = \"redis\"\nencryption_key = \"{KEY}\"\n{more}");
    let settings = [
        upstream(&[serve(echo()).await]),
        "[server]\ntrusted_proxies = [\"127.0.0.1/32\"]\n".to_owned(),
        format!(
            "[rate_limit_store]\nurl = \"{}\"\ntimeout_ms = 200\n",
            redis.url()
        ),
        provider.settings(&login),
        "[limits.once]\nrequests = 1\nwindow_seconds = 3600\nkey = \"user\"\n".to_owned(),
        route("app", "/app/*", "login = \"main\""),
        route("once", "/once", "login = \"main\"\nlimit = \"once\""),
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
    // The end at one is the end at the other, also for who has kept the cookie.
    let kept = here.cookie_header();
    assert_eq!(here.fetch(Method::POST, "/auth/logout").await.status(), 302);
    for gateway in [&one, &other] {
        eventually("the session has ended", || async {
            let request = Visitor::new(gateway).request(Method::GET, "/app/x");
            let response = request.header("cookie", &kept).send().await.unwrap();
            (response.status() == 401).then_some(())
        })
        .await;
    }
}

/// Where the sessions are.
pub(crate) fn session_places(redis: &RedisServer) -> Vec<String> {
    let keys = redis.command(&["KEYS", "quartet:login:main:s:*"]);
    keys.lines().map(str::to_owned).collect()
}

/// When the only session of the list was used last.
async fn last_use(gateway: &Gateway) -> i64 {
    let path = "/sessions?login=main";
    let listed: Value = gateway.admin(path).await.json().await.unwrap();
    listed["sessions"][0]["last_used_at"].as_i64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn only_requests_that_are_let_through_keep_a_session_alive() {
    let Some(redis) = RedisServer::start() else {
        return;
    };
    let provider = Provider::start().await;
    let more = "idle_seconds = 60\naccess_token_header = \"X-Token\"";
    let gateways = gateways(&provider, &redis, more).await;
    let key = master_key();
    let client = redis::Client::open(redis.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    for (first, second) in [(0, 1), (1, 0)] {
        // The limit of the user is used up by another session of theirs, which ends then.
        let other = Visitor::new(&gateways[first]);
        other.follow("/once").await;
        assert_eq!(other.fetch(Method::GET, "/once").await.status(), 429);
        let out = other.fetch(Method::POST, "/auth/logout").await;
        assert_eq!(out.status(), 302);
        provider.lie(Lies {
            life_seconds: Some(20),
            ..Lies::default()
        });
        let (there, gateway) = (Visitor::new(&gateways[first]), &gateways[second]);
        let callback = there.to_callback("/app/x").await;
        assert_eq!(there.open(&callback).await.status(), 302);
        provider.lie(Lies::default());
        let visitor = there.at(gateway);
        // It was used a while ago.
        let place = session_places(&redis).pop().unwrap();
        let (_, sealed) = values(&redis, 's').await.pop().unwrap();
        let opened = key.open(&place, &sealed).unwrap();
        let mut session: Value = serde_json::from_slice(&opened).unwrap();
        let used_at = session["seen_at"].as_i64().unwrap() - 30;
        session["seen_at"] = json!(used_at);
        let sealed = key.seal(&place, session.to_string().as_bytes()).unwrap();
        let mut command = redis::cmd("SET");
        let set = command.arg(&place).arg(sealed).arg("EX").arg(30);
        let _: String = set.query_async(&mut connection).await.unwrap();
        let life = || {
            let life = redis.command(&["TTL", &place]);
            life.parse::<i64>().unwrap()
        };
        // Neither a look at it, nor what is refused, nor new tokens for that.
        let polled = visitor.fetch(Method::GET, "/auth/session").await;
        assert_eq!(polled.status(), 200);
        let refreshes = provider.refreshes();
        assert_eq!(visitor.fetch(Method::GET, "/once").await.status(), 429);
        assert_eq!(provider.refreshes(), refreshes + 1);
        let posted = visitor.request(Method::POST, "/app/x");
        assert_eq!(posted.send().await.unwrap().status(), 403);
        assert_eq!(last_use(gateway).await, used_at);
        assert!(life() <= 30, "{}", life());
        // A use does.
        assert_eq!(visitor.fetch(Method::GET, "/app/x").await.status(), 200);
        eventually("the use is noted", || async {
            (life() > 30 && last_use(gateway).await > used_at + 20).then_some(())
        })
        .await;
        assert_eq!(
            visitor.fetch(Method::POST, "/auth/logout").await.status(),
            302
        );
        eventually("nothing is left of it", || async {
            let keys = ["s", "u"].map(|kind| format!("quartet:login:main:{kind}:*"));
            let left = keys.map(|keys| redis.command(&["KEYS", &keys]));
            left.iter().all(String::is_empty).then_some(())
        })
        .await;
    }
}

fn master_key() -> MasterKey {
    let mut bytes = [0; 32];
    hex::decode_to_slice(KEY, &mut bytes).unwrap();
    MasterKey::new(&bytes, &[])
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
    let key = master_key();
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

#[tokio::test(flavor = "multi_thread")]
async fn a_logout_that_failed_can_be_sent_again() {
    let Some(redis) = RedisServer::start() else {
        return;
    };
    let provider = Provider::start().await;
    let [one, other] = gateways(&provider, &redis, "").await;
    let visitor = Visitor::new(&one);
    assert_eq!(visitor.follow("/app/x").await.0.status(), 200);
    let token = provider.logout_token(&json!({ "sid": "sid-1" }));
    let send = async || {
        let request = client()
            .post(other.url("/auth/backchannel"))
            .header("host", "app.example.org")
            .body(format!("logout_token={token}"));
        request.send().await.unwrap().status()
    };
    // What the store has under the names of the user and of the provider's session cannot be read.
    let keys = redis.command(&["KEYS", "quartet:login:main:i:*"]);
    let keys: Vec<_> = keys.lines().collect();
    assert_eq!(keys.len(), 2);
    for key in &keys {
        redis.command(&["RENAME", key, &format!("kept:{key}")]);
        redis.command(&["SET", key, "x"]);
    }
    assert_eq!(send().await, 503);
    assert_eq!(send().await, 503, "it is none that was used");
    for key in &keys {
        redis.command(&["RENAME", &format!("kept:{key}"), key]);
    }
    assert_eq!(send().await, 200);
    assert_eq!(send().await, 400, "the token was used");
    eventually("the session has ended", || async {
        (visitor.fetch(Method::GET, "/app/x").await.status() == 401).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_one_client_ends_no_login_of_another() {
    let Some(redis) = RedisServer::start() else {
        return;
    };
    let provider = Provider::start().await;
    for gateway in &gateways(&provider, &redis, "max_flows = 40").await {
        let flood = async |client: &str| {
            for _ in 0..9 {
                // A few at a time, which the store answers in time.
                let requests = (0..5).map(|_| {
                    let visitor = Visitor::new(gateway);
                    let request = visitor.request(Method::GET, "/auth/login");
                    request.header("x-forwarded-for", client).send()
                });
                for begun in join_all(requests).await {
                    assert_eq!(begun.unwrap().status(), 302);
                }
            }
        };
        let victim = Visitor::new(gateway);
        let callback = victim.to_callback("/app/x").await;
        flood("192.0.2.1").await;
        flood("2001:db8::1").await;
        let flows = redis.command(&["KEYS", "quartet:login:main:f:*"]);
        assert_eq!(flows.lines().count(), 1 + 16 + 16, "of all that began");
        // Neither one that began before, nor one that begins now.
        assert_eq!(victim.open(&callback).await.headers()["location"], "/app/x");
        let late = Visitor::new(gateway);
        assert_eq!(late.follow("/app/x").await.0.status(), 200);
        redis.command(&["FLUSHALL"]);
    }
}
