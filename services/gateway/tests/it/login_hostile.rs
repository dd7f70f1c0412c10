//! Logins as a stranger attacks them: planted cookies, links of other sites, open redirects, loops.

use http::Method;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::support::{
    Gateway, Lies, Provider, Visitor, client, echo, problem, route, serve, upstream,
};

const COOKIE: &str = "__Host-quartet_main";

/// Targets of other sites, as browsers or careless readers take them.
const EVIL: [&str; 20] = [
    "//evil.example",
    "///evil.example",
    "/\\evil.example",
    "\\\\evil.example",
    "https:evil.example",
    "https:/evil.example",
    "https:///evil.example",
    "https://evil.example",
    "https://app.example.org@evil.example",
    "https://app.example.org.evil.example",
    "https://app.example.org:8443/",
    "http://app.example.org/",
    "/\t/evil.example",
    "\t//evil.example",
    "/\n/evil.example",
    " //evil.example",
    "/./\\evil.example",
    "javascript:alert(1)",
    "data:text/html,x",
    "evil.example",
];

async fn gateway(provider: &Provider, login: &str) -> Gateway {
    let settings = [
        upstream(&[serve(echo()).await]),
        provider.settings(login),
        route("app", "/app/*", "login = \"main\""),
        route("rest", "/*", "login = \"main\""),
    ];
    Gateway::start(&settings.concat()).await
}

async fn logged_in(gateway: &Gateway) -> Visitor {
    let visitor = Visitor::new(gateway);
    assert_eq!(visitor.follow("/app/start").await.0.status(), 200);
    visitor
}

