//! GitHub: OAuth 2.0 without OpenID Connect, so that its API says who the user is.

use serde::Deserialize;
use url::Url;

use super::{error::ProviderError, http::ProviderClient};
use crate::{config::logins::ProviderConfig, session::record::Identity};

const API: &str = "https://api.github.com";

#[derive(Deserialize)]
struct User {
    id: u64,
    login: String,
    #[serde(default)]
    name: Option<String>,
}

#[derive(Deserialize)]
struct Email {
    email: String,
    primary: bool,
    verified: bool,
}

#[derive(Deserialize)]
struct Organization {
    login: String,
}

/// # Errors
/// [`ProviderError`].
pub(super) async fn identify(
    token: &str,
    config: &ProviderConfig,
    client: &ProviderClient,
) -> Result<Identity, ProviderError> {
    let api = config.api_url.as_ref().map_or(API, Url::as_str);
    let url = |path: &str| {
        let url = format!("{}{path}", api.trim_end_matches('/'));
        url.parse::<Url>()
            .map_err(|_| ProviderError::Endpoint("api_url"))
    };
    let has = |scope: &str| config.scopes.split(' ').any(|own| own == scope);
    let user: User = client.get(url("/user")?, Some(token)).await?;
    let mut email = None;
    if has("user:email") {
        let emails: Vec<Email> = client.get(url("/user/emails")?, Some(token)).await?;
        email = emails.into_iter().find(|email| email.primary);
    }
    let mut groups = Vec::new();
    if has("read:org") {
        let all: Vec<Organization> = client
            .get(url("/user/orgs?per_page=100")?, Some(token))
            .await?;
        groups = all
            .into_iter()
            .map(|organization| organization.login)
            .collect();
    }
    Ok(Identity {
        issuer: config.issuer.clone(),
        // The name may change, and be given to someone else.
        subject: user.id.to_string(),
        sid: None,
        email_verified: email.as_ref().map(|email| email.verified),
        email: email.map(|email| email.email),
        username: Some(user.login),
        name: user.name,
        groups,
        hosted_domain: None,
    })
}
