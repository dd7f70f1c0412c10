//! HTTP/2 by prior knowledge: off by default, and otherwise guarded as HTTP/1 is.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use h2::client::{self, SendRequest};
use http::{Request, Response};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::timeout,
};

use crate::support::{
    DEADLINE, Gateway, echo, eventually, free_address, read_response, route, serve, upstream,
};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

async fn gateway(server: &str) -> Gateway {
    let settings = [
        upstream(&[serve(echo()).await]),
        format!("[server]\nhttp2 = true\n{server}\n"),
        route(
            "all",
            "/a/*",
            "body_limit_bytes = 100\nbody_timeout_seconds = 1\nresponse_timeout_seconds = 3",
        ),
        "[routes.docs]\npaths = [\"/docs/*\"]\nserve = \"docs\"\nauth = \"public\"\n".to_owned(),
    ];
    Gateway::start(&settings.concat()).await
}

struct Client {
    send: SendRequest<Bytes>,
    connection: JoinHandle<Result<(), h2::Error>>,
}

impl Client {
    async fn connect(gateway: &Gateway, builder: &client::Builder) -> Self {
        let stream = TcpStream::connect(gateway.public).await.unwrap();
        let (send, connection) = builder.handshake(stream).await.unwrap();
        let connection = tokio::spawn(connection);
        Self {
            send: send.ready().await.unwrap(),
            connection,
        }
    }

    async fn get(&mut self, request: Request<()>) -> Result<(Response<()>, String), h2::Error> {
        let (response, _) = self.send.send_request(request, true)?;
        read(response).await
    }
}

async fn read(response: client::ResponseFuture) -> Result<(Response<()>, String), h2::Error> {
    let response = timeout(DEADLINE, response).await.expect("a head in time")?;
    let (head, mut body) = response.into_parts();
    let mut bytes = Vec::new();
    while let Some(part) = timeout(DEADLINE, body.data())
        .await
        .expect("a body in time")
    {
        let part = part?;
        body.flow_control().release_capacity(part.len())?;
        bytes.extend_from_slice(&part);
    }
    let text = String::from_utf8(bytes).unwrap();
    Ok((Response::from_parts(head, ()), text))
}

fn get(path: &str) -> http::request::Builder {
    Request::get(format!("http://gateway.test{path}"))
}

