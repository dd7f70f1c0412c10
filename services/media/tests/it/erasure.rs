//! What `user.deleted` erases.

use quartet_events::{Event, Signer};
use reqwest::StatusCode;
use secrecy::SecretString;
use serde_json::json;

use crate::support::{TestApp, id_of, json_of, png, problem_of};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

async fn start() -> TestApp {
    TestApp::start_with(|config| {
        config.events.secret = Some(SecretString::from(SECRET));
        config.s3.timeout_seconds = 1;
        config.uploads.sweep_batch = 2;
    })
    .await
}

/// Delivers the event as core does.
async fn deliver(app: &TestApp, id: u128, user: &str, secret: &str) -> StatusCode {
    let id = uuid::Uuid::from_u128(id);
    let event = Event::new(id, "/v1/core", "user.deleted", user, app.clock.now());
    let body = json!([event.with_data(json!({ "user_id": user }))]).to_string();
    let signer = Signer::new(&secret.into()).unwrap();
    let request = reqwest::Client::new()
        .post(format!("http://{}/internal/events", app.address))
        .headers(signer.sign("batch", app.clock.now(), body.as_bytes()))
        .header("content-type", "application/cloudevents-batch+json")
        .body(body);
    request.send().await.unwrap().status()
}

fn past_every_upload() -> chrono::Duration {
    chrono::Duration::seconds(900 + 3600 + 1)
}

#[tokio::test]
async fn everything_of_a_deleted_user_is_erased_and_nothing_of_others() {
    let app = start().await;
    for visibility in ["public", "private", "private"] {
        app.upload("usr_a", visibility).await;
    }
    app.presign("usr_a", &png("private")).await;
    let other = app.upload("usr_b", "private").await;
    assert_eq!(deliver(&app, 1, "usr_a", SECRET).await, 200);
    app.state.erase_once().await.unwrap();
    let list = json_of(app.get("/v1/media/assets", "usr_a").await, 200).await;
    assert_eq!(list["data"], json!([]));
    let keys = [
        app.keys("quartet-private").await,
        app.keys("quartet-public").await,
    ]
    .concat();
    assert_eq!(keys.len(), 1, "{keys:?}");
    app.clock.advance(past_every_upload());
    app.state.sweep_once().await.unwrap();
    assert_eq!(app.rows().await.len(), 1);
    let path = format!("/v1/media/assets/{}", id_of(&other));
    assert_eq!(json_of(app.get(&path, "usr_b").await, 200).await, other);
}

#[tokio::test]
async fn objects_are_erased_once_the_store_is_back() {
    let mut app = start().await;
    for _ in 0..5 {
        app.upload("usr_a", "public").await;
    }
    app.store.stop().await;
    assert_eq!(deliver(&app, 1, "usr_a", SECRET).await, 200);
    app.state.erase_once().await.unwrap();
    assert_eq!(
        app.rows().await.len(),
        5,
        "the rows still refer to the objects"
    );
    app.store.start().await;
    assert_eq!(app.keys("quartet-public").await.len(), 5);
    // The leases of the sweeps that have failed.
    app.clock.advance(chrono::Duration::minutes(6));
    app.state.sweep_once().await.unwrap();
    assert_eq!(app.keys("quartet-public").await, Vec::<String>::new());
    app.clock.advance(past_every_upload());
    app.state.sweep_once().await.unwrap();
    assert!(app.rows().await.is_empty());
}

/// An access token may outlive its account.
#[tokio::test]
async fn what_is_created_after_the_deletion_is_erased_too() {
    let app = start().await;
    assert_eq!(deliver(&app, 1, "usr_a", SECRET).await, 200);
    app.state.erase_once().await.unwrap();
    let late = app.upload("usr_a", "public").await;
    app.state.erase_once().await.unwrap();
    assert_eq!(app.rows().await.len(), 1, "not yet");
    app.clock.advance(chrono::Duration::hours(1));
    app.state.erase_once().await.unwrap();
    let path = format!("/v1/media/assets/{}", id_of(&late));
    problem_of(app.get(&path, "usr_a").await, 404, "not_found").await;
    assert_eq!(app.keys("quartet-public").await, Vec::<String>::new());
    // Once no token can be valid any more, the user is forgotten.
    app.clock.advance(chrono::Duration::days(32));
    app.state.erase_once().await.unwrap();
    let mut admin = app.database.connect_as_admin().await;
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM media.erasures")
        .fetch_one(&mut admin)
        .await
        .unwrap();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn only_the_publisher_can_have_something_erased() {
    let app = start().await;
    app.upload("usr_a", "private").await;
    let foreign = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
    assert_eq!(deliver(&app, 1, "usr_a", foreign).await, 401);
    let bearer = app.post("/internal/events", "usr_a", &json!([])).await;
    assert_eq!(bearer.status(), 401);
    app.state.erase_once().await.unwrap();
    assert_eq!(app.rows().await.len(), 1);
}
