//! Lists: every filter, every order, and pages in both directions.

use serde_json::{Value, json};

use crate::support::{ALICE, Cluster, Replica, string};

const LIST: &str = "query($where: LinkFilter, $orderBy: [LinkOrder!], $first: Int, $after: String, $last: Int, $before: String) {
    links(where: $where, orderBy: $orderBy, first: $first, after: $after, last: $last, before: $before) {
        totalCount nodes { slug } edges { cursor node { slug } }
        pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } }";

/// Five links with the titles b, a, null, B, null; the third expires, the fourth has `maxClicks`.
async fn sample() -> Replica {
    let cluster = Cluster::at(quartet_common::clock::Clock::manual(
        "2026-05-01T00:00:00Z".parse().unwrap(),
    ))
    .await;
    let replica = cluster.start().await;
    for input in [
        json!({"slug": "one", "url": "https://a.example/1", "title": "b"}),
        json!({"slug": "two", "url": "https://b.example/50%25", "title": "a", "redirectStatus": 301}),
        json!({"slug": "three", "url": "https://c.example/", "expiresAt": "2027-01-01T00:00:00Z"}),
        json!({"slug": "four", "url": "https://a.example/4", "title": "B", "maxClicks": 7, "enabled": false}),
        json!({"slug": "five", "url": "https://d.example/"}),
    ] {
        cluster.clock.advance(chrono::Duration::minutes(1));
        replica.create(input).await;
    }
    replica
}

