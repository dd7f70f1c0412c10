//! Authorization. The operations come from the documents, so that new ones are tested too.

use std::collections::BTreeMap;

use http::Method;
use serde_json::{Value, json};

use crate::harness::graphql::{self, Socket};
use crate::harness::spec::{self, Operation};
use crate::harness::user::text;
use crate::harness::{Client, Response, Stack, User, files};

const SOME_UUID: &str = "01h455vb4pex5vsknk084sn02q";

/// A well-formed value for a path parameter.
fn example_id(name: &str) -> String {
    match name {
        "session_id" => format!("ses_{SOME_UUID}"),
        "asset_id" => format!("ast_{SOME_UUID}"),
        _ => format!("id_{SOME_UUID}"),
    }
}

async fn call(client: &Client, operation: &Operation, path: &str) -> Response {
    let call = client.call(operation.method.clone(), path);
    let has_body = operation.value.get("requestBody").is_some();
    if has_body {
        call.json(&json!({})).send().await
    } else {
        call.send().await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn secured_operations_return_401_without_a_valid_token() {
    let stack = Stack::small().await;
    let gateway = stack.client();
    let ada = User::sign_up(&gateway).await;
    let secured: Vec<_> = spec::operations()
        .iter()
        .filter(|operation| operation.secured)
        .collect();
    assert!(
        secured.len() >= 10,
        "only {} secured operations",
        secured.len()
    );
    let (head, signature) = ada.client.token().rsplit_once('.').unwrap();
    let forged = format!("{head}.{}", signature.chars().rev().collect::<String>());
    for operation in secured {
        let path = operation.fill(example_id);
        let wrong = [
            None,
            Some("nonsense".to_owned()),
            Some(forged.clone()),
            Some(without_signature(head)),
        ];
        for token in wrong {
            let client = token
                .as_deref()
                .map_or_else(|| gateway.clone(), |it| gateway.with_token(it));
            let answer = call(&client, operation, &path).await;
            assert_eq!(
                answer.status, 401,
                "{} with {token:?}: {answer:?}",
                operation.id
            );
            let challenge = answer.header("www-authenticate").unwrap_or_default();
            assert!(
                challenge.starts_with("Bearer"),
                "{}: {challenge}",
                operation.id
            );
        }
    }
}

/// The token with `alg: none` and no signature.
fn without_signature(head: &str) -> String {
    use base64::Engine as _;
    let base64 = base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let claims = head.split_once('.').unwrap().1;
    let header = base64.encode(json!({ "typ": "at+jwt", "alg": "none" }).to_string());
    format!("{header}.{claims}.")
}

#[tokio::test(flavor = "multi_thread")]
async fn public_operations_need_no_token() {
    let stack = Stack::small().await;
    let open: Vec<_> = spec::operations()
        .iter()
        .filter(|operation| !operation.secured)
        .collect();
    assert!(!open.is_empty());
    for operation in open {
        let answer = call(&stack.client(), operation, &operation.fill(example_id)).await;
        let refused = answer.status == 401 && answer.json()["code"] == "unauthenticated";
        assert!(
            !refused && answer.status < 500,
            "{}: {answer:?}",
            operation.id
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_other_users_return_404() {
    let stack = Stack::small().await;
    let ada = User::sign_up(&stack.client()).await;
    let eve = User::sign_up(&stack.client()).await;
    let asset = files::upload(&ada.client, "private").await;
    let pending = text(&files::presign(&ada.client, "private").await, "/asset/id");
    let key = json!({ "name": "test", "scopes": ["media:read"] });
    let key = ada
        .client
        .post("/v1/core/api-keys", &key)
        .await
        .json_of(201);
    let ids = BTreeMap::from([
        (("core", "api_key_id"), text(&key, "/api_key/id")),
        (("core", "session_id"), ada.session_id()),
        (("media", "asset_id"), text(&asset, "/id")),
    ]);
    let before = stack.database().row_counts();
    let mut tried = 0;
    for operation in spec::operations()
        .iter()
        .filter(|it| !it.path_parameters().is_empty())
    {
        let id_of = |name: &str| {
            // Documents may call the one parameter of a path just `id`.
            let name = match (name, spec::service_of(operation)) {
                ("id", "core") if operation.id.contains("api_key") => "api_key_id",
                ("id", "core") => "session_id",
                ("id", "media") => "asset_id",
                (name, _) => name,
            };
            let found = ids.get(&(spec::service_of(operation), name));
            found
                .unwrap_or_else(|| panic!("{}: add an id for {name}", operation.id))
                .clone()
        };
        if !operation.secured {
            continue;
        }
        let answer = call(&eve.client, operation, &operation.fill(id_of)).await;
        answer.problem(404, "not_found");
        tried += 1;
    }
    assert!(tried >= 5, "only {tried} operations with ids");
    eve.client
        .post(&format!("/v1/media/assets/{pending}/complete"), &json!({}))
        .await
        .problem(404, "not_found");
    assert_eq!(
        eve.client.get("/v1/media/assets").await.json_of(200)["data"],
        json!([])
    );
    let sessions = eve.client.get("/v1/core/sessions").await.json_of(200);
    assert_eq!(sessions["data"].as_array().unwrap().len(), 1);
    assert_eq!(stack.database().row_counts(), before);
    let path = format!("/v1/media/assets/{}", text(&asset, "/id"));
    ada.client.get(&path).await.expect(200);
    ada.client.get("/v1/core/sessions").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn links_of_other_users_return_404() {
    let stack = Stack::small().await;
    let ada = User::sign_up(&stack.client()).await;
    let eve = User::sign_up(&stack.client()).await;
    let link = graphql::create_link(&ada.client, "https://example.org/ada").await;
    let id = json!({ "id": link.id });

    let seen = graphql::data(
        &eve.client,
        "query L($id: ID!) { link(id: $id) { id } }",
        &id,
    )
    .await;
    assert_eq!(seen["link"], Value::Null);
    let all = graphql::data(
        &eve.client,
        "{ links { edges { node { id } } } }",
        &json!({}),
    )
    .await;
    assert_eq!(all["links"]["edges"], json!([]));
    for mutation in [
        "mutation U($id: ID!) { updateLink(id: $id, input: { url: \"https://evil.example\" }) { id } }",
        "mutation D($id: ID!) { deleteLink(id: $id) { id } }",
    ] {
        let errors = graphql::errors(&eve.client, mutation, &id).await;
        assert_eq!(errors[0]["extensions"]["code"], "NOT_FOUND", "{errors:#?}");
    }
    let mut socket = Socket::authenticated(&eve.client).await;
    let clicks = "subscription C($id: ID!) { clicks(linkId: $id) { id } }";
    socket.subscribe("spy", clicks, &id).await;
    let answer = socket.receive().await;
    let refused = answer["type"] == "error" || answer["payload"].get("errors").is_some();
    assert!(refused, "{answer:#}");

    let followed = stack.client().get(&link.path()).await.expect(302);
    assert_eq!(followed.location(), "https://example.org/ada");
    graphql::data(
        &ada.client,
        "query L($id: ID!) { link(id: $id) { id } }",
        &id,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn graphql_requires_a_token() {
    let stack = Stack::small().await;
    for (query, variables) in [
        ("{ links { edges { node { id } } } }", json!({})),
        (
            graphql::CREATE,
            json!({ "input": { "url": "https://example.org" } }),
        ),
    ] {
        let errors = graphql::errors(&stack.client(), query, &variables).await;
        assert_eq!(
            errors[0]["extensions"]["code"], "UNAUTHENTICATED",
            "{errors:#?}"
        );
    }
    let answer = stack
        .client()
        .with_token("nonsense")
        .call(Method::POST, graphql::PATH);
    answer
        .json(&json!({ "query": "{ __typename }" }))
        .send()
        .await
        .expect(401);

    let mut socket = Socket::open(&stack.client()).await;
    socket
        .subscribe("early", "{ __typename }", &json!({}))
        .await;
    let close = socket.closed().await.expect("a close frame");
    assert_eq!(u16::from(close.code), 4401);
}
