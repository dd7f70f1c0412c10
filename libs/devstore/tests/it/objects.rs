use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumMode, MetadataDirective};

use crate::support::{
    PRIVATE, PUBLIC, Server, code, presigning, refusal, refused, send_raw, sha256,
};

#[tokio::test]
async fn objects_keep_their_headers() {
    let server = Server::start().await;
    let client = server.client();
    let put = client
        .put_object()
        .bucket(PRIVATE)
        .key("a/b c/ü.txt")
        .body(ByteStream::from_static(b"hello"))
        .content_type("text/plain")
        .content_disposition("attachment")
        .cache_control("no-store")
        .metadata("colour", "blue")
        .send()
        .await
        .unwrap();
    assert_eq!(put.e_tag(), Some("\"5d41402abc4b2a76b9719d911017c592\""));
    let got = client
        .get_object()
        .bucket(PRIVATE)
        .key("a/b c/ü.txt")
        .send()
        .await
        .unwrap();
    assert_eq!(got.content_length(), Some(5));
    assert_eq!(got.content_type(), Some("text/plain"));
    assert_eq!(got.content_disposition(), Some("attachment"));
    assert_eq!(got.cache_control(), Some("no-store"));
    assert_eq!(got.e_tag(), put.e_tag());
    assert_eq!(got.metadata().unwrap()["colour"], "blue");
    assert_eq!(got.body.collect().await.unwrap().to_vec(), b"hello");
    let head = client
        .head_object()
        .bucket(PRIVATE)
        .key("a/b c/ü.txt")
        .send()
        .await
        .unwrap();
    assert_eq!(head.content_length(), Some(5));
    assert_eq!(head.content_type(), Some("text/plain"));
    assert_eq!(head.e_tag(), put.e_tag());
}

#[tokio::test]
async fn missing_objects_and_buckets_have_error_codes() {
    let server = Server::start().await;
    let client = server.client();
    let get = |bucket: &str| client.get_object().bucket(bucket).key("none").send();
    assert_eq!(code(get(PRIVATE).await), "NoSuchKey");
    assert_eq!(code(get("other-bucket").await), "NoSuchBucket");
    let put = client.put_object().bucket("other-bucket").key("k");
    assert_eq!(
        code(put.body(ByteStream::from_static(b"x")).send().await),
        "NoSuchBucket"
    );
    assert!(!server.exists(PRIVATE, "none").await);
}

#[tokio::test]
async fn keys_are_never_used_as_paths() {
    let server = Server::start().await;
    let keys = [
        "..",
        "../../escape",
        "/etc/passwd",
        "a//b",
        "a/../b",
        "bucket.json",
        "a\\b",
        "%2e%2e",
    ];
    for key in keys {
        let put = server
            .client()
            .put_object()
            .bucket(PRIVATE)
            .key(key)
            .content_length(7);
        let put = put.presigned(presigning()).await.unwrap();
        let answer = send_raw(&put, "content").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{key}: {answer}");
        let get = server.client().get_object().bucket(PRIVATE).key(key);
        let answer = send_raw(&get.presigned(presigning()).await.unwrap(), "").await;
        assert!(answer.ends_with("content"), "{key}: {answer}");
    }
    let found = walk(server.data.path());
    let strays: Vec<_> = found.iter().filter(|path| !is_expected(path)).collect();
    assert!(strays.is_empty(), "{strays:?}");
    assert_eq!(
        found
            .iter()
            .filter(|path| path.contains("/objects/"))
            .count(),
        keys.len()
    );
    server.put(PRIVATE, "a//b", b"two").await;
    server.put(PRIVATE, "a/b", b"one").await;
    assert_eq!(server.read(PRIVATE, "a//b").await, b"two");
}

fn walk(directory: &std::path::Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(walk(&path));
        } else {
            found.push(path.display().to_string());
        }
    }
    found
}

/// The lock, or an object under its hash.
fn is_expected(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap();
    let hashed = name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    name == "lock" || (hashed && path.contains("/objects/"))
}

