//! What a person does from the first visit to the last.

use serde_json::json;

use crate::harness::files::{self, PNG};
use crate::harness::graphql::{self, Socket};
use crate::harness::user::{claims, text, token_header};
use crate::harness::{Client, Stack, User, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn a_person_uploads_shortens_follows_and_leaves() {
    let stack = Stack::small().await;
    of_a_person(&stack.client()).await;
}

/// The whole journey, through any gateway.
pub(crate) async fn of_a_person(door: &Client) {
    let ada = User::sign_up(door).await;
    let me = ada.client.get("/v1/core/users/me").await.json_of(200);
    assert_eq!(
        (&me["id"], &me["email"]),
        (&json!(ada.id), &json!(ada.email))
    );

    uploads_and_downloads(&ada).await;
    follows_a_link_and_sees_the_click(&ada).await;
    leaves_nothing_behind(door, &ada).await;
}

async fn uploads_and_downloads(ada: &User) {
    let public = files::upload(&ada.client, "public").await;
    let private = files::upload(&ada.client, "private").await;
    let page = ada
        .client
        .get("/v1/media/assets?limit=1")
        .await
        .json_of(200);
    assert_eq!(
        page["data"][0]["id"], private["id"],
        "the newest comes first: {page:#}"
    );
    assert_eq!(page["has_more"], true);
    let cursor = text(&page, "/next_cursor");
    let rest = ada
        .client
        .get(&format!("/v1/media/assets?limit=1&cursor={cursor}"))
        .await;
    let rest = rest.json_of(200);
    assert_eq!(rest["data"][0]["id"], public["id"]);
    assert_eq!(
        (&rest["has_more"], &rest["next_cursor"]),
        (&json!(false), &json!(null))
    );

    for asset in [&public, &private] {
        let path = format!("/v1/media/assets/{}", text(asset, "/id"));
        assert_eq!(&ada.client.get(&path).await.json_of(200), asset);
        let download = ada
            .client
            .get(&format!("{path}/download"))
            .await
            .json_of(200);
        let url = text(&download, "/url");
        assert_eq!(files::fetch(&url).await, (200, PNG.to_vec()), "{url}");
        let bare = url.split('?').next().unwrap();
        let without_signature = files::fetch(bare).await.0;
        if asset["visibility"] == "private" {
            assert!(url.contains("X-Amz-Signature"), "{url}");
            assert_eq!(
                without_signature, 403,
                "a private object needs its signature"
            );
        } else {
            assert_eq!(without_signature, 200);
        }
    }
}

async fn follows_a_link_and_sees_the_click(ada: &User) {
    let target = "https://example.org/a/page?with=query#and-fragment";
    let link = graphql::create_link(&ada.client, target).await;
    assert!(link.short_url.ends_with(&link.path()), "{link:?}");

    let mut socket = Socket::authenticated(&ada.client).await;
    let query = "subscription Clicks($id: ID!) { clicks(linkId: $id) { id } }";
    socket
        .subscribe("first", query, &json!({ "id": link.id }))
        .await;
    let visitor = ada.client.anonymous();
    let (event, visits) = socket.click_until_told("first", &visitor, &link).await;
    assert!(event["clicks"].is_object(), "{event:#}");
    let redirect = visitor.get(&link.path()).await.expect(302);
    assert_eq!(redirect.location(), target);
    assert_eq!(redirect.header("cache-control"), Some("private, no-store"));
    eventually("all clicks are in the totals", || async {
        (graphql::clicks(&ada.client, &link).await == (visits + 1, 1)).then_some(())
    })
    .await;
}

async fn leaves_nothing_behind(door: &Client, ada: &User) {
    let assets = ada.client.get("/v1/media/assets").await.json_of(200);
    for asset in assets["data"].as_array().unwrap() {
        let path = format!("/v1/media/assets/{}", text(asset, "/id"));
        let url = ada
            .client
            .get(&format!("{path}/download"))
            .await
            .json_of(200);
        ada.client.delete(&path).await.expect(204);
        ada.client.get(&path).await.problem(404, "not_found");
        assert_eq!(
            files::fetch(&text(&url, "/url")).await.0,
            404,
            "the object went as well"
        );
    }
    let query = "{ links { edges { node { id slug } } } }";
    let links = graphql::data(&ada.client, query, &json!({})).await;
    for edge in links["links"]["edges"].as_array().unwrap() {
        let delete = "mutation Delete($id: ID!) { deleteLink(id: $id) { id } }";
        graphql::data(&ada.client, delete, &json!({ "id": edge["node"]["id"] })).await;
        let path = format!("/s/{}", text(edge, "/node/slug"));
        eventually("the redirect is gone", || async {
            matches!(door.get(&path).await.status, 404 | 410).then_some(())
        })
        .await;
    }
    let sessions = ada.client.get("/v1/core/sessions").await.json_of(200);
    assert_eq!(
        sessions["data"].as_array().unwrap().len(),
        1,
        "{sessions:#}"
    );
    ada.client.delete("/v1/core/users/me").await.expect(204);
    let body = json!({ "email": ada.email, "password": ada.password });
    door.post("/v1/core/sessions", &body).await.expect(401);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_refreshed_and_sessions_revoked() {
    let stack = Stack::small().await;
    let ada = User::sign_up(&stack.client()).await;
    let header = token_header(ada.client.token());
    assert_eq!(
        (&header["typ"], &header["alg"]),
        (&json!("at+jwt"), &json!("EdDSA"))
    );
    let claims = claims(ada.client.token());
    assert_eq!(
        (&claims["sub"], &claims["aud"]),
        (&json!(ada.id), &json!("quartet"))
    );
    assert_eq!(
        claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(),
        900
    );

    let refresh = |token: String| {
        let door = stack.client();
        async move {
            let body = json!({ "refresh_token": token });
            door.post("/v1/core/sessions/refresh", &body).await
        }
    };
    let renewed = refresh(ada.refresh_token.clone()).await;
    let renewed = if renewed.status == 201 {
        renewed.json()
    } else {
        renewed.json_of(200)
    };
    let next = text(&renewed, "/refresh_token");
    assert_ne!(next, ada.refresh_token);
    let client = stack.client().with_token(&text(&renewed, "/access_token"));
    client.get("/v1/core/users/me").await.expect(200);

    let phone = ada.log_in_again().await;
    assert_ne!(phone.session_id(), ada.session_id());
    let sessions = client.get("/v1/core/sessions").await.json_of(200);
    assert_eq!(
        sessions["data"].as_array().unwrap().len(),
        2,
        "{sessions:#}"
    );

    client
        .delete(&format!("/v1/core/sessions/{}", phone.session_id()))
        .await
        .expect(204);
    refresh(phone.refresh_token.clone()).await.expect(401);
    let sessions = client.get("/v1/core/sessions").await.json_of(200);
    assert_eq!(
        sessions["data"][0]["id"],
        json!(ada.session_id()),
        "{sessions:#}"
    );
    assert_eq!(sessions["data"].as_array().unwrap().len(), 1);

    // The third generation makes the first one's use a theft: the whole family goes.
    let third = refresh(next.clone()).await;
    assert!(third.status < 300, "{third:?}");
    refresh(ada.refresh_token.clone()).await.expect(401);
    refresh(text(&third.json(), "/refresh_token"))
        .await
        .expect(401);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documents_are_served_and_merged() {
    use crate::harness::spec;
    let stack = Stack::small().await;
    let door = stack.client();
    for service in ["core", "media", "links"] {
        let served = door
            .get(&format!("/v1/{service}/openapi.json"))
            .await
            .json_of(200);
        assert_eq!(
            &served,
            spec::document(service),
            "the committed document of {service}"
        );
    }
    let merged = door.get("/openapi.json").await.json_of(200);
    let merged = spec::operations_of("merged", &merged);
    assert_eq!(spec::summary(&merged), spec::summary(spec::operations()));
    for path in [
        "/.well-known/jwks.json",
        "/.well-known/openid-configuration",
        "/health",
    ] {
        door.get(path).await.expect(200);
    }
    let page = door.get("/docs/").await.expect(200).text();
    assert!(page.contains("swagger-ui"), "{page}");
    assert!(
        !page.contains("https://"),
        "nothing is loaded from elsewhere: {page}"
    );
}
