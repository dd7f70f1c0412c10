//! Every invalid input gets an error that names the field and the rule, never a 500.

use serde_json::{Value, json};

use crate::support::{ALICE, Replica};

const CREATE: &str = "mutation($input: CreateLinkInput!) { createLink(input: $input) { id } }";
const UPDATE: &str =
    "mutation($id: ID!, $input: UpdateLinkInput!) { updateLink(id: $id, input: $input) { id } }";
const LIST: &str = "query($where: LinkFilter, $orderBy: [LinkOrder!], $first: Int, $after: String, $last: Int, $before: String) {
    links(where: $where, orderBy: $orderBy, first: $first, after: $after, last: $last, before: $before) { nodes { id } } }";

/// The fields and rules in an error.
fn violations(error: &Value) -> Vec<(String, String)> {
    let errors = error["extensions"]["errors"]
        .as_array()
        .unwrap_or_else(|| panic!("{error}"));
    errors
        .iter()
        .map(|error| {
            assert!(!error["detail"].as_str().unwrap().is_empty());
            let text = |name: &str| error[name].as_str().unwrap().to_owned();
            (text("field"), text("code"))
        })
        .collect()
}

#[tokio::test]
async fn create_link_names_every_invalid_field() {
    let replica = Replica::start().await;
    let long = "x".repeat(201);
    let url = "https://example.com/";
    let cases = [
        (json!({"url": "no url"}), "url", "invalid_url"),
        (
            json!({"url": "ftp://example.com/"}),
            "url",
            "invalid_scheme",
        ),
        (
            json!({"url": "https://a:b@example.com/"}),
            "url",
            "userinfo",
        ),
        (
            json!({"url": "https://example.com/\u{0}"}),
            "url",
            "invalid_characters",
        ),
        (
            json!({"url": format!("https://example.com/{}", "a".repeat(8192))}),
            "url",
            "too_long",
        ),
        (json!({"url": "http://LOCALHOST:8080/s/abc"}), "url", "loop"),
        (json!({"url": url, "slug": "a"}), "slug", "invalid_length"),
        (
            json!({"url": url, "slug": "a/b/c"}),
            "slug",
            "invalid_characters",
        ),
        (
            json!({"url": url, "slug": "a\u{0}b"}),
            "slug",
            "invalid_characters",
        ),
        (json!({"url": url, "slug": "Login"}), "slug", "reserved"),
        (
            json!({"url": url, "title": "  "}),
            "title",
            "invalid_length",
        ),
        (
            json!({"url": url, "title": long}),
            "title",
            "invalid_length",
        ),
        (
            json!({"url": url, "title": "a\u{0}"}),
            "title",
            "invalid_characters",
        ),
        (
            json!({"url": url, "title": "a\u{202e}gpj.exe"}),
            "title",
            "invalid_characters",
        ),
        (
            json!({"url": url, "title": "\u{200b}"}),
            "title",
            "invalid_length",
        ),
        (
            json!({"url": url, "redirectStatus": 200}),
            "redirectStatus",
            "invalid_value",
        ),
        (
            json!({"url": url, "redirectStatus": -1}),
            "redirectStatus",
            "invalid_value",
        ),
        (
            json!({"url": url, "expiresAt": "2001-01-01T00:00:00Z"}),
            "expiresAt",
            "in_the_past",
        ),
        (
            json!({"url": url, "expiresAt": "+262000-01-01T00:00:00Z"}),
            "expiresAt",
            "too_late",
        ),
        (
            json!({"url": url, "maxClicks": 0}),
            "maxClicks",
            "out_of_range",
        ),
        (
            json!({"url": url, "maxClicks": -5}),
            "maxClicks",
            "out_of_range",
        ),
        (
            json!({"url": url, "maxClicks": 5, "redirectStatus": 301}),
            "maxClicks",
            "conflict",
        ),
    ];
    for (input, field, code) in cases {
        let error = replica.error(ALICE, CREATE, json!({"input": input})).await;
        assert_eq!(error["extensions"]["code"], "INVALID_INPUT", "{error}");
        assert_eq!(
            violations(&error),
            [(format!("input.{field}"), code.to_owned())]
        );
    }
    let input = json!({"url": "x", "slug": "", "title": "", "redirectStatus": 0, "maxClicks": 0});
    let error = replica.error(ALICE, CREATE, json!({"input": input})).await;
    assert_eq!(violations(&error).len(), 5);
    assert_eq!(error["extensions"]["field"], "input.url");
    let count = replica
        .data(ALICE, "{ links { totalCount } }", json!({}))
        .await;
    assert_eq!(count["links"]["totalCount"], 0, "nothing was written");
}

