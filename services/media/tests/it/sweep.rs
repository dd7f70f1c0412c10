use crate::support::{PNG, TestApp, id_of, json_of, png, problem_of};
use chrono::Duration;

/// The lifetime of the signed URL (15 minutes) and one hour.
fn past_abandonment() -> Duration {
    Duration::seconds(900 + 3600 + 1)
}

#[tokio::test]
async fn abandoned_uploads_are_swept_and_others_kept() {
    let app = TestApp::start().await;
    let uploaded = app.presign("usr_a", &png("public")).await;
    app.put(&uploaded, PNG, &[]).await;
    app.presign("usr_a", &png("private")).await;
    let ready = app.upload("usr_a", "public").await;
    assert_eq!(app.state.sweep_once().await.unwrap(), 0, "not yet");

    app.clock.advance(past_abandonment());
    let late = app.presign("usr_b", &png("private")).await;
    assert_eq!(app.state.sweep_once().await.unwrap(), 2);
    assert_eq!(app.keys("quartet-private").await, Vec::<String>::new());
    assert_eq!(app.fetch(ready["url"].as_str().unwrap()).await, 200);
    assert_eq!(app.rows().await.len(), 2);
    let swept = app.complete("usr_a", id_of(&uploaded["asset"])).await;
    problem_of(swept, 404, "not_found").await;
    let kept = app.complete("usr_b", id_of(&late["asset"])).await;
    problem_of(kept, 409, "not_uploaded").await;
}

#[tokio::test]
async fn concurrent_sweeps_share_the_work() {
    let app = TestApp::start().await;
    for _ in 0..20 {
        app.presign("usr_a", &png("private")).await;
    }
    app.clock.advance(past_abandonment());
    let sweeps = futures_util::future::join_all((0..4).map(|_| app.state.sweep_once())).await;
    let gone: u64 = sweeps.into_iter().map(Result::unwrap).sum();
    assert_eq!(gone, 20, "each asset is removed once");
    assert!(app.rows().await.is_empty());
}

#[tokio::test]
async fn a_deletion_is_finished_once_the_store_is_back() {
    let mut app = TestApp::start_with(|config| config.s3.timeout_seconds = 1).await;
    let asset = app.upload("usr_a", "public").await;
    let path = format!("/v1/media/assets/{}", id_of(&asset));
    app.store.stop().await;
    assert_eq!(app.delete(&path, "usr_a").await.status(), 204);
    problem_of(app.get(&path, "usr_a").await, 404, "not_found").await;
    app.clock.advance(past_abandonment());
    assert_eq!(
        app.state.sweep_once().await.unwrap(),
        0,
        "the store is still down"
    );
    assert_eq!(
        app.rows().await.len(),
        1,
        "the row still refers to the object"
    );

    app.store.start().await;
    assert_eq!(app.fetch(asset["url"].as_str().unwrap()).await, 200);
    app.clock.advance(Duration::minutes(6));
    assert_eq!(app.state.sweep_once().await.unwrap(), 1);
    assert_eq!(app.fetch(asset["url"].as_str().unwrap()).await, 404);
    assert!(app.rows().await.is_empty());
}

/// A signed URL outlives its asset and can create an object again.
#[tokio::test]
async fn an_object_uploaded_after_the_deletion_is_swept() {
    let app = TestApp::start().await;
    let presigned = app.presign("usr_a", &png("public")).await;
    let path = format!("/v1/media/assets/{}", id_of(&presigned["asset"]));
    assert_eq!(app.delete(&path, "usr_a").await.status(), 204);
    assert_eq!(app.put(&presigned, PNG, &[]).await, 200);
    assert_eq!(app.keys("quartet-private").await.len(), 1);
    app.clock.advance(past_abandonment());
    assert_eq!(app.state.sweep_once().await.unwrap(), 1);
    assert_eq!(app.keys("quartet-private").await, Vec::<String>::new());
    assert!(app.rows().await.is_empty());
}

#[tokio::test]
async fn an_object_uploaded_after_completion_is_swept() {
    let app = TestApp::start().await;
    let presigned = app.presign("usr_a", &png("public")).await;
    assert_eq!(app.put(&presigned, PNG, &[]).await, 200);
    let done = app.complete("usr_a", id_of(&presigned["asset"])).await;
    let ready = json_of(done, 200).await;
    assert_eq!(app.keys("quartet-private").await, Vec::<String>::new());
    // The object is gone, so the condition of the signed URL holds again.
    assert_eq!(app.put(&presigned, PNG, &[]).await, 200);
    app.clock.advance(past_abandonment());
    assert_eq!(app.state.sweep_once().await.unwrap(), 0);
    assert_eq!(app.keys("quartet-private").await, Vec::<String>::new());
    assert_eq!(app.fetch(ready["url"].as_str().unwrap()).await, 200);
}

