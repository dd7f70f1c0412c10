use quartet_devstore::Quirks;
use quartet_testing::Proxy;
use serde_json::{Value, json};

use crate::support::{PNG, TestApp, id_of, json_of, png, problem_of, sha256};

#[tokio::test]
async fn completing_before_the_upload_is_a_conflict_that_can_be_retried() {
    let app = TestApp::start().await;
    let presigned = app.presign("usr_a", &png("private")).await;
    let id = id_of(&presigned["asset"]);
    problem_of(app.complete("usr_a", id).await, 409, "not_uploaded").await;
    assert_eq!(app.put(&presigned, PNG, &[]).await, 200);
    json_of(app.complete("usr_a", id).await, 200).await;
}

#[tokio::test]
async fn a_file_of_another_type_is_rejected_and_removed() {
    let app = TestApp::start().await;
    let page = b"<html><script>alert(document.cookie)</script></html>";
    let body = json!({"file_name": "a.png", "content_type": "image/png",
                      "size_bytes": page.len(), "visibility": "public"});
    let presigned = app.presign("usr_a", &body).await;
    let id = id_of(&presigned["asset"]).to_owned();
    assert_eq!(app.put(&presigned, page, &[]).await, 200);
    let fields = problem_of(app.complete("usr_a", &id).await, 422, "upload_mismatch").await;
    assert_eq!(
        fields,
        [("/content_type".to_owned(), "content_mismatch".to_owned())]
    );

    let asset = json_of(
        app.get(&format!("/v1/media/assets/{id}"), "usr_a").await,
        200,
    )
    .await;
    assert_eq!(
        (&asset["status"], &asset["url"]),
        (&json!("failed"), &json!(null))
    );
    problem_of(app.complete("usr_a", &id).await, 409, "asset_failed").await;
    let download = app
        .get(&format!("/v1/media/assets/{id}/download"), "usr_a")
        .await;
    problem_of(download, 409, "asset_failed").await;
    let key = presigned["upload"]["url"]
        .as_str()
        .unwrap()
        .split('?')
        .next()
        .unwrap()
        .to_owned();
    assert_eq!(app.fetch(&key).await, 403, "never public");
    assert_eq!(app.keys("quartet-private").await, Vec::<String>::new());
    assert_eq!(app.keys("quartet-public").await, Vec::<String>::new());
}

#[tokio::test]
async fn concurrent_completions_count_once() {
    let app = TestApp::start().await;
    let presigned = app.presign("usr_a", &png("private")).await;
    assert_eq!(app.put(&presigned, PNG, &[]).await, 200);
    let id = id_of(&presigned["asset"]);
    let all = futures_util::future::join_all((0..10).map(|_| app.complete("usr_a", id))).await;
    for response in all {
        assert_eq!(json_of(response, 200).await["status"], "ready");
    }
    let metrics = app.metrics().await;
    assert!(
        metrics.contains("media_uploads_completed_total{service=\"media\"} 1"),
        "{metrics}"
    );
}

#[tokio::test]
async fn an_unavailable_store_returns_503_and_changes_nothing() {
    let mut app = TestApp::start_with(|config| config.s3.timeout_seconds = 1).await;
    let presigned = app.presign("usr_a", &png("private")).await;
    assert_eq!(app.put(&presigned, PNG, &[]).await, 200);
    let id = id_of(&presigned["asset"]).to_owned();
    app.store.stop().await;
    problem_of(app.complete("usr_a", &id).await, 503, "store_unavailable").await;
    let ready = reqwest::get(format!("http://{}/ready", app.address))
        .await
        .unwrap();
    assert_eq!(ready.status(), 503);
    assert!(ready.text().await.unwrap().contains("s3"));
    app.store.start().await;
    json_of(app.complete("usr_a", &id).await, 200).await;
}

