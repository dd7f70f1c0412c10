//! WebSocket and server-sent events pass through unbuffered.

use std::net::SocketAddr;

use axum::{
    Router,
    body::{Body, Bytes},
    response::Response,
    routing::get,
};
use futures_util::{SinkExt as _, StreamExt as _, stream};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::timeout,
};
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest as _};

use crate::support::{DEADLINE, DIRECT, Gateway, client, eventually, route, serve, upstream};

/// An upstream that returns messages.
async fn echoing() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let socket = tokio_tungstenite::accept_async(stream).await.unwrap();
                let (mut sink, mut stream) = socket.split();
                while let Some(Ok(message)) = stream.next().await {
                    if message.is_text() || message.is_binary() {
                        sink.send(message).await.unwrap();
                    }
                }
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn websocket_messages_pass_in_both_directions() {
    let address = echoing().await;
    // The timeout of ordinary responses must not close an idle WebSocket.
    let more = "upgrade = true\nbody_limit_bytes = 16\nresponse_timeout_seconds = 1\nbody_timeout_seconds = 1";
    let gateway = Gateway::start(&[upstream(&[address]), route("ws", "/ws", more)].concat()).await;
    let request = format!("ws://{}/ws", gateway.public)
        .into_client_request()
        .unwrap();
    let (mut socket, response) = tokio_tungstenite::connect_async(request).await.unwrap();
    assert_eq!(response.status(), 101);
    assert!(response.headers().contains_key("x-request-id"));
    for round in 0..3 {
        let text = format!("{round} {}", "x".repeat(1000));
        socket.send(Message::text(text.clone())).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::text(text));
    }
    let idle_since = std::time::Instant::now();
    eventually(
        "the socket is idle for longer than a response may take",
        || async { (idle_since.elapsed().as_millis() > 1_500).then_some(()) },
    )
    .await;
    socket.send(Message::text("still there")).await.unwrap();
    assert_eq!(
        socket.next().await.unwrap().unwrap(),
        Message::text("still there")
    );
    socket.close(None).await.unwrap();
    let line = gateway.access_line("/ws").await;
    assert_eq!(line["status"], 101);
    // It is counted, but its hours are not the time that anyone waited for a response.
    let labels = "{service=\"gateway\",http_request_method=\"GET\",http_route=\"/ws\",http_response_status_code=\"101\"";
    let count = format!("http_server_requests_total{labels}");
    assert_eq!(gateway.count(&count).await, 1);
    let timed = format!("http_server_request_duration_seconds_count{labels}");
    assert_eq!(gateway.count(&timed).await, 0);
}

