//! Links, and click streams over connections that break.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};
use std::time::{Duration, Instant};

use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use futures_util::{StreamExt as _, TryStreamExt as _};
use quartet_client::{
    Click, Interval, LinkFilter, LinkPatch, LinkStatus, NewLink, Patch, RetryPolicy, Watch,
};
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::ProxiedStack;
use crate::harness::wait::PATIENCE;
use crate::harness::{Client, Options, Stack, eventually, sdk};

#[tokio::test(flavor = "multi_thread")]
async fn links_are_created_found_changed_and_deleted() {
    let ProxiedStack {
        ada,
        proxy: _proxy,
        stack: _stack,
    } = ProxiedStack::new().await;
    let links = ada.quartet.links();
    let made = links
        .create(NewLink {
            title: Some("50% off".into()),
            max_clicks: Some(10),
            ..NewLink::to("https://example.org/sale")
        })
        .await
        .unwrap();
    links
        .create(NewLink::to("https://example.org/other"))
        .await
        .unwrap();
    assert_eq!(
        (made.status, made.max_clicks),
        (LinkStatus::Active, Some(10))
    );
    let found = links.by_slug(&made.slug).await.unwrap().unwrap();
    assert_eq!(found.id, made.id);
    assert!(links.by_slug("does-not-exist").await.unwrap().is_none());

    let titles = async |text: &str| {
        let found = links.list(Some(LinkFilter::holding(text)));
        let found: Vec<_> = found.map_ok(|link| link.title).try_collect().await.unwrap();
        found
    };
    assert_eq!(titles("50% OFF").await, std::slice::from_ref(&made.title));
    assert_eq!(titles("5%off").await, [], "% is not a wildcard in a search");
    assert_eq!(titles("example.org").await.len(), 2);

    let patch = LinkPatch {
        title: Patch::Clear,
        max_clicks: Patch::Set(20),
        enabled: Some(false),
        ..LinkPatch::default()
    };
    let changed = links.update(&made.id, patch).await.unwrap();
    assert_eq!((changed.title, changed.max_clicks), (None, Some(20)));
    assert_eq!(changed.status, LinkStatus::Disabled);
    assert_eq!(changed.url, made.url, "absent members keep their value");
    assert_eq!(
        links.series(&made.id, Interval::Day).await.unwrap().len(),
        30
    );

    links.delete(&made.id).await.unwrap();
    assert!(links.get(&made.id).await.unwrap().is_none());
    let error = links.delete(&made.id).await.unwrap_err();
    assert_eq!(error.problem().unwrap().code.as_str(), "not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn click_streams_reconnect() {
    let ProxiedStack { ada, proxy, stack } = ProxiedStack::new().await;
    let links = ada.quartet.links();
    let link = links
        .create(NewLink::to("https://example.org"))
        .await
        .unwrap();
    let mut clicks = links.watch(&link.id);
    let visitor = stack.client();
    let path = format!("/s/{}", link.slug);

    let first = click_until_reported(&mut clicks, &visitor, &path).await;
    assert!(!first.bot && first.totals.total >= 1, "{first:?}");
    assert_eq!(proxy.tunnels(), 1);
    proxy.cut_tunnels();
    let second = click_until_reported(&mut clicks, &visitor, &path).await;
    assert!(second.totals.total > first.totals.total, "{second:?}");
    assert_eq!(proxy.tunnels(), 1, "reconnected");

    links.delete(&link.id).await.unwrap();
    let end = timeout(Duration::from_secs(20), async {
        while let Some(click) = clicks.next().await {
            click.unwrap();
        }
    });
    end.await.expect("the stream ends with its link");

    let mut clicks = links.watch(&"lnk_00000000000000000000000000".into());
    let error = clicks.next().await.unwrap().unwrap_err();
    assert!(error.problem().is_some(), "{error:?}");
    assert!(clicks.next().await.is_none(), "nothing follows an error");
    drop(clicks);
    eventually("the connections are closed", || async {
        (proxy.tunnels() == 0).then_some(())
    })
    .await;
}

/// A service that is overloaded: it acknowledges each connection and closes it.
#[tokio::test]
async fn a_service_that_accepts_and_closes_is_not_asked_without_an_end() {
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    let accept_and_close = move |mut socket: WebSocket| async move {
        count.fetch_add(1, Ordering::Relaxed);
        let _ = socket.recv().await;
        let acknowledged = r#"{"type":"connection_ack"}"#.into();
        let _ = socket.send(Message::Text(acknowledged)).await;
        let _ = socket.recv().await;
        let close = CloseFrame {
            code: 1013,
            reason: "try again later".into(),
        };
        let _ = socket.send(Message::Close(Some(close))).await;
    };
    let router = axum::Router::new().fallback(move |upgrade: WebSocketUpgrade| async move {
        let upgrade = upgrade.protocols(["graphql-transport-ws"]);
        upgrade.on_upgrade(accept_and_close)
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async { axum::serve(listener, router).await });
    let retry = RetryPolicy {
        attempts: 2,
        first_pause: Duration::from_millis(1),
        ..RetryPolicy::default()
    };
    let builder = sdk::builder(address).retry(retry);
    let links = builder.build().unwrap().links();
    let mut clicks = links.watch(&"lnk_00000000000000000000000000".into());
    let ended = timeout(PATIENCE, clicks.next()).await;
    let error = ended.expect("it ends").unwrap().unwrap_err();
    assert!(error.to_string().contains("try again later"), "{error}");
    // Five times as many as those of a request.
    assert_eq!(connections.load(Ordering::Relaxed), 10);
    server.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn click_streams_survive_token_expiry() {
    let stack = Stack::start(Options::short_tokens()).await;
    let ProxiedStack { ada, proxy, stack } = ProxiedStack::of(stack).await;
    let links = ada.quartet.links();
    let link = links
        .create(NewLink::to("https://example.org"))
        .await
        .unwrap();
    let mut clicks = links.watch(&link.id);
    let (visitor, path) = (stack.client(), format!("/s/{}", link.slug));
    // The server closes the connection when the token expires.
    let begin = Instant::now();
    while proxy.count("GET /v1/links/graphql") < 2 {
        assert!(begin.elapsed() < PATIENCE, "still the first connection");
        click_until_reported(&mut clicks, &visitor, &path).await;
    }
    click_until_reported(&mut clicks, &visitor, &path).await;
    assert!(proxy.count("POST /v1/core/sessions/refresh") >= 1);
}

/// Follows the link until the stream reports a click: the first ones may precede the
/// subscription.
async fn click_until_reported(clicks: &mut Watch, visitor: &Client, path: &str) -> Click {
    for _ in 0..20 {
        visitor.get(path).await.expect(302);
        if let Ok(click) = timeout(Duration::from_secs(2), clicks.next()).await {
            return click.unwrap().unwrap();
        }
    }
    panic!("20 clicks and no event");
}