#[tokio::test]
async fn without_signing_keys_a_replica_is_not_ready() {
    let app = TestApp::start_with(|config| {
        config.jwt.jwks_url = Some("http://127.0.0.1:1/jwks.json".parse().unwrap());
    })
    .await;
    let url = format!("http://{}/ready", app.address);
    let report = json_of(reqwest::get(url).await.unwrap(), 503).await;
    assert_eq!(
        report["checks"]["keys"],
        "the signing keys could not be fetched"
    );
    assert_eq!(report["checks"]["s3"], "ok");
    problem_of(
        app.get("/v1/media/assets", "usr_a").await,
        503,
        "unavailable",
    )
    .await;
}

/// The address of an object without its signature, in the public and in the private bucket.
fn unsigned(presigned: &Value) -> [String; 2] {
    let url = presigned["upload"]["url"].as_str().unwrap();
    let url = url.split('?').next().unwrap();
    [
        url.to_owned(),
        url.replace("quartet-private", "quartet-public"),
    ]
}

#[tokio::test]
async fn an_upload_is_public_only_once_it_is_verified() {
    let app = TestApp::start().await;
    let page = b"<html><script>alert(1)</script></html>";
    let mut body = png("public");
    body["size_bytes"] = page.len().into();
    let presigned = app.presign("usr_a", &body).await;
    assert_eq!(app.put(&presigned, page, &[]).await, 200);
    for url in unsigned(&presigned) {
        assert!(app.fetch(&url).await.is_client_error(), "{url}");
    }
    assert_eq!(app.keys("quartet-public").await, Vec::<String>::new());

    let ready = app.upload("usr_a", "public").await;
    assert_eq!(app.fetch(ready["url"].as_str().unwrap()).await, 200);
    assert_eq!(app.keys("quartet-private").await.len(), 1, "the other one");
}

/// Some stores ignore `If-None-Match`, so a signed URL works until it expires.
#[tokio::test]
async fn a_signed_url_is_worthless_after_completion_and_deletion() {
    let quirks = Quirks {
        ignores_write_conditions: true,
        ..Quirks::default()
    };
    let app = TestApp::start_on(quirks, |_| {}).await;
    let presigned = app.presign("usr_a", &png("public")).await;
    let id = id_of(&presigned["asset"]);
    assert_eq!(app.put(&presigned, PNG, &[]).await, 200);
    let ready = json_of(app.complete("usr_a", id).await, 200).await;
    let url = ready["url"].as_str().unwrap();

    let other: Vec<u8> = PNG.iter().rev().copied().collect();
    assert_eq!(
        app.put(&presigned, &other, &[]).await,
        200,
        "the store takes it"
    );
    json_of(app.complete("usr_a", id).await, 200).await;
    let served = reqwest::get(url).await.unwrap().bytes().await.unwrap();
    assert_eq!(served, PNG);

    app.delete(&format!("/v1/media/assets/{id}"), "usr_a").await;
    assert_eq!(app.put(&presigned, &other, &[]).await, 200);
    assert_eq!(app.fetch(url).await, 404);
    for url in unsigned(&presigned) {
        assert!(app.fetch(&url).await.is_client_error(), "{url}");
    }
}

/// The file is replaced again and again while it is verified.
#[tokio::test]
async fn what_is_served_was_verified() {
    let quirks = Quirks {
        ignores_write_conditions: true,
        ..Quirks::default()
    };
    let app = TestApp::start_on(quirks, |_| {}).await;
    let page = [b"<html>".as_slice(), &vec![b' '; PNG.len() - 6]].concat();
    for _ in 0..10 {
        let presigned = app.presign("usr_a", &png("public")).await;
        let id = id_of(&presigned["asset"]);
        assert_eq!(app.put(&presigned, PNG, &[]).await, 200);
        let replacing = async {
            for _ in 0..10 {
                app.put(&presigned, &page, &[]).await;
                app.put(&presigned, PNG, &[]).await;
            }
        };
        let (completed, ()) = tokio::join!(app.complete("usr_a", id), replacing);
        let asset: Value = completed.json().await.unwrap();
        if let Some(url) = asset["url"].as_str() {
            let served = reqwest::get(url).await.unwrap().bytes().await.unwrap();
            assert_eq!(served, PNG);
        }
    }
}

