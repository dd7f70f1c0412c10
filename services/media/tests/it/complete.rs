use serde_json::json;

use crate::support::{PNG, World, id_of, json_of, png, problem_of};

#[tokio::test]
async fn completing_before_the_upload_is_a_conflict_that_can_be_mended() {
    let world = World::start().await;
    let presigned = world.presign("usr_a", &png("private")).await;
    let id = id_of(&presigned["asset"]);
    problem_of(world.complete("usr_a", id).await, 409, "not_uploaded").await;
    assert_eq!(world.put(&presigned, PNG, &[]).await, 200);
    json_of(world.complete("usr_a", id).await, 200).await;
}

#[tokio::test]
async fn a_file_that_is_not_what_its_type_says_is_refused_and_removed() {
    let world = World::start().await;
    let page = b"<html><script>alert(document.cookie)</script></html>";
    let body = json!({"file_name": "a.png", "content_type": "image/png",
                      "size_bytes": page.len(), "visibility": "public"});
    let presigned = world.presign("usr_a", &body).await;
    let id = id_of(&presigned["asset"]).to_owned();
    assert_eq!(world.put(&presigned, page, &[]).await, 200);
    let fields = problem_of(world.complete("usr_a", &id).await, 422, "upload_mismatch").await;
    assert_eq!(
        fields,
        [("/content_type".to_owned(), "content_mismatch".to_owned())]
    );

    let asset = json_of(
        world.get(&format!("/v1/media/assets/{id}"), "usr_a").await,
        200,
    )
    .await;
    assert_eq!(
        (&asset["status"], &asset["url"]),
        (&json!("failed"), &json!(null))
    );
    problem_of(world.complete("usr_a", &id).await, 409, "asset_failed").await;
    let download = world
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
    assert_eq!(world.fetch(&key).await, 404, "the object is gone");
}

#[tokio::test]
async fn completing_from_many_places_at_once_is_one_completion() {
    let world = World::start().await;
    let presigned = world.presign("usr_a", &png("private")).await;
    assert_eq!(world.put(&presigned, PNG, &[]).await, 200);
    let id = id_of(&presigned["asset"]);
    let all = futures_util::future::join_all((0..10).map(|_| world.complete("usr_a", id))).await;
    for response in all {
        assert_eq!(json_of(response, 200).await["status"], "ready");
    }
    let metrics = reqwest::get(format!("http://{}/metrics", world.address))
        .await
        .unwrap();
    let metrics = metrics.text().await.unwrap();
    assert!(
        metrics.contains("media_uploads_completed_total{service=\"media\"} 1"),
        "{metrics}"
    );
}

#[tokio::test]
async fn a_store_that_is_away_is_told_as_such_and_changes_nothing() {
    let mut world = World::start_with(|config| config.s3.timeout_seconds = 1).await;
    let presigned = world.presign("usr_a", &png("private")).await;
    assert_eq!(world.put(&presigned, PNG, &[]).await, 200);
    let id = id_of(&presigned["asset"]).to_owned();
    world.store.stop().await;
    problem_of(world.complete("usr_a", &id).await, 503, "store_unavailable").await;
    let ready = reqwest::get(format!("http://{}/ready", world.address))
        .await
        .unwrap();
    assert_eq!(ready.status(), 503);
    assert!(ready.text().await.unwrap().contains("s3"));
    world.store.start().await;
    json_of(world.complete("usr_a", &id).await, 200).await;
}