async fn slugs(replica: &Replica, variables: Value) -> Vec<String> {
    let data = replica.data(ALICE, LIST, variables).await;
    data["links"]["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| string(&node["slug"]))
        .collect()
}

#[tokio::test]
async fn every_operator_filters_every_column() {
    let replica = sample().await;
    let first = replica
        .data(
            ALICE,
            "{ linkBySlug(slug: \"one\") { id createdAt updatedAt } }",
            json!({}),
        )
        .await;
    let (id, at) = (
        first["linkBySlug"]["id"].clone(),
        first["linkBySlug"]["createdAt"].clone(),
    );
    let all = ["one", "two", "three", "four", "five"];
    let cases: Vec<(Value, &[&str])> = vec![
        (json!({}), &all),
        (json!({"id": {"_eq": id}}), &["one"]),
        (json!({"id": {"_neq": id}}), &all[1..]),
        (json!({"id": {"_in": [id]}}), &["one"]),
        (json!({"id": {"_nin": [id]}}), &all[1..]),
        (json!({"slug": {"_eq": "two"}}), &["two"]),
        (
            json!({"slug": {"_neq": "two"}}),
            &["one", "three", "four", "five"],
        ),
        (json!({"slug": {"_gt": "one"}}), &["two", "three"]),
        (json!({"slug": {"_gte": "one"}}), &["one", "two", "three"]),
        (json!({"slug": {"_lt": "four"}}), &["five"]),
        (json!({"slug": {"_lte": "four"}}), &["four", "five"]),
        (
            json!({"slug": {"_in": ["one", "five", "none"]}}),
            &["one", "five"],
        ),
        (json!({"slug": {"_in": []}}), &[]),
        (json!({"slug": {"_nin": []}}), &all),
        (json!({"slug": {"_like": "t%"}}), &["two", "three"]),
        (json!({"slug": {"_like": "T%"}}), &[]),
        (json!({"slug": {"_ilike": "T%"}}), &["two", "three"]),
        (json!({"url": {"_like": "%50\\%%"}}), &["two"]),
        (json!({"url": {"_like": "https://_.example/%"}}), &all),
        (json!({"title": {"_is_null": true}}), &["three", "five"]),
        (
            json!({"title": {"_is_null": false}}),
            &["one", "two", "four"],
        ),
        (json!({"title": {"_ilike": "b"}}), &["one", "four"]),
        (json!({"title": {"_neq": "a"}}), &["one", "four"]),
        (json!({"enabled": {"_eq": false}}), &["four"]),
        (
            json!({"enabled": {"_neq": false}}),
            &["one", "two", "three", "five"],
        ),
        (json!({"redirectStatus": {"_eq": 301}}), &["two"]),
        (json!({"redirectStatus": {"_in": [301, 302]}}), &all),
        (json!({"expiresAt": {"_is_null": false}}), &["three"]),
        (
            json!({"expiresAt": {"_lt": "2028-01-01T00:00:00Z"}}),
            &["three"],
        ),
        (json!({"maxClicks": {"_gte": 7}}), &["four"]),
        (json!({"maxClicks": {"_gt": 7}}), &[]),
        (json!({"totalClicks": {"_eq": 0}}), &all),
        (json!({"totalClicks": {"_gt": 0}}), &[]),
        (json!({"createdAt": {"_gt": at}}), &all[1..]),
        (json!({"updatedAt": {"_lte": at}}), &["one"]),
        (
            json!({"slug": {"_gt": "a"}, "enabled": {"_eq": false}}),
            &["four"],
        ),
        (json!({"slug": {"_gt": "f", "_lt": "g"}}), &["four", "five"]),
        (
            json!({"_or": [{"slug": {"_eq": "one"}}, {"maxClicks": {"_eq": 7}}]}),
            &["one", "four"],
        ),
        (json!({"_or": []}), &[]),
        (json!({"_and": []}), &all),
        (
            json!({"_and": [{"slug": {"_like": "%e%"}}, {"_not": {"slug": {"_eq": "one"}}}]}),
            &["three", "five"],
        ),
        (
            json!({"_not": {"_or": [{"title": {"_is_null": true}}, {"slug": {"_eq": "two"}}]}}),
            &["one", "four"],
        ),
        (json!({"slug": {"_eq": "x' OR true --"}}), &[]),
        // A comparison of null does not hold, so that its negation does.
        (
            json!({"_not": {"title": {"_eq": "b"}}}),
            &["two", "three", "four", "five"],
        ),
        (
            json!({"_not": {"title": {"_nin": ["b"]}}}),
            &["one", "three", "five"],
        ),
        (json!({"_not": {"_not": {"title": {"_eq": "b"}}}}), &["one"]),
    ];
    for (filter, expected) in cases {
        let order = json!([{"field": "CREATED_AT"}]);
        let found = slugs(&replica, json!({"where": filter, "orderBy": order})).await;
        assert_eq!(found, expected, "{filter}");
        let count = replica
            .data(ALICE, LIST, json!({"where": filter, "first": 0}))
            .await;
        assert_eq!(count["links"]["totalCount"], expected.len(), "{filter}");
    }
}

#[tokio::test]
async fn every_order_sorts_and_pages_have_no_gap_or_overlap() {
    let replica = sample().await;
    let cases: Vec<(Value, [&str; 5])> = vec![
        (json!(null), ["five", "four", "three", "two", "one"]),
        (
            json!([{"field": "CREATED_AT"}]),
            ["one", "two", "three", "four", "five"],
        ),
        (
            json!([{"field": "UPDATED_AT", "direction": "DESC"}]),
            ["five", "four", "three", "two", "one"],
        ),
        (
            json!([{"field": "SLUG"}]),
            ["five", "four", "one", "three", "two"],
        ),
        (
            json!([{"field": "EXPIRES_AT"}]),
            ["three", "one", "two", "four", "five"],
        ),
        (
            json!([{"field": "EXPIRES_AT", "nulls": "FIRST"}]),
            ["one", "two", "four", "five", "three"],
        ),
        (
            json!([{"field": "EXPIRES_AT", "direction": "DESC", "nulls": "LAST"}]),
            ["three", "five", "four", "two", "one"],
        ),
        (
            json!([{"field": "TOTAL_CLICKS", "direction": "DESC"}]),
            ["five", "four", "three", "two", "one"],
        ),
        (
            json!([{"field": "TITLE", "nulls": "FIRST"}]),
            ["three", "five", "two", "one", "four"],
        ),
        (
            json!([{"field": "TITLE", "direction": "DESC"}]),
            ["three", "five", "two", "one", "four"],
        ),
        (
            json!([{"field": "TITLE", "direction": "DESC", "nulls": "LAST"}]),
            ["three", "five", "two", "one", "four"],
        ),
        (
            json!([{"field": "TITLE"}]),
            ["three", "five", "two", "one", "four"],
        ),
    ];
    for (order, expected) in cases {
        if order.get(0).is_none_or(|term| term["field"] != "TITLE") {
            assert_eq!(
                slugs(&replica, json!({"orderBy": order})).await,
                expected,
                "{order}"
            );
        }
        let whole = slugs(&replica, json!({"orderBy": order})).await;
        for size in [1, 2, 3] {
            assert_eq!(
                walk(&replica, &order, size, true).await,
                whole,
                "{order} by {size}"
            );
            let mut backwards = walk(&replica, &order, size, false).await;
            backwards.reverse();
            assert_eq!(backwards, whole, "{order} backwards by {size}");
        }
    }
}

/// All slugs, page by page; each page is reversed when paging backwards.
async fn walk(replica: &Replica, order: &Value, size: u32, forwards: bool) -> Vec<String> {
    let mut all = Vec::new();
    let mut cursor = Value::Null;
    loop {
        let variables = if forwards {
            json!({"orderBy": order, "first": size, "after": cursor})
        } else {
            json!({"orderBy": order, "last": size, "before": cursor})
        };
        let page = replica.data(ALICE, LIST, variables).await["links"].take();
        let mut slugs: Vec<String> = page["edges"]
            .as_array()
            .unwrap()
            .iter()
            .map(|edge| string(&edge["node"]["slug"]))
            .collect();
        let info = &page["pageInfo"];
        let (more, behind, next) = if forwards {
            ("hasNextPage", "hasPreviousPage", "endCursor")
        } else {
            slugs.reverse();
            ("hasPreviousPage", "hasNextPage", "startCursor")
        };
        assert_eq!(info[behind], json!(!cursor.is_null()));
        all.extend(slugs);
        if info[more] == false {
            return all;
        }
        cursor = info[next].clone();
    }
}

#[tokio::test]
async fn after_and_before_can_be_combined_and_an_empty_page_has_no_cursors() {
    let replica = sample().await;
    let order = json!([{"field": "CREATED_AT"}]);
    let page = replica.data(ALICE, LIST, json!({"orderBy": order})).await;
    let cursor = |n: usize| page["links"]["edges"][n]["cursor"].clone();
    let between = json!({"orderBy": order, "after": cursor(0), "before": cursor(4), "last": 2});
    assert_eq!(slugs(&replica, between).await, ["three", "four"]);
    let empty = replica.data(ALICE, LIST, json!({"first": 0})).await;
    let info = json!({"hasNextPage": true, "hasPreviousPage": false, "startCursor": null, "endCursor": null});
    assert_eq!(empty["links"]["pageInfo"], info);
}

#[tokio::test]
async fn cursors_stay_valid_when_links_are_created_and_deleted() {
    let replica = sample().await;
    let order = json!([{"field": "SLUG"}]);
    let page = replica
        .data(ALICE, LIST, json!({"orderBy": order, "first": 2}))
        .await;
    let cursor = page["links"]["pageInfo"]["endCursor"].clone();
    let four = replica
        .data(ALICE, "{ linkBySlug(slug: \"four\") { id } }", json!({}))
        .await;
    let delete = "mutation($id: ID!) { deleteLink(id: $id) { id } }";
    replica
        .data(ALICE, delete, json!({"id": four["linkBySlug"]["id"]}))
        .await;
    replica
        .create(json!({"slug": "eight", "url": "https://e.example/"}))
        .await;
    let rest = slugs(&replica, json!({"orderBy": order, "after": cursor})).await;
    assert_eq!(rest, ["one", "three", "two"]);
}
