//! Nested values end before the stack does.

use std::{future::Future, thread};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::support::{ALICE, Replica, Socket};

/// Three quarters of what the threads of the service have.
const STACK: usize = 1536 << 10;
const FILTERED: &str = "query($f: LinkFilter) { links(where: $f) { totalCount } }";

/// Runs a replica and its client on one thread with a small stack. An overflow aborts the process.
fn on_a_small_stack<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    let run = move || {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_all().build().unwrap().block_on(test());
    };
    let thread = thread::Builder::new().stack_size(STACK).spawn(run);
    thread.unwrap().join().unwrap();
}

/// `_not` within `_not`, or `_and` in a list within `_and`.
fn nested(levels: usize, in_lists: bool) -> String {
    let (open, close) = if in_lists {
        (r#"{"_and":["#, "]}")
    } else {
        (r#"{"_not":"#, "}")
    };
    format!("{}{{}}{}", open.repeat(levels), close.repeat(levels))
}

/// `{query, variables}` with the filter in the variable, as text: deeper than `json!` can print.
fn body(query: &str, filter: &str) -> String {
    format!(
        r#"{{"query": {}, "variables": {{"f": {filter}}}}}"#,
        json!(query)
    )
}

fn code(answer: &Value) -> &str {
    answer["errors"][0]["extensions"]["code"]
        .as_str()
        .unwrap_or_default()
}

/// The answers to one filter over POST, GET and server-sent events.
async fn over_http(replica: &Replica, query: &str, filter: &str) -> Vec<(StatusCode, String)> {
    let url = replica.url("/v1/links/graphql");
    let variables = format!(r#"{{"f": {filter}}}"#);
    let parameters = [("query", query), ("variables", &variables)];
    let by_get = reqwest::Url::parse_with_params(&url, &parameters).unwrap();
    let json = "application/graphql-response+json";
    let mut answers = Vec::new();
    for (method, accept) in [
        (Method::POST, json),
        (Method::GET, json),
        (Method::POST, "text/event-stream"),
        (Method::GET, "text/event-stream"),
    ] {
        let mut request = if method == Method::GET {
            replica.client.get(by_get.clone())
        } else {
            let post = replica.client.post(&url).body(body(query, filter));
            post.header("content-type", "application/json")
        };
        request = request
            .bearer_auth(replica.token(ALICE))
            .header("accept", accept);
        let response = request.send().await.unwrap();
        answers.push((response.status(), response.text().await.unwrap()));
    }
    answers
}

async fn over_socket(socket: &mut Socket, query: &str, filter: &str) -> Value {
    let payload = body(query, filter);
    let text = format!(r#"{{"type": "subscribe", "id": "1", "payload": {payload}}}"#);
    socket.send(Message::text(text)).await;
    let answer = socket.receive().await;
    if answer["type"] == "next" {
        assert_eq!(socket.receive().await["type"], "complete");
    }
    answer
}

#[test]
fn nested_variables_are_refused_over_every_transport() {
    on_a_small_stack(|| async {
        let replica = Replica::start().await;
        let mut socket = replica.socket_of(ALICE).await;
        for (levels, in_lists) in [(20, false), (10, true), (58, true), (120, false)] {
            let filter = nested(levels, in_lists);
            for (status, answer) in over_http(&replica, FILTERED, &filter).await {
                let code = code(&serde_json::from_str(&answer).unwrap()).to_owned();
                assert_eq!(
                    (status.as_u16(), &*code),
                    (400, "INVALID_REQUEST"),
                    "{answer}"
                );
                assert!(
                    answer.contains("variables must have at most 20 levels"),
                    "{answer}"
                );
            }
            let answer = over_socket(&mut socket, FILTERED, &filter).await;
            assert_eq!(answer["type"], "error");
            assert_eq!(
                answer["payload"][0]["extensions"]["field"], "variables",
                "{answer}"
            );
        }
    });
}

#[test]
fn the_deepest_filter_that_is_not_refused_is_executed() {
    on_a_small_stack(|| async {
        let replica = Replica::start().await;
        let mut socket = replica.socket_of(ALICE).await;
        // The schema allows 8 filters within each other.
        for (levels, in_lists, expected) in [
            (7, false, ""),
            (7, true, ""),
            (19, false, "INVALID_INPUT"),
            (9, true, "INVALID_INPUT"),
        ] {
            let filter = nested(levels, in_lists);
            for (status, answer) in over_http(&replica, FILTERED, &filter).await {
                assert_eq!(status, StatusCode::OK, "{answer}");
                assert!(answer.contains(expected), "{answer}");
            }
            let answer = over_socket(&mut socket, FILTERED, &filter).await;
            assert_eq!(code(&answer["payload"]), expected, "{answer}");
        }
    });
}

#[test]
fn a_variable_counts_with_the_literal_around_it() {
    on_a_small_stack(|| async {
        let replica = Replica::start().await;
        let mut socket = replica.socket_of(ALICE).await;
        let around = |levels: usize, inside: &str| {
            let literal = format!("{}{inside}{}", "{_not: ".repeat(levels), "}".repeat(levels));
            format!("query($f: LinkFilter) {{ links(where: {literal}) {{ totalCount }} }}")
        };
        for (query, filter) in [
            (around(15, "$f"), nested(10, false)),
            (around(29, "$f"), nested(1, false)),
            // Alone, and as a default.
            (around(25, "{}"), "{}".to_owned()),
        ] {
            for (_, answer) in over_http(&replica, &query, &filter).await {
                assert!(answer.contains("TOO_DEEP"), "{answer}");
            }
            let answer = over_socket(&mut socket, &query, &filter).await;
            assert_eq!(
                answer["payload"][0]["extensions"]["code"], "TOO_DEEP",
                "{answer}"
            );
        }
        // Other messages of a socket are read by the same parser.
        let deep = nested(120, false);
        socket
            .send(Message::text(format!(
                r#"{{"type": "ping", "payload": {deep}}}"#
            )))
            .await;
        assert_eq!(socket.receive().await["type"], "pong");
    });
}
