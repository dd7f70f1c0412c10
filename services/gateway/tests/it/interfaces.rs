//! Interfaces of other products behind the door, with the configurations in `examples`: each is a
//! stand-in with what the product is particular about.

use std::net::SocketAddr;

use axum::{
    Router,
    extract::Request,
    http::{HeaderMap, StatusCode, Uri},
    response::{IntoResponse as _, Redirect, Response},
    routing::{any, get},
};
use futures_util::{SinkExt as _, StreamExt as _};
use http::Method;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{self, Message, client::IntoClientRequest as _},
};

use crate::support::{Gateway, client, serve};

/// What an OpenID Connect library splits its session into.
const COOKIE_BYTES: usize = 16 * 1024;
const BIG: &str = "grafana_session";

fn cookie() -> String {
    format!("session=ada; {BIG}={}", "x".repeat(COOKIE_BYTES))
}

/// An example with other addresses.
fn example(name: &str, addresses: &[(&str, SocketAddr)]) -> String {
    let path = format!("{}/examples/{name}", env!("CARGO_MANIFEST_DIR"));
    let mut text = std::fs::read_to_string(path).unwrap();
    for (host, address) in addresses {
        assert!(text.contains(host), "{host}");
        text = text.replace(host, &address.to_string());
    }
    text
}

/// Authelia: people are sent to its login, programs get 401.
async fn authelia() -> SocketAddr {
    let decide = async |headers: HeaderMap| -> Response {
        let text = |name: &str| {
            headers
                .get(name)
                .map_or("", |value| value.to_str().unwrap())
        };
        if text("cookie").starts_with("session=ada") {
            return [
                ("remote-user", "ada"),
                ("remote-email", "ada@example.org"),
                ("remote-groups", "ops,admins"),
                ("set-cookie", "session=ada; HttpOnly"),
            ]
            .into_response();
        }
        let url = format!(
            "{}://{}{}",
            text("x-forwarded-proto"),
            text("x-forwarded-host"),
            text("x-forwarded-uri")
        );
        if text("accept").contains("text/html") {
            return Redirect::to(&format!("https://sso.example.org/?rd={url}")).into_response();
        }
        StatusCode::UNAUTHORIZED.into_response()
    };
    serve(Router::new().route("/api/authz/forward-auth", any(decide))).await
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> &'h str {
    headers
        .get(name)
        .map_or("", |value| value.to_str().unwrap())
}

/// Serves HTTP with `router`, and each WebSocket for pages of its own host at one path.
async fn with_sockets(router: Router, socket_path: &'static str) -> SocketAddr {
    // Each request opens a connection, whose first bytes say which of the two it is for.
    let close = async |mut response: Response| {
        let value = http::HeaderValue::from_static("close");
        response.headers_mut().insert("connection", value);
        response
    };
    let inner = serve(router.layer(axum::middleware::map_response(close))).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut start = [0; 256];
                let count = stream.peek(&mut start).await.unwrap_or(0);
                let wanted = format!("GET {socket_path}");
                if start[..count].starts_with(wanted.as_bytes()) {
                    answer_socket(stream).await;
                } else if let Ok(mut upstream) = TcpStream::connect(inner).await {
                    let _ = tokio::io::copy_bidirectional(&mut stream, &mut upstream).await;
                }
            });
        }
    });
    address
}

async fn answer_socket(stream: TcpStream) {
    type Request = tungstenite::handshake::server::Request;
    let mut user = String::new();
    let check = |request: &Request, response| {
        let headers = request.headers();
        // Grafana, and others, compare these.
        let origin = Uri::try_from(text(headers, "origin")).unwrap();
        let is_own =
            origin.authority().map(http::uri::Authority::as_str) == Some(text(headers, "host"));
        let is_whole = text(headers, "cookie").len() > COOKIE_BYTES;
        text(headers, "remote-user").clone_into(&mut user);
        if is_own && is_whole {
            Ok(response)
        } else {
            let refused = http::Response::builder().status(403).body(None);
            Err(refused.unwrap())
        }
    };
    let Ok(mut socket) = tokio_tungstenite::accept_hdr_async(stream, check).await else {
        return;
    };
    let _ = socket.send(Message::text(user)).await;
    while let Some(Ok(message)) = socket.next().await {
        let _ = socket.send(message).await;
    }
}

