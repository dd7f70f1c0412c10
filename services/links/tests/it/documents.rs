//! The committed documents, the served ones, and whether they are complete.

use std::process::Command;

use quartet_service::Service as _;
use quartet_testing::{assert_complete, contract::Contract};
use serde_json::Value;

use crate::support::Replica;

#[test]
fn the_committed_graphql_schema_matches_the_binary() {
    let output = Command::new(env!("CARGO_BIN_EXE_quartet-links"))
        .arg("graphql-schema")
        .output()
        .unwrap();
    assert!(output.status.success());
    assert!(
        output.stdout == include_bytes!("../../schema.graphql"),
        "run `cargo xtask gen`"
    );
}

#[test]
fn the_graphql_schema_parses() {
    let schema = include_str!("../../schema.graphql");
    assert!(async_graphql::parser::parse_schema(schema).is_ok());
}

#[tokio::test]
async fn the_served_document_is_the_committed_one() {
    let replica = Replica::start().await;
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
fn the_document_is_complete() {
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
async fn operations_that_require_a_token_return_401_without_one() {
    let replica = Replica::start().await;
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
fn the_help_describes_every_setting() {
    let output = Command::new(env!("CARGO_BIN_EXE_quartet-links"))
        .arg("--help")
        .output()
        .unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    assert!(help.contains("QUARTET_CLICKS_FSYNC "), "{help}");
    let settings = quartet_common::config::settings(&[quartet_links::Service::DEFAULTS]);
    let undescribed: Vec<String> = settings
        .into_iter()
        .filter(|setting| setting.doc.is_empty() && setting.key != "server.listen")
        .map(|setting| setting.key)
        .collect();
    assert!(undescribed.is_empty(), "{undescribed:?}");
}
