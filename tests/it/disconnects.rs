//! Clients that disconnect in the middle of a request.
//!
//! An incomplete request has no effect. A complete request may or may not be carried out,
//! as after any lost response, but only atomically: with all of its rows, or none.

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

use crate::harness::{Stack, User, eventually, files, graphql, logs, raw};

const EMAIL: &str = "gone@example.org";
const PASSWORD: &str = "a password for nothing but this";

/// Three writes, each with its service.
fn writes() -> Vec<(&'static str, &'static str, Value)> {
    let sign_up = json!({ "email": EMAIL, "password": PASSWORD });
    let link = json!({
        "query": graphql::CREATE,
        "variables": { "input": { "url": "https://example.org/gone", "slug": "gone-away" } },
    });
    vec![
        ("core", "/v1/core/users", sign_up),
        ("media", "/v1/media/presign", files::presign_body("public")),
        ("links", graphql::PATH, link),
    ]
}

/// Waits until the gateway has logged `count` requests to this path, and the service has
/// none in flight.
async fn settled(stack: &Stack, service: &str, path: &str, count: usize) {
    eventually(&format!("the gateway has finished {path}"), || async {
        let lines = logs::lines(&stack.log("gateway"));
        let seen = lines
            .iter()
            .filter(|line| line["path"] == path && line.get("status").is_some());
        (seen.count() >= count).then_some(())
    })
    .await;
    let address = stack.replica(service, 1);
    eventually(&format!("{service} has nothing in flight"), || async {
        let url = format!("http://{address}/metrics");
        let text = reqwest::get(url).await.unwrap().text().await.unwrap();
        let active = text
            .lines()
            .filter(|line| line.starts_with("http_server_active_requests{"))
            .all(|line| line.ends_with(" 0"));
        active.then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn incomplete_requests_write_nothing() {
    let stack = Stack::small().await;
    let ada = User::sign_up(&stack.client()).await;
    let before = stack.database().row_counts();
    for (service, path, body) in writes() {
        let token = (service != "core").then(|| ada.client.token());
        let already = requests_to(&stack, path);
        let whole = raw::post_json(path, token, &body);
        let head = whole.find("\r\n\r\n").unwrap() + 4;
        let cuts = [head - 2, head, head + 1, whole.len() - 1];
        for cut in cuts {
            let mut stream = raw::connect(stack.gateway()).await;
            stream.write_all(&whole.as_bytes()[..cut]).await.unwrap();
            stream.shutdown().await.unwrap();
            drop(stream);
        }
        // The first one is not a request yet, so it is not logged.
        settled(&stack, service, path, already + cuts.len() - 1).await;
        assert_eq!(stack.database().row_counts(), before, "{path}");
    }
    stack
        .client()
        .get("/s/gone-away")
        .await
        .problem(404, "link_not_found");
    let retry = json!({ "email": EMAIL, "password": PASSWORD });
    stack
        .client()
        .post("/v1/core/users", &retry)
        .await
        .expect(201);
}

fn requests_to(stack: &Stack, path: &str) -> usize {
    let lines = logs::lines(&stack.log("gateway"));
    lines
        .iter()
        .filter(|line| line["path"] == path && line.get("status").is_some())
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn abandoned_requests_are_atomic() {
    const TIMES: usize = 10;
    let stack = Stack::small().await;
    let ada = User::sign_up(&stack.client()).await;
    for (service, path, body) in writes() {
        let already = requests_to(&stack, path);
        for number in 0..TIMES {
            let mut body = body.clone();
            if service == "core" {
                body["email"] = json!(format!("gone-{number}@example.org"));
            } else if service == "links" {
                body["variables"]["input"]["slug"] = json!(format!("gone-{number}"));
            }
            let token = (service != "core").then(|| ada.client.token());
            let mut stream = raw::connect(stack.gateway()).await;
            stream
                .write_all(raw::post_json(path, token, &body).as_bytes())
                .await
                .unwrap();
            drop(stream);
        }
        settled(&stack, service, path, already + TIMES).await;
    }
    // A user who exists can log in; otherwise the email can still sign up.
    for number in 0..TIMES {
        let body = json!({
            "email": format!("gone-{number}@example.org"),
            "password": PASSWORD,
        });
        if stack.client().post("/v1/core/sessions", &body).await.status != 201 {
            stack
                .client()
                .post("/v1/core/users", &body)
                .await
                .expect(201);
        }
        let found = stack
            .client()
            .get(&format!("/s/gone-{number}"))
            .await
            .status;
        assert!(matches!(found, 302 | 404), "{found}");
    }
    let assets = ada.client.get("/v1/media/assets").await.json_of(200);
    for asset in assets["data"].as_array().unwrap() {
        assert_eq!(
            asset["status"], "pending",
            "it waits for its upload, or for the sweep"
        );
    }
}