async fn open(
    gateway: &Gateway,
    host: &str,
    path: &str,
    cookie: &str,
) -> Result<WebSocketStream<TcpStream>, tungstenite::Error> {
    let mut request = format!("ws://{host}{path}").into_client_request().unwrap();
    let headers = request.headers_mut();
    headers.insert("origin", format!("http://{host}").parse().unwrap());
    headers.insert("cookie", cookie.parse().unwrap());
    let stream = TcpStream::connect(gateway.public).await.unwrap();
    let opened = tokio_tungstenite::client_async(request, stream).await;
    opened.map(|(socket, _)| socket)
}

async fn ask(
    gateway: &Gateway,
    (method, host, path): (Method, &str, &str),
    headers: &[(&str, &str)],
) -> reqwest::Response {
    let mut request = client()
        .request(method, gateway.url(path))
        .header("host", host);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.unwrap()
}

/// With its root URL: the sub-path is in its redirects, and what is not below it is unknown.
async fn grafana() -> SocketAddr {
    let page = async |request: Request| -> Response {
        let headers = request.headers();
        if request.uri().path() == "/monitoring/" && text(headers, "remote-user").is_empty() {
            return Redirect::to("/monitoring/login").into_response();
        }
        let seen = format!(
            "{} {} {} {}",
            request.uri().path(),
            text(headers, "remote-user"),
            text(headers, "remote-email"),
            text(headers, "cookie").len()
        );
        let cookie = format!(
            "{BIG}={}; Path=/monitoring; HttpOnly",
            "y".repeat(COOKIE_BYTES)
        );
        (
            [
                ("set-cookie", cookie),
                ("x-frame-options", "deny".to_owned()),
            ],
            seen,
        )
            .into_response()
    };
    let router = Router::new()
        .route("/monitoring", get(async || Redirect::to("/monitoring/")))
        .route("/monitoring/", any(page))
        .route("/monitoring/{*rest}", any(page));
    with_sockets(router, "/monitoring/api/live/ws").await
}

#[tokio::test(flavor = "multi_thread")]
async fn grafana_is_served_under_a_path() {
    let addresses = [
        ("authelia:9091", authelia().await),
        ("grafana:3000", grafana().await),
    ];
    let gateway = Gateway::start(&example("grafana.toml", &addresses)).await;
    let host = "app.example.org";
    let get = |path: &'static str| (Method::GET, host, path);
    let page = [("accept", "text/html")];
    let login = ask(&gateway, get("/monitoring/d/abc?orgId=1"), &page).await;
    assert_eq!(login.status(), 303);
    assert_eq!(
        login.headers()["location"],
        "https://sso.example.org/?rd=http://app.example.org/monitoring/d/abc?orgId=1"
    );
    let call = ask(
        &gateway,
        get("/monitoring/api/search"),
        &[("accept", "application/json")],
    )
    .await;
    assert_eq!(call.status(), 401);
    let cookie = cookie();
    // The forged name is not Grafana's user.
    let known = [
        ("cookie", &*cookie),
        ("remote-user", "admin"),
        ("x-webauth-user", "admin"),
    ];
    let redirect = ask(&gateway, get("/monitoring"), &known).await;
    assert_eq!(redirect.headers()["location"], "/monitoring/");
    let dashboard = ask(&gateway, get("/monitoring/d/abc"), &known).await;
    assert_eq!(dashboard.status(), 200);
    assert_eq!(dashboard.headers()["x-frame-options"], "SAMEORIGIN");
    let cookies: Vec<_> = dashboard.headers().get_all("set-cookie").iter().collect();
    assert_eq!(cookies.len(), 2, "Grafana's and the renewed session");
    assert!(cookies.iter().any(|cookie| cookie.len() > COOKIE_BYTES));
    assert!(
        cookies
            .iter()
            .any(|cookie| *cookie == "session=ada; HttpOnly")
    );
    assert_eq!(
        dashboard.text().await.unwrap(),
        format!("/monitoring/d/abc ada ada@example.org {}", cookie.len())
    );
    let mut socket = open(&gateway, host, "/monitoring/api/live/ws", &cookie)
        .await
        .unwrap();
    let first = socket.next().await.unwrap().unwrap();
    assert_eq!(first.into_text().unwrap(), "ada");
    socket.send(Message::text("hello")).await.unwrap();
    let echoed = socket.next().await.unwrap().unwrap();
    assert_eq!(echoed.into_text().unwrap(), "hello");
    let stranger = open(&gateway, host, "/monitoring/api/live/ws", "session=none").await;
    let Err(tungstenite::Error::Http(response)) = stranger else {
        panic!("must be refused");
    };
    assert_eq!(response.status(), 401);
    let elsewhere = ask(&gateway, get("/elsewhere"), &known).await;
    assert_eq!(elsewhere.status(), 404);
}

