//! Both directions against scripted peers.

mod waits;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

use super::*;
use crate::edge::{
    client_stream::{ClientStream, Extent},
    response_framing::MAX_INTERIM,
};

const GET: &str = "GET / HTTP/1.1\r\n\r\n";
const POST: &str = "POST / HTTP/1.1\r\n\r\n";
const TIMEOUTS: Timeouts = Timeouts {
    body: Duration::from_secs(20),
    response: Some(Duration::from_secs(20)),
    write: Duration::from_secs(20),
    end: None,
};

/// Writes the status, and whether the connection may stay open.
struct Statuses;

impl OnHead for Statuses {
    fn head(
        &mut self,
        head: &ResponseHead<'_, '_>,
        keep: bool,
        _at: Instant,
        out: &mut Buffer,
    ) -> ControlFlow<()> {
        let keep = if keep || head.is_interim() {
            ""
        } else {
            " close"
        };
        out.push(format!("[{}{keep}]", head.status).as_bytes());
        ControlFlow::Continue(())
    }
}

/// How an exchange ended.
#[derive(Debug)]
struct EndedExchange {
    result: Result<(), ExchangeError>,
    reusable: bool,
    can_reply: bool,
    unanswered: bool,
    request_read: bool,
    ahead: String,
}

/// Both peers of an exchange that runs on its own.
struct Peers {
    client: DuplexStream,
    upstream: DuplexStream,
    exchange: tokio::task::JoinHandle<EndedExchange>,
}

/// `left`: bytes of the body that the client still has to send.
fn start(request: &str, left: u64, timeouts: Timeouts) -> Peers {
    let (upstream, replica) = duplex(1024);
    start_on((upstream, replica), request, left, timeouts)
}

/// `upstream`: its own end, and that of the exchange.
fn start_on<U>(
    (upstream, replica): (DuplexStream, U),
    request: &str,
    left: u64,
    timeouts: Timeouts,
) -> Peers
where
    U: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (client, stream) = duplex(1024);
    let mut start = Buffer::lend();
    start.push(request.as_bytes());
    let is_head = request.starts_with("HEAD");
    let exchange = tokio::spawn(async move {
        let mut stream = ClientStream::new(Box::new(stream));
        stream.begin(
            0,
            if left == 0 {
                Extent::Ended
            } else {
                Extent::Length(left)
            },
        );
        let mut alarm = Alarm::new();
        let client = Client {
            stream: &mut stream,
            alarm: &mut alarm,
        };
        let request = PartialRequest {
            start,
            left,
            is_head,
            is_handshake: false,
        };
        let mut exchange = Exchange::new(client, replica, request, timeouts, Instant::now());
        let result = exchange.run(&mut Statuses).await;
        let (can_reply, unanswered) = (exchange.can_reply(), exchange.is_unanswered());
        let request_read = exchange.request_read();
        let reusable = exchange.into_reusable().is_some();
        let ahead = String::from_utf8(stream.ahead().to_vec()).unwrap();
        EndedExchange {
            result,
            reusable,
            can_reply,
            unanswered,
            request_read,
            ahead,
        }
    });
    Peers {
        client,
        upstream,
        exchange,
    }
}

impl Peers {
    async fn upstream_receives(&mut self, expected: &str) {
        receives(&mut self.upstream, expected).await;
    }

    async fn client_receives(&mut self, expected: &str) {
        receives(&mut self.client, expected).await;
    }

    async fn upstream_sends(&mut self, text: &str) {
        self.upstream.write_all(text.as_bytes()).await.unwrap();
    }

    async fn client_sends(&mut self, text: &str) {
        self.client.write_all(text.as_bytes()).await.unwrap();
    }

    async fn ended(self) -> EndedExchange {
        self.exchange.await.unwrap()
    }
}

async fn receives(stream: &mut DuplexStream, expected: &str) {
    let mut received = vec![0; expected.len()];
    stream.read_exact(&mut received).await.unwrap();
    assert_eq!(String::from_utf8(received).unwrap(), expected);
}

