//! The watch over answers: a test that gets one that is not promised fails.

use std::sync::LazyLock;

use axum::{
    Json, Router,
    body::Body,
    response::{IntoResponse, Response},
    routing::get,
};
use http::Request;
use quartet_testing::{Watch, contract::Contract};
use serde_json::json;
use tower::ServiceExt;

static CONTRACT: LazyLock<Contract> = LazyLock::new(|| {
    let document = json!({
        "openapi": "3.1.0",
        "paths": {"/things": {"get": {
            "operationId": "list_things",
            "responses": {"200": {
                "description": "All",
                "headers": {"X-Request-Id": {"required": true}},
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Things"}}},
            }},
        }}},
        "components": {"schemas": {"Things": {
            "type": "object",
            "required": ["data"],
            "properties": {"data": {"type": "array", "items": {"type": "string"}}},
        }}},
    });
    Contract::new(&document.to_string())
});

/// Asks once for what answers with this, under the watch.
async fn watched(answer: impl IntoResponse + Clone + Send + Sync + 'static) -> Response {
    let watch = Watch::new(&CONTRACT);
    let router = Router::new().route("/things", get(move || async move { answer }));
    let request = Request::get("/things?limit=1").body(Body::empty()).unwrap();
    watch.around(router).oneshot(request).await.unwrap()
}

const ID: [(&str, &str); 1] = [("x-request-id", "1")];

#[tokio::test]
async fn what_is_promised_passes_with_its_body() {
    let response = watched((ID, Json(json!({"data": ["a"]})))).await;
    let body = axum::body::to_bytes(response.into_body(), 1024).await;
    assert_eq!(body.unwrap(), r#"{"data":["a"]}"#);
}

#[tokio::test]
#[should_panic(expected = "not what list_things 200 application/json promises")]
async fn a_member_that_is_not_described_fails() {
    watched((ID, Json(json!({"data": [], "total": 1})))).await;
}

#[tokio::test]
#[should_panic(expected = "the header X-Request-Id is missing")]
async fn a_missing_header_fails() {
    watched(Json(json!({"data": []}))).await;
}

#[tokio::test]
#[should_panic(expected = "the media type `text/plain` is not among")]
async fn another_media_type_fails() {
    watched((ID, "data")).await;
}

#[tokio::test]
#[should_panic(expected = "list_things has no such status")]
async fn another_status_fails() {
    watched((http::StatusCode::ACCEPTED, ID, Json(json!({"data": []})))).await;
}
