//! GraphQL over HTTP: media types, status codes, methods, limits, event streams.

use std::fmt::Write as _;

use futures_util::StreamExt;
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};

use crate::support::{ALICE, Cluster, Replica, eventually, header, problem_code, within_deadline};

const RESPONSE: &str = "application/graphql-response+json";
const LEGACY: &str = "application/json";

async fn post(replica: &Replica, accept: &str, body: Value) -> Response {
    let request = replica
        .client
        .post(replica.url("/v1/links/graphql"))
        .bearer_auth(replica.token(ALICE));
    request
        .header("accept", accept)
        .json(&body)
        .send()
        .await
        .unwrap()
}

fn media(response: &Response) -> &str {
    header(response, "content-type").split(';').next().unwrap()
}

#[tokio::test]
async fn the_status_depends_on_the_media_type() {
    let replica = Replica::start().await;
    let cases = [
        (json!({"query": "{ links { totalCount } }"}), 200, 200),
        (
            json!({"query": "{ links { totalCount } }", "variables": null, "operationName": null, "extensions": {}}),
            200,
            200,
        ),
        (json!({"query": "{ link(id: \"x\") { id } }"}), 200, 200),
        (json!({"query": "{"}), 400, 200),
        (json!({"query": "{ nothing }"}), 400, 200),
        (
            json!({"query": "query($a: Int!) { links(first: $a) { totalCount } }"}),
            400,
            200,
        ),
        (
            json!({"query": "query A { links { totalCount } }", "operationName": "B"}),
            400,
            200,
        ),
        (json!({}), 400, 400),
        (json!([{"query": "{ links { totalCount } }"}]), 400, 400),
        (json!("text"), 400, 400),
        (json!({"query": 1}), 400, 400),
        (
            json!({"query": "{ links { totalCount } }", "variables": []}),
            400,
            400,
        ),
        (
            json!({"query": "{ links { totalCount } }", "operationName": 1}),
            400,
            400,
        ),
        (
            json!({"extensions": {"persistedQuery": {"version": 1}}}),
            400,
            400,
        ),
    ];
    for (body, response_status, legacy_status) in cases {
        for (accept, status) in [(RESPONSE, response_status), (LEGACY, legacy_status)] {
            let response = post(&replica, accept, body.clone()).await;
            assert_eq!(response.status(), status, "{accept} {body}");
            assert_eq!(media(&response), accept);
            let body: Value = response.json().await.unwrap();
            if let Some(error) = body.get("errors") {
                assert!(error[0]["extensions"]["code"].is_string(), "{body}");
                // The pointer of the whole request is empty.
                let message = error[0]["message"].as_str().unwrap();
                assert_eq!(message, message.trim(), "{body}");
            }
            let was_executed = response_status == 200;
            assert_eq!(body.get("data").is_some(), was_executed, "{body}");
        }
    }
}

#[tokio::test]
async fn other_content_types_and_accept_headers_are_rejected() {
    let replica = Replica::start().await;
    let send = async |content_type: Option<&str>, accept: &str| {
        let request = replica
            .client
            .post(replica.url("/v1/links/graphql"))
            .bearer_auth(replica.token(ALICE));
        let request = request
            .header("accept", accept)
            .body("{\"query\":\"{ links { totalCount } }\"}");
        let request = match content_type {
            Some(kind) => request.header("content-type", kind),
            None => request,
        };
        request.send().await.unwrap()
    };
    for kind in [
        "application/json",
        "application/json; charset=utf-8",
        "Application/JSON;charset=\"UTF-8\"",
    ] {
        assert_eq!(send(Some(kind), RESPONSE).await.status(), 200, "{kind}");
    }
    for kind in [
        None,
        Some("text/plain"),
        Some("application/x-www-form-urlencoded"),
        Some("multipart/form-data; boundary=x"),
        Some("application/json; charset=latin1"),
    ] {
        let rejected = problem_code(send(kind, RESPONSE).await).await;
        assert_eq!(rejected, (415, "unsupported_media_type".into()), "{kind:?}");
    }
    assert_eq!(
        problem_code(send(Some(LEGACY), "image/png").await).await,
        (406, "not_acceptable".into())
    );
    assert_eq!(media(&send(Some(LEGACY), "*/*").await), LEGACY);
}

