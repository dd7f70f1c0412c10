use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumAlgorithm, ChecksumMode, CompletedMultipartUpload, CompletedPart};

use crate::support::{PRIVATE, Server, code, md5, sha256};

const PART: usize = 5 * 1024 * 1024;

async fn begin(server: &Server, key: &str) -> String {
    let create = server
        .client()
        .create_multipart_upload()
        .bucket(PRIVATE)
        .key(key);
    let answer = create.content_type("video/mp4").send().await.unwrap();
    answer.upload_id().unwrap().to_owned()
}

async fn send_part(
    server: &Server,
    key: &str,
    id: &str,
    number: i32,
    content: Vec<u8>,
) -> CompletedPart {
    let part = server
        .client()
        .upload_part()
        .bucket(PRIVATE)
        .key(key)
        .upload_id(id);
    let part = part
        .part_number(number)
        .body(ByteStream::from(content))
        .send()
        .await
        .unwrap();
    CompletedPart::builder()
        .part_number(number)
        .set_e_tag(part.e_tag().map(str::to_owned))
        .build()
}

fn completed(parts: &[CompletedPart]) -> CompletedMultipartUpload {
    CompletedMultipartUpload::builder()
        .set_parts(Some(parts.to_vec()))
        .build()
}

macro_rules! complete {
    ($server:expr, $key:expr, $id:expr, $parts:expr) => {{
        let complete = $server
            .client()
            .complete_multipart_upload()
            .bucket(PRIVATE)
            .key($key);
        complete
            .upload_id($id)
            .multipart_upload(completed($parts))
            .send()
            .await
    }};
}

#[tokio::test]
async fn parts_become_one_object() {
    let server = Server::start().await;
    let id = begin(&server, "k").await;
    let second = send_part(&server, "k", &id, 2, vec![2; 10]).await;
    send_part(&server, "k", &id, 1, vec![9; 10]).await;
    let first = send_part(&server, "k", &id, 1, vec![1; PART]).await;
    assert!(!server.exists(PRIVATE, "k").await);
    let listed = server
        .client()
        .list_parts()
        .bucket(PRIVATE)
        .key("k")
        .upload_id(&id);
    let page = listed.clone().send().await.unwrap();
    let sizes: Vec<_> = page
        .parts()
        .iter()
        .map(|part| (part.part_number(), part.size()))
        .collect();
    let expected = [(1, PART), (2, 10)].map(|(n, size)| (Some(n), i64::try_from(size).ok()));
    assert_eq!(sizes, expected);
    let page = listed.max_parts(1).send().await.unwrap();
    assert_eq!(
        (page.is_truncated(), page.next_part_number_marker()),
        (Some(true), Some("1"))
    );
    let answer = complete!(server, "k", &id, &[first, second]).unwrap();
    assert!(answer.e_tag().unwrap().ends_with("-2\""));
    let head = server
        .client()
        .head_object()
        .bucket(PRIVATE)
        .key("k")
        .send()
        .await
        .unwrap();
    assert_eq!(head.content_type(), Some("video/mp4"));
    assert_eq!(head.e_tag(), answer.e_tag());
    let content = server.read(PRIVATE, "k").await;
    assert!(content == [vec![1; PART], vec![2; 10]].concat());
    assert_eq!(code(complete!(server, "k", &id, &[])), "NoSuchUpload");
}

#[tokio::test]
async fn a_multipart_etag_is_the_md5_of_the_part_md5s() {
    let server = Server::start().await;
    let id = begin(&server, "k").await;
    let part = send_part(&server, "k", &id, 1, b"hello".to_vec()).await;
    let answer = complete!(server, "k", &id, &[part]).unwrap();
    // md5(unhex("5d41402abc4b2a76b9719d911017c592"))
    assert_eq!(
        answer.e_tag(),
        Some("\"62109206880d38a4010a98e11243924a-1\"")
    );
}

