//! Uploads, with the object store behind the proxy.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use quartet_client::{
    AssetFilter, AssetStatus, Error, Progress, Quartet, RetryPolicy, TransportKind, Upload,
};

use crate::harness::{Fault, Options, Proxy, SdkUser, Stack, sdk};

/// A text of 1 MiB.
fn content() -> Bytes {
    "All work and no play. ".repeat(48_000).into_bytes()[..1 << 20]
        .to_vec()
        .into()
}

/// The store behind a proxy, and signed URLs that expire soon.
async fn uploader() -> (SdkUser, Proxy, Stack) {
    let proxy = Proxy::listen().await;
    let public = format!("http://{}", proxy.address());
    let options = Options::default()
        .set("media", "s3.public_endpoint", &public)
        .set("media", "uploads.ttl_seconds", "3");
    let stack = Stack::start(options).await;
    proxy.set_target(stack.store());
    let quartet = sdk::quartet(stack.gateway(), &stack.secrets);
    let ada = SdkUser::sign_up(quartet, &stack.secrets).await;
    (ada, proxy, stack)
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_survive_broken_connections_and_expired_urls() {
    let (ada, proxy, _stack) = uploader().await;
    let faults = [
        (Fault::CutBefore, 2),
        (Fault::CutRequest, 2),
        // Stored, but without a response: the second PUT must not replace it.
        (Fault::LoseResponse, 2),
        (Fault::Respond(503, ""), 2),
        // The signed URL expires: a new one is requested.
        (Fault::Delay(Duration::from_millis(3500)), 2),
        (Fault::Respond(403, ""), 2),
    ];
    for (fault, puts) in faults {
        let before = proxy.count("PUT ");
        proxy.next("PUT ", fault.clone());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let upload = Upload::bytes("notes.txt", content()).on_progress({
            let seen = Arc::clone(&seen);
            move |progress| seen.lock().unwrap().push(progress)
        });
        let asset = ada.quartet.upload(&upload).await;
        let asset = asset.unwrap_or_else(|error| panic!("{fault:?}: {error}"));
        assert_eq!(asset.status, AssetStatus::Ready, "{fault:?}");
        assert_eq!(proxy.count("PUT ") - before, puts, "{fault:?}");
        let got: Vec<Bytes> = ada
            .quartet
            .download(&asset.id)
            .await
            .unwrap()
            .try_collect()
            .await
            .unwrap();
        assert!(got.concat() == content(), "{fault:?}: other content");
        check_progress(&seen.lock().unwrap());
    }
    proxy.expect_all_faults_used();
    let all = assets(&ada.quartet).await;
    assert_eq!(all.len(), 6, "no incomplete upload is left: {all:#?}");
}

fn check_progress(seen: &[Progress]) {
    let last = seen.last().unwrap();
    assert_eq!(last.sent_bytes, last.total_bytes);
    assert_eq!(last.total_bytes, content().len() as u64);
    for pair in seen.windows(2) {
        let again = pair[1].sent_bytes == 0;
        assert!(again || pair[1].sent_bytes > pair[0].sent_bytes, "{pair:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_uploads_leave_no_asset() {
    let (ada, proxy, stack) = uploader().await;
    let wrong = Upload::bytes("notes.txt", content()).checksum_sha256(&"0".repeat(64));
    let error = ada.quartet.upload(&wrong).await.unwrap_err();
    assert!(matches!(error, Error::Store { status: 400 }), "{error:?}");
    assert_eq!(assets(&ada.quartet).await, Vec::<String>::new());

    let refused = Upload::bytes("notes.txt", content()).content_type("application/x-nonsense");
    let error = ada.quartet.upload(&refused).await.unwrap_err();
    let problem = error.problem().unwrap();
    assert_eq!(problem.errors[0].field(), "/content_type", "{problem}");

    // A store that receives the file and does not respond.
    let store = sdk::RecordingStore::new(&stack.secrets);
    let impatient = sdk::builder(stack.gateway())
        .store(store)
        .retry(RetryPolicy::never())
        .stall_timeout(Duration::from_millis(500))
        .build()
        .unwrap();
    impatient
        .login(&ada.email, ada.password.as_str().into())
        .await
        .unwrap();
    proxy.next("PUT ", Fault::Silence);
    let error = impatient
        .upload(&Upload::bytes("notes.txt", content()))
        .await
        .unwrap_err();
    let stalled = matches!(&error, Error::Transport(it) if it.kind == TransportKind::Timeout);
    assert!(stalled, "{error:?}");
    assert_eq!(assets(&ada.quartet).await, Vec::<String>::new());
    proxy.expect_all_faults_used();
}

#[tokio::test(flavor = "multi_thread")]
async fn files_on_disk_provide_name_and_type() {
    let (ada, _proxy, _stack) = uploader().await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notes.md");
    std::fs::write(&path, content()).unwrap();
    let upload = Upload::path(&path).await.unwrap().public();
    let asset = ada.quartet.upload(&upload).await.unwrap();
    assert_eq!(
        (asset.file_name.as_str(), asset.content_type.as_str()),
        ("notes.md", "text/markdown")
    );
    let body = reqwest::get(asset.url.unwrap())
        .await
        .unwrap()
        .bytes()
        .await
        .unwrap();
    assert!(body == content());
    for wrong in [directory.path().to_owned(), directory.path().join("none")] {
        let error = Upload::path(&wrong).await.unwrap_err();
        assert!(matches!(error, Error::File(_)), "{error:?}");
    }
}

async fn assets(quartet: &Quartet) -> Vec<String> {
    // One per page, so that there are several pages.
    let filter = AssetFilter {
        page_size: Some(1),
        ..AssetFilter::default()
    };
    let found = quartet.assets(filter).map_ok(|asset| asset.file_name);
    found.try_collect().await.unwrap()
}
