//! Requests to a provider, within bounds of time and size.

use http::{HeaderValue, Method, header};
use reqwest::Client;
use serde::{Deserialize, de::DeserializeOwned};
use url::Url;

use super::error::ProviderError;
use crate::{
    config::logins::ProviderConfig,
    response_body::{BodyError, read_body},
};

/// A longer response is a failure.
const MAX_BODY_BYTES: usize = 256 * 1024;
/// Of the code of an error.
const MAX_CODE_BYTES: usize = 64;

/// Connections to one provider.
#[derive(Clone, Debug)]
pub(crate) struct ProviderClient(Client);

/// RFC 6749, 5.2.
#[derive(Deserialize)]
struct Refusal {
    error: String,
}

impl ProviderClient {
    /// # Errors
    /// When nothing can be fetched over TLS here.
    pub(crate) fn new(config: &ProviderConfig) -> Result<Self, reqwest::Error> {
        let mut builder = Client::builder()
            .timeout(config.timeout)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent("quartet-gateway")
            .no_proxy();
        let core = config.refresh_url.as_ref();
        let is_plain = core.map_or(config.issuer.starts_with("http://"), |url| {
            url.scheme() == "http"
        });
        if let Some(pem) = &config.authorities {
            let authorities = reqwest::Certificate::from_pem_bundle(pem.as_bytes())?;
            builder = builder.tls_certs_only(authorities);
        } else if is_plain {
            // Parsing the certificates of the platform takes time and a megabyte, for nothing here.
            builder = builder.tls_certs_only([]);
        }
        Ok(Self(builder.build()?))
    }

    /// For the keys of the provider: with the same bounds and authorities.
    pub(crate) fn inner(&self) -> Client {
        self.0.clone()
    }

    /// # Errors
    /// [`ProviderError`].
    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        url: Url,
        token: Option<&str>,
    ) -> Result<T, ProviderError> {
        let mut request = self.0.get(url).header(header::ACCEPT, "application/json");
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let body = send(request).await?;
        Ok(serde_json::from_slice(&body)?)
    }

    /// # Errors
    /// [`ProviderError`].
    pub(super) async fn post_form(
        &self,
        url: Url,
        form: &[(&str, &str)],
        authorization: Option<HeaderValue>,
    ) -> Result<Vec<u8>, ProviderError> {
        let body = encode(form);
        let mut request = self
            .0
            .post(url)
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(body);
        if let Some(authorization) = authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        send(request).await
    }

    /// Of core. Without a body, if there is none.
    ///
    /// # Errors
    /// [`ProviderError`].
    pub(crate) async fn ask_core(
        &self,
        method: Method,
        url: Url,
        token: Option<&str>,
        body: Option<&serde_json::Value>,
    ) -> Result<Vec<u8>, ProviderError> {
        let mut request = self.0.request(method, url);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        send(request).await
    }
}

fn encode(form: &[(&str, &str)]) -> String {
    let mut encoded = url::form_urlencoded::Serializer::new(String::new());
    encoded.extend_pairs(form).finish()
}

async fn send(request: reqwest::RequestBuilder) -> Result<Vec<u8>, ProviderError> {
    let response = request.send().await.map_err(reqwest::Error::without_url)?;
    let status = response.status();
    let body = read_body(response, MAX_BODY_BYTES).await;
    let body = body.map_err(|error| match error {
        BodyError::TooLong(_) => ProviderError::TooLong,
        BodyError::Broken(error) => error.without_url().into(),
    })?;
    if status.is_success() {
        return Ok(body);
    }
    match serde_json::from_slice::<Refusal>(&body) {
        Ok(refusal) if status.is_client_error() && is_code(&refusal.error) => {
            Err(ProviderError::Refused(refusal.error))
        }
        _ => Err(ProviderError::Status(status.as_u16())),
    }
}

/// A code, and not any text: it is written to the log.
pub(super) fn is_code(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    !text.is_empty() && text.len() <= MAX_CODE_BYTES && text.bytes().all(is_allowed)
}
