//! Variables and string literals as the GraphQL specification says.

use serde_json::{Value, json};

use crate::support::{ALICE, Replica};

const UPDATE: &str = "mutation($id: ID!, $url: String, $title: String, $maxClicks: Int, $expiresAt: DateTime) {
    updateLink(id: $id, input: {url: $url, title: $title, maxClicks: $maxClicks, expiresAt: $expiresAt}) {
        url title maxClicks expiresAt } }";

async fn full_link(replica: &Replica) -> String {
    let input = json!({"url": "https://example.com/a", "title": "old", "maxClicks": 5,
        "expiresAt": "2099-01-01T00:00:00Z"});
    let link = replica.create(input).await;
    link["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn variables_that_are_not_sent_change_nothing_and_null_clears() {
    let replica = Replica::start().await;
    let id = full_link(&replica).await;
    let expiry = "2099-01-01T00:00:00+00:00";
    let cases = [
        (
            json!({}),
            json!(["https://example.com/a", "old", 5, expiry]),
        ),
        (
            json!({"title": "new"}),
            json!(["https://example.com/a", "new", 5, expiry]),
        ),
        (
            json!({"maxClicks": null}),
            json!(["https://example.com/a", "new", null, expiry]),
        ),
        (
            json!({"url": "https://example.com/b"}),
            json!(["https://example.com/b", "new", null, expiry]),
        ),
        (
            json!({"title": null, "expiresAt": null}),
            json!(["https://example.com/b", null, null, null]),
        ),
    ];
    for (mut variables, expected) in cases {
        variables["id"] = json!(id);
        let data = replica.data(ALICE, UPDATE, variables.clone()).await;
        let link = &data["updateLink"];
        let found = json!([
            link["url"],
            link["title"],
            link["maxClicks"],
            link["expiresAt"]
        ]);
        assert_eq!(found, expected, "{variables}");
    }
    let error = replica
        .error(ALICE, UPDATE, json!({"id": id, "url": null}))
        .await;
    assert_eq!(error["extensions"]["field"], "input.url", "{error}");
}

/// What an operation with these variables results in: the title of the link, or the code and the
/// field of the error.
async fn title(replica: &Replica, query: &str, variables: Value) -> Value {
    let answer = replica.execute(ALICE, query, variables).await;
    match answer["errors"].as_array() {
        None => answer["data"]["createLink"]["title"].clone(),
        Some(errors) => {
            let extensions = &errors[0]["extensions"];
            json!([
                extensions["code"],
                extensions.get("field").unwrap_or(&Value::Null)
            ])
        }
    }
}

/// The table of the specification, 6.4.1, with input fields for arguments: literals, variables and
/// defaults.
#[tokio::test]
async fn variables_are_absent_null_or_defaulted_as_specified() {
    let replica = Replica::start().await;
    let create = |definitions: &str, input: &str| {
        format!("mutation{definitions} {{ createLink(input: {input}) {{ title }} }}")
    };
    let url = "url: \"https://example.com/\"";
    let missing = |name: &str| json!(["BAD_USER_INPUT", format!("variables.{name}")]);
    let cases = [
        (
            "($t: String)",
            format!("{{{url}, title: $t}}"),
            json!({"t": "a"}),
            json!("a"),
        ),
        (
            "($t: String)",
            format!("{{{url}, title: $t}}"),
            json!({"t": null}),
            json!(null),
        ),
        (
            "($t: String)",
            format!("{{{url}, title: $t}}"),
            json!({}),
            json!(null),
        ),
        (
            "($t: String = \"d\")",
            format!("{{{url}, title: $t}}"),
            json!({}),
            json!("d"),
        ),
        (
            "($t: String = \"d\")",
            format!("{{{url}, title: $t}}"),
            json!({"t": null}),
            json!(null),
        ),
        (
            "($t: String = null)",
            format!("{{{url}, title: $t}}"),
            json!({}),
            json!(null),
        ),
        (
            "($t: String! = \"d\")",
            format!("{{{url}, title: $t}}"),
            json!({}),
            json!("d"),
        ),
        (
            "($t: String! = \"d\")",
            format!("{{{url}, title: $t}}"),
            json!({"t": null}),
            missing("t"),
        ),
        (
            "($t: String!)",
            format!("{{{url}, title: $t}}"),
            json!({}),
            missing("t"),
        ),
        (
            "($t: String!)",
            format!("{{{url}, title: $t}}"),
            json!({"t": null}),
            missing("t"),
        ),
        (
            "($u: String!)",
            "{url: $u, title: \"x\"}".into(),
            json!({"u": "https://example.com/"}),
            json!("x"),
        ),
        (
            "($u: String = \"https://example.com/\")",
            "{url: $u, title: \"x\"}".into(),
            json!({}),
            json!("x"),
        ),
        // The default of an input field is used when its variable is absent.
        (
            "($e: Boolean, $s: Int)",
            format!("{{{url}, title: \"x\", enabled: $e, redirectStatus: $s}}"),
            json!({}),
            json!("x"),
        ),
        (
            "($i: CreateLinkInput!)",
            "$i".into(),
            json!({"i": {"url": "https://example.com/", "title": "in"}}),
            json!("in"),
        ),
        (
            "($i: CreateLinkInput = {url: \"https://example.com/\", title: \"def\"})",
            "$i".into(),
            json!({}),
            json!("def"),
        ),
        // More than the operation has.
        (
            "",
            format!("{{{url}, title: \"x\"}}"),
            json!({"other": 1}),
            json!("x"),
        ),
        // Of the wrong type, unknown, unused, undefined, and not allowed in the place.
        (
            "($t: String)",
            format!("{{{url}, title: $t}}"),
            json!({"t": 5}),
            json!(["GRAPHQL_VALIDATION_FAILED", null]),
        ),
        (
            "($i: CreateLinkInput!)",
            "$i".into(),
            json!({"i": {"url": "https://example.com/", "x": 1}}),
            json!(["GRAPHQL_VALIDATION_FAILED", null]),
        ),
        (
            "($t: String, $u: Int)",
            format!("{{{url}, title: $t}}"),
            json!({"t": "a"}),
            json!(["GRAPHQL_VALIDATION_FAILED", null]),
        ),
        (
            "",
            format!("{{{url}, title: $t}}"),
            json!({"t": "a"}),
            json!(["GRAPHQL_VALIDATION_FAILED", null]),
        ),
        (
            "($t: Int)",
            format!("{{{url}, title: $t}}"),
            json!({"t": 5}),
            json!(["GRAPHQL_VALIDATION_FAILED", null]),
        ),
        (
            "($t: Int)",
            format!("{{{url}, title: $t}}"),
            json!({}),
            json!(["GRAPHQL_VALIDATION_FAILED", null]),
        ),
        (
            "($t: Nothing)",
            format!("{{{url}, title: $t}}"),
            json!({}),
            json!(["GRAPHQL_VALIDATION_FAILED", null]),
        ),
        (
            "($i: CreateLinkInput)",
            "$i".into(),
            json!({}),
            json!(["GRAPHQL_VALIDATION_FAILED", null]),
        ),
        (
            "($t: String = 5)",
            format!("{{{url}, title: $t}}"),
            json!({"t": "a"}),
            json!(["GRAPHQL_VALIDATION_FAILED", null]),
        ),
    ];
    for (definitions, input, variables, expected) in cases {
        let query = create(definitions, &input);
        let found = title(&replica, &query, variables.clone()).await;
        assert_eq!(found, expected, "{query} {variables}");
    }
}

#[tokio::test]
async fn variables_of_lists_and_arguments_are_absent_null_or_defaulted() {
    let replica = Replica::start().await;
    let input = |slug: &str| json!({"url": "https://example.com/", "slug": slug});
    for slug in ["slug-a", "slug-b", "slug-c"] {
        replica.create(input(slug)).await;
    }
    let count = async |query: &str, variables: Value| {
        let answer = replica.execute(ALICE, query, variables).await;
        match answer["data"]["links"]["nodes"].as_array() {
            Some(nodes) => json!(nodes.len()),
            None => answer["errors"][0]["extensions"]["code"].clone(),
        }
    };
    let first = "query($n: Int) { links(first: $n) { nodes { id } } }";
    let default = "query($n: Int = 2) { links(first: $n) { nodes { id } } }";
    let one =
        "query($s: String!) { links(where: {slug: {_in: [$s, \"slug-b\"]}}) { nodes { id } } }";
    let many = "query($s: [String!]) { links(where: {slug: {_in: $s}}) { nodes { id } } }";
    let filter = "query($w: LinkFilter) { links(where: $w) { nodes { id } } }";
    let within = "query($w: LinkFilter) { links(where: {_not: $w}) { nodes { id } } }";
    let order = "query($d: OrderDirection = ASC) { links(orderBy: {field: SLUG, direction: $d}) { nodes { id } } }";
    let cases = [
        (first, json!({"n": 1}), json!(1)),
        (first, json!({"n": null}), json!(3)),
        (first, json!({}), json!(3)),
        (default, json!({}), json!(2)),
        (default, json!({"n": null}), json!(3)),
        (one, json!({"s": "slug-a"}), json!(2)),
        (many, json!({"s": ["slug-a", "slug-b"]}), json!(2)),
        (many, json!({"s": "slug-a"}), json!(1)),
        (many, json!({"s": []}), json!(0)),
        (many, json!({}), json!(3)),
        (many, json!({"s": null}), json!("INVALID_INPUT")),
        (
            many,
            json!({"s": ["slug-a", null]}),
            json!("GRAPHQL_VALIDATION_FAILED"),
        ),
        (filter, json!({}), json!(3)),
        (filter, json!({"w": {"slug": {"_eq": "slug-c"}}}), json!(1)),
        (within, json!({"w": {"slug": {"_eq": "slug-c"}}}), json!(2)),
        (within, json!({}), json!(3)),
        (order, json!({"d": "DESC"}), json!(3)),
        (order, json!({}), json!(3)),
        (
            order,
            json!({"d": "SIDEWAYS"}),
            json!("GRAPHQL_VALIDATION_FAILED"),
        ),
    ];
    for (query, variables, expected) in cases {
        assert_eq!(
            count(query, variables.clone()).await,
            expected,
            "{query} {variables}"
        );
    }
}

#[tokio::test]
async fn include_and_skip_use_the_defaults_of_their_variables() {
    let replica = Replica::start().await;
    let (id, _) = replica.link().await;
    let keys = async |condition: &str, variables: Value| {
        let query = format!(
            "query{condition} {{ link(id: \"{id}\") {{ id enabled @include(if: $on) ...f @skip(if: $off)
             ... @include(if: $on) {{ slug }} }} }} fragment f on Link {{ url uses @include(if: $on) }}"
        );
        let answer = replica.execute(ALICE, &query, variables).await;
        match answer["data"]["link"].as_object() {
            Some(link) => json!(link.keys().collect::<Vec<_>>()),
            None => answer["errors"][0]["extensions"]["code"].clone(),
        }
    };
    let all = json!(["enabled", "id", "slug", "url", "uses"]);
    let failed = json!("GRAPHQL_VALIDATION_FAILED");
    let defaults = "($on: Boolean = true, $off: Boolean = false)";
    let required = "($on: Boolean!, $off: Boolean!)";
    let cases = [
        (defaults, json!({}), all.clone()),
        (defaults, json!({"on": false}), json!(["id", "url"])),
        (
            defaults,
            json!({"off": true}),
            json!(["enabled", "id", "slug"]),
        ),
        (defaults, json!({"on": null}), failed.clone()),
        (required, json!({"on": true, "off": false}), all),
        (required, json!({"on": true}), json!("BAD_USER_INPUT")),
        (required, json!({"on": "yes", "off": false}), failed.clone()),
        (
            "($on: Boolean, $off: Boolean)",
            json!({"on": true}),
            failed.clone(),
        ),
        // May be null, although it is not this time.
        (
            "($on: Boolean, $off: Boolean)",
            json!({"on": true, "off": false}),
            failed.clone(),
        ),
        (
            "($on: Boolean = null, $off: Boolean = false)",
            json!({"on": true}),
            failed,
        ),
        (
            "($on: Boolean! = false, $off: Boolean! = true)",
            json!({}),
            json!(["id"]),
        ),
    ];
    for (definitions, variables, expected) in cases {
        let found = keys(definitions, variables.clone()).await;
        assert_eq!(found, expected, "{definitions} {variables}");
    }
}