fn check_problem(response: &(Response<()>, String), status: u16, code: &str) {
    let (head, body) = response;
    assert_eq!(head.status(), status, "{body}");
    let body: Value = serde_json::from_str(body).unwrap();
    assert_eq!(body["code"], code, "{body}");
    assert_eq!(
        head.headers()["x-request-id"],
        body["request_id"].as_str().unwrap()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_off_by_default() {
    let settings = [upstream(&[serve(echo()).await]), route("all", "/a/*", "")].concat();
    let gateway = Gateway::start(&settings).await;
    let mut stream = TcpStream::connect(gateway.public).await.unwrap();
    stream.write_all(PREFACE).await.unwrap();
    let response = read_response(&mut stream).await;
    response.problem(400, "malformed_request");
    assert!(
        response.body.contains("HTTP/2 without TLS is not enabled"),
        "{response:?}"
    );
}

/// The listeners that are open are those of the start, whatever list a reload brings.
#[tokio::test(flavor = "multi_thread")]
async fn a_changed_list_of_listeners_changes_none_that_is_open() {
    let (plain, other) = (free_address(), free_address());
    let rest = [upstream(&[serve(echo()).await]), route("all", "/a/*", "")].concat();
    let settings = |http2: bool| {
        let address = format!("{{ address = \"{plain}\", http2 = {http2} }}");
        format!("{rest}[server]\nlisten = [{address}, {{ address = \"{other}\" }}]\n")
    };
    // The list of the file counts.
    let variables = [("QUARTET_SERVER_LISTEN", "")];
    let gateway = Gateway::with_variables(&settings(true), &variables).await;
    gateway.reload(&settings(false)).await;
    let stream = TcpStream::connect(plain).await.unwrap();
    let (send, connection) = client::handshake(stream).await.unwrap();
    let mut client = Client {
        send: send.ready().await.unwrap(),
        connection: tokio::spawn(connection),
    };
    let request = Request::get(format!("http://{plain}/a/b"))
        .body(())
        .unwrap();
    let (response, _) = client.get(request).await.unwrap();
    assert_eq!(response.status(), 200);
    let mut stream = TcpStream::connect(other).await.unwrap();
    stream.write_all(PREFACE).await.unwrap();
    read_response(&mut stream)
        .await
        .problem(400, "malformed_request");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_share_a_connection() {
    let gateway = gateway("").await;
    let mut client = Client::connect(&gateway, &client::Builder::new()).await;
    let responses: Vec<_> = (0..50)
        .map(|n| {
            client
                .send
                .send_request(get(&format!("/a/{n}")).body(()).unwrap(), true)
        })
        .map(|sent| read(sent.unwrap().0))
        .collect();
    for (n, response) in join_all(responses).await.into_iter().enumerate() {
        let (head, body) = response.unwrap();
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(head.status(), 200);
        assert_eq!(body["path"], format!("/a/{n}"));
        assert!(head.headers().contains_key("x-request-id"));
    }
    // Cookies arrive as one header (RFC 9113, 8.2.3).
    let request = get("/a/b").header("cookie", "a=1").header("cookie", "b=2");
    let (_, body) = client.get(request.body(()).unwrap()).await.unwrap();
    assert!(body.contains(r#"["cookie","a=1; b=2"]"#), "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_problems_with_a_line_in_the_log() {
    let gateway = gateway("header_limit_count = 20").await;
    let mut client = Client::connect(&gateway, &client::Builder::new()).await;
    let missing = client.get(get("/missing").body(()).unwrap()).await.unwrap();
    check_problem(&missing, 404, "no_route");
    let many = (0..30).fold(get("/a/many"), |request, n| {
        request.header(format!("x-{n}"), "1")
    });
    let many = client.get(many.body(()).unwrap()).await.unwrap();
    check_problem(&many, 431, "headers_too_large");
    let trace = Request::builder()
        .method("TRACE")
        .uri("http://gateway.test/a/trace");
    let trace = client.get(trace.body(()).unwrap()).await.unwrap();
    check_problem(&trace, 405, "method_not_allowed");
    let connect = Request::builder().method("CONNECT").uri("gateway.test:443");
    let connect = client.get(connect.body(()).unwrap()).await.unwrap();
    check_problem(&connect, 405, "method_not_allowed");
    let lower = Request::builder()
        .method("get")
        .uri("http://gateway.test/a/lower");
    let lower = client.get(lower.body(()).unwrap()).await.unwrap();
    check_problem(&lower, 400, "malformed_request");
    for (path, status) in [("/missing", 404), ("/a/many", 431), ("/a/trace", 405)] {
        assert_eq!(gateway.access_line(path).await["status"], status);
    }
    // A body is counted as it arrives.
    let (response, mut body) = client
        .send
        .send_request(get("/a/large").body(()).unwrap(), false)
        .unwrap();
    body.send_data(vec![b'x'; 200].into(), true).unwrap();
    check_problem(&read(response).await.unwrap(), 413, "body_too_large");
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_requests_are_logged_and_limited() {
    let gateway = gateway("").await;
    let mut client = Client::connect(&gateway, &client::Builder::new()).await;
    let mut refused = 0;
    for _ in 0..100 {
        // Host and authority differ.
        let request = get("/a/x").header("host", "other.test");
        let Ok((response, _)) = client.send.send_request(request.body(()).unwrap(), true) else {
            break;
        };
        match read(response).await {
            Ok((head, _)) => assert_eq!(head.status(), 400),
            Err(_) => break,
        }
        refused += 1;
        let Ok(send) = client.send.clone().ready().await else {
            break;
        };
        client.send = send;
    }
    assert_eq!(refused, 32);
    let line = eventually("a line is logged", || async {
        let mut lines = gateway.lines().into_iter();
        lines.find(|line| line["code"] == "malformed_request")
    })
    .await;
    assert_eq!(line["status"], 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_starts_and_idle_connections_are_closed() {
    let gateway = gateway("header_timeout_seconds = 1\nkeepalive_timeout_seconds = 1").await;
    // Half of the preface, the whole of it, and a head that does not end.
    let unfinished = [
        &[0, 0, 0, 4, 0, 0, 0, 0, 0][..],
        &[0, 0, 1, 1, 0, 0, 0, 0, 1, 0x82],
    ]
    .concat();
    for start in [&PREFACE[..18], PREFACE, &[PREFACE, &unfinished].concat()] {
        let mut stream = TcpStream::connect(gateway.public).await.unwrap();
        stream.write_all(start).await.unwrap();
        let mut rest = Vec::new();
        let closed = timeout(DEADLINE, stream.read_to_end(&mut rest)).await;
        closed.expect("the connection is closed").unwrap();
    }
    let mut client = Client::connect(&gateway, &client::Builder::new()).await;
    let (head, _) = client.get(get("/a/b").body(()).unwrap()).await.unwrap();
    assert_eq!(head.status(), 200);
    let closed = timeout(DEADLINE, client.connection).await;
    let _ = closed.expect("the idle connection is closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_bodies_are_408() {
    let gateway = gateway("").await;
    let mut client = Client::connect(&gateway, &client::Builder::new()).await;
    for drips in [true, false] {
        let request = get("/a/slow").body(()).unwrap();
        let (response, mut body) = client.send.send_request(request, false).unwrap();
        body.send_data("x".into(), false).unwrap();
        let dripping = tokio::spawn(async move {
            let pause = if drips { 1_500 } else { 60_000 };
            loop {
                tokio::time::sleep(Duration::from_millis(pause)).await;
                if body.send_data("x".into(), false).is_err() {
                    return;
                }
            }
        });
        check_problem(&read(response).await.unwrap(), 408, "request_timeout");
        dripping.abort();
    }
}

/// A client that announces no room for responses: pages must not be copied for it, and its streams
/// must end.
#[tokio::test(flavor = "multi_thread")]
async fn clients_that_read_nothing_pin_no_memory() {
    let gateway = gateway("write_timeout_seconds = 2").await;
    let memory = || async { gateway.metric("process_resident_memory_bytes{").await };
    let mut warm = Client::connect(&gateway, &client::Builder::new()).await;
    let bundle = || get("/docs/swagger-ui-bundle.js").body(()).unwrap();
    let (head, body) = warm.get(bundle()).await.unwrap();
    assert_eq!((head.status().as_u16(), body.len()), (200, 1_526_593));
    let before = memory().await;
    let mut builder = client::Builder::new();
    builder.initial_window_size(0);
    let mut waiting = Vec::new();
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = Client::connect(&gateway, &builder).await;
        for _ in 0..100 {
            client.send = client.send.ready().await.unwrap();
            waiting.push(client.send.send_request(bundle(), true).unwrap().0);
        }
        clients.push(client);
    }
    let heads = join_all(waiting).await;
    assert!(
        heads
            .iter()
            .all(|head| head.as_ref().unwrap().status() == 200)
    );
    let grown = (memory().await - before) / 1e6;
    assert!(grown < 40.0, "{grown} MB for 300 responses of 1.5 MB");
    // Each of the streams is given up and logged.
    for head in heads {
        let mut body = head.unwrap().into_body();
        let part = timeout(DEADLINE, body.data()).await;
        assert!(part.expect("the stream ends in time").unwrap().is_err());
    }
    eventually("every stream is logged", || async {
        let lines = gateway.lines();
        let given_up = lines.iter().filter(|line| {
            line["error"]
                .as_str()
                .is_some_and(|error| error.contains("WriteTimedout"))
        });
        (given_up.count() == 300).then_some(())
    })
    .await;
}

/// Sends requests, and resets each once the upstream has it; how many until the connection ends.
async fn abandon(client: &mut Client, upstream: &TcpListener, requests: usize) -> usize {
    for sent in 0..requests {
        let Ok(mut send) = client.send.clone().ready().await else {
            return sent;
        };
        let request = get("/a/abandoned").body(()).unwrap();
        let Ok((_response, mut stream)) = send.send_request(request, true) else {
            return sent;
        };
        let accepted = async {
            tokio::select! {
                accepted = upstream.accept() => Some(accepted.unwrap().0),
                _ = std::future::poll_fn(|cx| stream.poll_reset(cx)) => None,
            }
        };
        let accepted = timeout(DEADLINE, accepted)
            .await
            .expect("the upstream is asked");
        let Some(mut connection) = accepted else {
            return sent;
        };
        stream.send_reset(h2::Reason::CANCEL);
        // Nothing waits for the response any more.
        let ended = timeout(DEADLINE, connection.read_to_end(&mut Vec::new())).await;
        ended.expect("the request is given up").unwrap();
    }
    requests
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_reset_end_upstream_and_are_limited() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let settings = [
        upstream(&[listener.local_addr().unwrap()]),
        "[server]\nhttp2 = true\n".to_owned(),
        route("all", "/a/*", ""),
    ];
    let gateway = Gateway::start(&settings.concat()).await;
    let mut client = Client::connect(&gateway, &client::Builder::new()).await;
    assert_eq!(abandon(&mut client, &listener, 90).await, 90);
    let missing = client.get(get("/missing").body(()).unwrap()).await.unwrap();
    check_problem(&missing, 404, "no_route");
    // As the client has disconnected, there is nothing to be said to it.
    let line = gateway.access_line("/a/abandoned").await;
    assert_eq!(
        (&line["status"], &line["code"]),
        (&499.into(), &Value::Null),
        "{line}"
    );
    let more = abandon(&mut client, &listener, 200).await;
    assert!((5..=30).contains(&more), "{more}");
    let ended = timeout(DEADLINE, client.connection).await;
    let _ = ended.expect("the connection ends").unwrap();
}

/// A body that ends with an empty part, as some clients send it, must not leave a second end on the
/// upstream's connection: it would be taken for the next request.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_is_ended_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let received = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"0\r\n\r\n") {
            assert!(stream.read_buf(&mut bytes).await.unwrap() > 0);
        }
        let response = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        stream.write_all(response).await.unwrap();
        stream.read_to_end(&mut bytes).await.unwrap();
        String::from_utf8(bytes).unwrap()
    });
    let settings = [
        upstream(&[address]),
        "[server]\nhttp2 = true\n".to_owned(),
        route("all", "/a/*", ""),
    ];
    let gateway = Gateway::start(&settings.concat()).await;
    let mut client = Client::connect(&gateway, &client::Builder::new()).await;
    let post = Request::post("http://gateway.test/a/b").body(()).unwrap();
    let (response, mut body) = client.send.send_request(post, false).unwrap();
    body.send_data("abc".into(), false).unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    body.send_data(Bytes::new(), true).unwrap();
    assert_eq!(read(response).await.unwrap().0.status(), 200);
    let received = timeout(DEADLINE, received).await.unwrap().unwrap();
    assert!(received.ends_with("3\r\nabc\r\n0\r\n\r\n"), "{received:?}");
}

/// The end of the connection is announced, and comes with its last request.
#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_completes_the_requests_of_a_connection() {
    let (address, permits) = crate::support::held().await;
    let settings = [
        upstream(&[address]),
        "[server]\nhttp2 = true\ndrain_delay_seconds = 0\n".to_owned(),
        route("all", "/*", ""),
    ];
    let mut gateway = Gateway::start(&settings.concat()).await;
    let mut client = Client::connect(&gateway, &client::Builder::new()).await;
    let requests = ["/held", "/held", "/held"].map(|path| {
        let request = get(path).body(()).unwrap();
        client.send.send_request(request, true).unwrap().0
    });
    eventually("all requests are in flight", || async {
        let active = "http_server_active_requests{service=\"gateway\",http_request_method=\"GET\"}";
        (gateway.metric(active).await >= 3.0).then_some(())
    })
    .await;
    gateway.signal("TERM");
    // The first request after the announcement is refused without having been sent.
    let refused = eventually("the end is announced", || async {
        client.send.clone().ready().await.err()
    })
    .await;
    assert!(refused.is_go_away() && refused.is_remote(), "{refused}");
    permits.add_permits(3);
    for response in join_all(requests.map(read)).await {
        let (head, body) = response.unwrap();
        assert_eq!((head.status().as_u16(), &*body), (200, "released"));
    }
    assert!(gateway.ended().await.success());
}
