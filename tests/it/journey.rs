//! What a person does from the first visit to the last.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _};
use quartet_client::{Asset, AssetFilter, AssetStatus, NewLink, Upload, Visibility};
use quartet_devstack::workspace;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::harness::files::{self, PNG};
use crate::harness::user::{claims, text, token_header};
use crate::harness::{Client, Person, Stack, User, eventually, sdk};

#[tokio::test(flavor = "multi_thread")]
async fn a_person_uploads_shortens_follows_and_leaves() {
    if let Ok(url) = std::env::var("QUARTET_URL") {
        return of_a_person(&Client::of_url(&url)).await;
    }
    let stack = Stack::small().await;
    of_a_person(&stack.client()).await;
}

/// The whole journey, through any gateway, by the client that people use. Only what a browser
/// would do is done without it.
pub(crate) async fn of_a_person(door: &Client) {
    let quartet = sdk::quartet(door.server(), door.secrets());
    let ada = Person::sign_up(quartet, door.secrets()).await;
    let me = ada.quartet.me().await.unwrap();
    assert_eq!((me.id.to_string(), &me.email), (ada.id.clone(), &ada.email));

    uploads_and_downloads(&ada).await;
    answers_fit_the_documents(door, &ada).await;
    follows_a_link_and_sees_the_click(door, &ada).await;
    leaves_nothing_behind(door, &ada).await;
}

async fn uploads_and_downloads(ada: &Person) {
    let upload = Upload::bytes("pixel.png", PNG);
    let public = ada.quartet.upload(&upload.clone().public()).await.unwrap();
    let private = ada.quartet.upload(&upload).await.unwrap();
    let found = assets(ada).await;
    let ids: Vec<_> = found.iter().map(|asset| &asset.id).collect();
    assert_eq!(ids, [&private.id, &public.id], "the newest comes first");

    for asset in [&public, &private] {
        assert_eq!(asset.status, AssetStatus::Ready);
        let read = ada.quartet.asset(&asset.id).await.unwrap();
        assert_eq!(read.updated_at, asset.updated_at);
        let chunks = ada.quartet.download(&asset.id).await.unwrap();
        let chunks: Vec<Bytes> = chunks.try_collect().await.unwrap();
        assert_eq!(chunks.concat(), PNG);

        let download = ada.quartet.download_address(&asset.id).await.unwrap();
        let url = download.url.expose();
        let bare = url.split('?').next().unwrap();
        let without_signature = files::fetch(bare).await.0;
        if asset.visibility == Visibility::Private {
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

/// The same answers once more without the client: the harness compares them with the documents.
async fn answers_fit_the_documents(door: &Client, ada: &Person) {
    let body = json!({ "email": ada.email, "password": ada.password });
    let session = door.post("/v1/core/sessions", &body).await.json_of(201);
    let raw = door.with_token(&text(&session, "/access_token"));
    let page = raw.get("/v1/media/assets?limit=1").await.json_of(200);
    assert_eq!(page["has_more"], true, "{page:#}");
    let asset = format!("/v1/media/assets/{}", text(&page, "/data/0/id"));
    let cursor = text(&page, "/next_cursor");
    for path in [
        "/v1/core/users/me",
        "/v1/core/sessions",
        &format!("/v1/media/assets?limit=1&cursor={cursor}"),
        &asset,
        &format!("{asset}/download"),
    ] {
        raw.get(path).await.expect(200);
    }
    raw.delete("/v1/core/sessions/current").await.expect(204);
}

/// All of them, one on a page.
async fn assets(ada: &Person) -> Vec<Asset> {
    let filter = AssetFilter {
        page_size: Some(1),
        ..AssetFilter::default()
    };
    ada.quartet.assets(filter).try_collect().await.unwrap()
}

async fn follows_a_link_and_sees_the_click(door: &Client, ada: &Person) {
    let target = "https://example.org/a/page?with=query#and-fragment";
    let links = ada.quartet.links();
    let link = links.create(NewLink::to(target)).await.unwrap();
    let path = format!("/s/{}", link.slug);
    assert!(link.short_url.ends_with(&path), "{link:?}");

    let mut clicks = links.watch(&link.id);
    let mut visits = 0;
    // The first visits may come before the subscription is in force.
    let click = loop {
        assert!(visits < 20, "20 clicks and no event");
        let redirect = door.get(&path).await.expect(302);
        visits += 1;
        assert_eq!(redirect.location(), target);
        assert_eq!(redirect.header("cache-control"), Some("private, no-store"));
        if let Ok(click) = timeout(Duration::from_secs(2), clicks.next()).await {
            break click.unwrap().unwrap();
        }
    };
    assert!(!click.bot, "{click:?}");
    eventually_seldom("all clicks are in the totals", async || {
        let counts = links.get(&link.id).await.unwrap().unwrap().clicks;
        (counts.total, counts.unique) == (visits, 1)
    })
    .await;
}

async fn leaves_nothing_behind(door: &Client, ada: &Person) {
    for asset in assets(ada).await {
        let address = ada.quartet.download_address(&asset.id).await.unwrap();
        ada.quartet.delete_asset(&asset.id).await.unwrap();
        let error = ada.quartet.asset(&asset.id).await.unwrap_err();
        assert_eq!(error.problem().unwrap().code.as_str(), "not_found");
        let status = files::fetch(address.url.expose()).await.0;
        assert_eq!(status, 404, "the object went as well");
    }
    let links = ada.quartet.links();
    let all: Vec<_> = links.list(None).try_collect().await.unwrap();
    for link in all {
        links.delete(&link.id).await.unwrap();
        let path = format!("/s/{}", link.slug);
        eventually("the redirect is gone", || async {
            matches!(door.get(&path).await.status, 404 | 410).then_some(())
        })
        .await;
    }
    let sessions: Vec<_> = ada.quartet.sessions().try_collect().await.unwrap();
    assert_eq!(sessions.len(), 1, "{sessions:#?}");
    ada.quartet.delete_me().await.unwrap();
    let again = ada
        .quartet
        .log_in(&ada.email, ada.password.as_str().into())
        .await;
    assert_eq!(again.unwrap_err().problem().unwrap().status, 401);
}

/// A few times a second: another gateway has the limits that it was shipped with.
async fn eventually_seldom(what: &str, condition: impl AsyncFn() -> bool) {
    let mut ticks = tokio::time::interval(Duration::from_millis(300));
    for _ in 0..100 {
        ticks.tick().await;
        if condition().await {
            return;
        }
    }
    panic!("not within 30 s: {what}");
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
            &spec::document(service),
            "the committed document of {service}"
        );
    }
    for name in ["openapi.json", "openapi-3.0.json"] {
        let served = door.get(&format!("/{name}")).await.json_of(200);
        let committed = workspace::root().join("services/gateway").join(name);
        let committed = std::fs::read(committed).unwrap();
        let committed: Value = serde_json::from_slice(&committed).unwrap();
        assert_eq!(spec::summary(&served), spec::summary(&committed), "{name}");
    }
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
