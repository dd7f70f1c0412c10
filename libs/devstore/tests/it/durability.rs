use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::ChecksumMode;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::support::{PRIVATE, Server, sha256};

#[tokio::test]
async fn objects_and_buckets_survive_a_restart() {
    let mut server = Server::start().await;
    let client = server.client();
    client
        .create_bucket()
        .bucket("made-later")
        .send()
        .await
        .unwrap();
    let put = client
        .put_object()
        .bucket("made-later")
        .key("k")
        .content_type("text/plain");
    let put = put.checksum_sha256(sha256(b"hello")).metadata("a", "b");
    put.body(ByteStream::from_static(b"hello"))
        .send()
        .await
        .unwrap();
    let before = client
        .head_object()
        .bucket("made-later")
        .key("k")
        .send()
        .await
        .unwrap();
    server.restart().await;
    assert_eq!(server.read("made-later", "k").await, b"hello");
    let head = server.client().head_object().bucket("made-later").key("k");
    let after = head
        .checksum_mode(ChecksumMode::Enabled)
        .send()
        .await
        .unwrap();
    assert_eq!(after.e_tag(), before.e_tag());
    assert_eq!(after.last_modified(), before.last_modified());
    assert_eq!(after.content_type(), Some("text/plain"));
    assert_eq!(after.metadata(), before.metadata());
    assert_eq!(after.checksum_sha256(), Some(sha256(b"hello").as_str()));
}

#[tokio::test]
async fn drafts_are_removed_at_start() {
    let mut server = Server::start().await;
    server.put(PRIVATE, "k", b"hello").await;
    std::fs::write(server.data.path().join("tmp/draft"), b"half").unwrap();
    server.restart().await;
    assert_eq!(server.read(PRIVATE, "k").await, b"hello");
    assert!(!server.data.path().join("tmp/draft").exists());
}

#[tokio::test]
async fn a_directory_is_used_by_one_server() {
    let server = Server::start().await;
    server.put(PRIVATE, "k", b"hello").await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let second = quartet_devstore::serve(listener, server.options(), CancellationToken::new());
    let error = second.await.unwrap_err();
    assert!(
        error.to_string().contains("is in use by another server"),
        "{error}"
    );
    assert_eq!(server.read(PRIVATE, "k").await, b"hello");
}

#[tokio::test]
async fn an_invalid_bucket_name_prevents_the_start() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["", "a", "UPPER", "../up", "health"] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut options = quartet_devstore::Options::new(directory.path(), "a", "s");
        options.buckets = vec![name.to_owned()];
        let error = quartet_devstore::serve(listener, options, CancellationToken::new()).await;
        let error = error.unwrap_err();
        assert!(
            error.to_string().contains("not a valid bucket name"),
            "{error}"
        );
    }
}
