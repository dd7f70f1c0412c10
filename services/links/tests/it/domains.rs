//! Slugs of several domains.

use serde_json::json;
use sqlx::PgConnection;

use crate::support::{ALICE, BOB, Cluster, Replica, eventually, header};

const BRAND: &str = "018f0000-0000-7000-8000-000000000001";
const CREATE: &str = "mutation($input: CreateLinkInput!) { createLink(input: $input) { id } }";

/// No API makes domains yet, nor links in them.
async fn add_domain(admin: &mut PgConnection) {
    sqlx::query("INSERT INTO links.domains (id, host) VALUES ($1::uuid, 'brand.example')")
        .bind(BRAND)
        .execute(admin)
        .await
        .unwrap();
}

async fn add_link(admin: &mut PgConnection, slug: &str, url: &str) -> String {
    let insert = "INSERT INTO links.links (id, owner, domain_id, slug, url, created_at, updated_at)
        VALUES (gen_random_uuid(), $1, $2::uuid, $3, $4, now(), now()) RETURNING id::text";
    sqlx::query_scalar(insert)
        .bind(ALICE)
        .bind(BRAND)
        .bind(slug)
        .bind(url)
        .fetch_one(admin)
        .await
        .unwrap()
}

async fn target(replica: &Replica, host: &str, slug: &str) -> (u16, String) {
    let request = replica.visit(slug).header("host", host);
    let response = request.send().await.unwrap();
    let location = header(&response, "location").to_owned();
    (response.status().as_u16(), location)
}

async fn becomes(replica: &Replica, host: &str, slug: &str, expected: &str) {
    eventually(async || (target(replica, host, slug).await.1 == expected).then_some(())).await;
}

#[tokio::test]
async fn each_domain_has_slugs_of_its_own_on_every_replica() {
    let cluster = Cluster::new().await;
    // Longer than the test: only notifications can cause a change.
    let settings = [
        ("QUARTET_REDIRECTS_CACHE_REFRESH_SECONDS", "60"),
        ("QUARTET_REDIRECTS_UNKNOWN_TTL_SECONDS", "60"),
    ];
    let one = cluster.start_with(&settings).await;
    let two = cluster.start_with(&settings).await;
    let mut admin = cluster.database.connect_as_admin().await;
    let sale = json!({"url": "https://default.example/", "slug": "sale"});
    let sale = one.create(sale).await;
    add_domain(&mut admin).await;
    let brands = add_link(&mut admin, "sale", "https://one.example/").await;
    let both = [&one, &two];
    for replica in both {
        becomes(replica, "brand.example", "sale", "https://one.example/").await;
        becomes(
            replica,
            "BRAND.example.:8443",
            "sale",
            "https://one.example/",
        )
        .await;
        for host in [
            "localhost",
            "unknown.example",
            "brand.example.org",
            "[::1]:80",
        ] {
            let expected = (302, "https://default.example/".to_owned());
            assert_eq!(target(replica, host, "sale").await, expected, "{host}");
        }
        // What is unknown in one domain is not in another.
        assert_eq!(target(replica, "localhost", "only").await.0, 404);
        assert_eq!(target(replica, "brand.example", "only").await.0, 404);
    }

    add_link(&mut admin, "only", "https://only.example/").await;
    sqlx::query("UPDATE links.links SET url = 'https://two.example/' WHERE id = $1::uuid")
        .bind(&brands)
        .execute(&mut admin)
        .await
        .unwrap();
    for replica in both {
        becomes(replica, "brand.example", "only", "https://only.example/").await;
        becomes(replica, "brand.example", "sale", "https://two.example/").await;
        let expected = (302, "https://default.example/".to_owned());
        assert_eq!(target(replica, "localhost", "sale").await, expected);
        assert_eq!(target(replica, "localhost", "only").await.0, 404);
    }

    // Through the API: the domain stays, and the other one notices nothing.
    let found = one
        .data(
            ALICE,
            "{ links(where: {url: {_eq: \"https://two.example/\"}}) { nodes { id shortUrl } } \
             linkBySlug(slug: \"sale\") { id shortUrl } }",
            json!({}),
        )
        .await;
    let node = &found["links"]["nodes"][0];
    assert_eq!(node["shortUrl"], "http://brand.example/s/sale");
    assert_eq!(found["linkBySlug"]["id"], sale["id"]);
    let delete = "mutation($id: ID!) { deleteLink(id: $id) { id } }";
    one.data(ALICE, delete, json!({"id": node["id"]})).await;
    assert_eq!(target(&one, "brand.example", "sale").await.0, 404);
    becomes(&two, "brand.example", "sale", "").await;
    for replica in both {
        assert_eq!(target(replica, "localhost", "sale").await.0, 302);
    }

    sqlx::query("DELETE FROM links.links WHERE domain_id = $1::uuid")
        .bind(BRAND)
        .execute(&mut admin)
        .await
        .unwrap();
    sqlx::query("DELETE FROM links.domains WHERE id = $1::uuid")
        .bind(BRAND)
        .execute(&mut admin)
        .await
        .unwrap();
    for replica in both {
        becomes(replica, "brand.example", "sale", "https://default.example/").await;
    }
}

