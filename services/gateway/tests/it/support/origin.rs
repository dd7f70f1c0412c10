//! An upstream that answers as each request asks it to.

use std::sync::{Arc, Mutex, atomic::AtomicBool, atomic::Ordering};

use axum::{
    Router,
    body::Body,
    extract::Request,
    response::{IntoResponse as _, Response},
    routing::any,
};
use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::serve;

/// What a request to the origin had.
#[derive(Clone, Debug)]
pub(crate) struct SeenRequest {
    pub(crate) method: String,
    pub(crate) url: String,
    pub(crate) headers: HeaderMap,
}

/// The header in which a request says what its response has: `name: value` pairs, separated by `|`.
/// `status` is the status, `body` the body, which otherwise is the number of the request.
pub(crate) const REPLY: &str = "x-reply";

#[derive(Clone, Default)]
pub(crate) struct Origin {
    seen: Arc<Mutex<Vec<SeenRequest>>>,
    /// Every response is 503.
    pub(crate) fails: Arc<AtomicBool>,
}

impl Origin {
    pub(crate) fn router(&self) -> Router {
        let origin = self.clone();
        Router::new().fallback(any(move |request: Request| {
            let origin = origin.clone();
            async move { origin.answer(&request) }
        }))
    }

    pub(crate) async fn serve(&self) -> std::net::SocketAddr {
        serve(self.router()).await
    }

    pub(crate) fn seen(&self) -> Vec<SeenRequest> {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    fn answer(&self, request: &Request) -> Response {
        let mut seen = self.seen.lock().unwrap();
        seen.push(SeenRequest {
            method: request.method().to_string(),
            url: request.uri().to_string(),
            headers: request.headers().clone(),
        });
        if self.fails.load(Ordering::Relaxed) {
            return StatusCode::SERVICE_UNAVAILABLE.into_response();
        }
        let mut response = Response::new(Body::from(seen.len().to_string()));
        let reply = request.headers().get(REPLY);
        let reply = reply.and_then(|value| value.to_str().ok()).unwrap_or("");
        for pair in reply.split('|').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once(':').unwrap();
            let (name, value) = (name.trim(), value.trim());
            match name {
                "status" => *response.status_mut() = value.parse().unwrap(),
                "body" => *response.body_mut() = Body::from(value.to_owned()),
                name => {
                    let name = http::HeaderName::try_from(name).unwrap();
                    let value = HeaderValue::try_from(value).unwrap();
                    response.headers_mut().append(name, value);
                }
            }
        }
        let etag = response.headers().get(header::ETAG);
        let condition = request.headers().get(header::IF_NONE_MATCH);
        if etag.is_some() && etag == condition {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            *response.body_mut() = Body::empty();
        }
        response
    }
}
