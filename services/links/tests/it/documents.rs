//! The committed documents, the served ones, and what they promise.

use std::process::Command;

use serde_json::Value;

use crate::support::Replica;

fn printed(word: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_quartet-links"))
        .arg(word)
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
}

#[test]
fn every_operation_is_named_tagged_and_every_response_described() {
    let document: Value = serde_json::from_str(include_str!("../../openapi.json")).unwrap();
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            operations.push(operation["operationId"].as_str().unwrap().to_owned());
            assert!(
                !operation["tags"].as_array().unwrap().is_empty(),
                "{method} {path}"
            );
            assert!(operation["summary"].is_string() && operation["description"].is_string());
            for (status, response) in operation["responses"].as_object().unwrap() {
                assert_ne!(
                    response["description"].as_str().unwrap_or_default(),
                    "",
                    "{method} {path} {status}"
                );
            }
        }
    }
    operations.sort();
    let expected = [
        "execute_graphql",
        "follow_link",
        "get_links_openapi",
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
            if operation.get("security").is_some() {
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
