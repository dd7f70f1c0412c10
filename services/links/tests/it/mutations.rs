//! Creating, changing and deleting links.

use serde_json::{Value, json};

use crate::{
    fairness::waiting,
    support::{ALICE, BOB, Replica, eventually, header, string},
};

const UPDATE: &str =
    "mutation($id: ID!, $input: UpdateLinkInput!) { updateLink(id: $id, input: $input) {
    id slug url title enabled redirectStatus expiresAt maxClicks status } }";
const DELETE: &str = "mutation($id: ID!) { deleteLink(id: $id) { id } }";

#[tokio::test]
async fn a_link_is_created_with_defaults_and_a_random_slug() {
    let replica = Replica::start().await;
    let link = replica
        .create(json!({"url": "HTTPS://Example.com/a b"}))
        .await;
    let slug = string(&link["slug"]);
    assert_eq!(slug.len(), 7);
    assert!(string(&link["id"]).starts_with("lnk_"));
    assert_eq!(link["shortUrl"], format!("http://localhost:8080/s/{slug}"));
    assert_eq!(link["url"], "https://example.com/a%20b");
    let rest = [
        "title",
        "enabled",
        "redirectStatus",
        "expiresAt",
        "maxClicks",
        "uses",
        "status",
    ];
    let rest: Vec<&Value> = rest.iter().map(|name| &link[name]).collect();
    assert_eq!(
        json!(rest),
        json!([null, true, 302, null, null, 0, "ACTIVE"])
    );
    let query = "query($id: ID!, $slug: String!) { link(id: $id) { slug createdAt } linkBySlug(slug: $slug) { id } }";
    let read = replica
        .data(ALICE, query, json!({"id": link["id"], "slug": slug}))
        .await;
    assert_eq!(
        read["link"],
        json!({"slug": slug, "createdAt": link["createdAt"]})
    );
    assert_eq!(read["linkBySlug"]["id"], link["id"]);
}

#[tokio::test]
async fn every_field_can_be_set_changed_and_cleared() {
    let replica = Replica::start().await;
    let link = replica
        .create(json!({
            "url": "https://example.com/", "slug": "my-Slug_1", "title": "Größe", "enabled": false,
            "redirectStatus": 307, "expiresAt": "2100-01-02T03:04:05Z", "maxClicks": 5,
        }))
        .await;
    assert_eq!(link["slug"], "my-Slug_1");
    assert_eq!(
        (&link["status"], &link["expiresAt"]),
        (&json!("DISABLED"), &json!("2100-01-02T03:04:05+00:00"))
    );

    let input = json!({
        "url": "https://example.org/x", "slug": "other", "title": null, "enabled": true,
        "redirectStatus": 302, "expiresAt": null, "maxClicks": null,
    });
    let changed = replica
        .data(ALICE, UPDATE, json!({"id": link["id"], "input": input}))
        .await;
    let expected = json!({
        "id": link["id"], "slug": "other", "url": "https://example.org/x", "title": null, "enabled": true,
        "redirectStatus": 302, "expiresAt": null, "maxClicks": null, "status": "ACTIVE",
    });
    assert_eq!(changed["updateLink"], expected);
    let kept = replica
        .data(ALICE, UPDATE, json!({"id": link["id"], "input": {}}))
        .await;
    assert_eq!(
        kept["updateLink"], expected,
        "omitted fields keep their value"
    );
    assert_eq!(replica.follow("my-Slug_1").await.status(), 404);
    assert_eq!(
        header(&replica.follow("other").await, "location"),
        "https://example.org/x"
    );
}

