use aws_sdk_s3::presigning::PresignedRequest;
use aws_sdk_s3::types::ChecksumMode;

use crate::support::{PRIVATE, Server, expired, presigning, refusal, refused, sha256};

const CONTENT: &[u8] = b"the promised content";

/// An upload whose size, type, checksum and condition are signed.
async fn presign(server: &Server, key: &str) -> PresignedRequest {
    let request = server.client().put_object().bucket(PRIVATE).key(key);
    let request = request
        .content_type("image/png")
        .content_length(i64::try_from(CONTENT.len()).unwrap())
        .if_none_match("*")
        .checksum_sha256(sha256(CONTENT));
    request.presigned(presigning()).await.unwrap()
}

#[tokio::test]
async fn a_presigned_upload_is_stored_once() {
    let server = Server::start().await;
    let signed = presign(&server, "k").await;
    let names = "SignedHeaders=content-length%3Bcontent-type%3Bhost%3Bif-none-match%3Bx-amz-checksum-sha256";
    assert!(signed.uri().contains(names), "{}", signed.uri());
    let answer = server.send(&signed, CONTENT, &[]).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["x-amz-checksum-sha256"], sha256(CONTENT));
    let again = server.send(&signed, CONTENT, &[]).await;
    assert_eq!(refusal(again).await, refused(412, "PreconditionFailed"));
    let head = server.client().head_object().bucket(PRIVATE).key("k");
    let plain = head.clone().send().await.unwrap();
    assert_eq!(plain.checksum_sha256(), None);
    let full = head
        .checksum_mode(ChecksumMode::Enabled)
        .send()
        .await
        .unwrap();
    assert_eq!(full.checksum_sha256(), Some(sha256(CONTENT).as_str()));
    assert_eq!(full.content_type(), Some("image/png"));
}

#[tokio::test]
async fn signed_headers_can_be_neither_changed_nor_omitted() {
    let server = Server::start().await;
    let signed = presign(&server, "k").await;
    let other = sha256(b"other");
    for changed in [
        ("content-type", "text/html"),
        ("content-type", ""),
        ("if-none-match", "\"x\""),
        ("if-none-match", ""),
        ("x-amz-checksum-sha256", other.as_str()),
        ("x-amz-checksum-sha256", ""),
    ] {
        let answer = server.send(&signed, CONTENT, &[changed]).await;
        assert_eq!(
            refusal(answer).await,
            refused(403, "SignatureDoesNotMatch"),
            "{changed:?}"
        );
    }
    for content in [&CONTENT[1..], b"the promised content and more", b""] {
        let answer = server.send(&signed, content, &[]).await;
        assert_eq!(refusal(answer).await, refused(403, "SignatureDoesNotMatch"));
    }
    let pieces = futures_util::stream::iter([Ok::<_, std::io::Error>(CONTENT)]);
    let chunked = server
        .send(&signed, reqwest::Body::wrap_stream(pieces), &[])
        .await;
    assert_eq!(
        refusal(chunked).await,
        refused(403, "SignatureDoesNotMatch")
    );
    assert!(!server.exists(PRIVATE, "k").await);
}

#[tokio::test]
async fn other_content_of_the_same_size_is_refused() {
    let server = Server::start().await;
    let signed = presign(&server, "k").await;
    let answer = server
        .send(&signed, CONTENT.to_ascii_uppercase(), &[])
        .await;
    assert_eq!(refusal(answer).await, refused(400, "BadDigest"));
    assert!(!server.exists(PRIVATE, "k").await);
}

#[tokio::test]
async fn unsigned_amz_headers_are_refused() {
    let server = Server::start().await;
    let signed = presign(&server, "k").await;
    for header in [
        "x-amz-meta-colour",
        "x-amz-acl",
        "x-amz-storage-class",
        "x-amz-copy-source",
    ] {
        let answer = server.send(&signed, CONTENT, &[(header, "private")]).await;
        assert_eq!(refusal(answer).await.0, 403, "{header}");
    }
    // The same address, written in another way.
    let url = signed.uri().replace("X-Amz-", "X%2DAmz-");
    let mut request = server
        .http
        .put(url)
        .body(CONTENT)
        .header("x-amz-meta-colour", "blue");
    for (name, value) in signed
        .headers()
        .filter(|(name, _)| *name != "content-length")
    {
        request = request.header(name, value);
    }
    assert_eq!(
        refusal(request.send().await.unwrap()).await,
        refused(403, "AccessDenied")
    );
    assert!(!server.exists(PRIVATE, "k").await);
}

#[tokio::test]
async fn a_signed_url_is_valid_only_for_its_method_key_and_time() {
    let server = Server::start().await;
    server.put(PRIVATE, "k", b"hello").await;
    let get = || server.client().get_object().bucket(PRIVATE).key("k");
    let signed = get().presigned(presigning()).await.unwrap();
    assert_eq!(
        server.send(&signed, "", &[]).await.text().await.unwrap(),
        "hello"
    );
    let mismatch = refused(403, "SignatureDoesNotMatch");
    let deleted = server.http.delete(signed.uri()).send().await.unwrap();
    assert_eq!(refusal(deleted).await, mismatch);
    let (signature, last) = signed.uri().split_at(signed.uri().len() - 20);
    let tampered = [
        signed.uri().replace("/k?", "/j?"),
        signed
            .uri()
            .replace("X-Amz-Expires=300", "X-Amz-Expires=3000"),
        format!("{}&response-content-type=text%2Fhtml", signed.uri()),
        format!(
            "{signature}{}",
            last.replace(|c: char| c.is_ascii_digit(), "a")
        ),
    ];
    for url in tampered {
        if url == signed.uri() {
            continue;
        }
        let answer = server.http.get(&url).send().await.unwrap();
        assert_eq!(refusal(answer).await, mismatch, "{url}");
    }
    let late = get().presigned(expired()).await.unwrap();
    assert_eq!(
        refusal(server.send(&late, "", &[]).await).await,
        refused(403, "AccessDenied")
    );
    assert!(server.exists(PRIVATE, "k").await);
}
