//! External services that decide about requests, and the gateway as one for other proxies.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use axum::{
    Router,
    body::Body,
    extract::Request,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Response},
    routing::any,
};
use futures_util::future::join_all;
use quartet_common::clock::Clock;
use quartet_testing::Issuer;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    sync::Semaphore,
};
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest as _};

use crate::support::{
    Gateway, client, echo, eventually, exchange, free_address, route, serve, upstream,
};

/// Decides by the path of the request that it is asked about, and keeps the questions.
#[derive(Clone, Default)]
struct Decider {
    questions: Arc<Mutex<Vec<(String, HeaderMap, usize)>>>,
    held: Arc<AtomicUsize>,
}

impl Decider {
    async fn serve(&self) -> std::net::SocketAddr {
        let this = self.clone();
        let permits = Arc::new(Semaphore::new(0));
        serve(Router::new().fallback(any(async move |request: Request| {
            let (head, body) = request.into_parts();
            let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
            let uri = head.headers["x-forwarded-uri"].to_str().unwrap().to_owned();
            let asked = (head.uri.to_string(), head.headers, body.len());
            this.questions.lock().unwrap().push(asked);
            if uri.starts_with("/held") {
                this.held.fetch_add(1, Ordering::Relaxed);
                let _never = permits.acquire().await;
            }
            decision(&uri)
        })))
        .await
    }

    fn last(&self) -> (String, HeaderMap, usize) {
        self.questions.lock().unwrap().last().unwrap().clone()
    }
}

fn decision(uri: &str) -> Response {
    let path = uri.split('?').next().unwrap();
    let code = path.rsplit('/').next().unwrap();
    match code {
        "login" => (
            StatusCode::FOUND,
            [
                ("location", "https://sso.example/login?rd=x"),
                ("set-cookie", "flow=1"),
                ("x-internal", "1"),
            ],
        )
            .into_response(),
        "401" => (
            StatusCode::UNAUTHORIZED,
            [
                ("www-authenticate", "Basic realm=\"a\""),
                ("content-type", "text/html"),
            ],
            "<p>log in</p>",
        )
            .into_response(),
        "long" => (StatusCode::FORBIDDEN, "x".repeat(70_000)).into_response(),
        code if code.parse::<u16>().is_ok() => {
            let status = StatusCode::from_u16(code.parse().unwrap()).unwrap();
            Response::builder()
                .status(status)
                .body(Body::empty())
                .unwrap()
        }
        _ => Response::builder()
            .header("remote-user", "alice")
            .header("x-tenant", "blue")
            .header("remote-groups", "a")
            .header("remote-groups", "b")
            .header("set-cookie", "session=renewed")
            .header("x-other", "not listed")
            .body(Body::from("ignored"))
            .unwrap(),
    }
}

fn protected(name: &str, path: &str, auth: impl std::fmt::Display, more: &str) -> String {
    let settings = format!(
        "forward_auth = {{ url = \"http://{auth}/verify?rd=1\", \
         copy_response_headers = [\"Remote-User\", \"Remote-Groups\", \"X-Tenant\", \"X-Absent\"], \
         copy_client_headers = [\"Set-Cookie\"]{more} }}\nupgrade = true\n"
    );
    route(name, path, &settings)
}

