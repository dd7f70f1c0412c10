//! Clients that send no more, or the next request already; and deadlines.

use super::*;

#[tokio::test]
async fn a_client_that_sends_no_more_gets_its_response() {
    let mut peers = start(GET, 0, TIMEOUTS);
    peers.upstream_receives(GET).await;
    peers.client.shutdown().await.unwrap();
    // So that the end is seen before the response.
    tokio::task::yield_now().await;
    peers
        .upstream_sends("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc")
        .await;
    peers.client_receives("[200 close]abc").await;
    assert!(peers.ended().await.result.is_ok());
    // Where nothing else would ever end the request, that does.
    let endless = Timeouts {
        response: None,
        ..TIMEOUTS
    };
    let mut peers = start(GET, 0, endless);
    peers.upstream_receives(GET).await;
    peers.client.shutdown().await.unwrap();
    assert!(matches!(
        peers.ended().await.result,
        Err(ExchangeError::ClientGone)
    ));
    // A body that ends early is none.
    let mut peers = start(POST, 10, TIMEOUTS);
    peers.client_sends("half").await;
    peers.client.shutdown().await.unwrap();
    assert!(matches!(
        peers.ended().await.result,
        Err(ExchangeError::ClientGone)
    ));
}

#[tokio::test]
async fn what_the_client_sends_next_is_kept_and_bounded() {
    let mut peers = start(GET, 0, TIMEOUTS);
    peers.upstream_receives(GET).await;
    let pipelined = "GET /next HTTP/1.1\r\n".repeat(1000);
    let (mut client, upstream) = (peers.client, peers.upstream);
    let sender = tokio::spawn(async move {
        let _ = client.write_all(pipelined.as_bytes()).await;
    });
    let mut upstream = upstream;
    tokio::task::yield_now().await;
    upstream
        .write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
        .await
        .unwrap();
    let ended = peers.exchange.await.unwrap();
    assert!(ended.ahead.len() < 20_000, "{}", ended.ahead.len());
    sender.abort();
}

#[tokio::test]
async fn every_wait_has_a_deadline() {
    let short = Duration::from_millis(30);
    let slow_body = Timeouts {
        body: short,
        ..TIMEOUTS
    };
    let mut peers = start(POST, 10, slow_body);
    peers.client_sends("half").await;
    let ended = peers.ended().await;
    assert!(
        matches!(ended.result, Err(ExchangeError::BodyTimeout)) && ended.can_reply,
        "{ended:?}"
    );

    let slow_upstream = Timeouts {
        response: Some(short),
        ..TIMEOUTS
    };
    for response in [
        "",
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\na",
    ] {
        let mut peers = start(GET, 0, slow_upstream);
        peers.upstream_sends(response).await;
        let result = (&mut peers.exchange).await.unwrap().result;
        assert!(
            matches!(result, Err(ExchangeError::UpstreamTimeout)),
            "{response:?}: {result:?}"
        );
    }
    // An upstream that takes nothing of the body.
    let mut peers = start(POST, 100_000, slow_upstream);
    let Peers {
        mut client,
        upstream,
        exchange,
    } = peers;
    let sender = tokio::spawn(async move {
        let _ = client.write_all(&vec![b'x'; 100_000]).await;
        client
    });
    let result = exchange.await.unwrap().result;
    assert!(
        matches!(result, Err(ExchangeError::UpstreamTimeout)),
        "{result:?}"
    );
    drop((upstream, sender.await.unwrap()));

    // A client that takes nothing of the response, however much the upstream sends.
    let slow_client = Timeouts {
        write: short,
        ..TIMEOUTS
    };
    peers = start(GET, 0, slow_client);
    let Peers {
        client,
        mut upstream,
        exchange,
    } = peers;
    let sender = tokio::spawn(async move {
        let _ = upstream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
        let _ = upstream.write_all(&vec![b'x'; 100_000]).await;
    });
    let result = exchange.await.unwrap().result;
    assert!(
        matches!(result, Err(ExchangeError::ClientStalled)),
        "{result:?}"
    );
    drop(client);
    sender.abort();
}