#[tokio::test]
async fn ranges_return_part_of_the_content() {
    let server = Server::start().await;
    server.put(PRIVATE, "digits", b"0123456789").await;
    let client = server.client();
    for (range, content, header) in [
        ("bytes=0-3", "0123", "bytes 0-3/10"),
        ("bytes=4-", "456789", "bytes 4-9/10"),
        ("bytes=-2", "89", "bytes 8-9/10"),
        ("bytes=8-100", "89", "bytes 8-9/10"),
    ] {
        let got = client
            .get_object()
            .bucket(PRIVATE)
            .key("digits")
            .range(range)
            .send()
            .await;
        let got = got.unwrap();
        assert_eq!(got.content_range(), Some(header));
        assert_eq!(
            got.content_length(),
            Some(i64::try_from(content.len()).unwrap())
        );
        assert_eq!(
            got.body.collect().await.unwrap().to_vec(),
            content.as_bytes()
        );
    }
    server.put(PUBLIC, "digits", b"0123456789").await;
    let url = server.url(&format!("{PUBLIC}/digits"));
    let whole = server.http.get(&url).send().await.unwrap();
    assert_eq!(whole.status(), 200);
    let part = server
        .http
        .get(&url)
        .header("range", "bytes=2-2")
        .send()
        .await
        .unwrap();
    assert_eq!(part.status(), 206);
    assert_eq!(part.text().await.unwrap(), "2");
    let beyond = server
        .http
        .get(&url)
        .header("range", "bytes=10-")
        .send()
        .await
        .unwrap();
    assert_eq!(beyond.headers()["content-range"], "bytes */10");
    assert_eq!(refusal(beyond).await, refused(416, "InvalidRange"));
}

#[tokio::test]
async fn reads_honor_conditions() {
    let server = Server::start().await;
    server.put(PUBLIC, "k", b"hello").await;
    let url = server.url(&format!("{PUBLIC}/k"));
    let etag = "\"5d41402abc4b2a76b9719d911017c592\"";
    let past = "Mon, 01 Jan 2001 00:00:00 GMT";
    let future = "Fri, 01 Jan 2100 00:00:00 GMT";
    for (name, value, status) in [
        ("if-match", etag, 200),
        ("if-match", "*", 200),
        ("if-match", "\"other\"", 412),
        ("if-none-match", etag, 304),
        ("if-none-match", "*", 304),
        ("if-none-match", "\"other\"", 200),
        ("if-modified-since", past, 200),
        ("if-modified-since", future, 304),
        ("if-unmodified-since", past, 412),
        ("if-unmodified-since", future, 200),
    ] {
        for request in [server.http.get(&url), server.http.head(&url)] {
            let answer = request.header(name, value).send().await.unwrap();
            assert_eq!(answer.status(), status, "{name}: {value}");
            if status == 304 {
                assert_eq!(answer.headers()["etag"], etag);
            }
        }
    }
}

#[tokio::test]
async fn signed_reads_can_override_response_headers() {
    let server = Server::start().await;
    server.put(PRIVATE, "k", b"hello").await;
    let signed = server
        .client()
        .get_object()
        .bucket(PRIVATE)
        .key("k")
        .response_content_disposition("attachment; filename*=UTF-8''a%20b.txt")
        .response_content_type("text/x-other")
        .presigned(presigning())
        .await
        .unwrap();
    let answer = server.send(&signed, "", &[]).await;
    assert_eq!(answer.status(), 200);
    let headers = answer.headers();
    assert_eq!(
        headers["content-disposition"],
        "attachment; filename*=UTF-8''a%20b.txt"
    );
    assert_eq!(
        headers.get_all("content-type").iter().collect::<Vec<_>>(),
        ["text/x-other"]
    );
    assert_eq!(answer.text().await.unwrap(), "hello");
}

#[tokio::test]
async fn writes_honor_conditions() {
    let server = Server::start().await;
    let client = server.client();
    let put = |content: &'static [u8]| {
        client
            .put_object()
            .bucket(PRIVATE)
            .key("k")
            .body(ByteStream::from_static(content))
    };
    assert_eq!(code(put(b"x").if_match("\"x\"").send().await), "NoSuchKey");
    let first = put(b"first").if_none_match("*").send().await.unwrap();
    assert_eq!(
        code(put(b"second").if_none_match("*").send().await),
        "PreconditionFailed"
    );
    assert_eq!(
        code(put(b"second").if_match("\"x\"").send().await),
        "PreconditionFailed"
    );
    assert_eq!(server.read(PRIVATE, "k").await, b"first");
    put(b"second")
        .if_match(first.e_tag().unwrap())
        .send()
        .await
        .unwrap();
    assert_eq!(server.read(PRIVATE, "k").await, b"second");
}

