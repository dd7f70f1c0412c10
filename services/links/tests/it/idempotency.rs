//! Mutations with an idempotency key.

use futures_util::future::join_all;
use quartet_common::clock::Clock;
use reqwest::Response;
use serde_json::{Value, json};

use crate::support::{ALICE, BOB, Cluster, Replica, header};

const CREATE: &str = "mutation($input: CreateLinkInput!) { createLink(input: $input) { id slug } }";

async fn send(replica: &Replica, subject: &str, key: &str, query: &str, input: Value) -> Response {
    let body = json!({"query": query, "variables": {"input": input}});
    let request = replica.post(subject).header("idempotency-key", key);
    request.json(&body).send().await.unwrap()
}

fn link(slug: &str) -> Value {
    json!({"url": "https://example.com/", "slug": slug})
}

fn is_replayed(response: &Response) -> bool {
    header(response, "idempotency-replayed") == "true"
}

async fn code(response: Response) -> (u16, String) {
    let status = response.status().as_u16();
    let body: Value = response.json().await.unwrap();
    let code = body["errors"][0]["extensions"]["code"].as_str();
    (status, code.unwrap_or_default().to_owned())
}

async fn links(replica: &Replica, subject: &str) -> i64 {
    let count = replica.data(subject, "{ links { totalCount } }", json!({}));
    count.await["links"]["totalCount"].as_i64().unwrap()
}

#[tokio::test]
async fn a_repeated_mutation_gets_the_first_response_from_any_replica() {
    let clock = Clock::manual("2026-05-01T12:00:00Z".parse().unwrap());
    let cluster = Cluster::at(clock).await;
    let (one, other) = (cluster.start().await, cluster.start().await);
    let input = json!({"url": "https://example.com/"});
    let first = send(&one, ALICE, "k", CREATE, input.clone()).await;
    assert!(!is_replayed(&first));
    let first: Value = first.json().await.unwrap();
    assert!(first["data"]["createLink"]["id"].is_string(), "{first}");
    let second = send(&other, ALICE, "k", CREATE, input.clone()).await;
    assert_eq!(second.status(), 200);
    assert!(is_replayed(&second));
    assert_eq!(second.json::<Value>().await.unwrap(), first);
    assert_eq!(links(&one, ALICE).await, 1);
    // Keys belong to their caller, and end after a day.
    let theirs = send(&one, BOB, "k", CREATE, input.clone()).await;
    assert!(!is_replayed(&theirs));
    cluster.clock.advance(chrono::TimeDelta::hours(25));
    let later = send(&one, ALICE, "k", CREATE, input).await;
    assert!(!is_replayed(&later));
    assert_eq!(links(&one, ALICE).await, 2);
}

#[tokio::test]
async fn another_mutation_or_an_invalid_key_is_refused() {
    let replica = Replica::start().await;
    let sent = send(&replica, ALICE, "k", CREATE, link("first")).await;
    assert_eq!(sent.status(), 200);
    let other = send(&replica, ALICE, "k", CREATE, link("second")).await;
    let expected = (422, "IDEMPOTENCY_KEY_REUSED".to_owned());
    assert_eq!(code(other).await, expected);
    let long = "k".repeat(256);
    let invalid = send(&replica, ALICE, &long, CREATE, link("third")).await;
    assert_eq!(code(invalid).await, (400, "INVALID_PARAMETER".to_owned()));
    assert_eq!(links(&replica, ALICE).await, 1);
}

#[tokio::test]
async fn of_several_at_once_one_is_executed() {
    let replica = Replica::start().await;
    let input = json!({"url": "https://example.com/"});
    let all = (0..10).map(|_| send(&replica, ALICE, "k", CREATE, input.clone()));
    for response in join_all(all).await {
        match response.status().as_u16() {
            200 => {}
            409 => {
                assert_ne!(header(&response, "retry-after"), "");
                let expected = (409, "REQUEST_IN_FLIGHT".to_owned());
                assert_eq!(code(response).await, expected);
            }
            status => panic!("{status}"),
        }
    }
    assert_eq!(links(&replica, ALICE).await, 1);
}

#[tokio::test]
async fn a_key_is_free_after_a_mutation_that_changed_nothing() {
    let replica = Replica::start().await;
    let taken = send(&replica, BOB, "k", CREATE, link("taken")).await;
    assert_eq!(taken.status(), 200);
    let failed = send(&replica, ALICE, "k", CREATE, link("taken")).await;
    assert_eq!(code(failed).await, (200, "SLUG_TAKEN".to_owned()));
    let again = send(&replica, ALICE, "k", CREATE, link("free")).await;
    assert_eq!(again.status(), 200);
    assert!(!is_replayed(&again));
    assert_eq!(links(&replica, ALICE).await, 1);

    // With several fields, some may have taken effect.
    let both = "mutation($input: CreateLinkInput!) {
        a: createLink(input: {url: \"https://example.com/\"}) { id } b: createLink(input: $input) { id } }";
    let failed = send(&replica, ALICE, "two", both, link("taken")).await;
    assert_eq!(code(failed).await, (200, "SLUG_TAKEN".to_owned()));
    let again = send(&replica, ALICE, "two", both, link("taken")).await;
    assert!(is_replayed(&again));
    assert_eq!(links(&replica, ALICE).await, 2);
}

#[tokio::test]
async fn queries_ignore_the_key() {
    let replica = Replica::start().await;
    let count = "{ links { totalCount } }";
    for number in 0..2 {
        let response = send(&replica, ALICE, "k", count, Value::Null).await;
        assert!(!is_replayed(&response));
        let body: Value = response.json().await.unwrap();
        assert_eq!(body["data"]["links"]["totalCount"], number);
        replica.create(json!({"url": "https://example.com/"})).await;
    }
}
