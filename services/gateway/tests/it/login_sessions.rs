//! What a session is for: headers upstream, cookies, refreshes, sockets, bounds.

use std::time::Duration;

use futures_util::{StreamExt as _, future::join_all};
use http::Method;
use quartet_common::clock::Clock;
use quartet_testing::Issuer;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use crate::support::{
    Gateway, Lies, Provider, Visitor, command, echo, eventually, problem, route, serve, upstream,
};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

async fn gateway(provider: &Provider, login: &str, more: &str) -> Gateway {
    let settings = [
        upstream(&[serve(echo()).await]),
        provider.settings(login),
        route("app", "/app/*", "login = \"main\""),
        route("open", "/open", ""),
        more.to_owned(),
    ];
    Gateway::start(&settings.concat()).await
}

async fn logged_in(gateway: &Gateway) -> Visitor {
    let visitor = Visitor::new(gateway);
    assert_eq!(visitor.follow("/app/start").await.0.status(), 200);
    visitor
}

/// The values of a header that the upstream has received.
fn received(seen: &Value, name: &str) -> Vec<String> {
    let headers = seen["headers"].as_array().unwrap().iter();
    let named = headers.filter(|pair| pair[0] == name);
    named
        .map(|pair| pair[1].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn upstreams_learn_who_the_user_is_and_nothing_that_the_client_says_of_it() {
    let provider = Provider::start().await;
    let headers = "headers = { user = \"X-User\", email = \"X-Mail\", groups = \"X-Groups\", name = \"X-Name\" }";
    let gateway = gateway(&provider, headers, "").await;
    let visitor = logged_in(&gateway).await;
    visitor.set_cookie("theme", "dark");
    let request = visitor.request(Method::GET, "/app/x?y=z");
    let request = [
        "x-user",
        "X_User",
        "x-mail",
        "x_mail",
        "x-groups",
        "x-name",
        "x-user-id",
    ]
    .iter()
    .fold(request, |request, name| request.header(*name, "root"));
    let response = request.send().await.unwrap();
    assert!(!response.headers().contains_key("set-cookie"));
    let seen: Value = response.json().await.unwrap();
    assert_eq!(seen["path"], "/app/x?y=z");
    for (name, expected) in [
        ("x-user", "user-1"),
        ("x-mail", "ada@example.org"),
        ("x-groups", "dev,ops"),
        ("x-name", "ada"),
        ("x-user-id", "main:user-1"),
        ("cookie", "theme=dark"),
    ] {
        assert_eq!(received(&seen, name), [expected], "{name}");
    }
    for name in ["x_user", "x_mail", "authorization"] {
        assert!(received(&seen, name).is_empty(), "{name}: {seen}");
    }
    // Neither on routes without a login.
    let request = visitor
        .request(Method::GET, "/open")
        .header("x-mail", "root");
    let seen: Value = request.send().await.unwrap().json().await.unwrap();
    assert_eq!(received(&seen, "cookie"), ["theme=dark"]);
    assert!(received(&seen, "x-user").is_empty() && received(&seen, "x-mail").is_empty());
    let line = gateway.access_line("/app/x").await;
    assert_eq!(line["caller_id"], "main:user-1");
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_get_401_without_a_cookie_and_pages_come_back_to_where_they_were() {
    let provider = Provider::start().await;
    let gateway = gateway(&provider, "", "").await;
    let visitor = Visitor::new(&gateway);
    for request in [
        visitor.request(Method::GET, "/app/x"),
        visitor
            .request(Method::GET, "/app/x")
            .header("accept", "text/html")
            .header("sec-fetch-mode", "cors"),
        visitor
            .request(Method::GET, "/app/x")
            .header("accept", "text/html")
            .header("x-requested-with", "XMLHttpRequest"),
        visitor
            .request(Method::POST, "/app/x")
            .header("accept", "application/json"),
        visitor
            .request(Method::GET, "/app/x")
            .header("authorization", "Bearer abc"),
    ] {
        let response = visitor.keep(request.send().await.unwrap());
        problem(response, 401, "login_required").await;
    }
    assert!(visitor.cookies().is_empty());
    // A form cannot be sent again by the gateway.
    let form = visitor
        .request(Method::POST, "/app/x")
        .header("accept", "text/html")
        .send()
        .await
        .unwrap();
    assert_eq!(form.status(), 401);
    assert!(
        form.text()
            .await
            .unwrap()
            .contains("What you have sent was not processed")
    );
    let (page, _) = visitor.follow("/app/deep//x?a=%2F&b=c").await;
    let seen: Value = page.json().await.unwrap();
    assert_eq!(seen["path"], "/app/deep/x?a=%2F&b=c");
}

#[tokio::test(flavor = "multi_thread")]
async fn tabs_log_in_beside_each_other() {
    let provider = Provider::start().await;
    let gateway = gateway(&provider, "", "").await;
    let visitor = Visitor::new(&gateway);
    let mut callbacks = Vec::new();
    for tab in 0..4 {
        callbacks.push(visitor.to_callback(&format!("/app/{tab}")).await);
    }
    callbacks.reverse();
    for (at, callback) in callbacks.iter().enumerate() {
        let done = visitor.open(callback).await;
        assert_eq!(done.status(), 302, "{at}");
        assert_eq!(done.headers()["location"], format!("/app/{}", 3 - at));
    }
    // The session of the last one; those before were replaced.
    let listed: Value = gateway
        .admin("/sessions?login=main")
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(listed["sessions"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_cookies_with_the_name_the_right_one_counts() {
    let provider = Provider::start().await;
    let gateway = gateway(&provider, "", "").await;
    let visitor = logged_in(&gateway).await;
    let name = "__Host-quartet_main";
    let value = visitor.cookies()[name].clone();
    assert!(value.len() >= 22 && visitor.cookie_header().len() < 4096);
    let stale = "A".repeat(43);
    for (cookies, expected) in [
        (format!("{name}={stale}; {name}={value}"), 200),
        (format!("{name}=; {name}={value}; {name}={stale}"), 200),
        (format!("{name}={stale}; {name}={stale}"), 401),
        (format!("{name}={}", &value[1..]), 401),
        (format!("x{name}={value}"), 401),
    ] {
        let request = Visitor::new(&gateway).request(Method::GET, "/app/x");
        let response = request.header("cookie", &cookies).send().await.unwrap();
        assert_eq!(response.status(), expected, "{cookies}");
        if expected == 200 {
            let seen: Value = response.json().await.unwrap();
            assert!(received(&seen, "cookie").is_empty(), "{seen}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_sites_cannot_use_the_session_of_their_visitors() {
    let provider = Provider::start().await;
    let gateway = gateway(&provider, "", "").await;
    let visitor = logged_in(&gateway).await;
    let known: Value = visitor
        .fetch(Method::GET, "/auth/session")
        .await
        .json()
        .await
        .unwrap();
    let csrf = known["csrf_token"].as_str().unwrap();
    let same = "https://app.example.org";
    for (headers, expected) in [
        (&[("sec-fetch-site", "same-origin")][..], 200),
        (
            &[("sec-fetch-site", "same-origin"), ("origin", "null")],
            200,
        ),
        (&[("sec-fetch-site", "cross-site"), ("origin", same)], 403),
        (&[("sec-fetch-site", "same-site")], 403),
        (&[("sec-fetch-site", "none")], 403),
        (&[("origin", same)], 200),
        (&[("origin", "https://evil.example")], 403),
        (&[("origin", "null")], 403),
        (
            &[("origin", "https://evil.example"), ("x-csrf-token", csrf)],
            403,
        ),
        (&[("x-csrf-token", csrf)], 200),
        (&[("x-csrf-token", "wrong")], 403),
        (&[], 403),
    ] {
        for method in [Method::POST, Method::PUT, Method::DELETE] {
            let request = visitor.request(method.clone(), "/app/x");
            let request = headers
                .iter()
                .fold(request, |it, (name, value)| it.header(*name, *value));
            let response = request.send().await.unwrap();
            assert_eq!(response.status(), expected, "{method} {headers:?}");
            if expected == 403 {
                problem(response, 403, "cross_site_request").await;
            }
        }
    }
    // Reading is no danger, and a link from another site has to work.
    let link = visitor
        .request(Method::GET, "/app/x")
        .header("sec-fetch-site", "cross-site");
    assert_eq!(link.send().await.unwrap().status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_learn_who_is_logged_in() {
    let provider = Provider::start().await;
    let gateway = gateway(&provider, "userinfo = true", "").await;
    let visitor = Visitor::new(&gateway);
    problem(
        visitor.fetch(Method::GET, "/auth/session").await,
        401,
        "login_required",
    )
    .await;
    visitor.follow("/app/").await;
    let response = visitor.fetch(Method::GET, "/auth/session").await;
    assert_eq!(response.headers()["cache-control"], "no-store");
    let known: Value = response.json().await.unwrap();
    // Userinfo is newer than the ID token.
    assert_eq!(known["email"], "new@example.org");
    assert_eq!(known["groups"], json!(["userinfo"]));
    assert_eq!(
        (&known["user"], &known["username"]),
        (&json!("user-1"), &json!("ada"))
    );
    let text = known.to_string();
    assert!(
        !text.contains("access-") && !text.contains("refresh-"),
        "{text}"
    );
    for (method, path, status) in [
        (Method::PUT, "/auth/session", 405),
        (Method::POST, "/auth/session", 405),
        (Method::POST, "/auth/login", 405),
        (Method::GET, "/auth/backchannel", 405),
        (Method::GET, "/auth/other", 404),
        (Method::GET, "/oauth2/auth", 404),
    ] {
        assert_eq!(visitor.fetch(method, path).await.status(), status, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_access_token_is_refreshed_once_for_all_requests() {
    let provider = Provider::start().await;
    let gateway = gateway(&provider, "access_token_header = \"Authorization\"", "").await;
    provider.lie(Lies {
        life_seconds: Some(20),
        ..Lies::default()
    });
    let visitor = Visitor::new(&gateway);
    let (page, _) = visitor.follow("/app/").await;
    // It expires too soon, so that it was refreshed at once.
    assert_eq!(provider.refreshes(), 1);
    let seen: Value = page.json().await.unwrap();
    let first = received(&seen, "authorization");
    assert!(first[0].starts_with("Bearer access-"), "{first:?}");
    provider.lie(Lies {
        token_delay: Duration::from_millis(300),
        ..Lies::default()
    });
    let calls = (0..20).map(|_| visitor.fetch(Method::GET, "/app/x"));
    let mut tokens = Vec::new();
    for response in join_all(calls).await {
        assert_eq!(response.status(), 200);
        let seen: Value = response.json().await.unwrap();
        tokens.extend(received(&seen, "authorization"));
    }
    assert_eq!((provider.refreshes(), provider.was_reused()), (2, false));
    assert!(
        tokens
            .iter()
            .all(|token| *token == tokens[0] && *token != first[0]),
        "{tokens:?}"
    );
    // A client that disconnects does not lose the new tokens.
    assert_eq!(visitor.fetch(Method::GET, "/app/x").await.status(), 200);
    assert_eq!(provider.refreshes(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_that_is_refused_ends_the_session_and_one_that_fails_does_not() {
    let provider = Provider::start().await;
    let gateway = gateway(&provider, "timeout_ms = 500", "").await;
    provider.lie(Lies {
        life_seconds: Some(20),
        ..Lies::default()
    });
    let visitor = logged_in(&gateway).await;
    // The identity is known without the token.
    let down = Lies {
        token: Some((500, "")),
        life_seconds: Some(20),
        ..Lies::default()
    };
    provider.lie(down);
    assert_eq!(visitor.fetch(Method::GET, "/app/x").await.status(), 200);
    let failures =
        "gateway_logins_total{service=\"gateway\",login=\"main\",outcome=\"refresh_failed\"}";
    assert_eq!(gateway.count(failures).await, 1);
    assert_eq!(visitor.fetch(Method::GET, "/app/x").await.status(), 200);
    assert_eq!(
        gateway.count(failures).await,
        1,
        "it is not tried for each request"
    );
    // Another session, whose refresh token was revoked.
    provider.lie(Lies {
        life_seconds: Some(20),
        ..Lies::default()
    });
    let other = logged_in(&gateway).await;
    provider.forget_tokens();
    problem(
        other.fetch(Method::GET, "/app/x").await,
        401,
        "login_required",
    )
    .await;
    assert_eq!(other.open("/app/x").await.status(), 302);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_token_an_upstream_is_not_asked() {
    let provider = Provider::start().await;
    let gateway = gateway(
        &provider,
        "access_token_header = \"X-Token\"\ntimeout_ms = 500",
        "",
    )
    .await;
    let visitor = logged_in(&gateway).await;
    let seen: Value = visitor
        .fetch(Method::GET, "/app/x")
        .await
        .json()
        .await
        .unwrap();
    assert!(received(&seen, "x-token")[0].starts_with("access-"));
    provider.lie(Lies {
        life_seconds: Some(0),
        ..Lies::default()
    });
    let visitor = Visitor::new(&gateway);
    let callback = visitor.to_callback("/app/").await;
    visitor.open(&callback).await;
    provider.lie(Lies {
        token: Some((503, "")),
        ..Lies::default()
    });
    problem(
        visitor.fetch(Method::GET, "/app/x").await,
        503,
        "login_unavailable",
    )
    .await;
    let page = visitor.open("/app/x").await;
    assert_eq!(page.status(), 503);
    // The session stays: the provider may be back in a moment.
    assert!(!visitor.cookies().is_empty());
    assert!(page.text().await.unwrap().contains("href=\"/app/x\""));
}

/// An upstream that accepts every WebSocket, and says nothing.
async fn sockets() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
                while let Some(Ok(_)) = socket.next().await {}
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn sockets_need_a_session_and_a_page_of_the_host_and_end_with_the_session() {
    let provider = Provider::start().await;
    let more = [
        format!("[upstreams.v]\naddresses = [\"{}\"]\n", sockets().await),
        route("socket", "/socket", "login = \"main\"\nupgrade = true").replace("\"u\"", "\"v\""),
    ];
    let gateway = gateway(&provider, "", &more.concat()).await;
    let visitor = logged_in(&gateway).await;
    let connect = async |origin: Option<&str>, cookies: &str| {
        let mut request = format!("ws://{}/socket", gateway.public)
            .into_client_request()
            .unwrap();
        let headers = request.headers_mut();
        headers.insert("host", "app.example.org".parse().unwrap());
        headers.insert("cookie", cookies.parse().unwrap());
        if let Some(origin) = origin {
            headers.insert("origin", origin.parse().unwrap());
        }
        match tokio_tungstenite::connect_async(request).await {
            Ok((socket, _)) => Ok(socket),
            Err(tokio_tungstenite::tungstenite::Error::Http(response)) => {
                Err(response.status().as_u16())
            }
            Err(error) => panic!("{error}"),
        }
    };
    let cookies = visitor.cookie_header();
    let same = Some("https://app.example.org");
    assert_eq!(connect(same, "a=b").await.err(), Some(401));
    assert_eq!(
        connect(Some("https://evil.example"), &cookies).await.err(),
        Some(403)
    );
    assert_eq!(connect(None, &cookies).await.err(), Some(403));
    let mut socket = connect(same, &cookies).await.unwrap();
    assert_eq!(
        visitor.fetch(Method::POST, "/auth/logout").await.status(),
        302
    );
    let ended = tokio::time::timeout(Duration::from_secs(5), socket.next())
        .await
        .unwrap();
    assert!(!matches!(ended, Some(Ok(_))), "{ended:?}");
    let line = gateway.access_line("/socket").await;
    assert!(line["status"].is_number());
    eventually("the log says why", || async {
        let mut lines = gateway.lines().into_iter();
        lines
            .find(|line| line["error"] == "the session has ended")
            .map(drop)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_will_do_where_the_route_allows_it() {
    let provider = Provider::start().await;
    let jwt = format!("[jwt]\njwks_url = \"\"\nhs256_secret = \"{SECRET}\"\n");
    let required = route("both", "/both", "login = \"main\"").replace("\"public\"", "\"required\"");
    let optional =
        route("maybe", "/maybe", "login = \"main\"").replace("\"public\"", "\"optional\"");
    let gateway = gateway(&provider, "", &[jwt, required, optional].concat()).await;
    let visitor = Visitor::new(&gateway);
    let token = Issuer::with_secret(Clock::system(), SECRET).token("usr_1");
    let with = |path: &str, token: &str| {
        let request = Visitor::new(&gateway).request(Method::GET, path);
        request.bearer_auth(token).send()
    };
    let seen: Value = with("/both", &token).await.unwrap().json().await.unwrap();
    assert_eq!(received(&seen, "x-user-id"), ["usr_1"]);
    problem(with("/both", "bad").await.unwrap(), 401, "unauthenticated").await;
    // Where tokens are ignored, one is as good as none.
    problem(with("/app/x", &token).await.unwrap(), 401, "login_required").await;
    problem(
        visitor.fetch(Method::GET, "/both").await,
        401,
        "login_required",
    )
    .await;
    let seen: Value = visitor
        .fetch(Method::GET, "/maybe")
        .await
        .json()
        .await
        .unwrap();
    assert!(received(&seen, "x-user").is_empty());
    visitor.follow("/app/").await;
    for path in ["/both", "/maybe"] {
        let seen: Value = visitor.fetch(Method::GET, path).await.json().await.unwrap();
        assert_eq!(received(&seen, "x-user"), ["user-1"], "{path}");
        assert!(received(&seen, "authorization").is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_for_a_host_is_one_for_all_its_routes() {
    let provider = Provider::start().await;
    let address = serve(echo()).await;
    let more = [
        route("free", "/free", "login = \"\""),
        route(
            "there",
            "/there",
            "hosts = [\"app.example.org\", \"127.0.0.1\"]",
        ),
    ];
    let settings = |more: &str| {
        [
            upstream(&[address]),
            provider.settings("hosts = [\"app.example.org\"]"),
            route("app", "/app/*", "login = \"main\""),
            more.to_owned(),
        ]
        .concat()
    };
    let gateway = Gateway::start(&settings(&more.concat())).await;
    let visitor = Visitor::new(&gateway);
    assert_eq!(visitor.fetch(Method::GET, "/there").await.status(), 401);
    assert_eq!(visitor.fetch(Method::GET, "/free").await.status(), 200);
    assert_eq!(gateway.get("/there").await.status(), 200, "another host");
    // With another `Host`, who has no session would reach the same.
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), settings(&route("open", "/open", ""))).unwrap();
    let check = command()
        .args(["check", "--config"])
        .arg(file.path())
        .output();
    let errors = String::from_utf8(check.unwrap().stderr).unwrap();
    assert!(errors.contains("routes.open.login"), "{errors}");
    let upper = Visitor::new(&gateway).request(Method::GET, "/there");
    let upper = upper.header("host", "APP.example.org.").send().await;
    assert!(upper.is_err() || upper.unwrap().status() != 200);
    visitor.follow("/there").await;
    assert_eq!(visitor.fetch(Method::GET, "/there").await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_outlive_a_reload_and_limits_count_by_their_user() {
    let provider = Provider::start().await;
    let limit = "[limits.three]\nrequests = 3\nwindow_seconds = 600\n";
    let more = [
        limit.to_owned(),
        route("limited", "/limited", "login = \"main\"\nlimit = \"three\""),
    ];
    let gateway = gateway(&provider, "", &more.concat()).await;
    let (one, other) = (logged_in(&gateway).await, logged_in(&gateway).await);
    let text = std::fs::read_to_string(gateway.file()).unwrap();
    gateway
        .reload(&text.replace("[logins.main]", "[logins.main]\nidle_seconds = 7200"))
        .await;
    assert_eq!(one.fetch(Method::GET, "/app/x").await.status(), 200);
    for (visitor, expected) in [
        (&one, 200),
        (&other, 200),
        (&one, 200),
        (&other, 429),
        (&one, 429),
    ] {
        assert_eq!(
            visitor.fetch(Method::GET, "/limited").await.status(),
            expected
        );
    }
    // Without a session, the client IP counts, and no flow begins beyond the limit.
    for expected in [302, 302, 302, 429] {
        assert_eq!(
            Visitor::new(&gateway).open("/limited").await.status(),
            expected
        );
    }
    // Another client of the provider: its sessions are not this one's.
    gateway
        .reload(&text.replace("\"gateway\"", "\"other\""))
        .await;
    assert_eq!(one.fetch(Method::GET, "/app/x").await.status(), 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_see_and_end_sessions() {
    let provider = Provider::start().await;
    let gateway = gateway(&provider, "", "").await;
    let mut visitors = Vec::new();
    for name in ["a", "b", "c"] {
        let email = format!("{name}@example.org");
        provider.set_user(json!({ "sub": name, "email": email, "email_verified": true }));
        visitors.push(logged_in(&gateway).await);
    }
    let list = async |query: &str| -> Value {
        gateway
            .admin(&format!("/sessions?login=main{query}"))
            .await
            .json()
            .await
            .unwrap()
    };
    let first = list("&limit=2").await;
    assert_eq!(first["sessions"].as_array().unwrap().len(), 2);
    let next = first["next"].as_str().unwrap();
    let second = list(&format!("&limit=2&after={next}")).await;
    assert_eq!(second["sessions"].as_array().unwrap().len(), 1);
    assert!(second["next"].is_null());
    let of_b = list("&user=b@example.org").await;
    let text = of_b.to_string();
    assert_eq!(of_b["sessions"].as_array().unwrap().len(), 1, "{text}");
    let cookie = &visitors[1].cookies()["__Host-quartet_main"];
    assert!(
        !text.contains("access-") && !text.contains(cookie.as_str()),
        "{text}"
    );
    let send = async |method: Method, path: &str, body: Option<Value>| {
        let url = format!("http://{}{path}", gateway.admin);
        let request = crate::support::client().request(method, url);
        let request = match &body {
            Some(body) => request.json(body),
            None => request,
        };
        request.send().await.unwrap()
    };
    let id = of_b["sessions"][0]["id"].as_str().unwrap();
    let path = format!("/sessions/{id}?login=main");
    assert_eq!(send(Method::DELETE, &path, None).await.status(), 204);
    assert_eq!(send(Method::DELETE, &path, None).await.status(), 404);
    assert_eq!(visitors[1].fetch(Method::GET, "/app/x").await.status(), 401);
    let body = json!({ "login": "main", "user": "a" });
    let ended = send(Method::POST, "/sessions/revoke", Some(body)).await;
    assert_eq!(ended.json::<Value>().await.unwrap()["ended"], 1);
    assert_eq!(visitors[0].fetch(Method::GET, "/app/x").await.status(), 401);
    assert_eq!(visitors[2].fetch(Method::GET, "/app/x").await.status(), 200);
    let ambiguous = json!({ "login": "main" });
    assert_eq!(
        send(Method::POST, "/sessions/revoke", Some(ambiguous))
            .await
            .status(),
        422
    );
    let all = json!({ "login": "main", "all": true });
    let ended = send(Method::POST, "/sessions/revoke", Some(all)).await;
    assert_eq!(ended.json::<Value>().await.unwrap()["ended"], 1);
    assert_eq!(gateway.admin("/sessions?login=other").await.status(), 400);
    eventually("the number of sessions is known", || async {
        let metric = "gateway_login_sessions{service=\"gateway\",login=\"main\"}";
        (gateway.metrics().await.contains(metric) && gateway.count(metric).await == 0).then_some(())
    })
    .await;
}
