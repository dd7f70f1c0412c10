//! Requests in HTTP/1 that two servers could read differently: each is refused, or forwarded with
//! one reading.

use std::{
    fmt::Write as _,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Router, extract::Request, routing::any};
use futures_util::{StreamExt as _, stream};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::{AT_ONCE, document, rows::rows};
use crate::support::{DEADLINE, Gateway, RawResponse, eventually, route, serve, upstream};

/// Requests on one connection, whose client then closes its sending side.
pub(super) struct Row {
    pub(super) what: &'static str,
    /// `~` stands for the number of the row: the path by which the upstream knows it; `\u{2026}` for
    /// very many letters.
    pub(super) sent: &'static str,
    /// Of the responses, in order.
    pub(super) statuses: &'static [u16],
    /// What the upstream receives: method, target after the path, and length of the body.
    pub(super) forwarded: &'static [&'static str],
}

type Received = Arc<Mutex<Vec<(String, String)>>>;

/// Notes what it receives by the first segment of the path.
fn recorder(received: &Received) -> Router {
    let received = Arc::clone(received);
    Router::new().fallback(any(move |request: Request| {
        let received = Arc::clone(&received);
        async move {
            let (head, body) = request.into_parts();
            let body = axum::body::to_bytes(body, usize::MAX).await;
            let length = body.map_or_else(|_| "broken".to_owned(), |body| body.len().to_string());
            let target = head.uri.path_and_query().unwrap().as_str();
            let (row, rest) = target[1..].split_at(target[1..].find('/').unwrap());
            let text = format!("{} {rest} {length}", head.method);
            received.lock().unwrap().push((row.to_owned(), text));
            "ok"
        }
    }))
}

/// All responses until the gateway closes.
async fn exchange(gateway: &Gateway, bytes: &[u8]) -> Vec<RawResponse> {
    let mut stream = TcpStream::connect(gateway.public).await.unwrap();
    let _ = stream.write_all(bytes).await;
    let _ = stream.shutdown().await;
    let mut received = Vec::new();
    let read = timeout(DEADLINE, stream.read_to_end(&mut received)).await;
    let _ = read.expect("the connection is closed");
    let mut responses = Vec::new();
    let mut rest = &received[..];
    while let Some(end) = rest.windows(4).position(|four| four == b"\r\n\r\n") {
        let head = String::from_utf8_lossy(&rest[..end]).to_lowercase();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.map_or(0, |length| length.parse().unwrap());
        let (body, next) = rest[end + 4..].split_at(length);
        rest = next;
        if status != 100 {
            responses.push(RawResponse {
                status,
                head,
                body: String::from_utf8_lossy(body).into_owned(),
            });
        }
    }
    assert!(rest.is_empty(), "{rest:?}");
    responses
}

/// Gateway or upstream, and however early: a refusal is a problem, with a line in the log and a place in
/// the metrics.
async fn assert_refusals_are_problems(gateway: &Gateway, responses: &[RawResponse]) {
    let refused = responses.iter().filter(|response| response.status >= 400);
    let mut count = 0.0;
    for response in refused {
        count += 1.0;
        let body: Value = serde_json::from_str(&response.body).unwrap_or_default();
        response.problem(
            response.status,
            body["code"].as_str().unwrap_or("a problem"),
        );
        eventually("the refusal is in the log", || async {
            let mut lines = gateway.lines().into_iter();
            lines
                .find(|line| line["request_id"] == body["request_id"])
                .map(|line| assert_eq!(line["status"], response.status, "{line}"))
        })
        .await;
    }
    let metrics = gateway.metrics().await;
    let counted: f64 = metrics
        .lines()
        .filter(|line| {
            line.starts_with("http_server_requests_total{") && line.contains("status_code=\"4")
        })
        .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
        .sum();
    assert!(
        counted >= count && count > 0.0,
        "{counted} of {count}: {metrics}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_have_one_reading_or_none() {
    let received = Received::default();
    let settings = [
        upstream(&[serve(recorder(&received)).await]),
        "[server]\nheader_timeout_seconds = 1\nheader_limit_bytes = 200000\n\
         refused_log_lines_per_second = 10000\n"
            .to_owned(),
        route(
            "all",
            "/*",
            "body_limit_bytes = 1000\nbody_timeout_seconds = 1",
        ),
    ];
    let gateway = Gateway::start(&settings.concat()).await;
    let rows = rows();
    let running = stream::iter(rows.iter().enumerate()).map(|(number, row)| {
        let sent = row.sent.replace('~', &format!("r{number}"));
        let bytes = latin1(&sent.replace('\u{2026}', &"x".repeat(70_000)));
        let gateway = &gateway;
        async move { exchange(gateway, &bytes).await }
    });
    let responses: Vec<_> = running.buffered(AT_ONCE).collect().await;
    let statuses = responses.iter().map(|responses| {
        let statuses = responses.iter().map(|response| response.status);
        statuses.collect::<Vec<_>>()
    });
    // A body that breaks off is noted after its response.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let mut failed = Vec::new();
    let mut table =
        "| what is sent | responses | the upstream receives |\n|---|---|---|\n".to_owned();
    for (number, (row, statuses)) in rows.iter().zip(statuses).enumerate() {
        let name = format!("r{number}");
        let received = received.lock().unwrap();
        let forwarded: Vec<&str> = received
            .iter()
            .filter(|(row, text)| *row == name && !text.ends_with("broken"))
            .map(|(_, text)| text.as_str())
            .collect();
        if statuses != row.statuses || forwarded != row.forwarded {
            failed.push((row.what, row.sent, statuses, forwarded.join("; ")));
            continue;
        }
        let statuses: Vec<String> = statuses.iter().map(u16::to_string).collect();
        let statuses = if statuses.is_empty() {
            "none; closed".to_owned()
        } else {
            statuses.join(", ")
        };
        let forwarded = if forwarded.is_empty() {
            "nothing".to_owned()
        } else {
            format!("`{}`", forwarded.join("`, `"))
        };
        let _ = writeln!(table, "| {} | {statuses} | {forwarded} |", row.what);
    }
    assert!(failed.is_empty(), "{failed:#?}");
    assert_refusals_are_problems(&gateway, &responses.concat()).await;
    document("requests", &table);
}

/// Characters as bytes.
fn latin1(text: &str) -> Vec<u8> {
    text.chars().map(|c| u8::try_from(c).unwrap()).collect()
}
