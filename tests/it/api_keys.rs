//! API keys through the gateway: at every service, within their scopes, until they are revoked.

use std::time::{Duration, Instant};

use http::Method;
use serde_json::json;

use crate::harness::{Client, Stack, User, eventually, user::text};

/// What a revocation may take.
const PROMISED: Duration = Duration::from_secs(5);
const ASSETS: &str = "/v1/media/assets";
const LINKS: &str = "/v1/links/graphql";

async fn create_link(client: &Client) -> u16 {
    let query = "mutation { createLink(input: {url: \"https://example.org\"}) { slug } }";
    let answer = client.post(LINKS, &json!({ "query": query })).await;
    let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    match body["errors"][0]["extensions"]["code"].as_str() {
        None => answer.status,
        Some(code) => {
            assert_eq!(code, "FORBIDDEN", "{body}");
            403
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_works_at_every_service_within_its_scopes_until_it_is_revoked() {
    let stack = Stack::small().await;
    let ada = User::sign_up(&stack.client()).await;
    let create = async |scopes: &[&str]| {
        let body = json!({ "name": "test", "scopes": scopes });
        let created = ada
            .client
            .post("/v1/core/api-keys", &body)
            .await
            .json_of(201);
        (text(&created, "/api_key/id"), text(&created, "/key"))
    };
    let (id, key) = create(&["account:read", "media:read", "links:write", "links:read"]).await;
    let (_, kept) = create(&["media:read"]).await;
    let program = ada.client.with_token(&key);
    let kept = ada.client.with_token(&kept);

    let me = program.get("/v1/core/users/me").await.json_of(200);
    assert_eq!(text(&me, "/id"), ada.id);
    program.get(ASSETS).await.expect(200);
    let other_header = ada.client.anonymous().call(Method::GET, ASSETS);
    other_header
        .header("x-api-key", &key)
        .send()
        .await
        .expect(200);
    let presign = json!({
        "file_name": "a.txt", "content_type": "text/plain", "size_bytes": 1, "visibility": "private",
    });
    program
        .post("/v1/media/presign", &presign)
        .await
        .expect(403);
    assert_eq!(create_link(&program).await, 200);
    assert_eq!(create_link(&kept).await, 403);
    program.get("/v1/core/sessions").await.expect(403);
    program.get("/v1/core/api-keys").await.expect(403);

    let path = format!("/v1/core/api-keys/{id}");
    ada.client.delete(&path).await.expect(204);
    let started = Instant::now();
    eventually("the key is refused", || async {
        (program.get(ASSETS).await.status == 401).then_some(())
    })
    .await;
    assert!(started.elapsed() < PROMISED, "{:?}", started.elapsed());
    program.get("/v1/core/users/me").await.expect(401);
    kept.get(ASSETS).await.expect(200);
}
