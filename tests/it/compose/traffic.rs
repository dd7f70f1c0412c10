//! Requests of several kinds while something happens to the stack.

use http::Method;
use serde_json::json;

use crate::harness::graphql::{self, Link};
use crate::harness::{Client, Load, User, files};

/// One worker per kind of request.
pub(super) struct Traffic(Vec<(&'static str, Load)>);

/// Requests of one kind during one event.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) kind: &'static str,
    pub(super) sent: u64,
    pub(super) failures: Vec<String>,
}

impl Traffic {
    pub(super) fn start(user: &User, link: &Link) -> Self {
        let get = |path: String, expected: u16| {
            let client = user.client.clone();
            Load::start(1, move |_| fetch(client.clone(), path.clone(), expected))
        };
        let presign = {
            let client = user.client.clone();
            let body = files::presign_body("private");
            let post = move |_| post(client.clone(), "/v1/media/presign", body.clone(), 201);
            Load::start(1, post)
        };
        let create = {
            let client = user.client.clone();
            Load::start(1, move |_| {
                let input = json!({ "url": "https://example.org/during" });
                let body = json!({ "query": graphql::CREATE, "variables": { "input": input } });
                post(client.clone(), graphql::PATH, body, 200)
            })
        };
        Self(vec![
            ("GET redirect", get(link.path(), 302)),
            (
                "GET own user (core)",
                get("/v1/core/users/me".to_owned(), 200),
            ),
            (
                "GET assets (media)",
                get("/v1/media/assets".to_owned(), 200),
            ),
            ("POST presign (media)", presign),
            ("POST createLink (links)", create),
        ])
    }

    /// Waits until this many more of each kind have succeeded.
    pub(super) async fn progress(&self, more: u64) {
        for (_, load) in &self.0 {
            load.progress(more).await;
        }
    }

    pub(super) async fn finish(self) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        for (kind, load) in self.0 {
            let tally = load.finish().await;
            outcomes.push(Outcome {
                kind,
                sent: tally.started,
                failures: tally.failures,
            });
        }
        outcomes
    }
}

async fn fetch(client: Client, path: String, expected: u16) -> Result<(), String> {
    result_of(client.call(Method::GET, &path).try_send().await, expected)
}

async fn post(
    client: Client,
    path: &str,
    body: serde_json::Value,
    expected: u16,
) -> Result<(), String> {
    let sent = client.call(Method::POST, path).json(&body).try_send().await;
    result_of(sent, expected)
}

fn result_of(
    sent: Result<crate::harness::Response, reqwest::Error>,
    expected: u16,
) -> Result<(), String> {
    match sent {
        Ok(answer) if answer.status == expected && !answer.text().contains("\"errors\"") => Ok(()),
        Ok(answer) => Err(format!("{} {}", answer.status, answer.text())),
        Err(error) => Err(format!("{error:?}")),
    }
}

/// Prints one line per kind; returns the number of failures.
pub(super) fn report(event: &str, outcomes: &[Outcome]) -> usize {
    for outcome in outcomes {
        let failed = outcome.failures.len();
        println!(
            "{event}: {}: {failed} of {} failed",
            outcome.kind, outcome.sent
        );
        for failure in outcome.failures.iter().take(3) {
            println!("    {failure}");
        }
    }
    outcomes.iter().map(|outcome| outcome.failures.len()).sum()
}
