//! Requests to core that no user makes: signed as events are.

use std::time::Duration;

use chrono::{DateTime, Utc};
use http::{StatusCode, header};
use quartet_auth::signature::Signer;
use url::Url;

use crate::response_body::{BodyError, read_body};

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SignedError {
    #[error("core does not respond as expected")]
    Http(#[from] reqwest::Error),
    #[error("core responds with {0}")]
    Status(StatusCode),
    #[error("the response of core cannot be read")]
    Body(#[from] BodyError),
    #[error("the response is not valid")]
    Invalid(#[from] serde_json::Error),
}

/// Sends them to one URL.
#[derive(Debug)]
pub(crate) struct SignedClient {
    url: Url,
    signer: Signer,
    client: reqwest::Client,
    /// Of a response.
    max_bytes: usize,
}

impl SignedClient {
    /// # Errors
    /// When nothing can be fetched over TLS here.
    pub(crate) fn new(
        url: Url,
        signer: Signer,
        timeout: Duration,
        max_bytes: usize,
    ) -> Result<Self, reqwest::Error> {
        let mut client = reqwest::Client::builder()
            .timeout(timeout)
            .redirect(reqwest::redirect::Policy::none());
        if url.scheme() == "http" {
            // Parsing the certificates of the platform takes time and a megabyte, for nothing here.
            client = client.tls_certs_only([]);
        }
        Ok(Self {
            url,
            signer,
            client: client.build()?,
            max_bytes,
        })
    }

    /// Sends JSON. The body of the response if its status is 200.
    ///
    /// # Errors
    /// [`SignedError`].
    pub(crate) async fn post(
        &self,
        id: &str,
        now: DateTime<Utc>,
        body: String,
    ) -> Result<Vec<u8>, SignedError> {
        let request = self
            .client
            .post(self.url.clone())
            .headers(self.signer.sign(id, now, body.as_bytes()))
            .header(header::CONTENT_TYPE, "application/json")
            .body(body);
        let response = request.send().await?;
        if response.status() != StatusCode::OK {
            return Err(SignedError::Status(response.status()));
        }
        Ok(read_body(response, self.max_bytes).await?)
    }
}
