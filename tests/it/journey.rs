//! A user from sign-up to the deletion of the account.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _};
use quartet_client::{Asset, AssetFilter, AssetStatus, NewLink, Upload, Visibility};
use serde_json::json;
use tokio::time::timeout;

use crate::harness::files::{self, PNG};
use crate::harness::user::{claims, text, token_header};
use crate::harness::{Client, Options, SdkUser, Stack, User, eventually, sdk};

#[tokio::test(flavor = "multi_thread")]
async fn a_user_uploads_shortens_follows_and_leaves() {
    if let Ok(url) = std::env::var("QUARTET_URL") {
        return of_a_user(&Client::of_url(&url)).await;
    }
    let stack = Stack::small().await;
    of_a_user(&stack.client()).await;
}

/// What clients really send is as the documents say, and so is what services answer.
#[tokio::test(flavor = "multi_thread")]
async fn the_journey_is_as_the_documents_say() {
    let routes = [
        "core",
        "core_public",
        "core_documents",
        "media",
        "media_documents",
        "links",
        "links_graphql",
        "links_documents",
        "redirects",
    ];
    let blocked = |name| format!("[routes.{name}]\nvalidate = \"block\"\n");
    let settings = routes.map(blocked).concat() + "[validation]\nresponse_percent = 100\n";
    let stack = Stack::start(Options::default().gateway(&settings)).await;
    of_a_user(&stack.client()).await;

    // One request that is not, so that the checks are known to be there.
    let gateway = stack.client();
    let body = json!({ "email": 1, "password": "a password of no one" });
    gateway
        .post("/v1/core/users", &body)
        .await
        .problem(422, "invalid_body");
    let url = format!("http://{}/metrics", stack.gateway_admin());
    let metrics = reqwest::get(url).await.unwrap().text().await.unwrap();
    let lines = metrics
        .lines()
        .filter(|line| line.starts_with("gateway_validation_"));
    let counted: Vec<&str> = lines.filter(|line| !line.ends_with(" 0")).collect();
    let violations: Vec<_> = counted
        .iter()
        .filter(|line| line.contains("_violations_total"))
        .collect();
    assert_eq!(violations.len(), 1, "{counted:#?}");
    assert!(
        violations[0].contains("operation=\"create_user\",field=\"/email\""),
        "{counted:#?}"
    );
    let has = |labels: &str| counted.iter().any(|line| line.contains(labels));
    for subject in ["request", "response"] {
        assert!(
            has(&format!("subject=\"{subject}\",outcome=\"valid\"")),
            "{counted:#?}"
        );
    }
}

/// The whole journey, through any gateway, by the Rust client; by plain HTTP only what a
/// browser would do.
pub(crate) async fn of_a_user(gateway: &Client) {
    let quartet = sdk::quartet(gateway.server(), gateway.secrets());
    let ada = SdkUser::sign_up(quartet, gateway.secrets()).await;
    let me = ada.quartet.me().await.unwrap();
    assert_eq!((me.id.to_string(), &me.email), (ada.id.clone(), &ada.email));

    uploads_and_downloads(&ada).await;
    responses_match_the_documents(gateway, &ada).await;
    follows_a_link_and_sees_the_click(gateway, &ada).await;
    deletes_everything(gateway, &ada).await;
}

