use serde_json::{Value, json};

use crate::support::{PNG, World, id_of, json_of, png, problem_of};

#[tokio::test]
async fn an_upload_that_keeps_its_promise_becomes_an_asset() {
    let world = World::start().await;
    let response = world
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

    assert_eq!(world.put(&presigned, PNG, &[]).await, 200);
    let ready = json_of(world.complete("usr_a", id).await, 200).await;
    assert_eq!(ready["status"], "ready");
    assert_eq!(
        json_of(world.complete("usr_a", id).await, 200).await,
        ready,
        "again"
    );
}

#[tokio::test]
async fn the_store_refuses_what_was_not_signed() {
    let world = World::start().await;
    let presigned = world.presign("usr_a", &png("private")).await;
    let longer = [PNG, b"x"].concat();
    assert!(
        world.put(&presigned, &longer, &[]).await.is_client_error(),
        "another size"
    );
    let html = &[("content-type", "text/html")];
    assert!(
        world.put(&presigned, PNG, html).await.is_client_error(),
        "another type"
    );
    let unconditional = &[("if-none-match", "")];
    assert!(
        world
            .put(&presigned, PNG, unconditional)
            .await
            .is_client_error(),
        "no condition"
    );
    let mut forged = presigned.clone();
    let url = forged["upload"]["url"]
        .as_str()
        .unwrap()
        .replace("uploads/", "uploads/x");
    forged["upload"]["url"] = url.into();
    assert_eq!(world.put(&forged, PNG, &[]).await, 403, "another key");

    assert_eq!(world.put(&presigned, PNG, &[]).await, 200);
    assert_eq!(world.put(&presigned, PNG, &[]).await, 412, "once only");
}

#[tokio::test]
async fn a_signed_address_ends() {
    let world = World::start_with(|config| config.uploads.ttl_seconds = 60).await;
    world.clock.advance(chrono::Duration::seconds(-120));
    let presigned = world.presign("usr_a", &png("private")).await;
    assert_eq!(world.put(&presigned, PNG, &[]).await, 403);
}

#[tokio::test]
async fn a_promised_checksum_is_part_of_the_signature() {
    let world = World::start().await;
    let mut body = png("private");
    body["checksum_sha256"] = sha256(PNG).into();
    let presigned = world.presign("usr_a", &body).await;
    let other: Vec<u8> = PNG.iter().rev().copied().collect();
    assert!(
        world.put(&presigned, &other, &[]).await.is_client_error(),
        "another file"
    );
    assert_eq!(world.put(&presigned, PNG, &[]).await, 200);
    let ready = json_of(
        world.complete("usr_a", id_of(&presigned["asset"])).await,
        200,
    )
    .await;
    assert_eq!(ready["checksum_sha256"], body["checksum_sha256"]);
}

#[tokio::test]
async fn every_wrong_promise_is_named_and_nothing_is_written() {
    let world = World::start_with(|config| config.uploads.max_size_bytes = 1000).await;
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
        (json!({"surprise": 1}), "/surprise", "invalid_value"),
    ];
    for (change, pointer, code) in cases {
        let mut body = png("private");
        body.as_object_mut()
            .unwrap()
            .extend(change.as_object().unwrap().clone());
        let response = world.post("/v1/media/presign", "usr_a", &body).await;
        let fields = problem_of(response, 422, "invalid_body").await;
        assert_eq!(fields, [(pointer.to_owned(), code.to_owned())], "{change}");
    }
    let all =
        json!({"file_name": "", "content_type": "x", "size_bytes": 0, "visibility": "public"});
    let response = world.post("/v1/media/presign", "usr_a", &all).await;
    assert_eq!(
        problem_of(response, 422, "invalid_body").await.len(),
        3,
        "all at once"
    );
    assert!(world.rows().await.is_empty());
}

#[tokio::test]
async fn what_the_document_allows_is_taken() {
    let world = World::start().await;
    for change in [
        // In JSON the same number as 48213.
        json!({"size_bytes": 48213.0}),
        json!({"checksum_sha256": null}),
        json!({"checksum_sha256": "9F".repeat(32)}),
    ] {
        let mut body = png("private");
        body.as_object_mut()
            .unwrap()
            .extend(change.as_object().unwrap().clone());
        let response = world.post("/v1/media/presign", "usr_a", &body).await;
        json_of(response, 201).await;
    }
}

#[tokio::test]
async fn the_same_idempotency_key_makes_one_asset() {
    let world = World::start().await;
    let send = || async {
        let request = world.request(reqwest::Method::POST, "/v1/media/presign", "usr_a");
        let request = request
            .header("idempotency-key", "k1")
            .json(&png("private"));
        json_of(request.send().await.unwrap(), 201).await
    };
    let (first, second): (Value, Value) = (send().await, send().await);
    assert_eq!(first, second);
    assert_eq!(world.rows().await.len(), 1);
}

#[tokio::test]
async fn a_page_of_the_users_own_host_is_never_shown_from_a_bucket() {
    let world = World::start().await;
    let svg = b"<svg xmlns=\"http://www.w3.org/2000/svg\"><script>alert(1)</script></svg>";
    let body = json!({"file_name": "a.svg", "content_type": "image/svg+xml",
                      "size_bytes": svg.len(), "visibility": "public"});
    let presigned = world.presign("usr_a", &body).await;
    assert_eq!(
        presigned["upload"]["headers"]["content-disposition"],
        "attachment"
    );
    assert_eq!(world.put(&presigned, svg, &[]).await, 200);
    let asset = json_of(
        world.complete("usr_a", id_of(&presigned["asset"])).await,
        200,
    )
    .await;
    let shown = reqwest::get(asset["url"].as_str().unwrap()).await.unwrap();
    assert_eq!(shown.headers()["content-disposition"], "attachment");
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    Sha256::digest(bytes)
        .iter()
        .fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}
