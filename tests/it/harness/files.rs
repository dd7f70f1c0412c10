//! Uploads as by a browser: presign, PUT to the object store, complete.

use serde_json::{Value, json};

use super::client::Client;
use super::user::text;

/// An image of one pixel.
pub(crate) const PNG: &[u8] = &[
    0x89, b'P', b'N', b'G', 0x0d, 0x0a, 0x1a, 0x0a, 0, 0, 0, 0x0d, b'I', b'H', b'D', b'R', 0, 0, 0,
    1, 0, 0, 0, 1, 8, 6, 0, 0, 0, 0x1f, 0x15, 0xc4, 0x89, 0, 0, 0, 0x0d, b'I', b'D', b'A', b'T',
    0x78, 0x9c, 0x63, 0xf8, 0xcf, 0xc0, 0xf0, 0x1f, 0, 5, 0, 1, 0xff, 0x89, 0x99, 0x3d, 0x1d, 0, 0,
    0, 0, b'I', b'E', b'N', b'D', 0xae, 0x42, 0x60, 0x82,
];

/// The body of a presign request for [`PNG`].
pub(crate) fn presign_body(visibility: &str) -> Value {
    json!({
        "file_name": "pixel.png",
        "content_type": "image/png",
        "size_bytes": PNG.len(),
        "visibility": visibility,
    })
}

/// Presigns an upload; returns the response body.
pub(crate) async fn presign(client: &Client, visibility: &str) -> Value {
    client
        .post("/v1/media/presign", &presign_body(visibility))
        .await
        .json_of(201)
}

/// Sends bytes to a signed URL; returns the status of the store.
pub(crate) async fn put(upload: &Value, bytes: &[u8]) -> u16 {
    let method = text(upload, "/method").parse().unwrap();
    let mut request = plain()
        .request(method, text(upload, "/url"))
        .body(bytes.to_vec());
    for (name, value) in upload["headers"].as_object().expect("headers to send") {
        if !name.eq_ignore_ascii_case("content-length") {
            request = request.header(name, value.as_str().expect("a header value"));
        }
    }
    request.send().await.unwrap().status().as_u16()
}

/// Uploads a file; returns the finished asset.
pub(crate) async fn upload(client: &Client, visibility: &str) -> Value {
    let presigned = presign(client, visibility).await;
    let status = put(&presigned["upload"], PNG).await;
    assert!((200..300).contains(&status), "the store returned {status}");
    let id = text(&presigned, "/asset/id");
    let asset = client
        .post(&format!("/v1/media/assets/{id}/complete"), &json!({}))
        .await
        .json_of(200);
    assert_eq!(asset["status"], "ready", "{asset:#}");
    asset
}

/// Fetches a URL without a token: status and body.
pub(crate) async fn fetch(url: &str) -> (u16, Vec<u8>) {
    let response = plain().get(url).send().await.unwrap();
    let status = response.status().as_u16();
    (status, response.bytes().await.unwrap().to_vec())
}

fn plain() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}