#[tokio::test]
async fn only_the_chosen_operation_needs_its_variables() {
    let replica = Replica::start().await;
    let query = "query A($id: ID!) { link(id: $id) { ...f } } query B { links { totalCount } }
                 fragment f on Link { id }";
    let request = |name: &str| json!({"query": query, "operationName": name});
    let read = async |name: &str| {
        let response = replica
            .post(ALICE)
            .json(&request(name))
            .send()
            .await
            .unwrap();
        response.json::<Value>().await.unwrap()
    };
    assert_eq!(read("B").await["data"]["links"]["totalCount"], 0);
    let error = read("A").await["errors"][0].take();
    assert_eq!(error["extensions"]["field"], "variables.id", "{error}");
    assert_eq!(
        error["locations"],
        json!([{"line": 1, "column": 9}]),
        "{error}"
    );
}

#[tokio::test]
async fn strings_in_documents_are_read_as_specified() {
    let replica = Replica::start().await;
    let cases = [
        (r#""\uD83D\uDE00 \u{1F600}""#, "😀 😀"),
        (r#""quote \" slash \\ \/""#, "quote \" slash \\ /"),
        (
            r#""""block \""" "quoted" \n""""#,
            "block \"\"\" \"quoted\" \\n",
        ),
    ];
    for (literal, expected) in cases {
        let query = format!(
            "mutation {{ createLink(input: {{url: \"https://example.com/\", title: {literal}}}) {{ title }} }}"
        );
        let data = replica.data(ALICE, &query, json!({})).await;
        assert_eq!(data["createLink"]["title"], expected, "{literal}");
    }
    let lone =
        r#"mutation { createLink(input: {url: "https://example.com/", title: "\uD83D"}) { id } }"#;
    let error = replica.error(ALICE, lone, json!({})).await;
    assert_eq!(
        error["extensions"]["code"], "GRAPHQL_PARSE_FAILED",
        "{error}"
    );
    assert_eq!(
        error["locations"],
        json!([{"line": 1, "column": 67}]),
        "{error}"
    );
}

#[tokio::test]
async fn json_bodies_may_name_their_charset() {
    let replica = Replica::start().await;
    let status = async |kind: &str| {
        let request = replica.post(ALICE).header("content-type", kind);
        let body = r#"{"query": "{ links { totalCount } }"}"#;
        request.body(body).send().await.unwrap().status().as_u16()
    };
    for kind in [
        "application/json",
        "application/json; charset=utf-8",
        "application/json;charset=UTF-8",
        "Application/JSON; charset=\"utf-8\"",
        "application/json; profile=x",
        "application/json;",
        "application/json; charset = utf-8",
        "application/json; charset=utf8",
    ] {
        assert_eq!(status(kind).await, 200, "{kind}");
    }
    for kind in [
        "text/plain",
        "application/jsonp",
        "application/json; charset=latin1",
        "application/x-www-form-urlencoded",
    ] {
        assert_eq!(status(kind).await, 415, "{kind}");
    }
}
