//! What is known of an issuer: its keys, and what its tokens must say.

use jsonwebtoken::Algorithm;
use quartet_common::config::{ConfigError, Jwt};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::mapping::ClaimMapping;

/// The `typ` that no other token has.
const ACCESS_TOKEN: &str = "at+jwt";
const MIN_SECRET_BYTES: usize = 32;

/// The algorithms that can be accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
pub enum TokenAlgorithm {
    #[serde(rename = "EdDSA")]
    EdDsa,
    #[serde(rename = "ES256")]
    Es256,
    #[serde(rename = "ES384")]
    Es384,
    #[serde(rename = "RS256")]
    Rs256,
    #[serde(rename = "HS256")]
    Hs256,
}

/// Where the keys of an issuer come from. One source for one issuer: if a public key were used as an
/// HMAC secret, anyone could forge tokens (RFC 8725, 2.1).
#[derive(Clone, Debug)]
pub enum KeySource {
    /// [`JwtVerifier::set_keys`](super::JwtVerifier::set_keys).
    Own,
    Jwks(Url),
    /// The issuer's URL; its `/.well-known/openid-configuration` names the JWKS.
    Discovery(Url),
    Secret(SecretString),
}

/// The settings of a verifier.
#[derive(Clone, Debug, PartialEq)]
pub struct IssuerSettings {
    /// Required `iss`. `None`: any.
    pub issuer: Option<String>,
    /// One of them has to be in `aud`. Empty: any.
    pub audiences: Vec<String>,
    /// Required `typ` of the header. `None`: any.
    pub token_type: Option<String>,
    pub keys: KeySource,
    /// Empty: every algorithm that the keys are for.
    pub algorithms: Vec<TokenAlgorithm>,
    pub refresh_seconds: u64,
    pub leeway_seconds: u64,
    pub mapping: ClaimMapping,
}

impl TokenAlgorithm {
    pub(super) fn is(self, algorithm: Algorithm) -> bool {
        let own = match self {
            Self::EdDsa => Algorithm::EdDSA,
            Self::Es256 => Algorithm::ES256,
            Self::Es384 => Algorithm::ES384,
            Self::Rs256 => Algorithm::RS256,
            Self::Hs256 => Algorithm::HS256,
        };
        own == algorithm
    }
}

impl PartialEq for KeySource {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Own, Self::Own) => true,
            (Self::Jwks(one), Self::Jwks(other))
            | (Self::Discovery(one), Self::Discovery(other)) => one == other,
            (Self::Secret(one), Self::Secret(other)) => {
                one.expose_secret() == other.expose_secret()
            }
            _ => false,
        }
    }
}

impl KeySource {
    /// The source that the settings of `table` name, of which exactly one may be set.
    ///
    /// # Errors
    /// When none or more than one is set, when discovery has no issuer, or when the secret is shorter than
    /// 32 bytes.
    pub fn choose(
        table: &str,
        jwks_url: Option<&Url>,
        hs256_secret: Option<&SecretString>,
        discovery: Option<Option<&str>>,
    ) -> Result<Self, ConfigError> {
        let invalid = |key: &str, rule: &str| ConfigError::invalid(&format!("{table}.{key}"), rule);
        match (jwks_url, hs256_secret, discovery) {
            (Some(_), Some(_), _) => {
                let rule =
                    format!("must not be set together with {table}.jwks_url; empty one of them");
                Err(invalid("hs256_secret", &rule))
            }
            (Some(_), _, Some(_)) | (_, Some(_), Some(_)) => {
                let rule =
                    format!("excludes {table}.jwks_url and {table}.hs256_secret; empty them");
                Err(invalid("discovery", &rule))
            }
            (None, None, None) => {
                let rule = format!("must be set unless {table}.hs256_secret is");
                Err(invalid("jwks_url", &rule))
            }
            (Some(url), None, None) => Ok(Self::Jwks(url.clone())),
            (None, Some(secret), None) => {
                if secret.expose_secret().len() < MIN_SECRET_BYTES {
                    let rule = "must have at least 32 bytes (RFC 7518, 3.2)";
                    return Err(invalid("hs256_secret", rule));
                }
                Ok(Self::Secret(secret.clone()))
            }
            (None, None, Some(issuer)) => {
                let url = issuer.and_then(|issuer| issuer.parse::<Url>().ok());
                let is_http = |url: &Url| {
                    matches!(url.scheme(), "http" | "https")
                        && url.has_host()
                        && url.query().is_none()
                        && url.fragment().is_none()
                };
                let rule = "must be an http or https URL without a query, if discovery is true";
                let url = url.filter(is_http).ok_or_else(|| invalid("issuer", rule))?;
                Ok(Self::Discovery(url))
            }
        }
    }
}

impl IssuerSettings {
    /// Whether the header says of a token that it is an access token (RFC 9068), and not only that it is
    /// one of its issuer: RFC 8725, 3.11.
    pub(super) fn is_typed(&self) -> bool {
        let wanted = self.token_type.as_deref();
        wanted.is_some_and(|wanted| wanted.eq_ignore_ascii_case(ACCESS_TOKEN))
    }

    /// Those of the section `jwt` that all services have, with keys from elsewhere.
    pub(super) fn with_keys(jwt: &Jwt, keys: KeySource) -> Self {
        Self {
            issuer: jwt.issuer.clone(),
            audiences: jwt.audience.iter().cloned().collect(),
            token_type: jwt.token_type.clone(),
            keys,
            algorithms: Vec::new(),
            refresh_seconds: jwt.jwks_refresh_seconds,
            leeway_seconds: jwt.leeway_seconds,
            mapping: ClaimMapping::default(),
        }
    }

    /// Those of the section `jwt` that all services have.
    ///
    /// # Errors
    /// When both or neither of `jwks_url` and `hs256_secret` are set, or the secret is shorter than
    /// 32 bytes.
    pub(super) fn of_section(jwt: &Jwt) -> Result<Self, ConfigError> {
        let keys = KeySource::choose(
            "jwt",
            jwt.jwks_url.as_ref(),
            jwt.hs256_secret.as_ref(),
            None,
        )?;
        Ok(Self::with_keys(jwt, keys))
    }
}
