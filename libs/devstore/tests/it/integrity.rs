use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumAlgorithm, ChecksumMode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{PRIVATE, Server, code, md5, presigning, sha256};

#[tokio::test]
async fn content_with_a_wrong_digest_is_not_stored() {
    let server = Server::start().await;
    let client = server.client();
    let put = || {
        client
            .put_object()
            .bucket(PRIVATE)
            .key("k")
            .body(ByteStream::from_static(b"one"))
    };
    let two = b"two".as_slice();
    assert_eq!(code(put().content_md5(md5(two)).send().await), "BadDigest");
    assert_eq!(
        code(put().content_md5("no digest").send().await),
        "InvalidDigest"
    );
    assert_eq!(
        code(put().checksum_sha256(sha256(two)).send().await),
        "BadDigest"
    );
    assert_eq!(
        code(put().checksum_crc32("AAAAAA==").send().await),
        "BadDigest"
    );
    assert!(!server.exists(PRIVATE, "k").await);
    put()
        .content_md5(md5(b"one"))
        .checksum_sha256(sha256(b"one"))
        .send()
        .await
        .unwrap();
    assert_eq!(code(put().content_md5(md5(two)).send().await), "BadDigest");
    assert_eq!(server.read(PRIVATE, "k").await, b"one");
}

#[tokio::test]
async fn checksums_of_every_algorithm_are_kept() {
    let server = Server::start().await;
    // The SDK computes them; for a body in memory it sends a header.
    let client = server.client_with(crate::support::SECRET_KEY, |settings| settings);
    for (algorithm, key) in [
        (ChecksumAlgorithm::Crc32, "crc32"),
        (ChecksumAlgorithm::Crc32C, "crc32c"),
        (ChecksumAlgorithm::Crc64Nvme, "crc64nvme"),
        (ChecksumAlgorithm::Sha1, "sha1"),
        (ChecksumAlgorithm::Sha256, "sha256"),
    ] {
        let body = ByteStream::from_static(b"123456789");
        let put = client.put_object().bucket(PRIVATE).key(key).body(body);
        put.checksum_algorithm(algorithm).send().await.unwrap();
        let head = client.head_object().bucket(PRIVATE).key(key);
        let head = head
            .checksum_mode(ChecksumMode::Enabled)
            .send()
            .await
            .unwrap();
        let (kept, expected) = match key {
            "crc32" => (head.checksum_crc32(), "y/Q5Jg=="),
            "crc32c" => (head.checksum_crc32_c(), "4waSgw=="),
            "crc64nvme" => (head.checksum_crc64_nvme(), "rosUhgp5mIg="),
            "sha1" => (head.checksum_sha1(), "98O8HYCOBHMq32eZZczDTKeuNEE="),
            _ => (
                head.checksum_sha256(),
                "FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU=",
            ),
        };
        assert_eq!(kept, Some(expected), "{key}");
        // The SDK compares what it reads with the digest that comes along.
        let get = client
            .get_object()
            .bucket(PRIVATE)
            .key(key)
            .send()
            .await
            .unwrap();
        assert_eq!(get.body.collect().await.unwrap().to_vec(), b"123456789");
    }
}

#[tokio::test]
async fn checksums_in_trailers_are_verified() {
    let server = Server::start().await;
    let client = server.client_with(crate::support::SECRET_KEY, |settings| settings);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    let content = vec![7; 3_000_000];
    std::fs::write(&path, &content).unwrap();
    let body = ByteStream::read_from().path(&path).build().await.unwrap();
    let put = client.put_object().bucket(PRIVATE).key("k").body(body);
    let put = put
        .checksum_algorithm(ChecksumAlgorithm::Sha256)
        .send()
        .await
        .unwrap();
    assert_eq!(put.checksum_sha256(), Some(sha256(&content).as_str()));
    let head = client
        .head_object()
        .bucket(PRIVATE)
        .key("k")
        .send()
        .await
        .unwrap();
    assert_eq!(head.content_length(), Some(3_000_000));
    assert_eq!(head.content_encoding(), None);
    assert!(server.read(PRIVATE, "k").await == content);
}

/// Begins an upload of 1 MB by hand and sends half of it.
async fn begin_upload(server: &Server, key: &str) -> TcpStream {
    let request = server.client().put_object().bucket(PRIVATE).key(key);
    let signed = request
        .content_length(1_000_000)
        .presigned(presigning())
        .await
        .unwrap();
    let target = signed
        .uri()
        .split_once(&server.address.to_string())
        .unwrap()
        .1;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let head = format!(
        "PUT {target} HTTP/1.1\r\nhost: {}\r\ncontent-length: 1000000\r\n\r\n",
        server.address
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&vec![1; 500_000]).await.unwrap();
    stream
}

/// Waits until no draft is left on disk.
async fn drafts_are_gone(server: &Server) {
    let drafts = server.data.path().join("tmp");
    let gone = async {
        while std::fs::read_dir(&drafts).unwrap().next().is_some() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), gone)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_truncated_body_stores_nothing() {
    let server = Server::start().await;
    server.put(PRIVATE, "old", b"old").await;
    for key in ["new", "old"] {
        let mut stream = begin_upload(&server, key).await;
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        // An answer or a closed connection: either way the server is done with it.
        let _ = stream.read_to_end(&mut answer).await;
        assert!(!answer.starts_with(b"HTTP/1.1 200"));
        drafts_are_gone(&server).await;
    }
    assert!(!server.exists(PRIVATE, "new").await);
    assert_eq!(server.read(PRIVATE, "old").await, b"old");
}

#[tokio::test]
async fn a_disconnect_stores_nothing() {
    let server = Server::start().await;
    let stream = begin_upload(&server, "k").await;
    let drafts = server.data.path().join("tmp");
    let begun = async {
        while std::fs::read_dir(&drafts).unwrap().next().is_none() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), begun)
        .await
        .unwrap();
    drop(stream);
    drafts_are_gone(&server).await;
    assert!(!server.exists(PRIVATE, "k").await);
}