/// Every reason not to execute a request, and the status to each media type: with `application/json`,
/// one that is well-formed has 200, whatever is wrong with its document (GraphQL over HTTP, 6.4.1).
#[tokio::test]
async fn every_refusal_has_its_status() {
    let cluster = Cluster::new().await;
    let settings = [("QUARTET_GRAPHQL_MAX_RESPONSE_BYTES", "20000")];
    let replica = cluster.start_with(&settings).await;
    let long = format!("https://example.com/{}", "x".repeat(3000));
    for _ in 0..8 {
        replica.create(json!({"url": long})).await;
    }
    let repeat = |count: usize, part: fn(usize) -> String| (0..count).map(part).collect::<String>();
    let fragments = repeat(51, |n| format!("fragment f{n} on Query {{ __typename }} "));
    let costly = "{ links(first: 100) { nodes { clicks { a: series(by: DAY) { total people } b: series(by: HOUR) { total people } } } } }";
    let document = |text: &str| json!({ "query": text });
    let variables = document("query($n: Int!) { links(first: $n) { totalCount } }");
    let documents = [
        ("GRAPHQL_PARSE_FAILED", document("{")),
        ("GRAPHQL_VALIDATION_FAILED", document("{ nothing }")),
        ("BAD_USER_INPUT", variables),
        (
            "OPERATION_NOT_FOUND",
            json!({"query": "query A { __typename }", "operationName": "B"}),
        ),
        (
            "OPERATION_NOT_FOUND",
            document("query A { __typename } query B { __typename }"),
        ),
        ("DOCUMENT_TOO_LARGE", document(&"#".repeat(40_000))),
        (
            "TOO_MANY_TOKENS",
            document(&format!("{{ {} }}", "a ".repeat(4001))),
        ),
        (
            "TOO_DEEP",
            document(&"a{".repeat(1000).replacen('a', "", 1)),
        ),
        (
            "TOO_MANY_ROOT_FIELDS",
            document(&format!(
                "{{ {} }}",
                repeat(21, |n| format!("a{n}: __typename "))
            )),
        ),
        (
            "TOO_MANY_ALIASES",
            document(&format!(
                "{{ links {{ {} }} }}",
                repeat(31, |n| format!("a{n}: totalCount "))
            )),
        ),
        (
            "TOO_MANY_DIRECTIVES",
            document(&format!(
                "{{ links {{ totalCount {} }} }}",
                "@x ".repeat(60)
            )),
        ),
        (
            "TOO_MANY_FRAGMENTS",
            document(&format!("{{ ...f0 }} {fragments}")),
        ),
        (
            "FRAGMENT_CYCLE",
            document("{ ...f } fragment f on Query { ...f }"),
        ),
        (
            "TOO_COMPLEX",
            document(&format!("{{ links {{ {} }} }}", "totalCount ".repeat(1501))),
        ),
        ("TOO_EXPENSIVE", document(costly)),
        (
            "RESPONSE_TOO_LARGE",
            document("{ links(first: 8) { nodes { url } } }"),
        ),
    ];
    let requests = [
        ("INVALID_REQUEST", json!({})),
        ("INVALID_REQUEST", json!([document("{ __typename }")])),
        (
            "INVALID_REQUEST",
            json!({"query": "{ __typename }", "variables": []}),
        ),
        (
            "INVALID_REQUEST",
            json!({"extensions": {"persistedQuery": {"version": 1}}}),
        ),
        (
            "STREAM_NEEDED",
            document(
                "subscription { clicks(linkId: \"lnk_00000000000000000000000000\") { total } }",
            ),
        ),
    ];
    let documents = documents.into_iter().map(|case| (case, 200));
    let requests = requests.into_iter().map(|case| (case, 400));
    for ((code, body), legacy) in documents.chain(requests) {
        for (accept, status) in [(RESPONSE, 400), (LEGACY, legacy)] {
            let response = post(&replica, accept, body.clone()).await;
            let seen = response.status();
            assert_eq!(media(&response), accept);
            let body: Value = response.json().await.unwrap();
            assert_eq!(body["errors"][0]["extensions"]["code"], code, "{body}");
            assert_eq!(seen, status, "{accept} {body}");
            assert_eq!(body.get("data"), None, "{body}");
        }
    }
}

/// Who asks, and how often, has its own status with both.
#[tokio::test]
async fn a_quota_that_is_used_up_is_429_with_both_media_types() {
    let cluster = Cluster::new().await;
    let settings = [
        ("QUARTET_GRAPHQL_COST_BURST", "10000"),
        ("QUARTET_GRAPHQL_COST_PER_SECOND", "1"),
    ];
    let replica = cluster.start_with(&settings).await;
    let query = "{ links(first: 100) { nodes { id slug url title enabled uses } totalCount } }";
    let body = json!({ "query": query });
    let mut refused = 0;
    for _ in 0..40 {
        for accept in [RESPONSE, LEGACY] {
            let response = post(&replica, accept, body.clone()).await;
            match response.status().as_u16() {
                200 => assert_eq!(refused, 0),
                status => assert_eq!(status, 429, "{accept}"),
            }
            refused += u32::from(response.status() != 200);
        }
    }
    assert!(refused >= 2);
}