#[tokio::test]
async fn responses_are_passed_and_only_clean_connections_reused() {
    for (request, response, expected, reusable) in [
        (
            GET,
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
            "[200]abc",
            true,
        ),
        (GET, "HTTP/1.1 204 No Content\r\n\r\n", "[204]", true),
        (
            GET,
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n",
            "[304]",
            true,
        ),
        (
            "HEAD / HTTP/1.1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n",
            "[200]",
            true,
        ),
        (
            GET,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n0\r\nX: y\r\n\r\n",
            "[200]3\r\nabc\r\n0\r\n\r\n",
            true,
        ),
        (
            GET,
            "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            "[103][102][200]",
            true,
        ),
        (
            GET,
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc",
            "[200]abc",
            false,
        ),
        // Bytes behind the end would be taken for the response of the next client.
        (
            GET,
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcd",
            "[200]abc",
            false,
        ),
        (
            GET,
            "HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
            "[204]",
            false,
        ),
        (
            GET,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nx",
            "[200]0\r\n\r\n",
            false,
        ),
    ] {
        let mut peers = start(request, 0, TIMEOUTS);
        peers.upstream_receives(request).await;
        peers.upstream_sends(response).await;
        peers.client_receives(expected).await;
        let ended = peers.ended().await;
        assert!(ended.result.is_ok(), "{response:?}: {ended:?}");
        assert_eq!(ended.reusable, reusable, "{response:?}");
    }
}

#[tokio::test]
async fn a_body_without_a_length_ends_with_the_connection() {
    let mut peers = start(GET, 0, TIMEOUTS);
    peers.upstream_sends("HTTP/1.1 200 OK\r\n\r\nabc").await;
    peers.client_receives("[200]3\r\nabc\r\n").await;
    peers.upstream_sends("def").await;
    peers.upstream.shutdown().await.unwrap();
    peers.client_receives("3\r\ndef\r\n0\r\n\r\n").await;
    let ended = peers.ended().await;
    assert!(ended.result.is_ok() && !ended.reusable, "{ended:?}");
}

#[tokio::test]
async fn doubtful_responses_are_refused_while_another_can_be_sent() {
    for response in [
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "nonsense\r\n\r\n",
    ] {
        let mut peers = start(GET, 0, TIMEOUTS);
        peers.upstream_sends(response).await;
        let ended = peers.ended().await;
        assert!(
            matches!(ended.result, Err(ExchangeError::Refused(_))),
            "{response:?}: {ended:?}"
        );
        assert!(
            ended.can_reply && !ended.reusable,
            "{response:?}: {ended:?}"
        );
    }
    let mut peers = start(GET, 0, TIMEOUTS);
    let interim = "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(MAX_INTERIM + 1);
    peers.upstream_sends(&interim).await;
    assert!(matches!(
        peers.ended().await.result,
        Err(ExchangeError::Refused(_))
    ));
}

#[tokio::test]
async fn a_connection_that_ends_early_is_no_response() {
    for (response, unanswered, can_reply) in [
        ("", true, true),
        ("HTTP/1.1 200 OK\r\nContent-", true, true),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\na",
            false,
            false,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n",
            false,
            false,
        ),
    ] {
        let mut peers = start(GET, 0, TIMEOUTS);
        peers.upstream_receives(GET).await;
        peers.upstream_sends(response).await;
        if !can_reply {
            peers.client_receives("[200]").await;
        }
        peers.upstream.shutdown().await.unwrap();
        let ended = peers.ended().await;
        assert!(
            matches!(ended.result, Err(ExchangeError::UpstreamClosed(None))),
            "{ended:?}"
        );
        assert_eq!(
            (ended.unanswered, ended.can_reply),
            (unanswered, can_reply),
            "{response:?}"
        );
    }
}

