//! Requests of an HTTP/2 connection that its client resets before their response.
//!
//! Each has cost a connection to an upstream, which cannot be used again, and none counts among the
//! streams in flight. So one client could exhaust the ports to an upstream with a few bytes for each
//! ("rapid reset", CVE-2023-44487).

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use pingora::{Error, ErrorSource, proxy::Session};

/// More than these, and more than half of all requests, end a connection.
const MAX_ABANDONED: u32 = 100;

tokio::task_local! {
    static ABANDONED: Abandoned;
}

/// How many requests of one connection were abandoned.
#[derive(Clone, Debug, Default)]
pub(super) struct Abandoned(Arc<AtomicU32>);

impl Abandoned {
    /// Serves a request that counts here if it is abandoned.
    pub(super) async fn serve<T>(self, request: impl Future<Output = T>) -> T {
        ABANDONED.scope(self, request).await
    }

    /// Whether the connection is to end. `accepted`: requests so far.
    pub(super) fn are_too_many(&self, accepted: u32) -> bool {
        let abandoned = self.0.load(Ordering::Relaxed);
        abandoned > MAX_ABANDONED && abandoned > accepted / 2
    }
}

/// Counts a request that has ended, if its client did not wait for the response.
pub(super) fn note_end(session: &Session, error: Option<&Error>) {
    let by_client = error.is_some_and(|error| *error.esource() == ErrorSource::Downstream);
    if by_client && session.response_written().is_none() {
        // Not set for HTTP/1.
        let _ = ABANDONED.try_with(|count| count.0.fetch_add(1, Ordering::Relaxed));
    }
}