#[tokio::test]
async fn malformed_large_and_costly_requests_are_rejected() {
    let replica = Replica::start().await;
    let request = replica
        .post(ALICE)
        .header("content-type", LEGACY)
        .body("{\"query\": ")
        .send()
        .await
        .unwrap();
    assert_eq!(request.status(), 400);
    let body: Value = request.json().await.unwrap();
    assert_eq!(body["errors"][0]["extensions"]["code"], "MALFORMED_JSON");
    assert!(
        body["errors"][0]["message"]
            .as_str()
            .unwrap()
            .contains("line 1")
    );

    let large = replica
        .post(ALICE)
        .json(&json!({"query": "a".repeat(1 << 21)}))
        .send()
        .await
        .unwrap();
    assert_eq!(problem_code(large).await, (413, "body_too_large".into()));

    let mut doubling = String::from("{ ...f0 }");
    for n in 0..40 {
        let _ = write!(
            doubling,
            " fragment f{n} on Query {{ ...f{0} ...f{0} }}",
            n + 1
        );
    }
    doubling += " fragment f40 on Query { __typename }";
    let nested = format!("{{{}", "a{".repeat(15_000));
    let costly = "{ links(first: 100) { nodes { clicks { a: series(by: DAY) { total people } b: series(by: HOUR) { total people } } } } }";
    let cases = [
        (doubling.as_str(), "TOO_MANY_ROOT_FIELDS"),
        (nested.as_str(), "TOO_DEEP"),
        (costly, "TOO_EXPENSIVE"),
        (&"#".repeat(40_000), "DOCUMENT_TOO_LARGE"),
        (
            &format!("{{ links {{ totalCount {} }} }}", "@x ".repeat(60)),
            "TOO_MANY_DIRECTIVES",
        ),
    ];
    for (query, code) in cases {
        let error = replica.error(ALICE, query, json!({})).await;
        assert_eq!(error["extensions"]["code"], code, "{error}");
    }
    let unknown = (0..200)
        .map(|n| format!("f{n}"))
        .collect::<Vec<_>>()
        .join(" ");
    let body = replica
        .execute(ALICE, &format!("{{ links {{ {unknown} }} }}"), json!({}))
        .await;
    assert_eq!(
        body["errors"].as_array().unwrap().len(),
        20,
        "the list of errors is limited"
    );
}

#[tokio::test]
async fn invalid_tokens_return_401_and_nothing_is_executed() {
    let cluster = Cluster::new().await;
    let replica = cluster.start().await;
    let expired = cluster.issuer.token_with(ALICE, json!({"exp": 1}));
    let foreign = quartet_testing::Issuer::new(cluster.clock.clone()).token(ALICE);
    let wrong_audience = cluster.issuer.token_with(ALICE, json!({"aud": "other"}));
    let tokens = [
        None,
        Some("x"),
        Some(expired.as_str()),
        Some(foreign.as_str()),
        Some(wrong_audience.as_str()),
    ];
    for token in tokens {
        for accept in [RESPONSE, LEGACY, "text/event-stream"] {
            for method in [Method::POST, Method::GET] {
                let url = replica.url("/v1/links/graphql?query=%7B__typename%7D");
                let mut request = replica
                    .client
                    .request(method.clone(), url)
                    .header("accept", accept);
                if method == Method::POST {
                    request = request.json(&json!({"query": "{ __typename }"}));
                }
                if let Some(token) = token {
                    request = request.bearer_auth(token);
                }
                let response = request.header("x-user-id", ALICE).send().await.unwrap();
                assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
                assert!(header(&response, "www-authenticate").starts_with("Bearer"));
                let body: Value = response.json().await.unwrap();
                assert_eq!(body["errors"][0]["extensions"]["code"], "UNAUTHENTICATED");
                assert_eq!(body.get("data"), None);
            }
        }
    }
}

