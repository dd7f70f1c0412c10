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
async fn without_cors_rules_any_origin_may_upload() {
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
    assert_eq!(answer.headers()["vary"], "Origin");
}

#[tokio::test]
async fn only_allowed_origins_and_methods_pass() {
    let server = Server::start_with(|options| {
        options.cors_origins = vec![ORIGIN.to_owned(), "https://*.pages.example".to_owned()];
    })
    .await;
    for origin in [ORIGIN, "https://a.pages.example"] {
        let answer = preflight(&server, PRIVATE, origin, "PUT").await;
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["access-control-allow-origin"], origin);
        assert_eq!(answer.headers()["access-control-max-age"], "600");
        let allowed = &answer.headers()["access-control-allow-headers"];
        assert_eq!(allowed, "content-type, x-amz-checksum-sha256");
    }
    for (origin, method) in [(ORIGIN, "PATCH"), ("https://b.example", "PUT")] {
        let answer = preflight(&server, PRIVATE, origin, method).await;
        assert_eq!(answer.status(), 403);
        assert!(!answer.headers().contains_key("access-control-allow-origin"));
    }
    server.put(PUBLIC, "k", b"x").await;
    let get = server.http.get(server.url(&format!("{PUBLIC}/k")));
    let answer = get.header("origin", "https://b.example").send().await;
    let answer = answer.unwrap();
    assert!(!answer.headers().contains_key("access-control-allow-origin"));
    assert_eq!(answer.headers()["vary"], "Origin");
}