#[tokio::test]
async fn bodies_are_sent_to_their_length_and_no_further() {
    let body = "x".repeat(40_000);
    let mut peers = start(&format!("{POST}first"), body.len() as u64, TIMEOUTS);
    let (mut client, mut upstream) = (peers.client, peers.upstream);
    let sent = format!("{body}GET /next");
    let sender = tokio::spawn(async move {
        client.write_all(sent.as_bytes()).await.unwrap();
        client
    });
    receives(&mut upstream, &format!("{POST}first{body}")).await;
    peers.client = sender.await.unwrap();
    peers.upstream = upstream;
    peers
        .upstream_sends("HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")
        .await;
    peers.client_receives("[201]").await;
    let ended = peers.ended().await;
    assert!(
        ended.result.is_ok() && ended.reusable && ended.request_read,
        "{ended:?}"
    );
    assert!("GET /next".starts_with(&ended.ahead), "{ended:?}");
}

#[tokio::test]
async fn a_response_during_the_upload_is_passed_at_once() {
    // The upstream reads nothing of a body that never ends, and refuses it.
    let mut peers = start(POST, u64::MAX, TIMEOUTS);
    let response = "HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\n";
    peers.upstream_sends(response).await;
    peers.client_receives("[413 close]").await;
    // Its body comes while the client is still sending.
    peers.client_sends("some of the body").await;
    peers.upstream_sends("abc").await;
    peers.client_receives("abc").await;
    let ended = peers.ended().await;
    assert!(ended.result.is_ok(), "{ended:?}");
    assert!(!ended.reusable && !ended.request_read, "{ended:?}");
}

#[tokio::test]
async fn a_client_is_watched_when_the_upstream_takes_no_more_of_its_body() {
    let endless = Timeouts {
        response: None,
        ..TIMEOUTS
    };
    for sent in ["", "some of the body"] {
        let (upstream, reads) = duplex(1024);
        let (_, writes) = duplex(1024);
        let replica = tokio::io::join(reads, writes);
        let mut peers = start_on((upstream, replica), POST, 1_000_000, endless);
        peers.client_sends(sent).await;
        drop(peers.client);
        let ended = tokio::time::timeout(Duration::from_secs(10), peers.exchange).await;
        let result = ended.unwrap().unwrap().result;
        assert!(
            matches!(result, Err(ExchangeError::ClientGone)),
            "{result:?}"
        );
        drop(peers.upstream);
    }
}

#[tokio::test]
async fn both_directions_run_at_once() {
    // The upstream echoes: neither side ever has more than a part of the body.
    let total = 200_000;
    let mut peers = start(POST, total as u64, TIMEOUTS);
    peers.upstream_receives(POST).await;
    let (mut from_client, mut to_client) = tokio::io::split(peers.upstream);
    let echo = tokio::spawn(async move {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {total}\r\n\r\n");
        to_client.write_all(head.as_bytes()).await.unwrap();
        tokio::io::copy(&mut from_client, &mut to_client).await
    });
    let (mut responses, mut requests) = tokio::io::split(peers.client);
    let sender = tokio::spawn(async move {
        requests.write_all(&vec![b'x'; total]).await.unwrap();
        requests
    });
    let mut received = vec![0; "[200 close]".len() + total];
    responses.read_exact(&mut received).await.unwrap();
    assert!(received.starts_with(b"[200 close]xxx") && received.ends_with(b"xxx"));
    let ended = peers.exchange.await.unwrap();
    assert!(ended.result.is_ok() && ended.request_read, "{ended:?}");
    drop(sender.await.unwrap());
    echo.abort();
}

#[tokio::test]
async fn a_response_that_overtakes_the_end_of_the_connection_is_passed() {
    // The upstream refuses the body by closing, after it has answered.
    let mut peers = start(POST, 100_000, TIMEOUTS);
    peers.upstream_receives(POST).await;
    peers
        .upstream_sends("HTTP/1.1 413 Large\r\nContent-Length: 0\r\n\r\n")
        .await;
    let Peers {
        client,
        upstream,
        exchange,
    } = peers;
    drop(upstream);
    let mut peers = Peers {
        client,
        upstream: duplex(1).0,
        exchange,
    };
    peers.client_sends("part of the body").await;
    peers.client_receives("[413 close]").await;
    assert!(peers.ended().await.result.is_ok());
}
