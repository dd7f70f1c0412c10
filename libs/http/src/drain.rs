//! Reads the rest of a request body that a handler did not read, within bounds.
//!
//! A handler may respond before it has read the body (401, 415). If the connection were closed then,
//! its reset could overtake the response, and a proxy that is still sending the body would report a
//! broken upstream instead.

use std::{
    mem,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::{body::Body, extract::Request, middleware::Next, response::Response};
use bytes::Bytes;
use http::header;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt as _;
use tokio::runtime::Handle;

/// At least the default body limit of the gateway.
const MAX_BYTES: usize = 1 << 20;
const MAX_DURATION: Duration = Duration::from_secs(2);

/// The middleware; part of [`crate::layers`].
pub async fn drain(request: Request, next: Next) -> Response {
    // Such a client sends its body only after `100 Continue`.
    if request.headers().contains_key(header::EXPECT) {
        return next.run(request).await;
    }
    let request = request.map(|body| Body::new(Drained { body, ended: false }));
    next.run(request).await
}

/// A body whose rest is read when it is dropped early.
struct Drained {
    body: Body,
    ended: bool,
}

impl http_body::Body for Drained {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(None | Some(Err(_))) = polled {
            self.ended = true;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Drained {
    fn drop(&mut self) {
        if self.ended || self.body.is_end_stream() {
            return;
        }
        if let Ok(runtime) = Handle::try_current() {
            let rest = read_rest(mem::take(&mut self.body));
            runtime.spawn(tokio::time::timeout(MAX_DURATION, rest));
        }
    }
}

async fn read_rest(mut body: Body) {
    let mut left = MAX_BYTES;
    while let Some(Ok(frame)) = body.frame().await {
        let length = frame.data_ref().map_or(0, Bytes::len);
        let Some(fewer) = left.checked_sub(length) else {
            return;
        };
        left = fewer;
    }
}