#[tokio::test]
async fn a_taken_slug_is_rejected_and_nothing_changes() {
    let replica = Replica::start().await;
    let first = replica
        .create(json!({"url": "https://a.example/", "slug": "taken"}))
        .await;
    let query = "mutation($input: CreateLinkInput!) { createLink(input: $input) { id } }";
    let input = json!({"input": {"url": "https://b.example/", "slug": "taken"}});
    let error = replica.error(BOB, query, input).await;
    assert_eq!(error["extensions"]["code"], "SLUG_TAKEN");
    assert_eq!(error["extensions"]["field"], "input.slug");

    let second = replica.create(json!({"url": "https://b.example/"})).await;
    let variables = json!({"id": second["id"], "input": {"slug": "taken", "title": "changed"}});
    let error = replica.error(ALICE, UPDATE, variables).await;
    assert_eq!(error["extensions"]["code"], "SLUG_TAKEN");
    let query = "query($id: ID!) { link(id: $id) { slug title } }";
    let same = replica
        .data(ALICE, query, json!({"id": second["id"]}))
        .await;
    assert_eq!(same["link"], json!({"slug": second["slug"], "title": null}));
    assert_eq!(
        header(&replica.follow("taken").await, "location"),
        string(&first["url"])
    );
}

#[tokio::test]
async fn deleting_a_link_frees_its_slug() {
    let replica = Replica::start().await;
    let link = replica
        .create(json!({"url": "https://example.com/", "slug": "short-lived"}))
        .await;
    let id = string(&link["id"]);
    replica.follow("short-lived").await;
    replica.expect_counts(&id, [1, 1, 1, 0]).await;
    let deleted = replica.data(ALICE, DELETE, json!({"id": id})).await;
    assert_eq!(deleted["deleteLink"]["id"], link["id"]);
    assert_eq!(replica.follow("short-lived").await.status(), 404);
    let again = replica.error(ALICE, DELETE, json!({"id": id})).await;
    assert_eq!(again["extensions"]["code"], "NOT_FOUND");
    replica
        .create(json!({"url": "https://example.org/", "slug": "short-lived"}))
        .await;
}

#[tokio::test]
async fn links_of_another_user_cannot_be_read_or_changed() {
    let replica = Replica::start().await;
    let (id, slug) = replica.link().await;
    let query = "query($id: ID!, $slug: String!) { link(id: $id) { id } linkBySlug(slug: $slug) { id } links { totalCount nodes { id } } }";
    let seen = replica
        .data(BOB, query, json!({"id": id, "slug": slug}))
        .await;
    let nothing =
        json!({"link": null, "linkBySlug": null, "links": {"totalCount": 0, "nodes": []}});
    assert_eq!(seen, nothing);
    let update = json!({"id": id, "input": {"url": "https://evil.example/"}});
    for (query, variables) in [(UPDATE, update), (DELETE, json!({"id": id}))] {
        let error = replica.error(BOB, query, variables).await;
        assert_eq!(error["extensions"]["code"], "NOT_FOUND");
    }
    assert_eq!(
        header(&replica.follow(&slug).await, "location"),
        "https://example.com/"
    );
}