#[tokio::test]
async fn update_link_has_the_same_rules() {
    let replica = Replica::start().await;
    let (id, _) = replica.link().await;
    let cases = [
        (json!({"url": null}), "url", "required"),
        (json!({"slug": null}), "slug", "required"),
        (json!({"enabled": null}), "enabled", "required"),
        (
            json!({"redirectStatus": null}),
            "redirectStatus",
            "required",
        ),
        (json!({"url": "http://localhost:8080/"}), "url", "loop"),
        (json!({"slug": "www"}), "slug", "reserved"),
        (json!({"title": ""}), "title", "invalid_length"),
        (
            json!({"redirectStatus": 303}),
            "redirectStatus",
            "invalid_value",
        ),
        (
            json!({"expiresAt": "2001-01-01T00:00:00Z"}),
            "expiresAt",
            "in_the_past",
        ),
        (
            json!({"maxClicks": 2_000_000_000}),
            "maxClicks",
            "out_of_range",
        ),
        (
            json!({"maxClicks": 1, "redirectStatus": 308}),
            "maxClicks",
            "conflict",
        ),
    ];
    for (input, field, code) in cases {
        let error = replica
            .error(ALICE, UPDATE, json!({"id": id, "input": input}))
            .await;
        assert_eq!(
            violations(&error),
            [(format!("input.{field}"), code.to_owned())]
        );
    }
    let limited = json!({"id": id, "input": {"maxClicks": 3}});
    replica.data(ALICE, UPDATE, limited).await;
    let error = replica
        .error(
            ALICE,
            UPDATE,
            json!({"id": id, "input": {"redirectStatus": 301}}),
        )
        .await;
    assert_eq!(
        violations(&error)[0].1,
        "conflict",
        "together with the current maxClicks"
    );
}

#[tokio::test]
async fn invalid_ids_and_slugs_are_named() {
    let replica = Replica::start().await;
    let valid = "lnk_01jd6x8rv3fq4t2m8n5k7c9e1z";
    for id in [
        "",
        "x",
        "lnk_",
        "ast_01jd6x8rv3fq4t2m8n5k7c9e1z",
        "lnk_01JD6X8RV3FQ4T2M8N5K7C9E1Z",
        "lnk_\u{0}",
    ] {
        for query in [
            "query($id: ID!) { link(id: $id) { id } }",
            "mutation($id: ID!) { updateLink(id: $id, input: {}) { id } }",
            "mutation($id: ID!) { deleteLink(id: $id) { id } }",
        ] {
            let error = replica.error(ALICE, query, json!({"id": id})).await;
            assert_eq!(
                violations(&error),
                [("id".to_owned(), "invalid_id".to_owned())],
                "{id:?}"
            );
        }
    }
    let query = "query($id: ID!) { link(id: $id) { id } }";
    assert_eq!(
        replica.data(ALICE, query, json!({"id": valid})).await["link"],
        Value::Null
    );
    let query = "query($slug: String!) { linkBySlug(slug: $slug) { id } }";
    let error = replica.error(ALICE, query, json!({"slug": "\u{0}"})).await;
    assert_eq!(violations(&error)[0].0, "slug");
}