/// A replica holds the upload and stalls; another one completes it. Then the client uploads another
/// file of the declared size and type, which the first replica verifies.
#[tokio::test]
async fn a_file_uploaded_again_does_not_replace_what_another_replica_has_accepted() {
    let app = TestApp::start().await;
    let presigned = app.presign("usr_a", &png("public")).await;
    let id = id_of(&presigned["asset"]);
    assert_eq!(app.put(&presigned, PNG, &[]).await, 200);
    let (proxy, through) = Proxy::start(app.config.s3.endpoint.as_str()).await;
    proxy.hold();
    let stalling = app.complete_elsewhere("usr_a", id, |config| {
        config.s3.public_endpoint = Some(config.s3.endpoint.clone());
        config.s3.endpoint = through.parse().unwrap();
    });
    let mut other = PNG.to_vec();
    *other.last_mut().unwrap() = 1;
    let accepting = async {
        proxy.held().await;
        let ready = json_of(app.complete("usr_a", id).await, 200).await;
        assert_eq!(app.put(&presigned, &other, &[]).await, 200, "a new file");
        proxy.resume();
        ready
    };
    let (stalled, ready) = tokio::join!(stalling, accepting);
    assert_eq!(json_of(stalled, 200).await, ready);
    let url = ready["url"].as_str().unwrap();
    let served = reqwest::get(url).await.unwrap().bytes().await.unwrap();
    assert_eq!(served, PNG);
    // Neither the copy nor the file stays behind.
    assert_eq!(app.keys("quartet-public").await.len(), 1);
    app.clock.advance(chrono::Duration::seconds(900 + 3600 + 1));
    app.state.sweep_once().await.unwrap();
    assert_eq!(app.keys("quartet-private").await, Vec::<String>::new());
    assert_eq!(app.fetch(url).await, 200);
}

/// A replica has noted where it will copy the file to, and stalls; another one accepts the upload, with
/// that file or with another. Then the client sends the first file again, which the first replica copies.
#[tokio::test]
async fn a_copy_noted_before_another_replica_accepted_changes_nothing() {
    let mut other = PNG.to_vec();
    *other.last_mut().unwrap() = 1;
    for accepted in [PNG, &other] {
        let quirks = Quirks {
            ignores_write_conditions: true,
            ..Quirks::default()
        };
        let app = TestApp::start_on(quirks, |_| {}).await;
        let presigned = app.presign("usr_a", &png("public")).await;
        let id = id_of(&presigned["asset"]);
        assert_eq!(app.put(&presigned, PNG, &[]).await, 200);
        let (proxy, through) = Proxy::start(app.config.s3.endpoint.as_str()).await;
        proxy.hold_requests("PUT /quartet-public/");
        let stalling = app.complete_elsewhere("usr_a", id, |config| {
            config.s3.public_endpoint = Some(config.s3.endpoint.clone());
            config.s3.endpoint = through.parse().unwrap();
        });
        let accepting = async {
            proxy.held().await;
            let mut admin = app.database.connect_as_admin().await;
            let noted = "SELECT cardinality(copied_keys) FROM media.uploads";
            let noted = sqlx::query_scalar::<_, i32>(noted).fetch_one(&mut admin);
            assert_eq!(noted.await.unwrap(), 1);
            assert_eq!(app.keys("quartet-public").await, Vec::<String>::new());
            assert_eq!(app.put(&presigned, accepted, &[]).await, 200);
            let ready = json_of(app.complete("usr_a", id).await, 200).await;
            assert_eq!(app.put(&presigned, PNG, &[]).await, 200, "the first file");
            proxy.resume();
            ready
        };
        let (stalled, ready) = tokio::join!(stalling, accepting);
        assert_eq!(json_of(stalled, 200).await, ready);
        let url = ready["url"].as_str().unwrap();
        let served = reqwest::get(url).await.unwrap().bytes().await.unwrap();
        assert_eq!(served, accepted);
        assert_eq!(app.keys("quartet-public").await.len(), 1, "no other copy");
    }
}