async fn uploads_and_downloads(ada: &SdkUser) {
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

        let download = ada.quartet.download_url(&asset.id).await.unwrap();
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

/// The same operations by plain HTTP: the harness compares the responses with the documents.
async fn responses_match_the_documents(gateway: &Client, ada: &SdkUser) {
    let body = json!({ "email": ada.email, "password": ada.password });
    let session = gateway.post("/v1/core/sessions", &body).await.json_of(201);
    let raw = gateway.with_token(&text(&session, "/access_token"));
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

/// All assets, one per page.
async fn assets(ada: &SdkUser) -> Vec<Asset> {
    let filter = AssetFilter {
        page_size: Some(1),
        ..AssetFilter::default()
    };
    ada.quartet.assets(filter).try_collect().await.unwrap()
}

async fn follows_a_link_and_sees_the_click(gateway: &Client, ada: &SdkUser) {
    let target = "https://example.org/a/page?with=query#and-fragment";
    let links = ada.quartet.links();
    let link = links.create(NewLink::to(target)).await.unwrap();
    let path = format!("/s/{}", link.slug);
    assert!(link.short_url.ends_with(&path), "{link:?}");

    let mut clicks = links.watch(&link.id);
    let mut visits = 0;
    // The first clicks may precede the subscription.
    let click = loop {
        assert!(visits < 20, "20 clicks and no event");
        let redirect = gateway.get(&path).await.expect(302);
        visits += 1;
        assert_eq!(redirect.location(), target);
        assert_eq!(redirect.header("cache-control"), Some("private, no-store"));
        if let Ok(click) = timeout(Duration::from_secs(2), clicks.next()).await {
            break click.unwrap().unwrap();
        }
    };
    assert!(!click.bot, "{click:?}");
    let with_slash = gateway.get(&format!("{path}/")).await.expect(302);
    visits += 1;
    assert_eq!(with_slash.location(), target);
    eventually_within_rate_limits("all clicks are in the totals", async || {
        let counts = links.get(&link.id).await.unwrap().unwrap().clicks;
        (counts.total, counts.unique) == (visits, 1)
    })
    .await;
}

async fn deletes_everything(gateway: &Client, ada: &SdkUser) {
    for asset in assets(ada).await {
        let download = ada.quartet.download_url(&asset.id).await.unwrap();
        ada.quartet.delete_asset(&asset.id).await.unwrap();
        let error = ada.quartet.asset(&asset.id).await.unwrap_err();
        assert_eq!(error.problem().unwrap().code.as_str(), "not_found");
        let status = files::fetch(download.url.expose()).await.0;
        assert_eq!(status, 404, "the object is deleted as well");
    }
    let links = ada.quartet.links();
    let all: Vec<_> = links.list(None).try_collect().await.unwrap();
    for link in all {
        links.delete(&link.id).await.unwrap();
        let path = format!("/s/{}", link.slug);
        eventually("the redirect has stopped", || async {
            matches!(gateway.get(&path).await.status, 404 | 410).then_some(())
        })
        .await;
    }
    let sessions: Vec<_> = ada.quartet.sessions().try_collect().await.unwrap();
    assert_eq!(sessions.len(), 1, "{sessions:#?}");
    let password = ada.password.as_str().into();
    ada.quartet.delete_me(password).await.unwrap();
    let again = ada
        .quartet
        .login(&ada.email, ada.password.as_str().into())
        .await;
    assert_eq!(again.unwrap_err().problem().unwrap().status, 401);
}

/// Polls slowly: a gateway outside the tests has its rate limits.
async fn eventually_within_rate_limits(what: &str, condition: impl AsyncFn() -> bool) {
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
        let gateway = stack.client();
        async move {
            let body = json!({ "refresh_token": token });
            gateway.post("/v1/core/sessions/refresh", &body).await
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

    // After its successor was used, the first token is reuse: the session ends.
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
    let gateway = stack.client();
    for service in ["core", "media", "links"] {
        let served = gateway
            .get(&format!("/v1/{service}/openapi.json"))
            .await
            .json_of(200);
        assert_eq!(
            &served,
            &spec::document(service),
            "the committed document of {service}"
        );
    }
    let committed = spec::summary(&spec::document("gateway"));
    for name in ["openapi.json", "openapi-3.0.json"] {
        let served = gateway.get(&format!("/{name}")).await.json_of(200);
        assert_eq!(spec::summary(&served), committed, "{name}");
    }
    for path in [
        "/.well-known/jwks.json",
        "/.well-known/openid-configuration",
        "/health",
    ] {
        gateway.get(path).await.expect(200);
    }
    let page = gateway.get("/docs/").await.expect(200).text();
    assert!(page.contains("swagger-ui"), "{page}");
    assert!(
        !page.contains("https://"),
        "no other host is contacted: {page}"
    );
}
