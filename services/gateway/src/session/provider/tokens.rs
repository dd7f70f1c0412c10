//! The token endpoint (RFC 6749, 4.1.3 and 6).

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::HeaderValue;
use secrecy::ExposeSecret as _;
use serde::Deserialize;

use super::{
    error::ProviderError,
    http::{ProviderClient, is_code},
    metadata::Metadata,
};
use crate::{config::logins::ProviderConfig, session::record::Tokens};

/// A longer token is refused.
const MAX_TOKEN_BYTES: usize = 32 * 1024;
/// Longer lives are cut: times must not overflow.
const MAX_LIFE_SECONDS: i64 = 10 * 365 * 86_400;

/// What is exchanged for tokens.
#[derive(Clone, Copy)]
pub(crate) struct CodeExchange<'e> {
    pub(crate) code: &'e str,
    /// Of PKCE.
    pub(crate) verifier: &'e str,
    pub(crate) redirect_uri: &'e str,
}

/// The response of a token endpoint.
#[derive(Deserialize)]
pub(crate) struct TokenSet {
    #[serde(default)]
    pub(crate) access_token: Option<String>,
    /// Some providers send a text.
    #[serde(default)]
    expires_in: Option<serde_json::Value>,
    #[serde(default)]
    refresh_token: Option<String>,
    #[serde(default)]
    pub(crate) id_token: Option<String>,
    /// GitHub sends errors with status 200.
    #[serde(default)]
    error: Option<String>,
}

impl TokenSet {
    /// # Errors
    /// [`ProviderError`].
    pub(crate) async fn of_code(
        exchange: CodeExchange<'_>,
        (config, metadata, client): (&ProviderConfig, &Metadata, &ProviderClient),
    ) -> Result<Self, ProviderError> {
        let form = [
            ("grant_type", "authorization_code"),
            ("code", exchange.code),
            ("code_verifier", exchange.verifier),
            ("redirect_uri", exchange.redirect_uri),
        ];
        Self::ask(form.to_vec(), (config, metadata, client)).await
    }

    /// # Errors
    /// [`ProviderError`]; `Refused` when the refresh token is no longer valid.
    pub(crate) async fn of_refresh(
        refresh_token: &str,
        (config, metadata, client): (&ProviderConfig, &Metadata, &ProviderClient),
    ) -> Result<Self, ProviderError> {
        let form = [
            ("grant_type", "refresh_token"),
            ("refresh_token", refresh_token),
        ];
        Self::ask(form.to_vec(), (config, metadata, client)).await
    }

    async fn ask<'f>(
        mut form: Vec<(&'f str, &'f str)>,
        (config, metadata, client): (&'f ProviderConfig, &Metadata, &ProviderClient),
    ) -> Result<Self, ProviderError> {
        let authorization = authenticate(&mut form, config, metadata);
        let url = metadata.token_endpoint.clone();
        let body = client.post_form(url, &form, authorization).await?;
        let set: Self = serde_json::from_slice(&body)?;
        match set.error {
            Some(code) if is_code(&code) => Err(ProviderError::Refused(code)),
            Some(_) => Err(ProviderError::Missing("access_token")),
            None => set.check(),
        }
    }

    fn check(self) -> Result<Self, ProviderError> {
        let texts = [&self.access_token, &self.refresh_token, &self.id_token];
        if texts
            .into_iter()
            .flatten()
            .any(|text| text.len() > MAX_TOKEN_BYTES)
        {
            return Err(ProviderError::LongText);
        }
        if self.access_token.is_none() {
            return Err(ProviderError::Missing("access_token"));
        }
        Ok(self)
    }

    /// `before`: what stays where nothing new was sent.
    pub(crate) fn into_tokens(self, now: i64, before: Option<&Tokens>) -> Tokens {
        let life = self.expires_in.as_ref().and_then(|life| {
            let text = life.as_str().and_then(|text| text.parse().ok());
            life.as_i64().or(text)
        });
        let life = life.map(|seconds: i64| seconds.clamp(0, MAX_LIFE_SECONDS));
        Tokens {
            access: self.access_token,
            expires_at: life.map(|seconds| now.saturating_add(seconds)),
            refresh: self.refresh_token.or_else(|| before?.refresh.clone()),
            id: self.id_token.or_else(|| before?.id.clone()),
        }
    }
}

/// Proves which client asks: in the header where that is supported, or in the form.
fn authenticate<'f>(
    form: &mut Vec<(&'f str, &'f str)>,
    config: &'f ProviderConfig,
    metadata: &Metadata,
) -> Option<HeaderValue> {
    let Some(secret) = &config.client_secret else {
        form.push(("client_id", &config.client_id));
        return None;
    };
    let secret = secret.expose_secret();
    let methods = metadata.token_endpoint_auth_methods_supported.as_deref();
    let supports = |name: &str| {
        let listed = |methods: &[String]| methods.iter().any(|method| method == name);
        methods.map(listed)
    };
    let in_form = supports("client_secret_post") == Some(true)
        && supports("client_secret_basic") == Some(false);
    if in_form {
        form.push(("client_id", &config.client_id));
        form.push(("client_secret", secret));
        return None;
    }
    // RFC 6749, 2.3.1: both are encoded as in a form.
    let encode = |text: &str| {
        let encoded = url::form_urlencoded::byte_serialize(text.as_bytes());
        encoded.collect::<String>()
    };
    let pair = format!("{}:{}", encode(&config.client_id), encode(secret));
    let mut value = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(pair))).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Ends a refresh token, and what was made with it (RFC 7009).
///
/// # Errors
/// [`ProviderError`].
pub(crate) async fn revoke(
    url: url::Url,
    token: &str,
    (config, metadata, client): (&ProviderConfig, &Metadata, &ProviderClient),
) -> Result<(), ProviderError> {
    let mut form = vec![("token", token), ("token_type_hint", "refresh_token")];
    let authorization = authenticate(&mut form, config, metadata);
    client.post_form(url, &form, authorization).await?;
    Ok(())
}