#[tokio::test]
async fn invalid_filters_orders_and_pages_are_named_by_their_path() {
    let replica = Replica::start().await;
    let nested = |depth| (0..depth).fold(json!({}), |inside, _| json!({"_not": inside}));
    let many: Vec<Value> = (0..61).map(|_| json!({"enabled": {"_eq": true}})).collect();
    let ids: Vec<String> = (0..101).map(|n| format!("a{n}")).collect();
    let asc = |field: &str| json!({"field": field});
    let cursor_of_other_order = "eyJvIjoiK1NsdWc-IiwiayI6W3sicyI6ImEifV0sImkiOiIwMTkwMDAwMC0wMDAwLTcwMDAtODAwMC0wMDAwMDAwMDAwMDAifQ";
    let cases = [
        (
            json!({"where": {"id": {"_eq": "invalid"}}}),
            "where.id._eq",
            "invalid_id",
        ),
        (
            json!({"where": {"id": {"_in": ["lnk_01jd6x8rv3fq4t2m8n5k7c9e1z", "x"]}}}),
            "where.id._in.1",
            "invalid_id",
        ),
        (
            json!({"where": {"slug": {"_eq": null}}}),
            "where.slug._eq",
            "null",
        ),
        (
            json!({"where": {"slug": {"_in": ids}}}),
            "where.slug._in",
            "too_many_values",
        ),
        (json!({"where": {"slug": null}}), "where.slug", "null"),
        (json!({"where": {"_and": null}}), "where._and", "null"),
        (
            json!({"where": {"_or": [{}, {"_or": null}]}}),
            "where._or.1._or",
            "null",
        ),
        (
            json!({"where": {"_not": {"_not": null}}}),
            "where._not._not",
            "null",
        ),
        (
            json!({"where": {"title": {"_is_null": null}}}),
            "where.title._is_null",
            "null",
        ),
        (
            json!({"where": {"title": {"_like": "abc\\"}}}),
            "where.title._like",
            "invalid_pattern",
        ),
        (
            json!({"where": {"title": {"_ilike": "\\\\\\"}}}),
            "where.title._ilike",
            "invalid_pattern",
        ),
        (
            json!({"where": {"url": {"_gt": "a\u{0}"}}}),
            "where.url._gt",
            "invalid_characters",
        ),
        (
            json!({"where": {"url": {"_eq": "a".repeat(8193)}}}),
            "where.url._eq",
            "too_long",
        ),
        (
            json!({"where": {"_or": [{}, {"createdAt": {"_lt": "+99999-01-01T00:00:00Z"}}]}}),
            "where._or.1.createdAt._lt",
            "out_of_range",
        ),
        (
            json!({"where": {"_and": many}}),
            "where",
            "too_many_conditions",
        ),
        (
            json!({"where": nested(9)}),
            "where._not._not._not._not._not._not._not._not",
            "too_deep",
        ),
        (
            json!({"orderBy": [asc("SLUG"), asc("TITLE"), asc("URL_")]}),
            "",
            "",
        ),
        (
            json!({"orderBy": [asc("SLUG"), asc("SLUG")]}),
            "orderBy",
            "too_many_terms",
        ),
        (
            json!({"orderBy": [asc("SLUG"), asc("TITLE"), asc("CREATED_AT"), asc("UPDATED_AT")]}),
            "orderBy",
            "too_many_terms",
        ),
        (json!({"first": -1}), "first", "out_of_range"),
        (json!({"first": 101}), "first", "out_of_range"),
        (json!({"last": 1000}), "last", "out_of_range"),
        (json!({"first": 1, "last": 1}), "last", "conflict"),
        (json!({"after": ""}), "after", "invalid_cursor"),
        (json!({"after": "ä"}), "after", "invalid_cursor"),
        (json!({"before": "AAAA"}), "before", "invalid_cursor"),
        (
            json!({"before": "A".repeat(5000)}),
            "before",
            "invalid_cursor",
        ),
        (
            json!({"after": cursor_of_other_order}),
            "after",
            "other_order",
        ),
    ];
    for (variables, field, code) in cases {
        let error = replica.error(ALICE, LIST, variables).await;
        if field.is_empty() {
            assert!(
                error["message"].as_str().unwrap().contains("URL_"),
                "{error}"
            );
        } else {
            assert_eq!(violations(&error), [(field.to_owned(), code.to_owned())]);
        }
    }
}

#[tokio::test]
async fn type_errors_are_named_by_validation() {
    let replica = Replica::start().await;
    let cases = [
        (CREATE, json!({}), "input"),
        (CREATE, json!({"input": {}}), "url"),
        (CREATE, json!({"input": {"url": 1}}), "url"),
        (
            CREATE,
            json!({"input": {"url": "https://a.example/", "colour": "red"}}),
            "colour",
        ),
        (
            CREATE,
            json!({"input": {"url": "https://a.example/", "maxClicks": 3_000_000_000_u32}}),
            "Int",
        ),
        (
            CREATE,
            json!({"input": {"url": "https://a.example/", "expiresAt": "tomorrow"}}),
            "input.expiresAt must be a DateTime, such as 2026-03-14T09:26:53Z",
        ),
        ("{ link { id } }", json!({}), "id"),
        ("{ link(id: 1.5) { id } }", json!({}), "id"),
        ("{ nothing }", json!({}), "nothing"),
        ("{ links }", json!({}), "links"),
        (
            "query($a: Wrong) { links { totalCount } }",
            json!({}),
            "Wrong",
        ),
        ("{ links(first: \"x\") { totalCount } }", json!({}), "first"),
        ("{ links @nope { totalCount } }", json!({}), "nope"),
        ("{ ...f }", json!({}), "f"),
    ];
    for (query, variables, named) in cases {
        let error = replica.error(ALICE, query, variables).await;
        assert!(
            error["message"].as_str().unwrap().contains(named),
            "{named}: {error}"
        );
        let code = error["extensions"]["code"].as_str().unwrap();
        assert!(
            ["GRAPHQL_VALIDATION_FAILED", "BAD_USER_INPUT"].contains(&code),
            "{error}"
        );
        assert!(error["extensions"]["requestId"].is_string());
    }
}

