//! A page of another origin uses the API in Chromium, laid out as docs/deploy.md says: the page on
//! `app.example.org`, the API on `api.example.org`.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use axum::{
    Json, Router,
    extract::Request,
    response::Html,
    routing::{any, get, post},
};
use futures_util::{SinkExt as _, StreamExt as _};
use quartet_common::clock::Clock;
use quartet_testing::Issuer;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::{Browser, Gateway, eventually, route, serve, upstream};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// What the page tries, and what it finds out: its own origin is not that of the API.
const PAGE: &str = r#"<!doctype html><script type="module">
const api = "http://api.example.org:PORT";
const found = {};
const attempt = async (name, run) => {
  try { found[name] = await run(); } catch (error) { found[name] = String(error.name); }
};
const authorization = "Bearer TOKEN";
await attempt("read", async () => {
  const response = await fetch(`${api}/api/thing`, { headers: { authorization }, credentials: "include" });
  return [response.status, response.headers.get("ratelimit-policy"), await response.text()];
});
await attempt("write", async () => {
  const response = await fetch(`${api}/api/thing`, {
    method: "DELETE", body: "{}", headers: { authorization, "content-type": "application/json" },
  });
  return [response.status, await response.text()];
});
await attempt("unauthenticated", async () => {
  const response = await fetch(`${api}/api/thing`);
  return [response.status, (await response.json()).code];
});
await attempt("limited", async () => {
  await fetch(`${api}/limited`);
  const response = await fetch(`${api}/limited`);
  return [response.status, (await response.json()).code, Number(response.headers.get("retry-after")) > 0];
});
await attempt("other_header", () => fetch(`${api}/api/thing`, { headers: { authorization, "x-other": "1" } }));
await attempt("other_route", async () => (await fetch(`${api}/closed`)).status);
await attempt("other_method", async () => (await fetch(`${api}/closed`, { method: "DELETE" })).status);
const socket = (path) => new Promise((resolve) => {
  const socket = new WebSocket(`${api.replace("http", "ws")}${path}`);
  socket.onmessage = (event) => { resolve(event.data); socket.close(); };
  socket.onerror = () => resolve("refused");
});
await attempt("socket", () => socket("/socket"));
await attempt("closed_socket", () => socket("/closed_socket"));
await fetch("/found", { method: "POST", body: JSON.stringify(found), headers: { "content-type": "application/json" } });
</script>"#;

/// Says which method it received, and what a service says that knows another origin only.
fn service() -> Router {
    Router::new().fallback(any(async |request: Request| {
        let method = request.method().as_str().to_owned();
        (
            [("access-control-allow-origin", "http://localhost")],
            method,
        )
    }))
}

/// Greets on every WebSocket.
async fn greeter() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
                socket.send("hello".into()).await.unwrap();
                while let Some(Ok(_)) = socket.next().await {}
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_origin_uses_the_api() {
    let found: Arc<Mutex<Option<Value>>> = Arc::default();
    let page: Arc<Mutex<String>> = Arc::default();
    let (shown, report) = (Arc::clone(&page), Arc::clone(&found));
    let site = Router::new()
        .route("/", get(async move || Html(shown.lock().unwrap().clone())))
        .route(
            "/found",
            post(async move |Json(value): Json<Value>| {
                *report.lock().unwrap() = Some(value);
            }),
        );
    let site = format!("http://app.example.org:{}", serve(site).await.port());
    let issuer = Issuer::with_secret(Clock::system(), SECRET);
    let settings = [
        upstream(&[serve(service()).await]),
        format!("[jwt]\njwks_url = \"\"\nhs256_secret = \"{SECRET}\"\n"),
        format!("[cors.app]\norigins = [\"{site}\"]\ncredentials = true\n"),
        "[limits.one]\nrequests = 1\nwindow_seconds = 3600\n\
         [limits.many]\nrequests = 1000\nwindow_seconds = 60\n"
            .to_owned(),
        route("api", "/api/*", "cors = \"app\"\nlimit = \"many\"")
            .replace("\"public\"", "\"required\""),
        route("limited", "/limited", "cors = \"app\"\nlimit = \"one\""),
        route("closed", "/closed", ""),
        format!("[upstreams.v]\naddresses = [\"{}\"]\n", greeter().await),
        route("socket", "/socket", "cors = \"app\"\nupgrade = true").replace("\"u\"", "\"v\""),
        route("closed_socket", "/closed_socket", "upgrade = true").replace("\"u\"", "\"v\""),
    ];
    let gateway = Gateway::start(&settings.concat()).await;
    *page.lock().unwrap() = PAGE
        .replace("PORT", &gateway.public.port().to_string())
        .replace("TOKEN", &issuer.token("usr_1"));
    let Some(_browser) = Browser::open(&site) else {
        return;
    };
    let found = eventually("the page has tried everything", || async {
        found.lock().unwrap().clone()
    });
    let expected = json!({
        "read": [200, "\"many\";q=1000;w=60", "GET"],
        "write": [200, "DELETE"],
        "unauthenticated": [401, "unauthenticated"],
        "limited": [429, "rate_limited", true],
        "other_header": "TypeError",
        "other_route": "TypeError",
        "other_method": "TypeError",
        "socket": "hello",
        "closed_socket": "refused",
    });
    assert_eq!(found.await, expected);
}