#[tokio::test]
async fn invalid_part_lists_are_refused_and_can_be_corrected() {
    let server = Server::start().await;
    let id = begin(&server, "k").await;
    let one = send_part(&server, "k", &id, 1, vec![1; PART]).await;
    let two = send_part(&server, "k", &id, 2, vec![2; PART + 1]).await;
    let small = send_part(&server, "k", &id, 3, vec![3; 10]).await;
    let absent = CompletedPart::builder()
        .part_number(9)
        .e_tag("\"x\"")
        .build();
    let other = CompletedPart::builder()
        .part_number(1)
        .e_tag("\"x\"")
        .build();
    for (parts, refusal) in [
        (vec![small.clone(), one.clone()], "InvalidPartOrder"),
        (vec![one.clone(), one.clone()], "InvalidPartOrder"),
        (vec![absent], "InvalidPart"),
        (vec![other], "InvalidPart"),
        // R2 wants equal sizes, and S3 at least 5 MiB.
        (vec![one.clone(), two.clone(), small.clone()], "InvalidPart"),
        (vec![one.clone(), two.clone()], "InvalidPart"),
        (
            vec![
                small.clone(),
                CompletedPart::builder().part_number(4).build(),
            ],
            "InvalidPart",
        ),
    ] {
        assert_eq!(
            code(complete!(server, "k", &id, &parts)),
            refusal,
            "{parts:?}"
        );
    }
    let four = send_part(&server, "k", &id, 4, vec![4; 10]).await;
    let both_small = complete!(server, "k", &id, &[small.clone(), four]);
    assert_eq!(code(both_small), "EntityTooSmall");
    complete!(server, "k", &id, &[one, small]).unwrap();
    assert!(server.exists(PRIVATE, "k").await);
}

#[tokio::test]
async fn an_aborted_upload_is_removed() {
    let server = Server::start().await;
    let id = begin(&server, "k").await;
    let part = send_part(&server, "k", &id, 1, b"x".to_vec()).await;
    let abort = server
        .client()
        .abort_multipart_upload()
        .bucket(PRIVATE)
        .key("k")
        .upload_id(&id);
    abort.clone().send().await.unwrap();
    assert_eq!(code(abort.send().await), "NoSuchUpload");
    assert_eq!(code(complete!(server, "k", &id, &[part])), "NoSuchUpload");
    let late = server
        .client()
        .upload_part()
        .bucket(PRIVATE)
        .key("k")
        .upload_id(&id);
    let late = late
        .part_number(1)
        .body(ByteStream::from_static(b"x"))
        .send()
        .await;
    assert_eq!(code(late), "NoSuchUpload");
    let listed = server
        .client()
        .list_multipart_uploads()
        .bucket(PRIVATE)
        .send()
        .await
        .unwrap();
    assert!(listed.uploads().is_empty());
}

#[tokio::test]
async fn open_uploads_are_paginated_and_survive_a_restart() {
    let mut server = Server::start().await;
    let mut ids = Vec::new();
    for key in ["a", "a", "b"] {
        ids.push(begin(&server, key).await);
    }
    let part = send_part(&server, "b", &ids[2], 1, b"kept".to_vec()).await;
    server.restart().await;
    let (mut seen, mut key, mut id) = (Vec::new(), None, None);
    loop {
        let list = server
            .client()
            .list_multipart_uploads()
            .bucket(PRIVATE)
            .max_uploads(1);
        let page = list
            .set_key_marker(key)
            .set_upload_id_marker(id)
            .send()
            .await
            .unwrap();
        seen.extend(page.uploads().iter().map(|upload| {
            (
                upload.key().unwrap().to_owned(),
                upload.upload_id().unwrap().to_owned(),
            )
        }));
        key = page.next_key_marker().map(str::to_owned);
        id = page.next_upload_id_marker().map(str::to_owned);
        if page.is_truncated() == Some(false) {
            break;
        }
    }
    let keys: Vec<_> = seen.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(keys, ["a", "a", "b"]);
    let mut found: Vec<_> = seen.into_iter().map(|(_, id)| id).collect();
    found.sort();
    let id = ids[2].clone();
    ids.sort();
    assert_eq!(found, ids);
    complete!(server, "b", &id, &[part]).unwrap();
    assert_eq!(server.read(PRIVATE, "b").await, b"kept");
}