#[tokio::test]
async fn one_of_many_concurrent_creates_wins() {
    let server = Server::start().await;
    let client = server.client();
    let put = |number: u8| {
        let body = ByteStream::from(vec![number; 100_000]);
        client
            .put_object()
            .bucket(PRIVATE)
            .key("k")
            .body(body)
            .if_none_match("*")
            .send()
    };
    let answers = futures_util::future::join_all((0..16).map(put)).await;
    let won: Vec<usize> = (0..16).filter(|number| answers[*number].is_ok()).collect();
    assert_eq!(won.len(), 1);
    let expected = vec![u8::try_from(won[0]).unwrap(); 100_000];
    assert_eq!(server.read(PRIVATE, "k").await, expected);
}

#[tokio::test]
async fn deleting_a_missing_object_succeeds() {
    let server = Server::start().await;
    server.put(PRIVATE, "k", b"x").await;
    let client = server.client();
    for _ in 0..2 {
        client
            .delete_object()
            .bucket(PRIVATE)
            .key("k")
            .send()
            .await
            .unwrap();
        assert!(!server.exists(PRIVATE, "k").await);
    }
}

#[tokio::test]
async fn copies_keep_or_replace_headers() {
    let server = Server::start().await;
    let client = server.client();
    let put = client
        .put_object()
        .bucket(PRIVATE)
        .key("from ü")
        .content_type("text/plain");
    let put = put
        .checksum_sha256(sha256(b"hello"))
        .body(ByteStream::from_static(b"hello"));
    put.send().await.unwrap();
    let copy = |key: &str| {
        let source = format!("{PRIVATE}/from%20%C3%BC");
        client
            .copy_object()
            .bucket(PUBLIC)
            .key(key)
            .copy_source(source)
    };
    copy("kept").send().await.unwrap();
    let replace = copy("new").metadata_directive(MetadataDirective::Replace);
    replace.content_type("text/new").send().await.unwrap();
    for (key, kind) in [("kept", "text/plain"), ("new", "text/new")] {
        let head = client.head_object().bucket(PUBLIC).key(key);
        let head = head
            .checksum_mode(ChecksumMode::Enabled)
            .send()
            .await
            .unwrap();
        assert_eq!(head.content_type(), Some(kind));
        assert_eq!(head.checksum_sha256(), Some(sha256(b"hello").as_str()));
        assert_eq!(server.read(PUBLIC, key).await, b"hello");
    }
    let refused = copy("no").copy_source_if_match("\"other\"").send().await;
    assert_eq!(code(refused), "PreconditionFailed");
    let itself = client
        .copy_object()
        .bucket(PUBLIC)
        .key("new")
        .copy_source(format!("{PUBLIC}/new"));
    assert_eq!(code(itself.send().await), "InvalidRequest");
}

#[tokio::test]
async fn unsupported_headers_are_refused() {
    let server = Server::start().await;
    let client = server.client();
    let put = || {
        client
            .put_object()
            .bucket(PRIVATE)
            .key("k")
            .body(ByteStream::from_static(b"x"))
    };
    assert_eq!(code(put().tagging("a=b").send().await), "NotImplemented");
    assert_eq!(
        code(put().grant_read("id=x").send().await),
        "NotImplemented"
    );
    let public = aws_sdk_s3::types::ObjectCannedAcl::PublicRead;
    assert_eq!(code(put().acl(public).send().await), "NotImplemented");
    let large = put().metadata("a", "x".repeat(2048)).send().await;
    assert_eq!(code(large), "MetadataTooLarge");
    let version = client
        .get_object()
        .bucket(PRIVATE)
        .key("k")
        .version_id("v1")
        .send()
        .await;
    assert_eq!(code(version), "InvalidArgument");
    assert!(!server.exists(PRIVATE, "k").await);
}

#[tokio::test]
async fn a_large_object_streams_both_ways() {
    let server = Server::start().await;
    let content: Vec<u8> = (0..24_u32 * 1024 * 1024)
        .map(|at| (at % 251) as u8)
        .collect();
    server.put(PRIVATE, "large", &content).await;
    assert!(server.read(PRIVATE, "large").await == content);
    let range = "bytes=20000000-20000099";
    let part = server
        .client()
        .get_object()
        .bucket(PRIVATE)
        .key("large")
        .range(range)
        .send()
        .await;
    let part = part.unwrap().body.collect().await.unwrap().to_vec();
    assert_eq!(part, &content[20_000_000..20_000_100]);
}

#[tokio::test]
async fn empty_objects_are_stored() {
    let server = Server::start().await;
    server.put(PRIVATE, "empty", b"").await;
    assert_eq!(server.read(PRIVATE, "empty").await, b"");
}
