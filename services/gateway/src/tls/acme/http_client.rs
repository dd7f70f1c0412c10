//! Requests to the authority: verified TLS, a time-out for each, bounded answers.
//!
//! What the library drops is kept here: `Retry-After` and the status of an answer that refuses.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::BodyExt as _;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};

use crate::{config::acme::AcmeConfig, response_body::read_body};

/// Certificates with their chains are a few kilobytes.
const MAX_BODY_BYTES: usize = 1024 * 1024;
/// When the authority does not say how soon it may be asked again when to renew (RFC 9773, 4.3.3).
const DEFAULT_RETRY_AFTER: HeaderValue = HeaderValue::from_static("21600");
const AGENT: &str = concat!("quartet-gateway/", env!("CARGO_PKG_VERSION"));

/// Clones share connections and the last refusal. One for each piece of work.
#[derive(Clone)]
pub(super) struct AcmeHttp {
    client: reqwest::Client,
    last: Arc<Mutex<LastRefusal>>,
}

/// The last answer that was an error, or none at all.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LastRefusal {
    pub(super) status: Option<u16>,
    pub(super) retry_after: Option<Duration>,
}

impl AcmeHttp {
    /// # Errors
    /// When the certificates of the configuration cannot be used.
    pub(super) fn new(config: &AcmeConfig) -> anyhow::Result<Self> {
        let mut builder = reqwest::Client::builder()
            .https_only(true)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(AGENT)
            .timeout(config.times.request);
        if let Some(authorities) = &config.authorities {
            let certificates: Result<Vec<_>, _> = authorities
                .iter()
                .map(|der| reqwest::Certificate::from_der(der))
                .collect();
            builder = builder.tls_certs_only(certificates?);
        }
        Ok(Self {
            client: builder.build()?,
            last: Arc::default(),
        })
    }

    /// For another piece of work, whose refusals are its own.
    pub(super) fn apart(&self) -> Self {
        Self {
            client: self.client.clone(),
            last: Arc::default(),
        }
    }

    pub(super) fn last_refusal(&self) -> LastRefusal {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, refusal: LastRefusal) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = refusal;
    }

    async fn send(self, request: Request<BodyWrapper<Bytes>>) -> Result<BytesResponse, Error> {
        self.note(LastRefusal::default());
        let (parts, body) = request.into_parts();
        let is_get = parts.method == Method::GET;
        let body = match body.collect().await {
            Ok(body) => body.to_bytes(),
            Err(never) => match never {},
        };
        let url = parts.uri.to_string();
        let request = self
            .client
            .request(parts.method, url)
            .headers(parts.headers);
        let response = request.body(body).send().await.map_err(other)?;
        let (mut head, ()) = http::Response::new(()).into_parts();
        head.status = response.status();
        head.headers = response.headers().clone();
        if head.status.is_client_error() || head.status.is_server_error() {
            self.note(LastRefusal {
                status: Some(head.status.as_u16()),
                retry_after: retry_after(&head.headers),
            });
        }
        if is_get && head.status == StatusCode::OK && retry_after(&head.headers).is_none() {
            // The library takes an answer without it for none.
            head.headers
                .insert(header::RETRY_AFTER, DEFAULT_RETRY_AFTER);
        }
        let body = read_body(response, MAX_BODY_BYTES).await;
        let body = body.map_err(|error| Error::Other(error.into()))?;
        Ok(BytesResponse {
            parts: head,
            body: Box::new(Bytes::from(body)),
        })
    }
}

impl HttpClient for AcmeHttp {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        Box::pin(self.clone().send(request))
    }
}

fn other(error: reqwest::Error) -> Error {
    Error::Other(Box::new(error))
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = httpdate::parse_http_date(text).ok()?;
    // The library compares with the same clock.
    Some(at.duration_since(SystemTime::now()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_a_number_or_a_date() {
        let parse = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, text.parse().unwrap());
            retry_after(&headers)
        };
        assert_eq!(parse("120"), Some(Duration::from_mins(2)));
        assert_eq!(parse("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
        let future =
            httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(9_999_999_999));
        assert!(parse(&future).unwrap() > Duration::from_hours(24));
        for text in ["", "-1", "soon"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