/// Pings stand between messages, and stop when the WebSocket is closed.
#[tokio::test(flavor = "multi_thread")]
async fn an_idle_websocket_gets_pings() {
    let text = [
        upstream(&[echoing().await]),
        route("ws", "/ws", "upgrade = true\nping_seconds = 1"),
    ];
    let gateway = Gateway::start(&text.concat()).await;
    let url = format!("ws://{}/ws", gateway.public);
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
    for length in [1, 200, 70_000] {
        let text = "x".repeat(length);
        socket.send(Message::text(text.clone())).await.unwrap();
        let received = timeout(DEADLINE, socket.next()).await.unwrap();
        assert_eq!(received.unwrap().unwrap(), Message::text(text));
        // The answer to the ping is sent with the next message.
        let received = timeout(DEADLINE, socket.next()).await.unwrap();
        assert_eq!(received.unwrap().unwrap(), Message::Ping(Bytes::new()));
    }
    socket.close(None).await.unwrap();
    while let Some(Ok(message)) = timeout(DEADLINE, socket.next()).await.unwrap() {
        assert!(message.is_close(), "{message:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_answers_no_ping_is_disconnected() {
    if !DIRECT {
        // pingora counts the pings as the upstream's.
        return;
    }
    let more = "upgrade = true\nping_seconds = 1\nstream_timeout_seconds = 2";
    let text = [upstream(&[echoing().await]), route("ws", "/ws", more)];
    let gateway = Gateway::start(&text.concat()).await;
    // One that answers stays.
    let url = format!("ws://{}/ws", gateway.public);
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
    let answering = tokio::spawn(async move {
        let mut pings = 0;
        while let Some(Ok(message)) = socket.next().await {
            pings += usize::from(message.is_ping());
            socket.flush().await.unwrap();
            if pings == 4 {
                return true;
            }
        }
        false
    });
    let mut silent = TcpStream::connect(gateway.public).await.unwrap();
    let handshake = "GET /ws HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                     sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    silent.write_all(handshake.as_bytes()).await.unwrap();
    let mut received = Vec::new();
    let end = timeout(DEADLINE, silent.read_to_end(&mut received)).await;
    end.unwrap().unwrap();
    let pings = received.windows(2).filter(|bytes| bytes == b"\x89\x00");
    assert!((1..=2).contains(&pings.count()), "{received:?}");
    assert!(timeout(DEADLINE, answering).await.unwrap().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn events_arrive_one_by_one() {
    let (send, receive) = mpsc::channel::<Bytes>(1);
    let receive = std::sync::Arc::new(tokio::sync::Mutex::new(Some(receive)));
    let router = Router::new().route(
        "/events",
        get(move || async move {
            let receive = receive.lock().await.take().unwrap();
            let events = stream::unfold(receive, |mut receive| async {
                let event = receive.recv().await?;
                Some((Ok::<_, std::io::Error>(event), receive))
            });
            Response::builder()
                .header("content-type", "text/event-stream")
                .body(Body::from_stream(events))
                .unwrap()
        }),
    );
    let address = serve(router).await;
    let gateway = Gateway::start(&[upstream(&[address]), route("all", "/*", "")].concat()).await;
    let response = client()
        .get(gateway.url("/events"))
        .header("accept", "text/event-stream")
        .header("accept-encoding", "gzip, br")
        .send()
        .await
        .unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut events = response.bytes_stream();
    for number in 0..5 {
        let event = format!("data: {number}\n\n");
        send.send(event.clone().into()).await.unwrap();
        // The next event is sent only once this one has arrived.
        assert_eq!(events.next().await.unwrap().unwrap(), event.as_bytes());
    }
    drop(send);
    assert!(events.next().await.is_none());
}

/// A service that refuses a message closes with a frame that says why, and with most of the message
/// unread: to its peer, that is a reset behind the frame.
#[tokio::test(flavor = "multi_thread")]
async fn the_last_frame_of_an_upstream_reaches_a_client_that_is_still_sending() {
    const REFUSED: &[u8] = b"\x88\x02\x03\xf1";
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    stream.read_buf(&mut head).await.unwrap();
                }
                let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n\
                              Upgrade: websocket\r\n\r\n";
                stream.write_all(switch.as_bytes()).await.unwrap();
                stream.read_exact(&mut [0; 1000]).await.unwrap();
                stream.write_all(REFUSED).await.unwrap();
            });
        }
    });
    let gateway =
        Gateway::start(&[upstream(&[address]), route("ws", "/ws", "upgrade = true")].concat())
            .await;
    let handshake = "GET /ws HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                     sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\r\n";
    let large = vec![0; 1_000_000];
    for _ in 0..20 {
        let mut stream = TcpStream::connect(gateway.public).await.unwrap();
        stream.write_all(handshake.as_bytes()).await.unwrap();
        let (mut read, mut write) = stream.split();
        let received = async {
            let mut received = Vec::new();
            let read = timeout(DEADLINE, read.read_to_end(&mut received)).await;
            read.expect("the connection is closed").unwrap();
            received
        };
        // A connection that is closed may refuse the rest.
        let (_, received) = tokio::join!(write.write_all(&large), received);
        assert!(received.ends_with(REFUSED), "{}", received.escape_ascii());
    }
}
