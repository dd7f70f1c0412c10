//! The committed documents, the served ones, and what they promise.

use std::process::Command;

use quartet_testing::{assert_complete, contract::Contract};
use serde_json::Value;

use crate::support::Replica;

fn printed(word: &str) -> String {
    printed_with(&[word])
}

fn printed_with(words: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_quartet-links"))
        .args(words)
        .output()
        .unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_committed_documents_are_what_the_binary_prints() {
    assert!(
        printed("openapi") == include_str!("../../openapi.json"),
        "run `cargo xtask gen`"
    );
    assert!(
        printed_with(&["openapi", "--version", "3.0"]) == include_str!("../../openapi-3.0.json"),
        "run `cargo xtask gen`"
    );
    assert!(
        printed("graphql-schema") == include_str!("../../schema.graphql"),
        "run `cargo xtask gen`"
    );
}

#[test]
fn the_graphql_schema_can_be_read_by_others() {
    let schema = include_str!("../../schema.graphql");
    assert!(async_graphql::parser::parse_schema(schema).is_ok());
}

#[tokio::test]
async fn the_served_document_is_the_committed_one() {
    let replica = Replica::alone().await;
    let served = replica
        .client
        .get(replica.url("/v1/links/openapi.json"))
        .send()
        .await
        .unwrap();
    assert_eq!(
        served.text().await.unwrap(),
        include_str!("../../openapi.json")
    );
    let schema = replica.client.get(replica.url("/v1/links/schema.graphql"));
    let schema = schema.send().await.unwrap();
    assert_eq!(
        schema.headers()["content-type"],
        "text/plain; charset=utf-8"
    );
    assert_eq!(
        schema.text().await.unwrap(),
        include_str!("../../schema.graphql")
    );
}

#[test]
fn the_document_is_whole() {
    let contract = Contract::new(include_str!("../../openapi.json"));
    assert_complete(&contract);
    let mut operations: Vec<_> = contract
        .operations()
        .iter()
        .map(|operation| operation.id.as_str())
        .collect();
    operations.sort_unstable();
    let expected = [
        "execute_graphql",
        "follow_link",
        "get_links_graphql_schema",
        "get_links_openapi",
        "get_links_openapi_3_0",
        "probe_link",
        "query_graphql",
    ];
    assert_eq!(operations, expected);
}

#[tokio::test]
async fn what_needs_a_token_by_the_document_answers_401_without() {
    let replica = Replica::alone().await;
    let document: Value = serde_json::from_str(include_str!("../../openapi.json")).unwrap();
    let mut asked = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            if operation["security"] != serde_json::json!([]) {
                let method = method.to_uppercase().parse().unwrap();
                let request = replica.client.request(method, replica.url(path));
                let request = request
                    .header("content-type", "application/json")
                    .body("{}");
                assert_eq!(request.send().await.unwrap().status(), 401, "{path}");
                asked += 1;
            }
        }
    }
    assert_eq!(asked, 2);
}

#[test]
fn the_help_lists_every_setting_with_its_meaning() {
    let output = Command::new(env!("CARGO_BIN_EXE_quartet-links"))
        .arg("--help")
        .output()
        .unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    assert!(help.contains("QUARTET_CLICKS_FSYNC "), "{help}");
    let settings = quartet_common::config::settings(&[quartet_links::DEFAULTS]);
    let silent: Vec<String> = settings
        .into_iter()
        .filter(|setting| setting.doc.is_empty() && setting.key != "server.listen")
        .map(|setting| setting.key)
        .collect();
    assert!(silent.is_empty(), "{silent:?}");
}
