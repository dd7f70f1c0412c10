//! Broken connections, Retry-After, and problems.

use std::time::{Duration, Instant};

use futures_util::TryStreamExt as _;
use quartet_client::{AssetFilter, Error, FieldError, NewLink, RetryPolicy, TransportKind, Upload};

use super::ProxiedStack;
use crate::harness::files::PNG;
use crate::harness::{Fault, eventually, logs, ports, sdk};

const ME: &str = "GET /v1/core/users/me";
const GRAPHQL: &str = "POST /v1/links/graphql";

#[tokio::test(flavor = "multi_thread")]
async fn reads_are_retried_after_broken_connections() {
    let ProxiedStack {
        ada,
        proxy,
        stack: _stack,
    } = ProxiedStack::new().await;
    for (seen, fault) in [Fault::CutBefore, Fault::CutResponse, Fault::LoseResponse]
        .into_iter()
        .enumerate()
    {
        proxy.next(ME, fault.clone());
        let me = ada.quartet.me().await;
        assert_eq!(me.unwrap().email, ada.email, "{fault:?}");
        assert_eq!(proxy.count(ME), (seen + 1) * 2, "{fault:?}");
    }
    proxy.expect_all_faults_used();
    // Up to the maximum number of attempts.
    for _ in 0..RetryPolicy::default().attempts {
        proxy.next(ME, Fault::CutBefore);
    }
    let error = ada.quartet.me().await.unwrap_err();
    assert!(is(&error, TransportKind::Broken), "{error:?}");
    proxy.expect_all_faults_used();
}

#[tokio::test(flavor = "multi_thread")]
async fn retries_take_effect_once() {
    let ProxiedStack { ada, proxy, stack } = ProxiedStack::new().await;
    let links = ada.quartet.links();
    // Without an idempotency key: an error, no retry.
    for (fault, made) in [(Fault::CutBefore, 0), (Fault::LoseResponse, 1)] {
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
    // With a key: retried, and takes effect once.
    let (email, password) = sdk::credentials(&stack.secrets);
    for fault in [Fault::LoseResponse, Fault::CutResponse] {
        proxy.next("POST /v1/core/users", fault);
    }
    let user = ada
        .quartet
        .sign_up(&email, password.as_str().into(), Some("Grace"))
        .await;
    assert_eq!(
        user.unwrap().email,
        email,
        "the response of the first attempt"
    );
    proxy.next("POST /v1/media/presign", Fault::LoseResponse);
    proxy.next("/complete", Fault::LoseResponse);
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
    // A retried deletion finds nothing, which is a success.
    proxy.next("DELETE /v1/media/assets", Fault::LoseResponse);
    ada.quartet.delete_asset(&asset.id).await.unwrap();
    let error = ada.quartet.delete_asset(&asset.id).await.unwrap_err();
    assert_eq!(error.problem().unwrap().code.as_str(), "not_found");
    let link = links.list(None).try_next().await.unwrap().unwrap();
    proxy.next(GRAPHQL, Fault::LoseResponse);
    links.delete(&link.id).await.unwrap();
    proxy.expect_all_faults_used();
}

#[tokio::test(flavor = "multi_thread")]
async fn retry_after_is_honored() {
    let ProxiedStack {
        ada,
        proxy,
        stack: _stack,
    } = ProxiedStack::new().await;
    proxy.next(ME, Fault::Respond(429, "retry-after: 1\r\n"));
    let begin = Instant::now();
    ada.quartet.me().await.unwrap();
    assert!(
        begin.elapsed() >= Duration::from_secs(1),
        "{:?}",
        begin.elapsed()
    );
    // 429 means that the request had no effect: any request may be retried.
    proxy.next(GRAPHQL, Fault::Respond(429, "retry-after: 1\r\n"));
    let link = ada
        .quartet
        .links()
        .create(NewLink::to("https://example.org"))
        .await;
    link.unwrap();
    // Too long to wait: an error, with the time.
    proxy.next(ME, Fault::Respond(429, "retry-after: 3600\r\n"));
    let begin = Instant::now();
    let error = ada.quartet.me().await.unwrap_err();
    let problem = error.problem().unwrap();
    assert_eq!(
        (problem.status, problem.retry_after),
        (429, Some(Duration::from_hours(1)))
    );
    assert!(begin.elapsed() < Duration::from_secs(20));

    proxy.next(ME, Fault::Respond(503, "retry-after: 1\r\n"));
    proxy.next(ME, Fault::Respond(502, ""));
    ada.quartet.me().await.unwrap();
    // 503 may follow after the request took effect.
    let before = proxy.count(GRAPHQL);
    proxy.next(GRAPHQL, Fault::Respond(503, "retry-after: 1\r\n"));
    let error = ada
        .quartet
        .links()
        .create(NewLink::to("https://example.org"))
        .await;
    assert_eq!(error.unwrap_err().problem().unwrap().status, 503);
    assert_eq!(proxy.count(GRAPHQL), before + 1);
    proxy.expect_all_faults_used();
}

#[tokio::test(flavor = "multi_thread")]
async fn problems_have_code_fields_and_request_id() {
    let ProxiedStack {
        ada,
        stack,
        proxy: _proxy,
    } = ProxiedStack::new().await;
    let error = ada
        .quartet
        .sign_up("not-an-email", "short".into(), None)
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
    // The access log is written in batches.
    eventually(&format!("{id} is in the log"), || async {
        logs::requests(&stack.log("core-1"), id).pop()
    })
    .await;

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

    let anonymous = sdk::quartet(stack.gateway(), &stack.secrets);
    let error = anonymous.me().await.unwrap_err();
    assert_eq!(error.problem().unwrap().status, 401, "{error}");
    let error = anonymous
        .login(&ada.email, "a wrong password indeed".into())
        .await
        .unwrap_err();
    assert_eq!(
        error.problem().unwrap().code.as_str(),
        "invalid_credentials"
    );
    assert!(!anonymous.is_logged_in().await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn unreachable_servers_are_reported() {
    let url = format!("http://127.0.0.1:{}", ports::take());
    let quartet = quartet_client::Quartet::new(&url).unwrap();
    let error = quartet.me().await.unwrap_err();
    assert!(is(&error, TransportKind::Connect), "{error:?}");
}

fn is(error: &Error, kind: TransportKind) -> bool {
    matches!(error, Error::Transport(transport) if transport.kind == kind)
}
