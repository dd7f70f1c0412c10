//! Checks every response of a service under test against its document.

use std::sync::{Arc, Mutex, PoisonError};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    middleware::{Next, from_fn_with_state},
    response::Response,
};
use http::{Method, header};

use super::contract::{Contract, Exchange};

/// When dropped, fails the test if a response differed from the document.
#[derive(Debug)]
pub struct Watch {
    shared: Shared,
}

#[derive(Clone, Debug)]
struct Shared {
    contract: &'static Contract,
    broken: Arc<Mutex<Vec<String>>>,
}

impl Watch {
    pub fn new(contract: &'static Contract) -> Self {
        Self {
            shared: Shared {
                contract,
                broken: Arc::default(),
            },
        }
    }

    /// Puts the check around the router, where it sees responses as clients do.
    pub fn around(&self, router: Router) -> Router {
        router.layer(from_fn_with_state(self.shared.clone(), look))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let broken = self
            .shared
            .broken
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        assert!(
            broken.is_empty() || std::thread::panicking(),
            "responses that the document does not promise:\n{}",
            broken.join("\n")
        );
    }
}

async fn look(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let response = next.run(request).await;
    let (parts, body) = response.into_parts();
    let streams = parts
        .headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
    // The bodies of these are not whole before the client has left, or are none.
    let unread = streams || parts.status.is_informational() || method == Method::HEAD;
    let (whole, body) = if unread {
        (None, body)
    } else {
        match to_bytes(body, usize::MAX).await {
            Ok(bytes) => (Some(bytes.clone()), Body::from(bytes)),
            // Cut off on purpose; the client sees that itself.
            Err(error) => (None, Body::from_stream(broken_off(error))),
        }
    };
    let checked = shared.contract.check(&Exchange {
        method: &method,
        path: &path,
        status: parts.status.as_u16(),
        headers: &parts.headers,
        body: whole.as_deref(),
    });
    if let Err(what) = checked {
        shared
            .broken
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(what);
    }
    Response::from_parts(parts, body)
}

fn broken_off(
    error: axum::Error,
) -> impl futures_util::Stream<Item = Result<bytes::Bytes, axum::Error>> {
    futures_util::stream::once(async move { Err(error) })
}
