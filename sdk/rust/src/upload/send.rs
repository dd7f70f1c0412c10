//! The PUT to the object store.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::StreamExt as _;
use http::{Method, StatusCode, header};

use super::Upload;
use crate::client::Quartet;
use crate::error::Error;
use crate::generated::api::types::SignedUpload;

/// The outcome of a PUT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// The store has the file.
    Stored,
    /// The signed URL has expired.
    UrlExpired,
}

impl Quartet {
    /// Sends the file, and retries after transient failures.
    pub(super) async fn send(&self, signed: &SignedUpload, upload: &Upload) -> Result<Sent, Error> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let outcome = self.put(signed, upload).await;
            let error = match outcome {
                Ok(status) if status.is_success() => return Ok(Sent::Stored),
                // An attempt whose response was lost has stored it; completion verifies it.
                Ok(StatusCode::PRECONDITION_FAILED) => return Ok(Sent::Stored),
                Ok(StatusCode::FORBIDDEN) => return Ok(Sent::UrlExpired),
                Ok(status) => Error::Store {
                    status: status.as_u16(),
                },
                Err(error) => error,
            };
            let transient = match &error {
                Error::Store { status } => matches!(status, 408 | 409 | 429 | 500..),
                Error::Transport(_) => true,
                _ => false,
            };
            if is_past(signed.expires_at) {
                return Ok(Sent::UrlExpired);
            }
            match self.transport.retry.pause(attempt, None) {
                Some(pause) if transient => tokio::time::sleep(pause).await,
                _ => return Err(error),
            }
        }
    }

    async fn put(&self, signed: &SignedUpload, upload: &Upload) -> Result<StatusCode, Error> {
        let size = upload.size_bytes();
        let sent = Arc::new(AtomicU64::new(0));
        upload.report(0);
        let chunks = upload.source.open(0..size).map({
            let (upload, sent) = (upload.clone(), Arc::clone(&sent));
            move |chunk| {
                let chunk = chunk?;
                let length = chunk.len() as u64;
                let before = sent.fetch_add(length, Ordering::Relaxed);
                upload.report(before + length);
                std::io::Result::Ok(chunk)
            }
        });
        let method = Method::try_from(signed.method.as_str())
            .map_err(|_| Error::Answer("unknown upload method".into()))?;
        let mut request = self.streams.request(method, signed.url.expose());
        for (name, value) in &signed.headers {
            request = request.header(name, value);
        }
        if !signed
            .headers
            .keys()
            .any(|it| it.eq_ignore_ascii_case("content-length"))
        {
            request = request.header(header::CONTENT_LENGTH, size);
        }
        let request = request.body(reqwest::Body::wrap_stream(chunks)).send();
        tokio::select! {
            response = request => Ok(response?.status()),
            () = stalled(&sent, self.stall) => Err(Error::stalled("no progress of the upload")),
        }
    }
}

/// Returns when there was no progress for the duration of `patience`.
async fn stalled(sent: &AtomicU64, patience: Duration) {
    let mut before = None;
    loop {
        let now = sent.load(Ordering::Relaxed);
        if before == Some(now) {
            return;
        }
        before = Some(now);
        tokio::time::sleep(patience).await;
    }
}

fn is_past(at: DateTime<Utc>) -> bool {
    std::time::SystemTime::from(at) <= std::time::SystemTime::now()
}
