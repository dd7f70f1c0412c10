use serde_json::{Value, json};

use crate::support::{PNG, TestApp, id_of, json_of, png, problem_of, sha256};

#[tokio::test]
async fn a_matching_upload_becomes_a_ready_asset() {
    let app = TestApp::start().await;
    let response = app
        .post("/v1/media/presign", "usr_a", &png("private"))
        .await;
    let location = response.headers()["location"].to_str().unwrap().to_owned();
    let presigned = json_of(response, 201).await;
    let id = id_of(&presigned["asset"]);
    assert_eq!(location, format!("/v1/media/assets/{id}"));
    assert_eq!(presigned["asset"]["status"], "pending");
    assert_eq!(presigned["upload"]["method"], "PUT");
    assert_eq!(presigned["upload"]["headers"]["if-none-match"], "*");
    assert_eq!(presigned["upload"]["headers"]["content-type"], "image/png");

    assert_eq!(app.put(&presigned, PNG, &[]).await, 200);
    let ready = json_of(app.complete("usr_a", id).await, 200).await;
    assert_eq!(ready["status"], "ready");
    assert_eq!(
        json_of(app.complete("usr_a", id).await, 200).await,
        ready,
        "idempotent"
    );
}

#[tokio::test]
async fn the_store_rejects_uploads_that_differ_from_the_signature() {
    let app = TestApp::start().await;
    let presigned = app.presign("usr_a", &png("private")).await;
    let longer = [PNG, b"x"].concat();
    assert!(
        app.put(&presigned, &longer, &[]).await.is_client_error(),
        "another size"
    );
    let html = &[("content-type", "text/html")];
    assert!(
        app.put(&presigned, PNG, html).await.is_client_error(),
        "another type"
    );
    let unconditional = &[("if-none-match", "")];
    assert!(
        app.put(&presigned, PNG, unconditional)
            .await
            .is_client_error(),
        "no condition"
    );
    let mut forged = presigned.clone();
    let url = forged["upload"]["url"]
        .as_str()
        .unwrap()
        .replace("incoming/", "incoming/x");
    forged["upload"]["url"] = url.into();
    assert_eq!(app.put(&forged, PNG, &[]).await, 403, "another key");

    assert_eq!(app.put(&presigned, PNG, &[]).await, 200);
    assert_eq!(app.put(&presigned, PNG, &[]).await, 412, "once only");
}

#[tokio::test]
async fn a_signed_url_expires() {
    let app = TestApp::start_with(|config| config.uploads.ttl_seconds = 60).await;
    app.clock.advance(chrono::Duration::seconds(-120));
    let presigned = app.presign("usr_a", &png("private")).await;
    assert_eq!(app.put(&presigned, PNG, &[]).await, 403);
}

#[tokio::test]
async fn a_declared_checksum_is_part_of_the_signature() {
    let app = TestApp::start().await;
    let mut body = png("private");
    body["checksum_sha256"] = sha256(PNG).into();
    let presigned = app.presign("usr_a", &body).await;
    let other: Vec<u8> = PNG.iter().rev().copied().collect();
    assert!(
        app.put(&presigned, &other, &[]).await.is_client_error(),
        "another file"
    );
    assert_eq!(app.put(&presigned, PNG, &[]).await, 200);
    let ready = json_of(app.complete("usr_a", id_of(&presigned["asset"])).await, 200).await;
    assert_eq!(ready["checksum_sha256"], body["checksum_sha256"]);
}

#[tokio::test]
async fn presign_names_each_invalid_field_and_writes_nothing() {
    let app = TestApp::start_with(|config| config.uploads.max_size_bytes = 1000).await;
    let cases = [
        (json!({"file_name": ""}), "/file_name", "invalid_length"),
        (
            json!({"file_name": "a/b"}),
            "/file_name",
            "invalid_characters",
        ),
        (json!({"file_name": 7}), "/file_name", "invalid_value"),
        (
            json!({"content_type": "text/html"}),
            "/content_type",
            "content_type_not_allowed",
        ),
        (json!({"size_bytes": 0}), "/size_bytes", "too_small"),
        (json!({"size_bytes": 1001}), "/size_bytes", "too_large"),
        (json!({"size_bytes": -1}), "/size_bytes", "invalid_value"),
        (json!({"size_bytes": 1.5}), "/size_bytes", "invalid_value"),
        (
            json!({"visibility": "secret"}),
            "/visibility",
            "invalid_value",
        ),
        (
            json!({"checksum_sha256": "00"}),
            "/checksum_sha256",
            "invalid_checksum",
        ),
        (json!({"surprise": 1}), "/surprise", "unknown"),
    ];
    for (change, pointer, code) in cases {
        let mut body = png("private");
        body.as_object_mut()
            .unwrap()
            .extend(change.as_object().unwrap().clone());
        let response = app.post("/v1/media/presign", "usr_a", &body).await;
        let fields = problem_of(response, 422, "invalid_body").await;
        assert_eq!(fields, [(pointer.to_owned(), code.to_owned())], "{change}");
    }
    let all = json!({
        "file_name": "", "content_type": 5, "visibility": "secret", "checksum_sha256": "00", "x": 1,
    });
    let response = app.post("/v1/media/presign", "usr_a", &all).await;
    let mut fields = problem_of(response, 422, "invalid_body").await;
    fields.sort();
    let expected = [
        ("/checksum_sha256", "invalid_checksum"),
        ("/content_type", "invalid_value"),
        ("/file_name", "invalid_length"),
        ("/size_bytes", "missing"),
        ("/visibility", "invalid_value"),
        ("/x", "unknown"),
    ];
    assert_eq!(
        fields,
        expected.map(|(name, code)| (name.to_owned(), code.to_owned()))
    );
    let all =
        json!({"file_name": "", "content_type": "x", "size_bytes": 0, "visibility": "public"});
    let response = app.post("/v1/media/presign", "usr_a", &all).await;
    assert_eq!(
        problem_of(response, 422, "invalid_body").await.len(),
        3,
        "all at once"
    );
    assert!(app.rows().await.is_empty());
}

