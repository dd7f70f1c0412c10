//! The admin listener.

use serde_json::{Value, json};
use tokio::net::TcpSocket;

use crate::support::{Gateway, client, echo, route, serve, upstream};

/// Of the listener; a constant.
const MAX_CONNECTIONS: usize = 256;

async fn put_log_level(gateway: &Gateway, body: &Value) -> (u16, Value) {
    let url = format!("http://{}/log-level", gateway.admin);
    let response = client().put(url).json(body).send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn log_level_can_be_changed() {
    let address = serve(echo()).await;
    let gateway = Gateway::start(&[upstream(&[address]), route("all", "/*", "")].concat()).await;
    let initial: Value = gateway.admin("/log-level").await.json().await.unwrap();
    assert!(
        initial["log"].as_str().unwrap().contains("info"),
        "{initial}"
    );
    let (status, body) = put_log_level(&gateway, &json!({ "log": "warn" })).await;
    assert_eq!((status, body), (200, json!({ "log": "warn" })));
    gateway.get("/quiet").await;
    put_log_level(&gateway, &json!({ "log": "info" })).await;
    gateway.get("/logged").await;
    gateway.access_line("/logged").await;
    let mut lines = gateway.lines().into_iter();
    assert!(lines.all(|line| line["path"] != "/quiet"));
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_log_levels_are_refused() {
    let gateway = Gateway::start("").await;
    for body in [
        json!({ "log": "info,pingora=loud" }),
        json!({ "level": "info" }),
        json!({}),
    ] {
        let (status, problem) = put_log_level(&gateway, &body).await;
        assert_eq!(status, 422, "{body}");
        assert_eq!(problem["code"], "invalid_body", "{problem}");
        assert!(problem["errors"][0]["detail"].is_string(), "{problem}");
    }
    let current: Value = gateway.admin("/log-level").await.json().await.unwrap();
    assert!(
        current["log"].as_str().unwrap().contains("info"),
        "{current}"
    );
}

/// Clients that read nothing, on all connections that the listener has: probes would fail for good.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn clients_that_read_nothing_are_disconnected() {
    let gateway = Gateway::start("").await;
    let requests = b"GET /routes HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(300);
    let mut kept = Vec::new();
    for _ in 0..MAX_CONNECTIONS {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4_096).unwrap();
        let stream = socket.connect(gateway.admin).await.unwrap();
        stream.writable().await.unwrap();
        let _ = stream.try_write(&requests);
        kept.push(stream);
    }
    assert_eq!(gateway.admin("/health").await.status(), 200);
    drop(kept);
}