#[tokio::test]
async fn a_token_permits_what_its_scopes_name() {
    let cluster = Cluster::new().await;
    let replica = cluster.start().await;
    let create = "mutation { createLink(input: {url: \"https://a.example/\"}) { id } }";
    let query = "{ links { totalCount } }";
    for (scope, document, status) in [
        ("links:read", query, 200),
        ("links:write", create, 200),
        ("openid profile", create, 200),
        ("links:read", create, 403),
        ("links:write", query, 403),
        ("media:write", create, 403),
    ] {
        let token = cluster.issuer.token_with(ALICE, json!({"scope": scope}));
        let request = replica.client.post(replica.url("/v1/links/graphql"));
        let request = request.bearer_auth(token).header("accept", RESPONSE);
        let response = request
            .json(&json!({"query": document}))
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), status, "{scope}: {document}");
        if status == 403 {
            let challenge = header(&response, "www-authenticate").to_owned();
            assert!(challenge.contains("insufficient_scope"), "{challenge}");
            let body: Value = response.json().await.unwrap();
            assert_eq!(body["errors"][0]["extensions"]["code"], "FORBIDDEN");
        }
    }
    let data = replica.data(ALICE, query, json!({})).await;
    assert_eq!(data["links"]["totalCount"], 2, "no refused mutation ran");
}

#[tokio::test]
async fn get_executes_queries_and_rejects_mutations() {
    let replica = Replica::start().await;
    let get = async |pairs: &[(&str, &str)]| {
        let request = replica
            .client
            .get(replica.url("/v1/links/graphql"))
            .query(pairs);
        request
            .bearer_auth(replica.token(ALICE))
            .header("accept", RESPONSE)
            .send()
            .await
            .unwrap()
    };
    let named = "query A($n: Int) { links(first: $n) { totalCount } } query B { __typename }";
    let response = get(&[
        ("query", named),
        ("operationName", "A"),
        ("variables", "{\"n\": 1}"),
    ])
    .await;
    assert_eq!(
        response.json::<Value>().await.unwrap(),
        json!({"data": {"links": {"totalCount": 0}}})
    );
    let cases: [&[(&str, &str)]; 4] = [
        &[("operationName", "A")],
        &[("query", named)],
        &[("query", "{ __typename }"), ("variables", "{")],
        &[("query", "{ __typename }"), ("query", "{ __typename }")],
    ];
    for pairs in cases {
        let response = get(pairs).await;
        assert_eq!(response.status(), 400, "{pairs:?}");
        assert!(
            response.json::<Value>().await.unwrap()["errors"][0]["extensions"]["field"].is_string()
        );
    }
    let mutation = "mutation { createLink(input: {url: \"https://example.com/\"}) { id } }";
    let rejected = get(&[("query", mutation)]).await;
    assert_eq!(header(&rejected, "allow"), "POST");
    assert_eq!(
        problem_code(rejected).await,
        (405, "mutation_by_get".into())
    );
    let count = replica
        .data(ALICE, "{ links { totalCount } }", json!({}))
        .await;
    assert_eq!(count["links"]["totalCount"], 0);
    for method in [Method::PUT, Method::DELETE, Method::PATCH] {
        let response = replica
            .client
            .request(method, replica.url("/v1/links/graphql"))
            .send()
            .await
            .unwrap();
        assert_eq!(header(&response, "allow"), "GET,HEAD,POST");
        assert_eq!(problem_code(response).await.0, 405);
    }
}

#[tokio::test]
async fn the_explorer_loads_nothing_from_other_hosts() {
    let replica = Replica::start().await;
    let accept = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    let page = replica
        .client
        .get(replica.url("/v1/links/graphql"))
        .header("accept", accept);
    let page = page.send().await.unwrap();
    let policy = header(&page, "content-security-policy").to_owned();
    assert!(
        policy.starts_with("default-src 'none'; connect-src 'self'; script-src 'sha256-"),
        "{policy}"
    );
    let html = page.text().await.unwrap();
    assert!(html.contains("<script>") && !html.contains("src=") && !html.contains("href="));
    // The only URL is the one in the example.
    assert_eq!(html.matches("://").count(), 1);
}

#[tokio::test]
async fn without_introspection_there_are_no_suggestions() {
    let replica = Cluster::new()
        .await
        .start_with(&[("QUARTET_GRAPHQL_INTROSPECTION", "false")])
        .await;
    let body = replica
        .execute(ALICE, "{ __schema { types { name } } }", json!({}))
        .await;
    assert!(!body.to_string().contains("CreateLinkInput"), "{body}");
    let error = replica.error(ALICE, "{ linkz { id } }", json!({})).await;
    assert!(
        !error["message"].as_str().unwrap().contains("links"),
        "{error}"
    );
    let schema = replica.client.get(replica.url("/v1/links/schema.graphql"));
    assert_eq!(schema.send().await.unwrap().status(), 404);
}

