use serde_json::json;

use crate::support::{PNG, TestApp, id_of, json_of, png, problem_of};

#[tokio::test]
async fn completing_before_the_upload_is_a_conflict_that_can_be_retried() {
    let app = TestApp::start().await;
    let presigned = app.presign("usr_a", &png("private")).await;
    let id = id_of(&presigned["asset"]);
    problem_of(app.complete("usr_a", id).await, 409, "not_uploaded").await;
    assert_eq!(app.put(&presigned, PNG, &[]).await, 200);
    json_of(app.complete("usr_a", id).await, 200).await;
}

#[tokio::test]
async fn a_file_of_another_type_is_rejected_and_removed() {
    let app = TestApp::start().await;
    let page = b"<html><script>alert(document.cookie)</script></html>";
    let body = json!({"file_name": "a.png", "content_type": "image/png",
                      "size_bytes": page.len(), "visibility": "public"});
    let presigned = app.presign("usr_a", &body).await;
    let id = id_of(&presigned["asset"]).to_owned();
    assert_eq!(app.put(&presigned, page, &[]).await, 200);
    let fields = problem_of(app.complete("usr_a", &id).await, 422, "upload_mismatch").await;
    assert_eq!(
        fields,
        [("/content_type".to_owned(), "content_mismatch".to_owned())]
    );

    let asset = json_of(
        app.get(&format!("/v1/media/assets/{id}"), "usr_a").await,
        200,
    )
    .await;
    assert_eq!(
        (&asset["status"], &asset["url"]),
        (&json!("failed"), &json!(null))
    );
    problem_of(app.complete("usr_a", &id).await, 409, "asset_failed").await;
    let download = app
        .get(&format!("/v1/media/assets/{id}/download"), "usr_a")
        .await;
    problem_of(download, 409, "asset_failed").await;
    let key = presigned["upload"]["url"]
        .as_str()
        .unwrap()
        .split('?')
        .next()
        .unwrap()
        .to_owned();
    assert_eq!(app.fetch(&key).await, 404, "the object is deleted");
}

#[tokio::test]
async fn concurrent_completions_count_once() {
    let app = TestApp::start().await;
    let presigned = app.presign("usr_a", &png("private")).await;
    assert_eq!(app.put(&presigned, PNG, &[]).await, 200);
    let id = id_of(&presigned["asset"]);
    let all = futures_util::future::join_all((0..10).map(|_| app.complete("usr_a", id))).await;
    for response in all {
        assert_eq!(json_of(response, 200).await["status"], "ready");
    }
    let metrics = reqwest::get(format!("http://{}/metrics", app.address))
        .await
        .unwrap();
    let metrics = metrics.text().await.unwrap();
    assert!(
        metrics.contains("media_uploads_completed_total{service=\"media\"} 1"),
        "{metrics}"
    );
}

#[tokio::test]
async fn an_unavailable_store_returns_503_and_changes_nothing() {
    let mut app = TestApp::start_with(|config| config.s3.timeout_seconds = 1).await;
    let presigned = app.presign("usr_a", &png("private")).await;
    assert_eq!(app.put(&presigned, PNG, &[]).await, 200);
    let id = id_of(&presigned["asset"]).to_owned();
    app.store.stop().await;
    problem_of(app.complete("usr_a", &id).await, 503, "store_unavailable").await;
    let ready = reqwest::get(format!("http://{}/ready", app.address))
        .await
        .unwrap();
    assert_eq!(ready.status(), 503);
    assert!(ready.text().await.unwrap().contains("s3"));
    app.store.start().await;
    json_of(app.complete("usr_a", &id).await, 200).await;
}

#[tokio::test]
async fn without_signing_keys_a_replica_is_not_ready() {
    let app = TestApp::start_with(|config| {
        config.jwt.jwks_url = Some("http://127.0.0.1:1/jwks.json".parse().unwrap());
    })
    .await;
    let url = format!("http://{}/ready", app.address);
    let report = json_of(reqwest::get(url).await.unwrap(), 503).await;
    assert_eq!(
        report["checks"]["keys"],
        "the signing keys could not be fetched"
    );
    assert_eq!(report["checks"]["s3"], "ok");
    problem_of(
        app.get("/v1/media/assets", "usr_a").await,
        503,
        "unavailable",
    )
    .await;
}