fn sent<'v>(echoed: &'v Value, name: &str) -> Vec<&'v str> {
    let all = echoed["headers"].as_array().unwrap().iter();
    let named = all.filter(|field| field[0] == name);
    named.map(|field| field[1].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_service_lets_pass_is_forwarded_with_its_headers() {
    let decider = Decider::default();
    let auth = decider.serve().await;
    let settings = [
        upstream(&[serve(echo()).await]),
        protected("app", "/app/*", auth, ", timeout_ms = 5000"),
        route("open", "/open", ""),
    ];
    let gateway = Gateway::start(&settings.concat()).await;
    let request = client()
        .post(gateway.url("/app/x?y=1"))
        .header("host", "app.example")
        .header("cookie", "session=old")
        .header("authorization", "Basic x")
        .header("x-private", "1")
        // Forged: of these, the upstream sees what the service says.
        .header("remote-user", "mallory")
        .header("remote_user", "mallory")
        .header("x-tenant", "red")
        .header("x_tenant", "red")
        .header("x-absent", "forged")
        .header("x-forwarded-for", "1.2.3.4")
        .header("x-forwarded-uri", "/open")
        .header("x-forwarded-method", "GET")
        .body("a body");
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["set-cookie"], "session=renewed");
    assert!(!response.headers().contains_key("remote-user"));
    let echoed: Value = response.json().await.unwrap();
    assert_eq!(sent(&echoed, "remote-user"), ["alice"]);
    assert_eq!(sent(&echoed, "remote-groups"), ["a", "b"]);
    assert_eq!(sent(&echoed, "x-tenant"), ["blue"]);
    for name in ["remote_user", "x_tenant", "x-absent", "x-other"] {
        assert!(sent(&echoed, name).is_empty(), "{name}: {echoed}");
    }
    assert_eq!(echoed["body_bytes"], 6);
    let (target, question, body) = decider.last();
    assert_eq!((&*target, body), ("/verify?rd=1", 0));
    for (name, value) in [
        ("x-forwarded-method", "POST"),
        ("x-forwarded-uri", "/app/x?y=1"),
        ("x-forwarded-host", "app.example"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-original-url", "http://app.example/app/x?y=1"),
        ("x-original-method", "POST"),
        ("cookie", "session=old"),
        ("authorization", "Basic x"),
    ] {
        assert_eq!(question[name], value, "{name}");
    }
    for name in [
        "content-length",
        "transfer-encoding",
        "x-private",
        "remote-user",
        "x-tenant",
    ] {
        assert!(!question.contains_key(name), "{name}");
    }
    // An upstream cannot know which route a request took.
    let request = client().get(gateway.url("/open")).header("x-tenant", "red");
    let echoed: Value = request.send().await.unwrap().json().await.unwrap();
    assert!(sent(&echoed, "x-tenant").is_empty(), "{echoed}");
    assert_eq!(decider.questions.lock().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_reach_the_client_and_faults_are_closed() {
    let decider = Decider::default();
    let auth = decider.serve().await;
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let app = Router::new().fallback(any(async move || {
        counted.fetch_add(1, Ordering::Relaxed);
        "reached"
    }));
    let broken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let garbage = broken.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = broken.accept().await {
            let mut some = [0; 1024];
            let _ = stream.read(&mut some).await;
            let _ = stream.write_all(b"SSH-2.0-no\r\n\r\n").await;
        }
    });
    let settings = [
        upstream(&[serve(app).await]),
        protected("app", "/app/*", auth, ""),
        protected("held", "/held/*", auth, ", timeout_ms = 100"),
        protected("gone", "/gone", free_address(), ""),
        protected("garbage", "/garbage", garbage, ""),
        protected("name", "/name", "no-such-host.invalid", ""),
    ];
    let gateway = Gateway::start(&settings.concat()).await;
    let login = gateway.get("/app/login").await;
    assert_eq!(login.status(), 302);
    assert_eq!(
        login.headers()["location"],
        "https://sso.example/login?rd=x"
    );
    assert_eq!(login.headers()["set-cookie"], "flow=1");
    assert_eq!(login.headers()["cache-control"], "no-store");
    assert!(!login.headers().contains_key("x-internal"));
    let refused = gateway.get("/app/401").await;
    assert_eq!(refused.status(), 401);
    assert_eq!(refused.headers()["www-authenticate"], "Basic realm=\"a\"");
    assert_eq!(refused.headers()["content-type"], "text/html");
    assert_eq!(refused.text().await.unwrap(), "<p>log in</p>");
    let long = gateway.get("/app/long").await;
    assert_eq!(
        (long.status().as_u16(), long.text().await.unwrap().len()),
        (403, 0)
    );
    for path in [
        "/app/500", "/app/503", "/app/404", "/app/429", "/app/300", "/app/304", "/app/400",
        "/held/x", "/gone", "/garbage", "/name",
    ] {
        let response = gateway.get(path).await;
        assert_eq!(response.status(), 503, "{path}");
        assert_eq!(response.headers()["retry-after"], "1");
        let line = gateway.access_line(path).await;
        assert!(
            line["error"]
                .to_string()
                .contains("the service that decides"),
            "{line}"
        );
    }
    assert_eq!(asked.load(Ordering::Relaxed), 0, "nothing was forwarded");
    assert_eq!(gateway.get("/app/x").await.text().await.unwrap(), "reached");
}

/// One answer to each question, as it is, and then nothing more.
async fn answering(answer: Vec<u8>) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                let mut question = Vec::new();
                while !question.ends_with(b"\r\n\r\n") {
                    if stream.read_buf(&mut question).await.unwrap_or(0) == 0 {
                        return;
                    }
                }
                let _ = stream.write_all(&answer).await;
                // Held open until the gateway closes it.
                let _ = stream.read_buf(&mut question).await;
            });
        }
    });
    address
}