#[tokio::test]
async fn the_introspection_query_of_common_tools_is_within_the_limits() {
    let replica = Replica::start().await;
    let mut reference = String::from("kind name");
    for _ in 0..9 {
        reference = format!("kind name ofType {{ {reference} }}");
    }
    let query = format!(
        "query IntrospectionQuery {{ __schema {{ description queryType {{ name kind }} mutationType {{ name kind }}
        subscriptionType {{ name kind }} types {{ ...FullType }} directives {{ name description isRepeatable
        locations args(includeDeprecated: true) {{ ...InputValue }} }} }} }}
        fragment FullType on __Type {{ kind name description specifiedByURL
        fields(includeDeprecated: true) {{ name description args(includeDeprecated: true) {{ ...InputValue }}
        type {{ ...TypeRef }} isDeprecated deprecationReason }} inputFields(includeDeprecated: true) {{ ...InputValue }}
        interfaces {{ ...TypeRef }} enumValues(includeDeprecated: true) {{ name description isDeprecated deprecationReason }}
        possibleTypes {{ ...TypeRef }} }}
        fragment InputValue on __InputValue {{ name description type {{ ...TypeRef }} defaultValue isDeprecated deprecationReason }}
        fragment TypeRef on __Type {{ {reference} }}"
    );
    let data = replica.data(ALICE, &query, json!({})).await;
    assert!(data["__schema"]["types"].as_array().unwrap().len() > 20);
}

#[tokio::test]
async fn subscriptions_are_sent_as_events() {
    let replica = Replica::start().await;
    let (id, slug) = replica.link().await;
    let body = json!({"query": format!("subscription {{ clicks(linkId: \"{id}\") {{ bot totals {{ total }} }} }}")});
    let rejected = post(&replica, RESPONSE, body.clone()).await;
    assert_eq!(rejected.status(), 400);
    assert_eq!(
        rejected.json::<Value>().await.unwrap()["errors"][0]["extensions"]["code"],
        "STREAM_NEEDED"
    );

    let stream = post(&replica, "text/event-stream", body).await;
    assert_eq!(
        (stream.status().as_u16(), media(&stream)),
        (200, "text/event-stream")
    );
    eventually(async || (replica.metric("links_subscriptions").await == 1).then_some(())).await;
    replica.follow(&slug).await;
    let mut chunks = stream.bytes_stream();
    let mut text = String::new();
    while !text.contains("\n\n") {
        text +=
            std::str::from_utf8(&within_deadline(chunks.next()).await.unwrap().unwrap()).unwrap();
    }
    let expected = json!({"data": {"clicks": {"bot": false, "totals": {"total": 1}}}});
    let data = text.trim().strip_prefix("event: next\ndata: ").unwrap();
    assert_eq!(serde_json::from_str::<Value>(data).unwrap(), expected);
    drop(chunks);
    eventually(async || (replica.metric("links_subscriptions").await == 0).then_some(())).await;
}

#[tokio::test]
async fn queries_and_errors_are_sent_as_events_and_the_stream_ends() {
    let replica = Replica::start().await;
    let read = async |query: &str| {
        post(&replica, "text/event-stream", json!({"query": query}))
            .await
            .text()
            .await
            .unwrap()
    };
    let done = "event: complete\ndata:\n\n";
    let body = read("{ links { totalCount } }").await;
    assert_eq!(
        body,
        format!("event: next\ndata: {{\"data\":{{\"links\":{{\"totalCount\":0}}}}}}\n\n{done}")
    );
    let missing =
        read("subscription { clicks(linkId: \"lnk_01jd6x8rv3fq4t2m8n5k7c9e1z\") { id } }").await;
    assert!(
        missing.contains("NOT_FOUND") && missing.ends_with("\n\n"),
        "{missing}"
    );
    assert!(
        read("{ nothing }")
            .await
            .contains("GRAPHQL_VALIDATION_FAILED")
    );
}

#[tokio::test]
async fn an_event_stream_ends_when_its_token_expires() {
    let cluster = Cluster::new().await;
    let replica = cluster.start().await;
    let (id, _) = replica.link().await;
    let soon = cluster.clock.now().timestamp() + 2;
    let token = cluster.issuer.token_with(ALICE, json!({"exp": soon}));
    let query = format!("subscription {{ clicks(linkId: \"{id}\") {{ id }} }}");
    let request = replica
        .client
        .post(replica.url("/v1/links/graphql"))
        .bearer_auth(token);
    let stream = request
        .header("accept", "text/event-stream")
        .header("x-request-id", "of-the-stream")
        .json(&json!({"query": query}));
    let text = within_deadline(stream.send())
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert!(
        text.contains("UNAUTHENTICATED") && text.contains("event: complete"),
        "{text}"
    );
    assert!(text.contains("\"requestId\":\"of-the-stream\""), "{text}");
}
