//! Following links.

use reqwest::Method;
use serde_json::json;

use crate::support::{ALICE, BROWSER, Replica, World, eventually, header, problem};

const UPDATE: &str =
    "mutation($id: ID!, $input: UpdateLinkInput!) { updateLink(id: $id, input: $input) { id } }";

#[tokio::test]
async fn a_redirect_is_temporary_and_is_not_cached_unless_asked_for() {
    let replica = World::new()
        .await
        .start_with(&[("QUARTET_REDIRECTS_PERMANENT_MAX_AGE_SECONDS", "600")])
        .await;
    for (status, cache) in [
        (302, "private, no-store"),
        (307, "private, no-store"),
        (301, "private, max-age=600"),
        (308, "private, max-age=600"),
    ] {
        let slug = format!("link{status}");
        replica.create(json!({"url": "https://example.com/?a=1#b", "slug": slug, "redirectStatus": status})).await;
        let response = replica.follow(&slug).await;
        assert_eq!(response.status(), status);
        assert_eq!(header(&response, "location"), "https://example.com/?a=1#b");
        assert_eq!(header(&response, "cache-control"), cache);
        let head = replica
            .client
            .head(replica.url(&format!("/s/{slug}")))
            .send()
            .await
            .unwrap();
        assert_eq!(
            (head.status().as_u16(), header(&head, "location")),
            (status, "https://example.com/?a=1#b")
        );
    }
}

#[tokio::test]
async fn a_permanent_redirect_is_not_remembered_longer_than_the_link_lives() {
    let clock = quartet_common::clock::Clock::manual("2026-05-01T00:00:00Z".parse().unwrap());
    let replica = World::at(clock).await.start().await;
    replica.create(json!({"url": "https://example.com/", "slug": "soon-over", "redirectStatus": 308, "expiresAt": "2026-05-01T00:01:00Z"})).await;
    assert_eq!(
        header(&replica.follow("soon-over").await, "cache-control"),
        "private, max-age=60"
    );
}

#[tokio::test]
async fn links_that_lead_nowhere_say_why_as_problem_or_page() {
    let clock = quartet_common::clock::Clock::manual("2026-05-01T00:00:00Z".parse().unwrap());
    let world = World::at(clock).await;
    let replica = world.start().await;
    let url = "https://example.com/";
    replica
        .create(json!({"url": url, "slug": "expired", "expiresAt": "2026-05-01T00:00:10Z"}))
        .await;
    replica
        .create(json!({"url": url, "slug": "disabled", "enabled": false}))
        .await;
    replica
        .create(json!({"url": url, "slug": "limited", "maxClicks": 1}))
        .await;
    assert_eq!(replica.follow("expired").await.status(), 302);
    assert_eq!(replica.follow("limited").await.status(), 302);
    world.clock.advance(chrono::Duration::seconds(10));
    for (slug, status, code) in [
        ("expired", 410, "link_expired"),
        ("disabled", 410, "link_disabled"),
        ("limited", 410, "link_exhausted"),
        ("unknown", 404, "link_not_found"),
        ("x", 404, "link_not_found"),
        ("not%20a%20slug", 404, "link_not_found"),
        ("nul%00", 404, "link_not_found"),
        ("%C3%A4%C3%B6%C3%BC", 404, "link_not_found"),
    ] {
        assert_eq!(
            problem(replica.follow(slug).await).await,
            (status, code.into()),
            "{slug}"
        );
        let page = replica
            .visit(slug)
            .header("accept", "text/html,*/*;q=0.8")
            .send()
            .await
            .unwrap();
        assert_eq!(
            (page.status().as_u16(), header(&page, "content-type")),
            (status, "text/html; charset=utf-8")
        );
        assert!(header(&page, "cache-control").contains("no-store"));
    }
    assert_eq!(
        problem(replica.follow("%FF").await).await,
        (400, "invalid_parameter".into())
    );
    let query = "{ links(orderBy: [{field: SLUG}]) { nodes { slug status } } }";
    let data = replica.data(ALICE, query, json!({})).await;
    let expected = json!([{"slug": "disabled", "status": "DISABLED"}, {"slug": "expired", "status": "EXPIRED"}, {"slug": "limited", "status": "EXHAUSTED"}]);
    assert_eq!(data["links"]["nodes"], expected);
}