/// No answer of the service takes more memory or time than is allowed.
#[tokio::test(flavor = "multi_thread")]
async fn answers_are_bounded() {
    let head = |status: &str| format!("HTTP/1.1 {status}\r\n").into_bytes();
    let many = [head("200 OK"), b"x-a: b\r\n".repeat(2000), b"\r\n".to_vec()];
    let value = "v".repeat(4 << 20).into_bytes();
    let large = [head("200 OK"), b"remote-user: ".to_vec(), value];
    let unended = [head("401 No"), b"content-length: 9\r\n\r\nshort".to_vec()];
    let endless = [
        head("403 No"),
        b"content-length: 99999999999\r\n\r\n".to_vec(),
        vec![b'x'; 100_000],
    ];
    let informed = b"HTTP/1.1 103 Early Hints\r\nremote-user: mallory\r\n\r\n\
        HTTP/1.1 204 No Content\r\nremote-user: alice\r\n\r\n";
    let wait = ", timeout_ms = 1000";
    let settings = [
        upstream(&[serve(echo()).await]),
        protected("many", "/many", answering(many.concat()).await, wait),
        protected("large", "/large", answering(large.concat()).await, wait),
        protected(
            "unended",
            "/unended",
            answering(unended.concat()).await,
            wait,
        ),
        protected(
            "endless",
            "/endless",
            answering(endless.concat()).await,
            wait,
        ),
        protected(
            "informed",
            "/informed",
            answering(informed.to_vec()).await,
            wait,
        ),
    ];
    let gateway = Gateway::start(&settings.concat()).await;
    for (path, status) in [
        ("/many", 503),
        ("/large", 503),
        ("/unended", 503),
        ("/endless", 403),
    ] {
        assert_eq!(gateway.get(path).await.status(), status, "{path}");
    }
    let echoed: Value = gateway.get("/informed").await.json().await.unwrap();
    assert_eq!(sent(&echoed, "remote-user"), ["alice"]);
}

