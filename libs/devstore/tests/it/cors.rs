use aws_sdk_s3::types::{CorsConfiguration, CorsRule};

use crate::support::{PRIVATE, PUBLIC, Server, code};

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

fn rules(method: &str) -> CorsConfiguration {
    let rule = CorsRule::builder()
        .allowed_origins(ORIGIN)
        .allowed_methods(method)
        .allowed_headers("*")
        .expose_headers("ETag")
        .max_age_seconds(60)
        .build()
        .unwrap();
    CorsConfiguration::builder()
        .cors_rules(rule)
        .build()
        .unwrap()
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
async fn cors_rules_of_a_bucket_apply_and_persist() {
    let mut server = Server::start().await;
    let client = server.client();
    let get = || client.get_bucket_cors().bucket(PRIVATE).send();
    assert_eq!(code(get().await), "NoSuchCORSConfiguration");
    let put = |rules| {
        client
            .put_bucket_cors()
            .bucket(PRIVATE)
            .cors_configuration(rules)
            .send()
    };
    assert_eq!(code(put(rules("PATCH")).await), "InvalidRequest");
    put(rules("PUT")).await.unwrap();
    server.restart().await;
    let kept = server
        .client()
        .get_bucket_cors()
        .bucket(PRIVATE)
        .send()
        .await
        .unwrap();
    assert_eq!(Some(kept.cors_rules()), rules("PUT").cors_rules().into());
    let answer = preflight(&server, PRIVATE, ORIGIN, "PUT").await;
    assert_eq!(answer.headers()["access-control-allow-origin"], ORIGIN);
    assert_eq!(answer.headers()["access-control-max-age"], "60");
    assert_eq!(
        preflight(&server, PRIVATE, ORIGIN, "DELETE").await.status(),
        403
    );
    assert_eq!(
        preflight(&server, PRIVATE, "https://b.example", "PUT")
            .await
            .status(),
        403
    );
    server
        .client()
        .delete_bucket_cors()
        .bucket(PRIVATE)
        .send()
        .await
        .unwrap();
    assert_eq!(
        preflight(&server, PRIVATE, "https://b.example", "PUT")
            .await
            .status(),
        200
    );
}
