//! Invalid GraphQL: documents, variables and requests.

use http::Method;
use serde_json::{Value, json};

use crate::harness::{Response, Stack, User, graphql};

/// A document, its variables, and a word that the errors must contain.
type Case = (String, Value, &'static str);

/// Documents that are refused with any variables.
fn documents() -> Vec<Case> {
    let chain = repeat(22, |n| {
        format!("fragment f{n} on Query {{ ...f{m} ...f{m} }} ", m = n + 1)
    });
    let aliases = repeat(200, |n| format!("a{n}: __typename "));
    let documents = [
        ("", ""),
        ("{", ""),
        ("{ nothing }", "nothing"),
        ("query A { __typename } query B { __typename }", ""),
        ("{ ...f } fragment f on Query { ...f }", ""),
        (
            &format!("{{ ...f0 }} {chain} fragment f22 on Query {{ __typename }}"),
            "",
        ),
        (
            &format!("{{ {} {} }}", "a { ".repeat(200), "}".repeat(200)),
            "",
        ),
        (&format!("{{ {aliases} }}"), ""),
        (&format!("{{ __typename {} }}", "@a ".repeat(3000)), ""),
        ("{ links(first: -1) { edges { node { id } } } }", "first"),
        (
            "{ links(first: 100000) { edges { node { id } } } }",
            "first",
        ),
        (
            "{ links(after: \"nonsense\") { edges { node { id } } } }",
            "after",
        ),
        ("{ link(id: \"nonsense\") { id } }", "id"),
        (graphql::TOTALS, "id"),
    ];
    documents
        .map(|(query, names)| (query.to_owned(), json!({}), names))
        .to_vec()
}

/// Invalid inputs of `createLink`.
fn inputs() -> Vec<Case> {
    let case = |input: Value, names| (graphql::CREATE.to_owned(), json!({ "input": input }), names);
    let long = format!("https://example.org/{}", "a".repeat(9000));
    let urls = [
        "",
        "nonsense",
        "javascript:alert(1)",
        "ftp://example.org",
        "http://",
        "//example.org",
        "https://user:secret@example.org",
        "https://exa mple.org",
        "data:text/html,x",
        &long,
    ];
    let endless = "x".repeat(500);
    let slugs = [
        "",
        "a/b",
        "a b",
        "..",
        "%2e",
        "gr\u{f6}\u{df}e",
        "p\u{430}ypal",
        "admin",
        &endless,
    ];
    let url = "https://example.org";
    let mut cases = vec![
        case(json!({}), "url"),
        case(json!({ "url": 7 }), "url"),
        case(json!({ "url": url, "owner": "usr_other" }), "owner"),
    ];
    cases.extend(urls.map(|url| case(json!({ "url": url }), "url")));
    cases.extend(slugs.map(|slug| case(json!({ "url": url, "slug": slug }), "slug")));
    cases
}

fn repeat(times: usize, part: impl Fn(usize) -> String) -> String {
    (0..times).map(part).collect::<Vec<_>>().concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_graphql_documents_name_the_field() {
    let stack = Stack::small().await;
    let ada = User::sign_up(&stack.client()).await;
    let before = stack.database().row_counts();
    for (query, variables, names) in documents().into_iter().chain(inputs()) {
        let begin = std::time::Instant::now();
        let errors = graphql::errors(&ada.client, &query, &variables).await;
        let shown: String = query.chars().take(120).collect();
        let what = format!("{shown} {variables}");
        assert!(begin.elapsed().as_secs() < 5, "too slow to refuse: {what}");
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
    assert_eq!(stack.database().row_counts(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_graphql_requests_are_refused() {
    let stack = Stack::small().await;
    let ada = User::sign_up(&stack.client()).await;
    let send = |body: &'static str, kind: &'static str| {
        let call = ada.client.call(Method::POST, graphql::PATH);
        call.header("content-type", kind).body(body).send()
    };
    let refused = |answer: Response| {
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
    // Another site can make a browser send a form.
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