/// Uploads are rows of their own, which end while their asset lives on.
#[tokio::test]
async fn an_upload_leaves_its_asset_and_version_behind() {
    let app = TestApp::start().await;
    let ready = app.upload("usr_a", "public").await;
    let other = app.presign("usr_a", &png("public")).await;
    assert_eq!(app.put(&other, PNG, &[]).await, 200);
    // A second upload of the ready asset, whose file was copied before the process died.
    let mut admin = app.database.connect_as_admin().await;
    let moved = "WITH upload AS (
            UPDATE media.uploads SET asset_id = (SELECT id FROM media.assets WHERE status = 'ready'),
                copied_keys = ARRAY[object_key || '-0']
            WHERE status = 'pending'
        ) DELETE FROM media.assets WHERE status = 'pending'";
    sqlx::query(moved).execute(&mut admin).await.unwrap();
    let count =
        "SELECT (SELECT count(*) FROM media.uploads), (SELECT count(*) FROM media.asset_versions)";
    let before: (i64, i64) = sqlx::query_as(count).fetch_one(&mut admin).await.unwrap();
    assert_eq!(before, (2, 1));
    let copied = "SELECT copied_keys[1] FROM media.uploads WHERE status = 'pending'";
    let copied: String = sqlx::query_scalar(copied)
        .fetch_one(&mut admin)
        .await
        .unwrap();
    app.store_object("quartet-public", &copied).await;
    app.clock.advance(past_abandonment());
    assert_eq!(app.state.sweep_once().await.unwrap(), 0, "no asset goes");
    let after: (i64, i64) = sqlx::query_as(count).fetch_one(&mut admin).await.unwrap();
    assert_eq!(after, (0, 1));
    assert_eq!(app.keys("quartet-private").await, Vec::<String>::new());
    assert_eq!(app.keys("quartet-public").await.len(), 1, "of the version");
    let path = format!("/v1/media/assets/{}", id_of(&ready));
    assert_eq!(json_of(app.get(&path, "usr_a").await, 200).await, ready);
    assert_eq!(app.fetch(ready["url"].as_str().unwrap()).await, 200);
    assert_eq!(app.delete(&path, "usr_a").await.status(), 204);
    assert!(app.rows().await.is_empty(), "nothing may arrive any more");
    assert_eq!(app.keys("quartet-public").await, Vec::<String>::new());
}

#[tokio::test]
async fn a_sweep_continues_until_nothing_is_left() {
    let app = TestApp::start_with(|config| config.uploads.sweep_batch = 7).await;
    for _ in 0..30 {
        app.presign("usr_a", &png("private")).await;
    }
    app.clock.advance(past_abandonment());
    assert_eq!(app.state.sweep_once().await.unwrap(), 30);
    assert!(app.rows().await.is_empty());
    assert!(
        app.metrics()
            .await
            .contains("media_sweep_backlog{service=\"media\"} 0")
    );
}

#[tokio::test]
async fn the_backlog_is_counted_while_the_store_is_away() {
    let mut app = TestApp::start_with(|config| {
        config.uploads.sweep_batch = 2;
        config.s3.timeout_seconds = 1;
    })
    .await;
    for _ in 0..5 {
        app.presign("usr_a", &png("private")).await;
    }
    app.clock.advance(past_abandonment());
    app.store.stop().await;
    assert_eq!(app.state.sweep_once().await.unwrap(), 0, "one round only");
    // The leases of the first round are running.
    assert!(
        app.metrics()
            .await
            .contains("media_sweep_backlog{service=\"media\"} 3")
    );
}

/// Two replicas complete an upload: one has decided, the copy of the other is still on its way.
#[tokio::test]
async fn a_copy_of_another_replica_is_swept_however_late_it_lands() {
    for outcome in ["ready", "failed"] {
        let app = TestApp::start().await;
        let presigned = app.presign("usr_a", &png("public")).await;
        let id = id_of(&presigned["asset"]);
        assert_eq!(app.put(&presigned, PNG, &[]).await, 200);
        let mut admin = app.database.connect_as_admin().await;
        // What the other replica has verified was replaced by a file that does not match.
        let declared = if outcome == "ready" { PNG.len() } else { 1 };
        let held = "UPDATE media.uploads SET completing_until = $1, size_bytes = $2,
                copied_keys = ARRAY[object_key || '-0'] RETURNING copied_keys[1]";
        let until = app.clock.now() + past_abandonment() * 2;
        let object_key: String = sqlx::query_scalar(held)
            .bind(until)
            .bind(i64::try_from(declared).unwrap())
            .fetch_one(&mut admin)
            .await
            .unwrap();
        app.complete("usr_a", id).await;
        let path = format!("/v1/media/assets/{id}");
        let settled = json_of(app.get(&path, "usr_a").await, 200).await;
        assert_eq!(settled["status"], outcome);
        assert_eq!(app.delete(&path, "usr_a").await.status(), 204);

        app.clock.advance(past_abandonment());
        assert_eq!(app.state.sweep_once().await.unwrap(), 0, "{outcome}: held");
        let metrics = app.metrics().await;
        let backlog = "media_sweep_backlog{service=\"media\"}";
        let waits = metrics.lines().find(|line| line.starts_with(backlog));
        assert!(waits.unwrap().ends_with(" 0"), "{outcome}: {waits:?}");
        app.store_object("quartet-public", &object_key).await;
        app.clock.advance(past_abandonment());
        assert_eq!(app.state.sweep_once().await.unwrap(), 1, "{outcome}");
        assert_eq!(app.keys("quartet-public").await, Vec::<String>::new());
        assert!(app.rows().await.is_empty());
    }
}