#[tokio::test]
async fn each_mutation_of_a_document_is_its_own_transaction() {
    let replica = Replica::start().await;
    let query =
        "mutation { a: createLink(input: {url: \"https://a.example/\", slug: \"first\"}) { slug }
        b: createLink(input: {url: \"https://b.example/\", slug: \"first\"}) { slug } }";
    let error = replica.error(ALICE, query, json!({})).await;
    assert_eq!(error["path"], json!(["b"]));
    assert_eq!(
        header(&replica.follow("first").await, "location"),
        "https://a.example/"
    );
}

#[tokio::test]
async fn a_freed_slug_is_reserved_for_its_owner() {
    let replica = Replica::start().await;
    let create = "mutation($input: CreateLinkInput!) { createLink(input: $input) { id } }";
    let input = |slug: &str| json!({"input": {"url": "https://example.com/", "slug": slug}});
    let taken = async |slug: &str| {
        let error = replica.error(BOB, create, input(slug)).await;
        assert_eq!(error["extensions"]["code"], "SLUG_TAKEN", "{slug}");
    };
    let deleted = replica.data(ALICE, create, input("my-bank")).await["createLink"]["id"].take();
    let renamed = replica.data(ALICE, create, input("my-shop")).await["createLink"]["id"].take();
    replica.data(ALICE, DELETE, json!({"id": deleted})).await;
    let rename = json!({"id": renamed, "input": {"slug": "my-store"}});
    replica.data(ALICE, UPDATE, rename).await;
    taken("my-bank").await;
    taken("my-shop").await;
    let bobs = replica.data(BOB, create, input("bobs")).await["createLink"]["id"].take();
    let error = replica
        .error(
            BOB,
            UPDATE,
            json!({"id": bobs, "input": {"slug": "my-bank"}}),
        )
        .await;
    assert_eq!(error["extensions"]["code"], "SLUG_TAKEN");

    // The owner may change her mind, and then gives it up again.
    let again = replica.data(ALICE, create, input("my-bank")).await["createLink"]["id"].take();
    replica.data(ALICE, DELETE, json!({"id": again})).await;
    taken("my-bank").await;
    let mut admin = replica.cluster.database.connect_as_admin().await;
    let left = "SELECT extract(day FROM min(until) - now())::int FROM links.freed_slugs";
    let left: i32 = sqlx::query_scalar(left)
        .fetch_one(&mut admin)
        .await
        .unwrap();
    assert!((89..=90).contains(&left), "{left} days");

    sqlx::query("UPDATE links.freed_slugs SET until = now()")
        .execute(&mut admin)
        .await
        .unwrap();
    replica.data(BOB, create, input("my-bank")).await;
    let rename = json!({"id": bobs, "input": {"slug": "my-shop"}});
    replica.data(BOB, UPDATE, rename).await;
}

#[tokio::test]
async fn a_freed_slug_need_not_rest() {
    let replica = crate::support::Cluster::new()
        .await
        .start_with(&[("QUARTET_PUBLIC_SLUG_REST_DAYS", "0")])
        .await;
    let create = "mutation($input: CreateLinkInput!) { createLink(input: $input) { id } }";
    let input = json!({"input": {"url": "https://example.com/", "slug": "my-bank"}});
    let id = replica.data(ALICE, create, input.clone()).await["createLink"]["id"].take();
    replica.data(ALICE, DELETE, json!({"id": id})).await;
    replica.data(BOB, create, input).await;
}

/// The slug is freed by a transaction that has not ended when another one takes the slug.
#[tokio::test]
async fn a_slug_is_not_taken_while_it_is_being_freed() {
    let replica = Replica::start().await;
    let create = "mutation($input: CreateLinkInput!) { createLink(input: $input) { id } }";
    let input = |slug: &str| json!({"input": {"url": "https://example.com/", "slug": slug}});
    let bobs = replica.data(BOB, create, input("bobs")).await["createLink"]["id"].take();
    let rename = |slug: &str| json!({"id": bobs, "input": {"slug": slug}});
    for (slug, query, variables) in [
        ("my-bank", create, input("my-bank")),
        ("my-shop", UPDATE, rename("my-shop")),
    ] {
        replica.data(ALICE, create, input(slug)).await;
        let mut owner = replica.cluster.database.connect_as_role().await;
        let free = format!(
            "BEGIN; SELECT set_config('quartet.principals', '{{{ALICE}}}', true);
             DELETE FROM links.links WHERE slug = '{slug}'"
        );
        let free = sqlx::raw_sql(sqlx::AssertSqlSafe(free));
        free.execute(&mut owner).await.unwrap();
        let commit = async {
            let mut watcher = replica.cluster.database.connect_as_admin().await;
            eventually(async || (waiting(&mut watcher).await == 1).then_some(())).await;
            sqlx::raw_sql("COMMIT").execute(&mut owner).await.unwrap();
        };
        let (error, ()) = tokio::join!(replica.error(BOB, query, variables), commit);
        assert_eq!(error["extensions"]["code"], "SLUG_TAKEN", "{slug}");
        // Its owner may, in the same way.
        replica.data(ALICE, create, input(slug)).await;
    }
}
