use crate::support::{PRIVATE, PUBLIC, Server};

const ORIGIN: &str = "https://app.example";

async fn preflight(server: &Server, bucket: &str, origin: &str, method: &str) -> reqwest::Response {
    let request = server
        .http
        .request(reqwest::Method::OPTIONS, server.url(&format!("{bucket}/k")));
    let request = request
        .header("origin", origin)
        .header("access-control-request-method", method)
        .header(
            "access-control-request-headers",
            "content-type, x-amz-checksum-sha256",
        );
    request.send().await.unwrap()
}

#[tokio::test]
async fn by_default_any_origin_may_upload() {
    let server = Server::start().await;
    let answer = preflight(&server, PRIVATE, ORIGIN, "PUT").await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["access-control-allow-origin"], "*");
    server.put(PUBLIC, "k", b"x").await;
    let get = server
        .http
        .get(server.url(&format!("{PUBLIC}/k")))
        .header("origin", ORIGIN);
    let answer = get.send().await.unwrap();
    assert_eq!(answer.headers()["access-control-allow-origin"], "*");
    assert_eq!(
        answer.headers()["access-control-expose-headers"],
        "ETag, Content-Range, Content-Length, x-amz-checksum-sha256"
    );
    assert_eq!(answer.headers()["vary"], "Origin");
}

#[tokio::test]
async fn only_the_named_origins_may_upload() {
    let server = Server::start_with(|options| options.cors_origins = vec![ORIGIN.to_owned()]).await;
    let answer = preflight(&server, PRIVATE, ORIGIN, "PUT").await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["access-control-allow-origin"], ORIGIN);
    assert_eq!(answer.headers()["access-control-max-age"], "600");
    let allowed = &answer.headers()["access-control-allow-headers"];
    assert_eq!(allowed, "content-type, x-amz-checksum-sha256");
    let other = preflight(&server, PRIVATE, "https://b.example", "PUT").await;
    assert_eq!(other.status(), 403);
}