/// The service is asked about every method in the same way, and HEAD gets no body of a refusal.
#[tokio::test(flavor = "multi_thread")]
async fn every_method_is_asked_about() {
    let decider = Decider::default();
    let auth = decider.serve().await;
    let settings = [
        upstream(&[serve(echo()).await]),
        protected("app", "/app/*", auth, ""),
    ];
    let gateway = Gateway::start(&settings.concat()).await;
    for method in ["GET", "HEAD", "OPTIONS", "DELETE", "PROPFIND"] {
        let kept = format!(
            "{method} /app/401 HTTP/1.1\r\nHost: a\r\n\r\n\
             GET /app/403 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        );
        let mut stream = tokio::net::TcpStream::connect(gateway.public)
            .await
            .unwrap();
        stream.write_all(kept.as_bytes()).await.unwrap();
        let mut received = String::new();
        stream.read_to_string(&mut received).await.unwrap();
        assert!(received.starts_with("HTTP/1.1 401 "), "{received}");
        assert_eq!(received.matches("HTTP/1.1 403 ").count(), 1, "{received}");
        let has_body = received.contains("<p>log in</p>");
        assert_eq!(has_body, method != "HEAD", "{method}: {received}");
        let questions = decider.questions.lock().unwrap();
        let (_, question, _) = &questions[questions.len() - 2];
        assert_eq!(question["x-forwarded-method"], method);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_are_bounded() {
    let decider = Decider::default();
    let auth = decider.serve().await;
    let settings = [
        upstream(&[serve(echo()).await]),
        protected(
            "held",
            "/held",
            auth,
            ", timeout_ms = 10000, max_in_flight = 2",
        ),
    ];
    let gateway = Arc::new(Gateway::start(&settings.concat()).await);
    let held: Vec<_> = (0..2)
        .map(|_| {
            let gateway = Arc::clone(&gateway);
            tokio::spawn(async move { gateway.get("/held").await })
        })
        .collect();
    eventually("both are asked about", || async {
        (decider.held.load(Ordering::Relaxed) == 2).then_some(())
    })
    .await;
    let third = gateway.get("/held").await;
    assert_eq!(third.status(), 503);
    for request in held {
        request.abort();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_to_the_service_are_reused_over_reloads() {
    let connections = Arc::new(AtomicUsize::new(0));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let auth = listener.local_addr().unwrap();
    let counted = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(async move {
                let mut received = Vec::new();
                while stream.read_buf(&mut received).await.unwrap_or(0) > 0 {
                    if received.ends_with(b"\r\n\r\n") {
                        received.clear();
                        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
                        stream.write_all(answer).await.unwrap();
                    }
                }
            });
        }
    });
    let settings = [
        upstream(&[serve(echo()).await]),
        protected("app", "/app", auth, ""),
    ]
    .concat();
    let gateway = Gateway::start(&settings).await;
    for _ in 0..5 {
        assert_eq!(gateway.get("/app").await.status(), 200);
    }
    gateway
        .reload(&format!(
            "{settings}[limits.another]\nrequests = 1\nwindow_seconds = 1\n"
        ))
        .await;
    assert_eq!(gateway.get("/app").await.status(), 200);
    assert_eq!(connections.load(Ordering::Relaxed), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn handshakes_of_websockets_are_asked_about() {
    let decider = Decider::default();
    let auth = decider.serve().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let app = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                use futures_util::{SinkExt as _, StreamExt as _};
                let mut user = String::new();
                let note =
                    |request: &tokio_tungstenite::tungstenite::handshake::server::Request,
                     response| {
                        user = request.headers()["remote-user"]
                            .to_str()
                            .unwrap()
                            .to_owned();
                        Ok(response)
                    };
                let accepted = tokio_tungstenite::accept_hdr_async(stream, note).await;
                let Ok(mut socket) = accepted else { return };
                let _ = socket.send(Message::text(user)).await;
                while let Some(Ok(_)) = socket.next().await {}
            });
        }
    });
    let settings = [upstream(&[app]), protected("app", "/app/*", auth, "")];
    let gateway = Gateway::start(&settings.concat()).await;
    let url = |path: &str| format!("ws://{}{path}", gateway.public);
    let request = url("/app/socket").into_client_request().unwrap();
    let (mut socket, _) = tokio_tungstenite::connect_async(request).await.unwrap();
    let message = futures_util::StreamExt::next(&mut socket)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(message.into_text().unwrap(), "alice");
    let (_, question, _) = decider.last();
    assert_eq!(question["x-forwarded-method"], "GET");
    assert!(!question.contains_key("upgrade"));
    let refused = tokio_tungstenite::connect_async(url("/app/403"))
        .await
        .unwrap_err();
    let tokio_tungstenite::tungstenite::Error::Http(response) = refused else {
        panic!("{refused}");
    };
    assert_eq!(response.status(), 403);
}

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// Two policies at one place each.
async fn verifier(trusted: &str) -> (Gateway, Issuer) {
    let issuer = Issuer::with_secret(Clock::system(), SECRET);
    let settings = format!(
        "shipped_routes = false\n[server]\ntrusted_proxies = [{trusted}]\n\
         [jwt]\njwks_url = \"\"\nhs256_secret = \"{SECRET}\"\n\
         [routes.verify]\npaths = [\"/auth/verify\"]\nserve = \"auth_verify\"\n\
         token_from = [\"header\", {{ cookie = \"token\" }}]\n\
         claim_headers = {{ \"X-Email\" = \"email\" }}\n\
         [routes.verify_admins]\npaths = [\"/auth/verify/admins\"]\nserve = \"auth_verify\"\n\
         required_claims = {{ role = \"admin\" }}\n"
    );
    (Gateway::start(&settings).await, issuer)
}