/// Each attempt finds another file that passes, which is replaced before it is copied.
#[tokio::test]
async fn an_upload_has_a_bounded_number_of_copies() {
    let app = TestApp::start().await;
    let presigned = app.presign("usr_a", &png("public")).await;
    let id = id_of(&presigned["asset"]);
    let mut admin = app.database.connect_as_admin().await;
    let full = "UPDATE media.uploads SET copied_keys =
        ARRAY(SELECT object_key || '-' || n FROM generate_series(1, 16) AS n)";
    sqlx::query(full).execute(&mut admin).await.unwrap();
    assert_eq!(app.put(&presigned, PNG, &[]).await, 200);
    problem_of(app.complete("usr_a", id).await, 409, "too_many_files").await;
    assert_eq!(app.keys("quartet-public").await, Vec::<String>::new());
    // With room for one more, it is accepted.
    let fewer = "UPDATE media.uploads SET copied_keys = copied_keys[2:]";
    sqlx::query(fewer).execute(&mut admin).await.unwrap();
    json_of(app.complete("usr_a", id).await, 200).await;
}

#[tokio::test]
async fn a_checksum_is_verified_where_the_store_keeps_none() {
    let quirks = Quirks {
        keeps_no_checksums: true,
        ..Quirks::default()
    };
    let app = TestApp::start_on(quirks, |_| {}).await;
    let mut body = png("private");
    body["checksum_sha256"] = sha256(PNG).into();
    let presigned = app.presign("usr_a", &body).await;
    assert_eq!(app.put(&presigned, PNG, &[]).await, 200);
    let id = id_of(&presigned["asset"]);
    json_of(app.complete("usr_a", id).await, 200).await;
}

/// The process dies after the copy: the asset is pending, its file is in its final place.
#[tokio::test]
async fn a_copy_without_its_row_is_completed_or_swept() {
    let app = TestApp::start().await;
    let pending =
        "WITH asset AS (UPDATE media.assets SET status = 'pending', current_version = NULL),
        version AS (DELETE FROM media.asset_versions)
        UPDATE media.uploads SET status = 'pending', incoming_until = now()";
    let mut admin = app.database.connect_as_admin().await;
    let finished = app.upload("usr_a", "public").await;
    sqlx::query(pending).execute(&mut admin).await.unwrap();
    let gone = app.complete("usr_a", id_of(&finished)).await;
    problem_of(gone, 409, "not_uploaded").await;
    assert_eq!(app.keys("quartet-public").await.len(), 1);
    app.clock.advance(chrono::Duration::seconds(900 + 3600 + 1));
    assert_eq!(app.state.sweep_once().await.unwrap(), 1);
    assert_eq!(app.keys("quartet-public").await, Vec::<String>::new());
    assert!(app.rows().await.is_empty());
}

/// The asset is deleted while its file is being copied.
#[tokio::test]
async fn a_deletion_during_completion_leaves_no_file() {
    let app = TestApp::start().await;
    for _ in 0..10 {
        let presigned = app.presign("usr_a", &png("public")).await;
        let id = id_of(&presigned["asset"]);
        let path = format!("/v1/media/assets/{id}");
        assert_eq!(app.put(&presigned, PNG, &[]).await, 200);
        let (completed, deleted) =
            tokio::join!(app.complete("usr_a", id), app.delete(&path, "usr_a"));
        assert_eq!(deleted.status(), 204);
        assert!([200, 404].contains(&completed.status().as_u16()));
    }
    assert_eq!(app.keys("quartet-public").await, Vec::<String>::new());
    app.clock.advance(chrono::Duration::seconds(900 + 3600 + 1));
    app.state.sweep_once().await.unwrap();
    assert_eq!(app.keys("quartet-private").await, Vec::<String>::new());
    assert!(app.rows().await.is_empty());
}