#[tokio::test]
async fn a_maximum_holds_however_many_ask_at_once() {
    let world = World::new().await;
    let (one, other) = (world.start().await, world.start().await);
    let link = one
        .create(json!({"url": "https://example.com/", "slug": "ten-only", "maxClicks": 10}))
        .await;
    let visits = (0..30).map(|n| {
        if n % 2 == 0 {
            one.visit("ten-only")
        } else {
            other.visit("ten-only")
        }
    });
    let answers = futures_util::future::join_all(visits.map(reqwest::RequestBuilder::send)).await;
    let through = answers
        .iter()
        .filter(|answer| answer.as_ref().unwrap().status() == 302)
        .count();
    assert_eq!(through, 10);
    let query = "query($id: ID!) { link(id: $id) { uses status } }";
    let seen = one.data(ALICE, query, json!({"id": link["id"]})).await;
    assert_eq!(seen["link"], json!({"uses": 10, "status": "EXHAUSTED"}));
    one.data(
        ALICE,
        UPDATE,
        json!({"id": link["id"], "input": {"maxClicks": 11}}),
    )
    .await;
    assert_eq!(one.follow("ten-only").await.status(), 302);
    assert_eq!(one.follow("ten-only").await.status(), 410);
}

#[tokio::test]
async fn programs_and_previews_do_not_burn_the_maximum_and_do_not_learn_the_target() {
    let replica = Replica::alone().await;
    replica
        .create(json!({"url": "https://secret.example/", "slug": "once", "maxClicks": 1}))
        .await;
    let get = |agent: &str| {
        replica
            .client
            .get(replica.url("/s/once"))
            .header("user-agent", agent)
    };
    let head = replica
        .client
        .head(replica.url("/s/once"))
        .header("user-agent", BROWSER);
    for request in [
        get("Slackbot-LinkExpanding 1.0"),
        get("curl/8"),
        get(""),
        head,
    ] {
        let response = request.send().await.unwrap();
        assert_eq!(
            (response.status().as_u16(), header(&response, "location")),
            (200, "")
        );
        assert!(!response.text().await.unwrap().contains("secret.example"));
    }
    let ahead = get(BROWSER)
        .header("sec-purpose", "prefetch")
        .send()
        .await
        .unwrap();
    assert_eq!(problem(ahead).await, (403, "prefetch_refused".into()));
    assert_eq!(
        header(&replica.follow("once").await, "location"),
        "https://secret.example/"
    );
}

#[tokio::test]
async fn a_remembered_link_and_a_remembered_gap_cost_no_lookup() {
    let world = World::new().await;
    let (editor, replica) = (world.start().await, world.start().await);
    let (_, slug) = editor.link().await;
    let (id, marker) = editor.link().await;
    replica.remember(&[&marker]).await;
    let edit = json!({"id": id, "input": {"url": "https://example.org/"}});
    editor.data(ALICE, UPDATE, edit).await;
    // Edits are heard in order: once this one is, the making of the other link is no news.
    eventually(async || {
        let heard = header(&replica.follow(&marker).await, "location") == "https://example.org/";
        heard.then_some(())
    })
    .await;

    let before = replica.metric("links_redirect_loads_total").await;
    let loads = async || replica.metric("links_redirect_loads_total").await - before;
    let visits = (0..50).map(|_| replica.follow(&slug));
    futures_util::future::join_all(visits).await;
    assert_eq!(loads().await, 1, "many at once wait for one lookup");
    for _ in 0..5 {
        assert_eq!(replica.follow("unknown").await.status(), 404);
    }
    assert_eq!(loads().await, 2);
    for _ in 0..5 {
        assert_eq!(replica.follow("x").await.status(), 404);
    }
    assert_eq!(loads().await, 2, "what cannot be a slug is not looked up");
}

#[tokio::test]
async fn other_methods_are_refused() {
    let replica = Replica::alone().await;
    let (_, slug) = replica.link().await;
    for method in [Method::POST, Method::PUT, Method::DELETE] {
        let response = replica
            .client
            .request(method, replica.url(&format!("/s/{slug}")))
            .send()
            .await
            .unwrap();
        assert_eq!(problem(response).await, (405, "method_not_allowed".into()));
    }
}
