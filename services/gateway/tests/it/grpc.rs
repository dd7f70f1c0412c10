//! HTTP/2 to upstreams without TLS, and gRPC through the gateway: by the library h2, and by grpcio if it
//! is installed (`pip install grpcio`; `cargo xtask test --conformance` does).

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{Gateway, client, route};

/// An upstream with HTTP/2 alone: echoes each part of a body, and then sends trailers.
struct Service {
    address: std::net::SocketAddr,
    connections: Arc<AtomicUsize>,
}

async fn service() -> Service {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let accepted = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            accepted.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(async move {
                let Ok(mut connection) = h2::server::handshake(stream).await else {
                    return;
                };
                while let Some(Ok((request, respond))) = connection.accept().await {
                    tokio::spawn(echo(request, respond));
                }
            });
        }
    });
    Service {
        address,
        connections,
    }
}

async fn echo(
    request: Request<h2::RecvStream>,
    mut respond: h2::server::SendResponse<Bytes>,
) -> Option<()> {
    let mut body = request.into_body();
    let head = Response::builder().header("content-type", "application/grpc");
    let mut send = respond.send_response(head.body(()).unwrap(), false).ok()?;
    while let Some(part) = body.data().await {
        let part = part.ok()?;
        body.flow_control().release_capacity(part.len()).ok()?;
        send.send_data(part, false).ok()?;
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    send.send_trailers(trailers).ok()
}

fn settings(address: std::net::SocketAddr, more: &str) -> String {
    format!(
        "shipped_routes = false\n[server]\nhttp2 = true\n[upstreams.u]\naddresses = [\"{address}\"]\n\
         http2 = true\n{more}\n{}",
        route("all", "/*", "")
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_with_prior_knowledge_carries_streams_and_trailers() {
    let service = service().await;
    let gateway = Gateway::start(&settings(service.address, "max_http2_streams = 4")).await;
    let stream = TcpStream::connect(gateway.public).await.unwrap();
    let (send, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let mut streams = Vec::new();
    for _ in 0..4 {
        let mut send = send.clone().ready().await.unwrap();
        let request = Request::post("http://gateway.test/echo").body(()).unwrap();
        let (response, body) = send.send_request(request, false).unwrap();
        let response = response.await.unwrap();
        assert_eq!(response.status(), 200);
        streams.push((body, response.into_body()));
    }
    // Each part is there before the next one is sent.
    for (send, received) in &mut streams {
        for part in ["one", "two"] {
            send.send_data(Bytes::from(part), false).unwrap();
            assert_eq!(received.data().await.unwrap().unwrap(), part);
        }
    }
    // All of them at once on one connection, as far as it is known to be free.
    assert!(service.connections.load(Ordering::Relaxed) <= 2);
    for (mut send, mut received) in streams {
        send.send_data(Bytes::new(), true).unwrap();
        assert!(received.data().await.is_none());
        let trailers = received.trailers().await.unwrap().unwrap();
        assert_eq!(trailers["grpc-status"], "0");
    }
    // A client with HTTP/1.1 gets its response as well.
    let response = gateway.get("/echo").await;
    assert_eq!(response.status(), 200);
}

/// Status, media type and body of the response.
type Answer = (u16, String, Vec<u8>);

async fn over_http1(gateway: &Gateway, path: &str, kind: &str, body: Vec<u8>) -> Answer {
    let request = client()
        .post(gateway.url(path))
        .header("content-type", kind);
    let response = request.body(body).send().await.unwrap();
    let kind = response.headers()["content-type"]
        .to_str()
        .unwrap()
        .to_owned();
    let status = response.status().as_u16();
    (status, kind, response.bytes().await.unwrap().to_vec())
}

async fn over_http2(gateway: &Gateway, path: &str, kind: &str, body: Vec<u8>) -> Answer {
    let stream = TcpStream::connect(gateway.public).await.unwrap();
    let (send, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let request = Request::post(format!("http://gateway.test{path}"))
        .header("content-type", kind)
        .header("content-length", body.len())
        .body(())
        .unwrap();
    let mut send = send.ready().await.unwrap();
    let (response, mut stream) = send.send_request(request, false).unwrap();
    stream.send_data(body.into(), true).unwrap();
    let response = response.await.unwrap();
    let kind = response.headers()["content-type"]
        .to_str()
        .unwrap()
        .to_owned();
    let status = response.status().as_u16();
    let (mut received, mut parts) = (Vec::new(), response.into_body());
    while let Some(part) = parts.data().await {
        received.extend_from_slice(&part.unwrap());
    }
    (status, kind, received)
}

/// What browsers send: a frame of a message, in binary or base64.
#[tokio::test(flavor = "multi_thread")]
async fn grpc_web_becomes_grpc() {
    let service = service().await;
    let settings = settings(service.address, "");
    let web = route("web", "/web/*", "grpc_web = true");
    let gateway = Gateway::start(&format!("{settings}\n{web}")).await;
    let message = b"\0\0\0\0\x05hello".to_vec();
    let expected = [&message[..], b"\x80\0\0\0\x10grpc-status: 0\r\n"].concat();
    for http2 in [false, true] {
        let call = async |path: &str, kind: &str, body: &[u8]| {
            if http2 {
                over_http2(&gateway, path, kind, body.to_vec()).await
            } else {
                over_http1(&gateway, path, kind, body.to_vec()).await
            }
        };
        let (status, kind, body) = call("/web/x", "application/grpc-web+proto", &message).await;
        assert_eq!((status, &*kind), (200, "application/grpc-web"));
        assert_eq!(body, expected);

        let text = STANDARD.encode(&message);
        let answer = call("/web/x", "application/grpc-web-text", text.as_bytes()).await;
        assert_eq!((answer.0, &*answer.1), (200, "application/grpc-web-text"));
        // Each part has its own padding.
        let parts = answer.2.chunks(4);
        let parts = parts.map(|group| STANDARD.decode(group).unwrap());
        assert_eq!(parts.collect::<Vec<_>>().concat(), expected);

        let broken = call("/web/x", "application/grpc-web-text", b"!!!!").await;
        let body = String::from_utf8(broken.2).unwrap();
        assert_eq!(broken.0, 400, "{body}");
        assert!(body.contains("malformed_request"), "{body}");
        // Without the setting, and of another type, nothing is changed.
        for (path, kind) in [("/x", "application/grpc-web"), ("/web/x", "text/plain")] {
            let answer = call(path, kind, &message).await;
            assert_eq!(
                answer,
                (200, "application/grpc".to_owned(), message.clone())
            );
        }
    }
}

/// A connection with HTTP/2 is shared: frames that wait on it are no reason to refuse a call.
#[tokio::test(flavor = "multi_thread")]
async fn calls_on_a_shared_connection_do_not_fail() {
    let service = service().await;
    let gateway = Gateway::start(&settings(service.address, "")).await;
    let calls = (0..32).map(|_| async {
        for _ in 0..20 {
            let (status, _, body) =
                over_http2(&gateway, "/x", "application/grpc", b"x".to_vec()).await;
            assert_eq!((status, &*body), (200, &b"x"[..]));
        }
    });
    futures_util::future::join_all(calls).await;
}

/// A Python that has grpcio.
fn python() -> Option<String> {
    let python = std::env::var("QUARTET_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let found = Command::new(&python)
        .args(["-c", "import grpc"])
        .stderr(Stdio::null())
        .status();
    found.is_ok_and(|status| status.success()).then_some(python)
}

/// Ends with its standard input.
struct Server {
    child: Child,
    port: u16,
}

impl Server {
    fn start(python: &str, directory: &Path, arguments: &[&str]) -> Self {
        let mut child = Command::new(python)
            .arg(directory.join("grpc/server.py"))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        output.read_line(&mut line).unwrap();
        let port = line.trim().parse().unwrap();
        Self { child, port }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn grpcio_calls_services_through_the_gateway() {
    let Some(python) = python() else {
        let _ = writeln!(
            std::io::stderr(),
            "skipped: no Python with grpcio; QUARTET_TEST_PYTHON names one"
        );
        return;
    };
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/support");
    let file = |name: &str| {
        directory
            .join("tls")
            .join(name)
            .to_str()
            .unwrap()
            .to_owned()
    };
    let (certificate, key) = (file("server.pem"), file("server.key"));
    let authority = std::fs::read_to_string(file("authority.pem")).unwrap();
    let tls = format!(
        "tls = true\ntls_server_name = \"upstream.test\"\ntls_ca = \"\"\"\n{authority}\"\"\""
    );
    for (arguments, more) in [
        (vec![], ""),
        (vec![certificate.as_str(), key.as_str()], tls.as_str()),
    ] {
        let server = Server::start(&python, &directory, &arguments);
        let address = ([127, 0, 0, 1], server.port).into();
        let gateway = Gateway::start(&settings(address, more)).await;
        let client = Command::new(&python)
            .arg(directory.join("grpc/client.py"))
            .arg(gateway.public.to_string())
            .output();
        let output = client.unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{more}: {errors}");
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(text.lines().count(), 6, "{text}");
    }
}