#[tokio::test(flavor = "multi_thread")]
async fn other_proxies_learn_who_the_caller_is() {
    let (gateway, issuer) = verifier("\"127.0.0.1/32\"").await;
    let claims = |role: &str| json!({ "email": "ada@example.org", "role": role });
    let token = issuer.token_with("usr_1", claims("user"));
    let admin = issuer.token_with("usr_2", claims("admin"));
    let ask = |path: &str, token: &str| {
        let request = client().get(gateway.url(path));
        request.header("authorization", format!("Bearer {token}"))
    };
    let known = ask("/auth/verify", &token).send().await.unwrap();
    assert_eq!(known.status(), 200);
    for (name, value) in [
        ("x-user", "usr_1"),
        ("x-user-id", "usr_1"),
        ("x-email", "ada@example.org"),
        ("cache-control", "no-store"),
    ] {
        assert_eq!(known.headers()[name], value, "{name}");
    }
    assert!(!known.headers().contains_key("authorization"));
    let unknown = gateway.get("/auth/verify").await;
    assert_eq!(unknown.status(), 401);
    assert!(unknown.headers().contains_key("www-authenticate"));
    let forged = ask("/auth/verify", &format!("{token}x")).header("x-user", "usr_2");
    let forged = forged.send().await.unwrap();
    assert_eq!(forged.status(), 401);
    assert!(!forged.headers().contains_key("x-user"));
    for (token, status) in [(&token, 403), (&admin, 200)] {
        let answer = ask("/auth/verify/admins", token).send().await.unwrap();
        assert_eq!(answer.status(), status);
    }
}

/// A cookie is added to requests of other sites, too.
#[expect(clippy::too_many_lines, reason = "a table of cases")]
#[tokio::test(flavor = "multi_thread")]
async fn a_cookie_counts_for_requests_of_the_same_site_only() {
    let same = ("sec-fetch-site", "same-origin");
    let cross = ("sec-fetch-site", "cross-site");
    for (trusted, cases) in [
        (
            "\"127.0.0.1/32\"",
            &[
                (&[("x-forwarded-method", "GET"), cross][..], 200),
                (&[("x-forwarded-method", "POST"), same], 200),
                (&[("x-forwarded-method", "POST"), cross], 403),
                (&[("x-forwarded-method", "POST")], 403),
                (&[("x-original-method", "GET")], 200),
                // A handshake is a GET, and a page of another site may open it.
                (
                    &[
                        ("x-forwarded-method", "GET"),
                        ("sec-websocket-key", "k"),
                        cross,
                    ],
                    403,
                ),
                // It is not said what is asked about.
                (&[cross], 403),
                // Of two, one was sent by the client.
                (
                    &[
                        ("x-forwarded-method", "GET"),
                        ("x-forwarded-method", "GET"),
                        cross,
                    ],
                    403,
                ),
                (
                    &[
                        ("x-forwarded-method", "POST"),
                        ("x-forwarded-host", "app.example"),
                        ("origin", "https://app.example"),
                    ],
                    200,
                ),
                (
                    &[
                        ("x-forwarded-method", "POST"),
                        ("x-forwarded-host", "app.example"),
                        ("origin", "https://evil.example"),
                    ],
                    403,
                ),
            ][..],
        ),
        // What a client says about itself is not believed.
        (
            "",
            &[
                (&[("x-forwarded-method", "GET"), cross], 403),
                (&[("x-forwarded-method", "GET"), same], 200),
                (
                    &[
                        ("x-forwarded-method", "POST"),
                        ("x-forwarded-host", "evil.example"),
                        ("x-forwarded-proto", "https"),
                        ("origin", "https://evil.example"),
                    ],
                    403,
                ),
            ],
        ),
    ] {
        let (gateway, issuer) = verifier(trusted).await;
        let cookie = format!("token={}", issuer.token("usr_1"));
        for (headers, status) in cases {
            let mut request = client()
                .get(gateway.url("/auth/verify"))
                .header("cookie", &cookie);
            for (name, value) in *headers {
                request = request.header(*name, *value);
            }
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status(), *status, "{trusted} {headers:?}");
        }
    }
}