fn location(response: &reqwest::Response) -> &str {
    response.headers()["location"].to_str().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn tabs_that_open_at_once_all_log_in() {
    let provider = Provider::start().await;
    let gateway = gateway(&provider, "").await;
    let browser = Visitor::new(&gateway);
    // None has a cookie when it is sent, and each response has one.
    let mut callbacks = Vec::new();
    for page in ["/app/1", "/app/2", "/app/3"] {
        let tab = Visitor::new(&gateway);
        callbacks.push((tab.to_callback(page).await, page));
        for (name, value) in tab.cookies() {
            browser.set_cookie(&name, &value);
        }
    }
    for (callback, page) in callbacks {
        let done = browser.open(&callback).await;
        assert_eq!((done.status().as_u16(), location(&done)), (302, page));
        assert_eq!(browser.open(page).await.status(), 200);
    }
    // Upstreams see none of these cookies.
    browser.set_cookie("theme", "dark");
    let seen: Value = browser.open("/app/1").await.json().await.unwrap();
    let headers = seen["headers"].as_array().unwrap();
    let cookies: Vec<_> = headers.iter().filter(|pair| pair[0] == "cookie").collect();
    assert_eq!(cookies, [&json!(["cookie", "theme=dark"])]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_none_that_someone_else_knows() {
    let provider = Provider::start().await;
    let gateway = gateway(&provider, "").await;
    let attacker = logged_in(&gateway).await;
    let planted = attacker.cookies()[COOKIE].clone();
    for value in [planted, "A".repeat(43)] {
        let victim = Visitor::new(&gateway);
        victim.set_cookie(COOKIE, &value);
        let callback = victim.to_callback("/auth/login?switch=1").await;
        assert_eq!(victim.open(&callback).await.status(), 302);
        assert_ne!(victim.cookies()[COOKIE], value);
        assert_eq!(victim.fetch(Method::GET, "/app/x").await.status(), 200);
        // What was planted is no session of anyone now.
        let thief = Visitor::new(&gateway);
        thief.set_cookie(COOKIE, &value);
        let refused = thief.fetch(Method::GET, "/app/x").await;
        problem(refused, 401, "login_required").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_link_ends_the_session_of_the_user_who_follows_it() {
    let provider = Provider::start().await;
    let gateway = gateway(&provider, "timeout_ms = 400").await;
    let visitor = logged_in(&gateway).await;
    let of_attacker = Visitor::new(&gateway).to_callback("/app/evil").await;
    let unknown = format!("/auth/callback?code=a&state={}", "x".repeat(43));
    let keeps = async |path: &str, status: u16| {
        let response = visitor.open(path).await;
        assert_eq!(response.status(), status, "{path}");
        assert!(visitor.cookies().contains_key(COOKIE), "{path}");
        let page = visitor.fetch(Method::GET, "/app/x").await;
        assert_eq!(page.status(), 200, "{path}");
        response
    };
    for path in [
        "/auth/callback",
        "/auth/callback?code=a&state=x",
        "/auth/callback?error=access_denied",
        &unknown,
        &of_attacker,
    ] {
        assert_eq!(location(&keeps(path, 302).await), "/", "{path}");
    }
    // A switch to another account that is canceled, or that the provider cannot serve.
    provider.lie(Lies {
        error: Some("access_denied"),
        ..Lies::default()
    });
    let callback = visitor.to_callback("/auth/login?switch=1").await;
    keeps(&callback, 403).await;
    assert_eq!(visitor.cookies().len(), 1, "nothing of the flow is left");
    provider.lie(Lies {
        token: Some((503, "")),
        ..Lies::default()
    });
    let callback = visitor.to_callback("/auth/login?switch=1").await;
    keeps(&callback, 503).await;
}

/// Where a login leads that begins with this target, sent as it is: clients that follow the standard of URLs
/// change it before. `None`: the request is refused.
async fn led_by(gateway: &Gateway, target: &str) -> Option<String> {
    let request = format!(
        "GET {target} HTTP/1.1\r\nHost: app.example.org\r\nAccept: text/html\r\n\
         Connection: close\r\n\r\n"
    );
    let mut stream = TcpStream::connect(gateway.public).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut received = String::new();
    stream.read_to_string(&mut received).await.unwrap();
    if received.starts_with("HTTP/1.1 400 ") {
        return None;
    }
    assert!(received.starts_with("HTTP/1.1 302 "), "{received}");
    let field = |name: &str| {
        let mut lines = received.lines().filter_map(|line| line.split_once(": "));
        let found = lines.find(|(other, _)| other.eq_ignore_ascii_case(name));
        found.unwrap().1.to_owned()
    };
    let visitor = Visitor::new(gateway);
    let cookie = field("set-cookie");
    let (name, value) = cookie.split(';').next().unwrap().split_once('=').unwrap();
    visitor.set_cookie(name, value);
    let back = client().get(field("location")).send().await.unwrap();
    let callback = location(&back).strip_prefix("https://app.example.org");
    let done = visitor.open(callback.unwrap()).await;
    assert_eq!(done.status(), 302);
    Some(location(&done).to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_way_in_or_out_leads_to_another_site() {
    let provider = Provider::start().await;
    let gateway = gateway(&provider, "oauth2_proxy_paths = true").await;
    let visitor = logged_in(&gateway).await;
    for target in EVIL {
        let encoded: String = url::form_urlencoded::byte_serialize(target.as_bytes()).collect();
        for path in [
            format!("/auth/login?return_to={encoded}"),
            format!("/auth/login?rd={encoded}"),
            format!("/oauth2/start?rd={encoded}"),
            format!("/oauth2/sign_in?rd={encoded}"),
        ] {
            assert_eq!(location(&visitor.open(&path).await), "/", "{path}");
        }
    }
    // Encoded twice, it is a strange path of this host.
    let twice = visitor
        .open("/auth/login?return_to=%2F%252Fevil.example")
        .await;
    assert_eq!(location(&twice), "/%2Fevil.example");
    // As the header of nginx.
    for target in EVIL.iter().filter(|target| !target.contains(['\n', '\t'])) {
        let start = visitor.request(Method::GET, "/oauth2/start");
        let start = start.header("x-auth-request-redirect", *target);
        assert_eq!(location(&start.send().await.unwrap()), "/", "{target}");
    }
    // The page itself is the target: its path must not be read as a host.
    for (path, expected) in [
        ("//evil.example/x", Some("/evil.example/x")),
        ("///evil.example/x", Some("/evil.example/x")),
        (
            "http://app.example.org//evil.example/x",
            Some("/evil.example/x"),
        ),
        ("/.//evil.example/x", None),
        ("/%2e//evil.example/x", None),
        ("/%2Fevil.example/x", None),
        ("/\\evil.example/x", None),
        ("/%5Cevil.example/x", None),
    ] {
        let led = led_by(&gateway, path).await;
        assert_eq!(led.as_deref(), expected, "{path}");
    }
    // The way out: the provider gets no address of another site.
    for target in EVIL {
        let encoded: String = url::form_urlencoded::byte_serialize(target.as_bytes()).collect();
        let visitor = logged_in(&gateway).await;
        let out = visitor
            .open(&format!("/auth/logout?return_to={encoded}"))
            .await;
        let out: url::Url = location(&out).parse().unwrap();
        let mut pairs = out.query_pairs();
        let back = pairs.find(|(name, _)| name == "post_logout_redirect_uri");
        let back = back.map(|(_, back)| back.into_owned()).unwrap_or_default();
        let back = back.parse::<url::Url>().unwrap();
        assert_eq!(
            back.origin().ascii_serialization(),
            "https://app.example.org"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cookies_stay_small_whatever_the_provider_says_of_the_user() {
    let provider = Provider::start().await;
    let groups: Vec<_> = (0..400).map(|at| format!("group-of-people-{at}")).collect();
    provider.set_user(json!({ "sub": "1", "name": "n".repeat(255), "groups": groups }));
    let gateway = gateway(&provider, "").await;
    let visitor = logged_in(&gateway).await;
    assert!(
        visitor.cookie_header().len() < 256,
        "{:?}",
        visitor.cookies()
    );
    // Too long for a header. A part of them could be the part that forbids nothing, so none is sent.
    let seen: Value = visitor.open("/app/x").await.json().await.unwrap();
    let headers = seen["headers"].as_array().unwrap();
    assert!(headers.iter().any(|pair| pair[0] == "x-user"));
    assert!(headers.iter().all(|pair| pair[0] != "x-groups"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_over_when_it_comes_is_no_loop() {
    let provider = Provider::start().await;
    let gateway = gateway(&provider, "access_token_header = \"X-Token\"").await;
    provider.lie(Lies {
        life_seconds: Some(0),
        without_refresh_token: true,
        ..Lies::default()
    });
    let visitor = Visitor::new(&gateway);
    // More than a few redirects are a panic.
    let (page, _) = visitor.follow("/app/x").await;
    assert_eq!(page.status(), 502);
    assert!(page.text().await.unwrap().contains("The login failed"));
    assert!(visitor.cookies().is_empty(), "{:?}", visitor.cookies());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_without_cookies_sees_a_page_and_no_loop() {
    let provider = Provider::start().await;
    let gateway = gateway(&provider, "").await;
    let callback = Visitor::new(&gateway).to_callback("/app/x").await;
    let page = Visitor::new(&gateway).open(&callback).await;
    assert_eq!(page.status(), 400);
    let html = page.text().await.unwrap();
    assert!(html.contains("cookies are blocked"), "{html}");
}