#[tokio::test]
async fn a_slug_rests_in_its_own_domain() {
    let replica = Replica::start().await;
    let mut admin = replica.cluster.database.connect_as_admin().await;
    add_domain(&mut admin).await;
    add_link(&mut admin, "my-bank", "https://example.com/").await;
    sqlx::query("DELETE FROM links.links WHERE slug = 'my-bank'")
        .execute(&mut admin)
        .await
        .unwrap();
    let resting = "SELECT domain_id::text FROM links.freed_slugs WHERE slug = 'my-bank'";
    let domain: String = sqlx::query_scalar(resting)
        .fetch_one(&mut admin)
        .await
        .unwrap();
    assert_eq!(domain, BRAND);
    let input = json!({"input": {"url": "https://example.com/", "slug": "my-bank"}});
    replica.data(BOB, CREATE, input).await;
    // Still reserved where it was released, for everyone else.
    let taken = "INSERT INTO links.links (id, owner, domain_id, slug, url, created_at, updated_at)
        VALUES (gen_random_uuid(), $1, $2::uuid, 'my-bank', 'https://example.com/', now(), now())";
    for (owner, rows) in [(BOB, 0), (ALICE, 1)] {
        let done = sqlx::query(taken).bind(owner).bind(BRAND);
        let done = done.execute(&mut admin).await.unwrap();
        assert_eq!(done.rows_affected(), rows, "{owner}");
    }
}

#[tokio::test]
async fn links_to_a_domain_would_loop_and_the_number_of_domains_is_bounded() {
    let replica = Replica::start().await;
    let mut admin = replica.cluster.database.connect_as_admin().await;
    add_domain(&mut admin).await;
    let input = json!({"input": {"url": "https://brand.example/s/x"}});
    eventually(async || {
        let answer = replica.execute(ALICE, CREATE, input.clone()).await;
        let code = &answer["errors"][0]["extensions"]["errors"][0]["code"];
        (code == "loop").then_some(())
    })
    .await;

    let many = "INSERT INTO links.domains (id, host)
        SELECT gen_random_uuid(), 'h' || n || '.example' FROM generate_series(1, $1) AS n";
    // Two are there.
    let error = sqlx::query(many).bind(9999).execute(&mut admin).await;
    let error = error.unwrap_err().to_string();
    assert!(error.contains("10000 domains"), "{error}");
    sqlx::query(many)
        .bind(9998)
        .execute(&mut admin)
        .await
        .unwrap();
    for host in [
        "UPPER.example",
        "a..b",
        "host:80",
        "[::1]",
        "",
        "a/b",
        "a b",
    ] {
        let insert = "INSERT INTO links.domains (id, host) VALUES (gen_random_uuid(), $1)";
        let error = sqlx::query(insert).bind(host).execute(&mut admin).await;
        assert!(error.unwrap_err().to_string().contains("check"), "{host}");
    }
}