/// Requests wait for a while, and together for one verification.
#[tokio::test]
async fn a_store_that_stalls_delays_requests_for_a_bounded_time() {
    use tokio::io::AsyncReadExt as _;

    let stalled = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", stalled.local_addr().unwrap());
    let app = TestApp::start_with(|config| {
        config.s3.endpoint = endpoint.parse().unwrap();
        config.server.request_timeout_seconds = 3;
    })
    .await;
    let presigned = app.presign("usr_a", &png("public")).await;
    let id = id_of(&presigned["asset"]);
    let started = std::time::Instant::now();
    let all = futures_util::future::join_all((0..5).map(|_| app.complete("usr_a", id)));
    for response in all.await {
        let text = json_of(response, 503).await;
        assert_eq!(text["code"], "store_unavailable");
        assert!(
            text["detail"]
                .as_str()
                .unwrap()
                .contains("still being verified")
        );
    }
    assert!(
        started.elapsed() < std::time::Duration::from_secs(3),
        "the time-out of a request"
    );
    // Connections without a request for this upload are not counted: ports are reused, and another
    // test may look for a server of its own. Every connection stays open: the client would answer
    // the end of one with a second attempt.
    let pause = std::time::Duration::from_millis(100);
    let (mut open, mut requests) = (Vec::new(), Vec::new());
    while let Ok(Ok((mut stream, _))) = tokio::time::timeout(pause, stalled.accept()).await {
        let mut head = [0; 2048];
        let read = tokio::time::timeout(pause, stream.read(&mut head)).await;
        let length = read.map_or(0, Result::unwrap_or_default);
        let head = String::from_utf8_lossy(&head[..length]).into_owned();
        if head.contains("/incoming/") {
            requests.push(head);
        }
        open.push(stream);
    }
    assert_eq!(requests.len(), 1, "one verification: {requests:?}");
    let first = "amz-sdk-request: attempt=1;";
    assert!(requests[0].contains(first), "{requests:?}");
}

/// It declares and sends the file of an upload without an end, whatever range is asked for.
#[tokio::test]
async fn no_more_of_a_file_is_read_than_is_compared() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let store = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", store.local_addr().unwrap());
    let app = TestApp::start_with(|config| config.s3.endpoint = endpoint.parse().unwrap()).await;
    let presigned = app.presign("usr_a", &png("public")).await;
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: image/png\r\netag: \"a\"\r\ncontent-length: {}\r\n\r\n",
        PNG.len()
    );
    let serve = async {
        let mut open = Vec::new();
        loop {
            let (mut stream, _) = store.accept().await.unwrap();
            let head = head.clone();
            open.push(tokio::spawn(async move {
                let mut request = Vec::new();
                while stream.read_buf(&mut request).await.unwrap_or(0) > 0 {
                    if !request.ends_with(b"\r\n\r\n") {
                        continue;
                    }
                    let answer = match request[0] {
                        b'H' => head.clone().into_bytes(),
                        b'G' => {
                            let endless = b"HTTP/1.1 200 OK\r\ncontent-length: 5000000000\r\n\r\n";
                            let mut answer = [&endless[..], PNG].concat();
                            answer.resize(1 << 20, 0);
                            answer
                        }
                        b'P' => b"HTTP/1.1 200 OK\r\ncontent-length: 37\r\n\r\n\
                            <CopyObjectResult></CopyObjectResult>"
                            .to_vec(),
                        _ => b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(),
                    };
                    if stream.write_all(&answer).await.is_err() {
                        return;
                    }
                    request.clear();
                }
            }));
        }
    };
    let response = tokio::select! {
        () = serve => unreachable!(),
        response = app.complete("usr_a", id_of(&presigned["asset"])) => response,
    };
    json_of(response, 200).await;
}