/// Makes absolute URLs of what proxies say about the request, as Airflow does.
async fn airflow() -> SocketAddr {
    let page = async |request: Request| -> Response {
        let headers = request.headers();
        let (proto, host) = (
            text(headers, "x-forwarded-proto"),
            text(headers, "x-forwarded-host"),
        );
        if request.uri().path() == "/" {
            return Redirect::to(&format!("{proto}://{host}/home")).into_response();
        }
        format!(
            "airflow {} {}",
            text(headers, "remote-user"),
            request.method()
        )
        .into_response()
    };
    serve(Router::new().fallback(any(page))).await
}

async fn temporal() -> SocketAddr {
    let page = async |request: Request| -> Response {
        let headers = request.headers();
        let is_read = request.method() == Method::GET;
        // Its own protection: the header must have what the cookie has.
        if !is_read && text(headers, "x-csrf-token") != "token" {
            return StatusCode::FORBIDDEN.into_response();
        }
        (
            [("set-cookie", "_csrf=token; SameSite=Strict")],
            format!("temporal {}", text(headers, "remote-user")),
        )
            .into_response()
    };
    serve(Router::new().fallback(any(page))).await
}

async fn vault() -> SocketAddr {
    let page = async |request: Request| -> Response {
        let token = text(request.headers(), "x-vault-token");
        match request.uri().path() {
            "/" => Redirect::temporary("/ui/").into_response(),
            "/ui/" => "vault".into_response(),
            path if path.starts_with("/v1/") && token == "s.1" => "secret".into_response(),
            _ => StatusCode::FORBIDDEN.into_response(),
        }
    };
    serve(Router::new().fallback(any(page))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn consoles_are_served_by_host() {
    let addresses = [
        ("authelia:9091", authelia().await),
        ("airflow:8080", airflow().await),
        ("temporal-ui:8080", temporal().await),
        ("vault:8200", vault().await),
    ];
    let settings = example("consoles.toml", &addresses).replace("10.0.0.0/24", "127.0.0.0/8");
    let gateway = Gateway::start(&settings).await;
    let cookie = cookie();
    // The load balancer in front has ended TLS.
    let secure = ("x-forwarded-proto", "https");
    let known = [secure, ("cookie", &*cookie), ("remote-user", "admin")];
    for host in [
        "airflow.example.org",
        "temporal.example.org",
        "vault.example.org",
    ] {
        let page = ask(
            &gateway,
            (Method::GET, host, "/"),
            &[secure, ("accept", "text/html")],
        )
        .await;
        let location = format!("https://sso.example.org/?rd=https://{host}/");
        assert_eq!(page.headers()["location"], location);
        let call = ask(&gateway, (Method::POST, host, "/api"), &[secure]).await;
        assert_eq!(call.status(), 401, "{host}");
    }
    let home = ask(&gateway, (Method::GET, "airflow.example.org", "/"), &known).await;
    assert_eq!(
        home.headers()["location"],
        "https://airflow.example.org/home"
    );
    let home = ask(
        &gateway,
        (Method::POST, "airflow.example.org", "/api"),
        &known,
    )
    .await;
    assert_eq!(home.text().await.unwrap(), "airflow ada POST");
    let host = "temporal.example.org";
    let forged = ask(&gateway, (Method::POST, host, "/api/v1/x"), &known).await;
    assert_eq!(forged.status(), 403, "by the application");
    let own = [known[0], known[1], ("x-csrf-token", "token")];
    let own = ask(&gateway, (Method::POST, host, "/api/v1/x"), &own).await;
    assert_eq!(own.headers().get_all("set-cookie").iter().count(), 2);
    assert_eq!(own.text().await.unwrap(), "temporal ada");
    let host = "vault.example.org";
    let start = ask(&gateway, (Method::GET, host, "/"), &known).await;
    assert_eq!(
        (start.status().as_u16(), &start.headers()["location"]),
        (307, &"/ui/".parse().unwrap())
    );
    let ui = ask(&gateway, (Method::GET, host, "/ui/"), &known).await;
    assert_eq!(ui.text().await.unwrap(), "vault");
    // A program comes without a session, with a token of Vault.
    for (token, status) in [("s.1", 200), ("s.2", 403)] {
        let headers = [("x-vault-token", token)];
        let answer = ask(&gateway, (Method::GET, host, "/v1/secret/a"), &headers).await;
        assert_eq!(answer.status(), status);
    }
}
