use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{PRIVATE, PUBLIC, Server, code, refusal, refused};

#[tokio::test]
async fn anonymous_clients_read_only_public_objects() {
    let server = Server::start().await;
    server.put(PUBLIC, "k", b"open").await;
    server.put(PRIVATE, "k", b"closed").await;
    let url = |bucket: &str| server.url(&format!("{bucket}/k"));
    let open = server.http.get(url(PUBLIC)).send().await.unwrap();
    assert_eq!(open.headers()["x-content-type-options"], "nosniff");
    assert_eq!(open.text().await.unwrap(), "open");
    assert_eq!(
        server.http.head(url(PUBLIC)).send().await.unwrap().status(),
        200
    );
    let denied = refused(403, "AccessDenied");
    assert_eq!(
        refusal(server.http.get(url(PRIVATE)).send().await.unwrap()).await,
        denied
    );
    assert_eq!(
        server
            .http
            .head(url(PRIVATE))
            .send()
            .await
            .unwrap()
            .status(),
        403
    );
    // Nor is the existence of an object revealed.
    let absent = server.url(&format!("{PRIVATE}/none"));
    assert_eq!(
        refusal(server.http.get(absent).send().await.unwrap()).await,
        denied
    );
}

#[tokio::test]
async fn unsigned_requests_cannot_list_or_write() {
    let server = Server::start().await;
    server.put(PUBLIC, "k", b"open").await;
    let object = server.url(&format!("{PUBLIC}/k"));
    let bucket = server.url(PUBLIC);
    let requests = [
        server.http.get(&bucket),
        server.http.get(format!("{bucket}?list-type=2")),
        server.http.get(server.url("")),
        server.http.put(&object).body("changed"),
        server.http.delete(&object),
        server.http.put(server.url("new-bucket")).body(""),
        server
            .http
            .post(format!("{bucket}?delete"))
            .body("<Delete/>"),
        server.http.post(format!("{object}?uploads")).body(""),
        server.http.get(format!("{object}?acl")),
    ];
    for request in requests {
        let (status, _) = refusal(request.send().await.unwrap()).await;
        assert_eq!(status, 403);
    }
    for name in ["response-content-type", "response%2Dcontent-type"] {
        let changed = server.http.get(format!("{object}?{name}=text/html"));
        let answer = changed.send().await.unwrap();
        assert_eq!(refusal(answer).await, refused(400, "InvalidRequest"));
    }
    assert_eq!(server.read(PUBLIC, "k").await, b"open");
}

#[tokio::test]
async fn invalid_credentials_are_refused() {
    let server = Server::start().await;
    server.put(PUBLIC, "k", b"open").await;
    let wrong = server.client_with("wrong", |settings| settings);
    let answer = wrong.get_object().bucket(PUBLIC).key("k").send().await;
    assert_eq!(code(answer), "SignatureDoesNotMatch");
    let credentials = aws_sdk_s3::config::Credentials::new("unknown", "x", None, None, "test");
    let unknown = server.client_with("x", |settings| settings.credentials_provider(credentials));
    let answer = unknown.get_object().bucket(PUBLIC).key("k").send().await;
    let error = answer.unwrap_err();
    assert_eq!(error.raw_response().unwrap().status().as_u16(), 403);
}

#[tokio::test]
async fn form_uploads_are_refused_before_the_body_is_read() {
    let server = Server::start().await;
    let body = "--x\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\nx\r\n--x--\r\n";
    let request = server.http.post(server.url(PUBLIC)).body(body);
    let request = request.header("content-type", "multipart/form-data; boundary=x");
    assert_eq!(request.send().await.unwrap().status(), 501);
}

#[tokio::test]
async fn buckets_are_created_once() {
    let server = Server::start().await;
    let client = server.client();
    client.head_bucket().bucket(PRIVATE).send().await.unwrap();
    let absent = client.head_bucket().bucket("new-bucket").send().await;
    assert!(absent.unwrap_err().into_service_error().is_not_found());
    client
        .create_bucket()
        .bucket("new-bucket")
        .send()
        .await
        .unwrap();
    client
        .head_bucket()
        .bucket("new-bucket")
        .send()
        .await
        .unwrap();
    let again = client
        .create_bucket()
        .bucket("new-bucket")
        .send()
        .await
        .unwrap_err();
    assert!(again.into_service_error().is_bucket_already_owned_by_you());
    server.put("new-bucket", "k", b"x").await;
    assert_eq!(server.read("new-bucket", "k").await, b"x");
}

#[tokio::test]
async fn what_media_does_not_need_is_not_implemented() {
    let server = Server::start().await;
    let client = server.client();
    let upload = client.create_multipart_upload().bucket(PRIVATE).key("k");
    assert_eq!(code(upload.send().await), "NotImplemented");
    let buckets = client.list_buckets().send().await;
    assert_eq!(code(buckets), "NotImplemented");
    let deletion = client.delete_object().bucket(PRIVATE).key("k");
    let deletion = deletion.if_match("\"x\"").send().await;
    assert_eq!(code(deletion), "NotImplemented");
}

#[tokio::test]
async fn a_refused_upload_gets_its_answer_after_the_whole_body() {
    let server = Server::start().await;
    let mut connection = TcpStream::connect(server.address).await.unwrap();
    let body = vec![b'x'; 900_000];
    let head = format!(
        "PUT /{PRIVATE}/k HTTP/1.1\r\nhost: store\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    connection.write_all(head.as_bytes()).await.unwrap();
    let mut status = [0; 12];
    // The server has responded and could have closed the connection.
    connection.peek(&mut status).await.unwrap();
    connection.write_all(&body).await.unwrap();
    connection.read_exact(&mut status).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 403");
    // The connection remains in use, so the body was read to its end.
    let next = b"GET /health HTTP/1.1\r\nhost: store\r\nconnection: close\r\n\r\n";
    connection.write_all(next).await.unwrap();
    let mut rest = String::new();
    connection.read_to_string(&mut rest).await.unwrap();
    assert!(rest.contains("HTTP/1.1 200 OK"), "{rest}");
}
