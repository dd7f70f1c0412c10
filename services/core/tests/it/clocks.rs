//! A clock that is set back. Replicas are a little apart all the time; an operator may be far off.

use crate::support::{ADA, TestApp, WRONG, header, problem_of};

const HOUR: i64 = 3600;

#[tokio::test]
async fn tokens_are_signed_and_accepted_before_the_first_key_was_created() {
    let app = TestApp::start().await;
    app.advance(-HOUR);
    let tokens = app.join(ADA).await;
    app.me(&tokens).await;
    app.state.run_jobs_once().await.unwrap();
    assert_eq!(app.key_ids().await, [tokens.key_id()]);
}

#[tokio::test]
async fn a_delay_is_not_longer_than_its_maximum() {
    let app = TestApp::start().await;
    app.sign_up(ADA).await;
    for _ in 0..6 {
        app.try_log_in(ADA, WRONG).await;
    }
    app.advance(-HOUR);
    let delayed = app.try_log_in(ADA, WRONG).await;
    assert_eq!(header(&delayed, "retry-after"), "1");
    problem_of(delayed, 429, "too_many_attempts").await;
}

#[tokio::test]
async fn the_grace_period_of_a_refresh_token_is_not_longer() {
    let app = TestApp::start().await;
    let tokens = app.join(ADA).await;
    let successor = app.refresh(&tokens).await;
    app.advance(-HOUR);
    assert_eq!(app.try_refresh(tokens.refresh()).await.status(), 401);
    let ended = app.try_refresh(successor.refresh()).await;
    assert_eq!(ended.status(), 401, "reuse ends the session");
}

#[tokio::test]
async fn unknown_key_ids_still_cause_a_read_of_the_keys() {
    let app = TestApp::start().await;
    let follower = app.replica(|_| {}).await;
    app.sign_up(ADA).await;
    app.advance(120);
    crate::keys::rotate(&app, &["--now"]);
    app.state.run_jobs_once().await.unwrap();
    follower.me(&app.log_in(ADA).await).await;
    app.advance(-HOUR);
    crate::keys::rotate(&app, &["--now"]);
    app.state.run_jobs_once().await.unwrap();
    follower.me(&app.log_in(ADA).await).await;
}