/// The gateway is asked by another one, as an example of any proxy.
#[tokio::test(flavor = "multi_thread")]
async fn one_gateway_asks_another() {
    let (verifying, issuer) = verifier("\"127.0.0.1/32\"").await;
    let auth = format!(
        "forward_auth = {{ url = \"{}\", copy_response_headers = [\"X-User\", \"X-Email\"] }}",
        verifying.url("/auth/verify")
    );
    let settings = [
        upstream(&[serve(echo()).await]),
        route("app", "/app", &auth),
    ]
    .concat();
    let gateway = Gateway::start(&settings).await;
    let token = issuer.token_with("usr_1", json!({ "email": "ada@example.org" }));
    let good = client().get(gateway.url("/app")).bearer_auth(&token);
    let echoed: Value = good.send().await.unwrap().json().await.unwrap();
    assert_eq!(sent(&echoed, "x-user"), ["usr_1"]);
    assert_eq!(sent(&echoed, "x-email"), ["ada@example.org"]);
    let cookie = format!("token={token}");
    let post = client().post(gateway.url("/app")).header("cookie", &cookie);
    assert_eq!(post.send().await.unwrap().status(), 403);
    let get = client().get(gateway.url("/app")).header("cookie", &cookie);
    assert_eq!(get.send().await.unwrap().status(), 200);
    let bare = exchange(gateway.public, b"GET /app HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(bare.status, 401, "{bare:?}");
    assert!(bare.head.contains("www-authenticate: bearer"));
    let all = join_all((0..20).map(|_| gateway.get("/app"))).await;
    assert!(all.iter().all(|response| response.status() == 401));
}

/// A browser that opens a page can log in; a program could do nothing with the page for that.
#[tokio::test(flavor = "multi_thread")]
async fn browsers_without_a_login_are_sent_to_the_page_for_it() {
    let decider = Decider::default();
    let auth = decider.serve().await;
    let login_url = ", login_url = \"https://sso.example/?rd={url}&x=1\"";
    let settings = [
        upstream(&[serve(echo()).await]),
        protected("app", "/app/*", auth, login_url),
        protected("own", "/own/*", auth, ", login_url = \"/login\""),
        protected("plain", "/plain/*", auth, ""),
    ];
    let gateway = Gateway::start(&settings.concat()).await;
    let open = async |path: &str, headers: &[(&str, &str)]| {
        let request = client()
            .get(gateway.url(path))
            .header("host", "app.example");
        let request = headers.iter().fold(request, |request, (name, value)| {
            request.header(*name, *value)
        });
        request.send().await.unwrap()
    };
    let browser = [("accept", "text/html,*/*;q=0.8")];
    let sent = open("/app/401?a=b&c", &browser).await;
    assert_eq!(sent.status(), 302);
    let page = "http%3A%2F%2Fapp.example%2Fapp%2F401%3Fa%3Db%26c";
    let expected = format!("https://sso.example/?rd={page}&x=1");
    assert_eq!(sent.headers()["location"], expected);
    assert_eq!(sent.headers()["cache-control"], "no-store");
    assert!(!sent.headers().contains_key("www-authenticate"));
    let own = open("/own/401", &browser).await;
    assert_eq!(own.headers()["location"], "/login");
    // The redirects of the service itself go before.
    let redirected = open("/app/login", &browser).await;
    let location = &redirected.headers()["location"];
    assert_eq!(location, "https://sso.example/login?rd=x");
    for (path, headers, status) in [
        ("/app/401", &[("accept", "*/*")][..], 401),
        (
            "/app/401",
            &[("accept", "text/html"), ("sec-fetch-mode", "cors")],
            401,
        ),
        ("/app/403", &browser, 403),
        ("/plain/401", &browser, 401),
    ] {
        let refused = open(path, headers).await;
        assert_eq!(refused.status(), status, "{path} {headers:?}");
        assert!(!refused.headers().contains_key("location"), "{path}");
    }
    let posted = client().post(gateway.url("/app/401"));
    let posted = posted.header("accept", "text/html").send().await.unwrap();
    assert_eq!(posted.status(), 401);
}
