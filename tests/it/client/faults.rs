//! Cut connections, servers that ask for patience, and refusals.

use std::time::{Duration, Instant};

use futures_util::TryStreamExt as _;
use quartet_client::{AssetFilter, Error, FieldError, NewLink, RetryPolicy, TransportKind, Upload};

use super::Scene;
use crate::harness::files::PNG;
use crate::harness::{Fault, ports, sdk};

const ME: &str = "GET /v1/core/users/me";
const GRAPHQL: &str = "POST /v1/links/graphql";

#[tokio::test(flavor = "multi_thread")]
async fn a_reading_request_survives_every_cut() {
    let Scene {
        ada,
        proxy,
        stack: _stack,
    } = Scene::new().await;
    for (seen, fault) in [Fault::CutBefore, Fault::CutAnswer, Fault::LoseAnswer]
        .into_iter()
        .enumerate()
    {
        proxy.next(ME, fault.clone());
        let me = ada.quartet.me().await;
        assert_eq!(me.unwrap().email, ada.email, "{fault:?}");
        assert_eq!(proxy.count(ME), (seen + 1) * 2, "{fault:?}");
    }
    proxy.expect_all_faults_met();
    // Not for ever.
    for _ in 0..RetryPolicy::default().attempts {
        proxy.next(ME, Fault::CutBefore);
    }
    let error = ada.quartet.me().await.unwrap_err();
    assert!(is(&error, TransportKind::Broken), "{error:?}");
    proxy.expect_all_faults_met();
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_done_twice() {
    let Scene { ada, proxy, stack } = Scene::new().await;
    let links = ada.quartet.links();
    // Without an idempotency key: told, not repeated.
    for (fault, made) in [(Fault::CutBefore, 0), (Fault::LoseAnswer, 1)] {
        let before = proxy.count(GRAPHQL);
        proxy.next(GRAPHQL, fault.clone());
        let error = links
            .create(NewLink::to("https://example.org"))
            .await
            .unwrap_err();
        assert!(is(&error, TransportKind::Broken), "{fault:?}: {error:?}");
        assert_eq!(proxy.count(GRAPHQL), before + 1, "{fault:?}");
        let all: Vec<_> = links.list(None).try_collect().await.unwrap();
        assert_eq!(all.len(), made, "{fault:?}: {all:#?}");
    }
    // With a key: repeated, done once.
    let (email, password) = sdk::credentials(&stack.secrets);
    for fault in [Fault::LoseAnswer, Fault::CutAnswer] {
        proxy.next("POST /v1/core/users", fault);
    }
    let user = ada
        .quartet
        .sign_up(&email, password.as_str().into(), Some("Grace"))
        .await;
    assert_eq!(
        user.unwrap().email,
        email,
        "the answer of the first attempt"
    );
    proxy.next("POST /v1/media/presign", Fault::LoseAnswer);
    proxy.next("/complete", Fault::LoseAnswer);
    let asset = ada
        .quartet
        .upload(&Upload::bytes("pixel.png", PNG))
        .await
        .unwrap();
    let all: Vec<_> = ada
        .quartet
        .assets(AssetFilter::default())
        .try_collect()
        .await
        .unwrap();
    assert_eq!(all.len(), 1, "{all:#?}");
    // A deletion that is repeated finds nothing, which is what was wanted.
    proxy.next("DELETE /v1/media/assets", Fault::LoseAnswer);
    ada.quartet.delete_asset(&asset.id).await.unwrap();
    let error = ada.quartet.delete_asset(&asset.id).await.unwrap_err();
    assert_eq!(error.problem().unwrap().code.as_str(), "not_found");
    let link = links.list(None).try_next().await.unwrap().unwrap();
    proxy.next(GRAPHQL, Fault::LoseAnswer);
    links.delete(&link.id).await.unwrap();
    proxy.expect_all_faults_met();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_asks_for_patience_gets_it() {
    let Scene {
        ada,
        proxy,
        stack: _stack,
    } = Scene::new().await;
    proxy.next(ME, Fault::Answer(429, "retry-after: 1\r\n"));
    let begin = Instant::now();
    ada.quartet.me().await.unwrap();
    assert!(
        begin.elapsed() >= Duration::from_secs(1),
        "{:?}",
        begin.elapsed()
    );
    // 429 says that nothing was done: any request may come again.
    proxy.next(GRAPHQL, Fault::Answer(429, "retry-after: 1\r\n"));
    let link = ada
        .quartet
        .links()
        .create(NewLink::to("https://example.org"))
        .await;
    link.unwrap();
    // Too long to wait for: told, with the time.
    proxy.next(ME, Fault::Answer(429, "retry-after: 3600\r\n"));
    let begin = Instant::now();
    let error = ada.quartet.me().await.unwrap_err();
    let problem = error.problem().unwrap();
    assert_eq!(
        (problem.status, problem.retry_after),
        (429, Some(Duration::from_hours(1)))
    );
    assert!(begin.elapsed() < Duration::from_secs(20));

    proxy.next(ME, Fault::Answer(503, "retry-after: 1\r\n"));
    proxy.next(ME, Fault::Answer(502, ""));
    ada.quartet.me().await.unwrap();
    // 503 may come after the work was done.
    let before = proxy.count(GRAPHQL);
    proxy.next(GRAPHQL, Fault::Answer(503, "retry-after: 1\r\n"));
    let error = ada
        .quartet
        .links()
        .create(NewLink::to("https://example.org"))
        .await;
    assert_eq!(error.unwrap_err().problem().unwrap().status, 503);
    assert_eq!(proxy.count(GRAPHQL), before + 1);
    proxy.expect_all_faults_met();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_names_code_fields_and_request() {
    let Scene {
        ada,
        stack,
        proxy: _proxy,
    } = Scene::new().await;
    let error = ada
        .quartet
        .sign_up("nobody", "short".into(), None)
        .await
        .unwrap_err();
    let problem = error.problem().unwrap();
    assert_eq!(
        (problem.status, problem.code.as_str()),
        (422, "invalid_body")
    );
    let fields: Vec<_> = problem.errors.iter().map(FieldError::field).collect();
    assert_eq!(fields, ["/email", "/password"], "{problem}");
    let id = problem.request_id.as_deref().unwrap();
    let log = std::fs::read_to_string(stack.log("core-1")).unwrap();
    assert!(log.contains(id), "{id} names the request in the log");

    let error = ada
        .quartet
        .links()
        .create(NewLink::to("nonsense"))
        .await
        .unwrap_err();
    let problem = error.problem().unwrap();
    assert_eq!(
        problem.errors[0].pointer.as_deref(),
        Some("/input/url"),
        "{problem:?}"
    );
    assert!(problem.request_id.is_some(), "{problem:?}");

    let stranger = sdk::quartet(stack.gateway(), &stack.secrets);
    let error = stranger.me().await.unwrap_err();
    assert_eq!(error.problem().unwrap().status, 401, "{error}");
    let error = stranger
        .log_in(&ada.email, "a wrong password indeed".into())
        .await
        .unwrap_err();
    assert_eq!(
        error.problem().unwrap().code.as_str(),
        "invalid_credentials"
    );
    assert!(!stranger.is_logged_in().await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_there_is_told_as_such() {
    let nobody = format!("http://127.0.0.1:{}", ports::take());
    let quartet = quartet_client::Quartet::new(&nobody).unwrap();
    let error = quartet.me().await.unwrap_err();
    assert!(is(&error, TransportKind::Connect), "{error:?}");
}

fn is(error: &Error, kind: TransportKind) -> bool {
    matches!(error, Error::Transport(transport) if transport.kind == kind)
}