#[tokio::test]
async fn an_upload_id_is_valid_only_for_its_key() {
    let server = Server::start().await;
    let id = begin(&server, "k").await;
    for (key, id) in [
        ("other", id.as_str()),
        ("k", "../../etc"),
        ("k", "00000000000000000000000000000000"),
    ] {
        let part = server
            .client()
            .upload_part()
            .bucket(PRIVATE)
            .key(key)
            .upload_id(id);
        let part = part
            .part_number(1)
            .body(ByteStream::from_static(b"x"))
            .send()
            .await;
        assert_eq!(code(part), "NoSuchUpload");
    }
    for number in [0, 10_001] {
        let part = server
            .client()
            .upload_part()
            .bucket(PRIVATE)
            .key("k")
            .upload_id(&id);
        let part = part
            .part_number(number)
            .body(ByteStream::from_static(b"x"))
            .send()
            .await;
        assert_eq!(code(part), "InvalidArgument");
    }
}

#[tokio::test]
async fn parts_are_verified_and_the_object_has_a_composite_checksum() {
    let server = Server::start().await;
    let create = server
        .client()
        .create_multipart_upload()
        .bucket(PRIVATE)
        .key("k");
    let create = create
        .checksum_algorithm(ChecksumAlgorithm::Sha256)
        .send()
        .await
        .unwrap();
    let id = create.upload_id().unwrap();
    let part = |content: &'static [u8]| {
        let part = server
            .client()
            .upload_part()
            .bucket(PRIVATE)
            .key("k")
            .upload_id(id);
        part.part_number(1).body(ByteStream::from_static(content))
    };
    let wrong = part(b"one").checksum_sha256(sha256(b"two")).send().await;
    assert_eq!(code(wrong), "BadDigest");
    let wrong = part(b"one").content_md5(md5(b"two")).send().await;
    assert_eq!(code(wrong), "BadDigest");
    let sent = part(b"one")
        .checksum_sha256(sha256(b"one"))
        .send()
        .await
        .unwrap();
    let sent = CompletedPart::builder()
        .part_number(1)
        .checksum_sha256(sent.checksum_sha256().unwrap())
        .e_tag(sent.e_tag().unwrap())
        .build();
    complete!(server, "k", id, &[sent]).unwrap();
    let head = server.client().head_object().bucket(PRIVATE).key("k");
    let head = head
        .checksum_mode(ChecksumMode::Enabled)
        .send()
        .await
        .unwrap();
    let digest = s3s::crypto::Checksum::finalize({
        let mut outer = <s3s::crypto::Sha256 as s3s::crypto::Checksum>::new();
        let inner = <s3s::crypto::Sha256 as s3s::crypto::Checksum>::checksum(b"one");
        s3s::crypto::Checksum::update(&mut outer, inner.as_ref());
        outer
    });
    let encoded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, digest);
    assert_eq!(
        head.checksum_sha256(),
        Some(format!("{encoded}-1").as_str())
    );
}

#[tokio::test]
async fn multipart_uploads_honor_conditions() {
    let server = Server::start().await;
    server.put(PRIVATE, "k", b"first").await;
    let id = begin(&server, "k").await;
    let part = send_part(&server, "k", &id, 1, b"x".to_vec()).await;
    let complete = server
        .client()
        .complete_multipart_upload()
        .bucket(PRIVATE)
        .key("k");
    let complete = complete.upload_id(&id).multipart_upload(completed(&[part]));
    let refused = complete.if_none_match("*").send().await;
    assert_eq!(code(refused), "PreconditionFailed");
    assert_eq!(server.read(PRIVATE, "k").await, b"first");
}
