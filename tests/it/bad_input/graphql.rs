//! Wrong GraphQL: documents, variables and requests.

use http::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, Stack, User, graphql};

/// GraphQL documents, each with what the first error has to name.
fn documents() -> Vec<(String, Value, &'static str)> {
    let chain = repeat(22, |n| {
        format!("fragment f{n} on Query {{ ...f{m} ...f{m} }} ", m = n + 1)
    });
    let nested = format!("{{ {} {} }}", "a { ".repeat(200), "}".repeat(200));
    let aliases: String = (0..200).map(|n| format!("a{n}: __typename ")).collect();
    let directives = format!("{{ __typename {} }}", "@a ".repeat(3000));
    let create = |input: Value| (graphql::CREATE.to_owned(), json!({ "input": input }));
    let mut documents = vec![
        (String::new(), json!({}), ""),
        ("{".to_owned(), json!({}), ""),
        ("{ nothing }".to_owned(), json!({}), "nothing"),
        (
            "query A { __typename } query B { __typename }".to_owned(),
            json!({}),
            "",
        ),
        (
            "{ ...f } fragment f on Query { ...f }".to_owned(),
            json!({}),
            "",
        ),
        (
            format!("{{ ...f0 }} {chain} fragment f22 on Query {{ __typename }}"),
            json!({}),
            "",
        ),
        (nested, json!({}), ""),
        (format!("{{ {aliases} }}"), json!({}), ""),
        (directives, json!({}), ""),
        (
            "{ links(first: -1) { edges { node { id } } } }".to_owned(),
            json!({}),
            "first",
        ),
        (
            "{ links(first: 100000) { edges { node { id } } } }".to_owned(),
            json!({}),
            "first",
        ),
        (
            "{ links(after: \"nonsense\") { edges { node { id } } } }".to_owned(),
            json!({}),
            "after",
        ),
        (
            "{ link(id: \"nonsense\") { id } }".to_owned(),
            json!({}),
            "id",
        ),
        (graphql::TOTALS.to_owned(), json!({}), "id"),
        (
            graphql::TOTALS.to_owned(),
            json!({ "id": { "a": 1 } }),
            "id",
        ),
    ];
    for url in [
        "",
        "nonsense",
        "javascript:alert(1)",
        "ftp://example.org",
        "http://",
        "//example.org",
        "https://user:secret@example.org",
        "https://exa mple.org",
        "data:text/html,x",
        "http://localhost:8080/s/a",
    ] {
        let (query, variables) = create(json!({ "url": url }));
        documents.push((query, variables, "url"));
    }
    let long = format!("https://example.org/{}", "a".repeat(9000));
    let (query, variables) = create(json!({ "url": long }));
    documents.push((query, variables, "url"));
    for slug in [
        "",
        "a/b",
        "a b",
        "..",
        "%2e",
        "gr\u{f6}\u{df}e",
        "p\u{430}ypal",
        "admin",
        &"x".repeat(500),
    ] {
        let (query, variables) = create(json!({ "url": "https://example.org", "slug": slug }));
        documents.push((query, variables, "slug"));
    }
    let (query, variables) = create(json!({ "url": "https://example.org", "owner": "usr_other" }));
    documents.push((query, variables, "owner"));
    documents
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_graphql_documents_get_errors_that_name_the_rule() {
    let stack = Stack::small().await;
    let ada = User::sign_up(&stack.client()).await;
    let before = stack.database.row_counts(&[]);
    for (query, variables, names) in documents() {
        let begin = std::time::Instant::now();
        let errors = graphql::errors(&ada.client, &query, &variables).await;
        let shown: String = query.chars().take(120).collect();
        let what = format!("{shown} {variables}");
        assert!(begin.elapsed().as_secs() < 5, "too dear to refuse: {what}");
        assert!(errors.len() <= 20, "{} errors for {what}", errors.len());
        let message = errors[0]["message"].as_str().unwrap_or_default();
        assert!(!message.is_empty(), "{what}: {errors:?}");
        assert_ne!(
            errors[0]["extensions"]["code"], "INTERNAL",
            "{what}: {errors:?}"
        );
        let everything = json!(errors).to_string();
        assert!(
            everything.contains(names),
            "{what}: does not name {names}: {everything}"
        );
    }
    assert_eq!(stack.database.row_counts(&[]), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_graphql_requests_are_refused() {
    let stack = Stack::small().await;
    let ada = User::sign_up(&stack.client()).await;
    let send = |body: &'static str, kind: &'static str| {
        let call = ada.client.call(Method::POST, graphql::PATH);
        call.header("content-type", kind).body(body).send()
    };
    let refused = |answer: Answer| {
        assert!((400..500).contains(&answer.status), "{answer:?}");
    };
    for body in [
        "",
        "{",
        "[]",
        "null",
        "{}",
        "{\"query\": 7}",
        "{\"query\": \"{ __typename }\", \"variables\": []}",
    ] {
        refused(send(body, "application/json").await);
    }
    // A form is what another site can make a browser send.
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
    ] {
        refused(send("{\"query\": \"{ __typename }\"}", kind).await);
    }
    let mutation = "/v1/links/graphql?query=mutation%7BdeleteLink(id:%22x%22)%7Bid%7D%7D";
    let call = ada
        .client
        .call(Method::GET, mutation)
        .header("accept", "application/json");
    refused(call.send().await);
    let path = stack.client().get("/s/..%2f..%2fetc").await;
    refused(path);
    for slug in ["%00", "%F0%9F", "a%20b", &"x".repeat(3000)] {
        refused(stack.client().get(&format!("/s/{slug}")).await);
    }
}