/// What validation lets pass: times, and integers of more than 32 bits.
#[tokio::test]
async fn values_that_are_not_of_their_type_are_named() {
    const SERIES: &str = "query($id: ID!, $from: DateTime) { link(id: $id) { clicks { series(by: DAY, from: $from) { total } } } }";
    let replica = Replica::start().await;
    let (id, _) = replica.link().await;
    let big = 3_000_000_000_u32;
    let create = |mut input: Value| {
        input["url"] = "https://a.example/".into();
        (CREATE, json!({ "input": input }))
    };
    let update = |input: Value| (UPDATE, json!({ "id": id, "input": input }));
    let list = |filter: Value| (LIST, json!({ "where": filter }));
    let long = ("out_of_range", "must be an Int, from");
    let time = ("invalid_time", "must be a DateTime, such as");
    let cases = [
        (
            create(json!({"maxClicks": big})),
            vec![("input.maxClicks", long)],
        ),
        (
            create(json!({"redirectStatus": big, "expiresAt": "tomorrow"})),
            vec![("input.redirectStatus", long), ("input.expiresAt", time)],
        ),
        (
            update(json!({"expiresAt": "", "maxClicks": -4_000_000_000_i64})),
            vec![("input.expiresAt", time), ("input.maxClicks", long)],
        ),
        ((LIST, json!({"first": big})), vec![("first", long)]),
        ((LIST, json!({"last": big})), vec![("last", long)]),
        (
            (SERIES, json!({"id": id, "from": "2026-13-01T00:00:00Z"})),
            vec![("from", time)],
        ),
        (
            list(json!({"createdAt": {"_gt": "2026"}})),
            vec![("where.createdAt._gt", time)],
        ),
        (
            list(json!({"_or": [{}, {"totalClicks": {"_in": [1, big]}}]})),
            vec![("where._or.1.totalClicks._in.1", long)],
        ),
    ];
    for ((query, variables), expected) in cases {
        let error = replica.error(ALICE, query, variables).await;
        assert_eq!(error["extensions"]["code"], "BAD_USER_INPUT", "{error}");
        let codes = expected.iter();
        let codes = codes.map(|(field, (code, _))| ((*field).to_owned(), (*code).to_owned()));
        assert_eq!(violations(&error), codes.collect::<Vec<_>>());
        let (field, (_, rule)) = expected[0];
        assert_eq!(error["extensions"]["field"], field);
        let message = error["message"].as_str().unwrap();
        assert!(message.starts_with(&format!("{field} {rule}")), "{message}");
    }
    // A literal, in the place of a variable.
    let literal = "{ links(where: {expiresAt: {_lt: \"soon\"}}) { totalCount } }";
    let error = replica.error(ALICE, literal, json!({})).await;
    let expected = ("where.expiresAt._lt".to_owned(), "invalid_time".to_owned());
    assert_eq!(violations(&error), [expected]);
}

#[tokio::test]
async fn invalid_series_are_named() {
    let replica = Replica::start().await;
    let (id, _) = replica.link().await;
    let query = "query($id: ID!, $from: DateTime, $to: DateTime) { link(id: $id) { clicks { series(by: HOUR, from: $from, to: $to) { total } } } }";
    let cases = [
        (
            json!({"from": "2026-01-02T00:00:00Z", "to": "2026-01-01T00:00:00Z"}),
            "from",
            "not_before_to",
        ),
        (
            json!({"from": "2020-01-01T00:00:00Z", "to": "2026-01-01T00:00:00Z"}),
            "from",
            "too_many_points",
        ),
        (
            json!({"to": "+20000-01-01T00:00:00Z"}),
            "to",
            "out_of_range",
        ),
        (
            json!({"from": "-1000-01-01T00:00:00Z"}),
            "from",
            "out_of_range",
        ),
    ];
    for (mut variables, field, code) in cases {
        variables["id"] = json!(id);
        let error = replica.error(ALICE, query, variables).await;
        assert_eq!(violations(&error), [(field.to_owned(), code.to_owned())]);
    }
}