#[tokio::test]
async fn presign_accepts_what_the_document_allows() {
    let app = TestApp::start().await;
    for change in [
        // The same JSON number as 48213.
        json!({"size_bytes": 48213.0}),
        json!({"checksum_sha256": null}),
        json!({"checksum_sha256": "9F".repeat(32)}),
    ] {
        let mut body = png("private");
        body.as_object_mut()
            .unwrap()
            .extend(change.as_object().unwrap().clone());
        let response = app.post("/v1/media/presign", "usr_a", &body).await;
        json_of(response, 201).await;
    }
}

#[tokio::test]
async fn an_idempotency_key_creates_one_asset() {
    let app = TestApp::start().await;
    let send = || async {
        let request = app.request(reqwest::Method::POST, "/v1/media/presign", "usr_a");
        let request = request
            .header("idempotency-key", "k1")
            .json(&png("private"));
        json_of(request.send().await.unwrap(), 201).await
    };
    let (first, second): (Value, Value) = (send().await, send().await);
    assert_eq!(first, second);
    assert_eq!(app.rows().await.len(), 1);
}

#[tokio::test]
async fn a_response_with_an_expired_url_is_not_replayed() {
    let app = TestApp::start().await;
    let send = || async {
        let request = app.request(reqwest::Method::POST, "/v1/media/presign", "usr_a");
        let request = request.header("idempotency-key", "k1");
        json_of(request.json(&png("private")).send().await.unwrap(), 201).await
    };
    let first = send().await;
    app.clock.advance(chrono::Duration::seconds(899));
    assert_eq!(send().await, first);
    app.clock.advance(chrono::Duration::seconds(1));
    assert_ne!(id_of(&send().await["asset"]), id_of(&first["asset"]));
}

#[tokio::test]
async fn active_content_is_served_as_an_attachment() {
    let app = TestApp::start().await;
    let svg = b"<svg xmlns=\"http://www.w3.org/2000/svg\"><script>alert(1)</script></svg>";
    let body = json!({"file_name": "a.svg", "content_type": "image/svg+xml",
                      "size_bytes": svg.len(), "visibility": "public"});
    let presigned = app.presign("usr_a", &body).await;
    assert_eq!(
        presigned["upload"]["headers"]["content-disposition"],
        "attachment"
    );
    assert_eq!(app.put(&presigned, svg, &[]).await, 200);
    let asset = json_of(app.complete("usr_a", id_of(&presigned["asset"])).await, 200).await;
    let shown = reqwest::get(asset["url"].as_str().unwrap()).await.unwrap();
    assert_eq!(shown.headers()["content-disposition"], "attachment");
}

#[tokio::test]
async fn the_key_pair_of_the_store_rotates_while_the_service_runs() {
    let app = TestApp::start().await;
    let signed = app.presign("usr_a", &png("private")).await;
    assert_eq!(app.put(&signed, PNG, &[]).await, 200);
    app.rotate_keys("other-access", "other-secret-key");
    let refused = app.presign("usr_a", &png("private")).await;
    let url = refused["upload"]["url"].as_str().unwrap();
    assert!(url.contains("X-Amz-Credential=other-access"), "{url}");
    assert_eq!(app.put(&refused, PNG, &[]).await, 403);
    // The requests of the service, too.
    let id = signed["asset"]["id"].as_str().unwrap();
    assert_eq!(app.complete("usr_a", id).await.status(), 503);
    app.rotate_keys("test-access", "test-secret-key");
    assert_eq!(app.complete("usr_a", id).await.status(), 200);
}
