use chrono::Duration;
use quartet_media::sweep_once;

use crate::support::{PNG, World, id_of, png, problem_of};

/// The end of the address (15 minutes) and an hour more.
fn past_abandonment() -> Duration {
    Duration::seconds(900 + 3600 + 1)
}

#[tokio::test]
async fn abandoned_uploads_are_removed_and_others_are_kept() {
    let world = World::start().await;
    let uploaded = world.presign("usr_a", &png("public")).await;
    world.put(&uploaded, PNG, &[]).await;
    world.presign("usr_a", &png("private")).await;
    let ready = world.upload("usr_a", "public").await;
    assert_eq!(sweep_once(&world.state).await.unwrap(), 0, "not yet");

    world.clock.advance(past_abandonment());
    let late = world.presign("usr_b", &png("private")).await;
    assert_eq!(sweep_once(&world.state).await.unwrap(), 2);
    let object = uploaded["upload"]["url"]
        .as_str()
        .unwrap()
        .split('?')
        .next()
        .unwrap();
    assert_eq!(world.fetch(object).await, 404);
    assert_eq!(world.fetch(ready["url"].as_str().unwrap()).await, 200);
    assert_eq!(world.rows().await.len(), 2);
    let swept = world.complete("usr_a", id_of(&uploaded["asset"])).await;
    problem_of(swept, 404, "not_found").await;
    let kept = world.complete("usr_b", id_of(&late["asset"])).await;
    problem_of(kept, 409, "not_uploaded").await;
}

#[tokio::test]
async fn replicas_that_sweep_at_once_share_the_work() {
    let world = World::start().await;
    for _ in 0..20 {
        world.presign("usr_a", &png("private")).await;
    }
    world.clock.advance(past_abandonment());
    let sweeps = futures_util::future::join_all((0..4).map(|_| sweep_once(&world.state))).await;
    let gone: u64 = sweeps.into_iter().map(Result::unwrap).sum();
    assert_eq!(gone, 20, "each is removed once");
    assert!(world.rows().await.is_empty());
}

#[tokio::test]
async fn a_deletion_while_the_store_is_away_is_finished_later() {
    let mut world = World::start_with(|config| config.s3.timeout_seconds = 1).await;
    let asset = world.upload("usr_a", "public").await;
    let path = format!("/v1/media/assets/{}", id_of(&asset));
    world.store.stop().await;
    assert_eq!(world.delete(&path, "usr_a").await.status(), 204);
    problem_of(world.get(&path, "usr_a").await, 404, "not_found").await;
    world.clock.advance(past_abandonment());
    assert_eq!(
        sweep_once(&world.state).await.unwrap(),
        0,
        "the store is still away"
    );
    assert_eq!(world.rows().await.len(), 1, "the row remembers the object");

    world.store.start().await;
    assert_eq!(world.fetch(asset["url"].as_str().unwrap()).await, 200);
    world.clock.advance(Duration::minutes(6));
    assert_eq!(sweep_once(&world.state).await.unwrap(), 1);
    assert_eq!(world.fetch(asset["url"].as_str().unwrap()).await, 404);
    assert!(world.rows().await.is_empty());
}

/// The signed address outlives the asset: what it puts back must not stay for ever.
#[tokio::test]
async fn a_file_that_comes_after_the_deletion_is_removed_too() {
    let world = World::start().await;
    let presigned = world.presign("usr_a", &png("public")).await;
    let path = format!("/v1/media/assets/{}", id_of(&presigned["asset"]));
    assert_eq!(world.delete(&path, "usr_a").await.status(), 204);
    assert_eq!(world.put(&presigned, PNG, &[]).await, 200);
    let object = presigned["upload"]["url"]
        .as_str()
        .unwrap()
        .split('?')
        .next()
        .unwrap();
    assert_eq!(world.fetch(object).await, 200);
    world.clock.advance(Duration::seconds(901));
    assert_eq!(sweep_once(&world.state).await.unwrap(), 1);
    assert_eq!(world.fetch(object).await, 404);
    assert!(world.rows().await.is_empty());
}
