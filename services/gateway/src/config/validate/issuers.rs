//! `[jwt]` and `[issuers.*]`.

use std::{collections::BTreeSet, sync::Arc};

use http::HeaderName;
use quartet_auth::jwt::{ClaimMapping, ClaimPath, IssuerSettings, KeySource, TokenAlgorithm};
use quartet_common::config::ConfigError;
use secrecy::ExposeSecret as _;

use super::{
    checker::{Checker, DAY_SECONDS},
    edits::is_own,
};
use crate::{
    config::{IssuerConfig, model},
    routing::{Auth, ClaimHeader},
};

/// The name of `[jwt]` in `issuers` of a route.
pub(super) const DEFAULT: &str = "jwt";
/// Each has keys and a cache of verified tokens.
const MAX_ISSUERS: usize = 64;
/// Every verified token keeps the values of all of them.
const MAX_CLAIMS: usize = 64;
const MAX_PREFIX_BYTES: usize = 64;
/// With a larger difference between clocks, expiry has no meaning.
const MAX_LEEWAY_SECONDS: u64 = 300;

/// The claims that are kept of every token, in their order.
pub(super) struct KeptClaims(Vec<ClaimPath>);

impl KeptClaims {
    /// All claims that something names. What is no path is reported where it is checked.
    pub(super) fn gather(model: &model::Model, checker: &mut Checker) -> Self {
        let of_issuers = model.issuers.values().chain([&model.jwt]);
        let of_issuers = of_issuers.flat_map(|issuer| issuer.claim_headers.values());
        let routes = model.routes.values().filter(|route| route.enabled);
        let of_routes = routes.flat_map(|route| {
            let required = route.required_claims.keys();
            required.chain(route.claim_headers.values())
        });
        let paths = of_issuers.chain(of_routes);
        let paths: BTreeSet<ClaimPath> = paths.filter_map(|path| path.parse().ok()).collect();
        if paths.len() > MAX_CLAIMS {
            let rule = format!(
                "name at most {MAX_CLAIMS} claims in claim_headers and required_claims together"
            );
            checker.error("routes", rule);
        }
        Self(paths.into_iter().collect())
    }

    /// The place of a claim.
    pub(super) fn place(&self, key: &str, path: &str, checker: &mut Checker) -> Option<usize> {
        let path = path.parse::<ClaimPath>().map_err(|error| error.to_string());
        let path = checker.ok(key, path)?;
        self.0.binary_search(&path).ok()
    }

    /// Headers with their claims, in the order of their names.
    pub(super) fn headers<'m>(
        &self,
        key: &str,
        headers: impl IntoIterator<Item = (&'m String, &'m String)>,
        checker: &mut Checker,
    ) -> Vec<ClaimHeader> {
        let headers = headers.into_iter().filter_map(|(name, path)| {
            let key = format!("{key}.claim_headers.{name}");
            let claim = self.place(&key, path, checker);
            let name = checker.ok(&key, header_name(name));
            let (name, claim) = (name?, claim?);
            Some(ClaimHeader { name, claim })
        });
        headers.collect()
    }
}

pub(super) fn header_name(name: &str) -> Result<HeaderName, String> {
    let name = HeaderName::try_from(name).map_err(|_| "is not a valid header name".to_owned())?;
    if is_own(name.as_str()) || ["authorization", "cookie"].contains(&name.as_str()) {
        return Err("is a header that the gateway sets itself".to_owned());
    }
    Ok(name)
}

/// Whether a route accepts the tokens of `[jwt]`, or it says where its keys are.
pub(super) fn has_default(model: &model::Model) -> bool {
    let mut routes = model.routes.values();
    let is_needed = routes.any(|route| {
        let mut names = route.issuers.iter();
        let is_named = names.any(|name| name == DEFAULT) || route.issuers.iter().next().is_none();
        route.enabled && route.auth != Auth::Public && is_named
    });
    model.jwt.has_keys() || is_needed
}

/// The names of the issuers, in their order.
pub(super) fn names(model: &model::Model) -> Vec<&str> {
    let default = has_default(model).then_some(DEFAULT);
    let others = model.issuers.keys().map(String::as_str);
    default.into_iter().chain(others).collect()
}

pub(super) fn check(
    model: &model::Model,
    kept: &KeptClaims,
    checker: &mut Checker,
) -> Vec<IssuerConfig> {
    if model.issuers.len() > MAX_ISSUERS {
        checker.error("issuers", format!("must be at most {MAX_ISSUERS}"));
    }
    check_bounds(DEFAULT, &model.jwt, checker);
    let default = has_default(model).then(|| {
        let prefix = model.jwt.subject_prefix.clone().unwrap_or_default();
        check_issuer(DEFAULT, DEFAULT, &model.jwt, prefix, kept, checker)
    });
    let others = model.issuers.iter().map(|(name, issuer)| {
        let key = format!("issuers.{name}");
        checker.name(&key, name);
        check_named(&key, name, issuer, checker);
        check_bounds(&key, issuer, checker);
        let prefix = issuer.subject_prefix.clone();
        let prefix = prefix.unwrap_or_else(|| format!("{name}:"));
        check_issuer(&key, name, issuer, prefix, kept, checker)
    });
    let others: Vec<_> = others.collect();
    let mut all: Vec<_> = default.into_iter().chain(others).flatten().collect();
    check_distinct(&all, checker);
    reserve_prefixes(&mut all);
    all
}

/// What `[jwt]` may leave out, and no other issuer may.
fn check_named(key: &str, name: &str, issuer: &model::Issuer, checker: &mut Checker) {
    if name == DEFAULT {
        checker.error(key, "is the name of [jwt]");
    }
    if issuer.issuer.is_none() {
        let rule = "must be set: it says whose token one is";
        checker.error(format!("{key}.issuer"), rule);
    }
    if issuer.audience.is_none() {
        let rule = "must be set; \"\" accepts tokens for any audience";
        checker.error(format!("{key}.audience"), rule);
    }
}

fn check_bounds(key: &str, issuer: &model::Issuer, checker: &mut Checker) {
    checker.ranges(
        key,
        &[
            (
                "jwks_refresh_seconds",
                issuer.jwks_refresh_seconds,
                1,
                DAY_SECONDS,
            ),
            (
                "leeway_seconds",
                issuer.leeway_seconds,
                0,
                MAX_LEEWAY_SECONDS,
            ),
        ],
    );
    let url = issuer.jwks_url.as_ref();
    if url.is_some_and(|url| !matches!(url.scheme(), "http" | "https")) {
        let rule = "must begin with http:// or https://";
        checker.error(format!("{key}.jwks_url"), rule);
    }
}

fn check_issuer(
    key: &str,
    name: &str,
    issuer: &model::Issuer,
    subject_prefix: String,
    kept: &KeptClaims,
    checker: &mut Checker,
) -> Option<IssuerConfig> {
    let discovery = issuer.discovery.then_some(issuer.issuer.as_deref());
    let keys = KeySource::choose(
        key,
        issuer.jwks_url.as_ref(),
        issuer.hs256_secret.as_ref(),
        discovery,
    );
    let keys = keys.map_err(|error| report(error, checker)).ok();
    let with_secret = issuer.hs256_secret.is_some();
    let is_possible =
        |algorithm: &TokenAlgorithm| (*algorithm == TokenAlgorithm::Hs256) == with_secret;
    if !issuer.algorithms.iter().all(is_possible) {
        let rule = "must be HS256 with hs256_secret, and any other without it";
        checker.error(format!("{key}.algorithms"), rule);
    }
    let is_prefix = |byte: u8| byte.is_ascii_graphic();
    if subject_prefix.len() > MAX_PREFIX_BYTES || !subject_prefix.bytes().all(is_prefix) {
        let rule = format!("must be at most {MAX_PREFIX_BYTES} visible ASCII characters");
        checker.error(format!("{key}.subject_prefix"), rule);
    }
    let subject = path(key, "subject_claim", issuer.subject_claim.iter(), checker);
    let roles = path(key, "roles_claim", issuer.roles_claim.iter(), checker);
    let scopes = path(key, "scopes_claim", issuer.scopes_claim.iter(), checker);
    let hasura = path(key, "hasura_claims", issuer.hasura_claims.iter(), checker);
    let headers = kept.headers(key, &issuer.claim_headers, checker);
    Some(IssuerConfig {
        name: name.into(),
        settings: IssuerSettings {
            issuer: issuer.issuer.clone(),
            audiences: audiences(issuer),
            token_type: issuer.token_type.clone(),
            keys: keys?,
            algorithms: issuer.algorithms.clone(),
            refresh_seconds: issuer.jwks_refresh_seconds,
            leeway_seconds: issuer.leeway_seconds,
            mapping: ClaimMapping {
                subject: subject.into_iter().next(),
                subject_prefix,
                reserved_prefixes: Vec::new(),
                roles,
                scopes,
                hasura: hasura.into_iter().next(),
                kept: kept.0.clone(),
            },
        },
        headers,
    })
}

fn audiences(issuer: &model::Issuer) -> Vec<String> {
    let audiences = issuer.audience.iter().flat_map(model::Names::iter);
    audiences.map(str::to_owned).collect()
}

fn path<T: AsRef<str>>(
    key: &str,
    name: &str,
    texts: impl Iterator<Item = T>,
    checker: &mut Checker,
) -> Vec<ClaimPath> {
    let key = format!("{key}.{name}");
    let parsed = texts.filter_map(|text| {
        let path = text.as_ref().parse::<ClaimPath>();
        checker.ok(&key, path.map_err(|error| error.to_string()))
    });
    parsed.collect()
}

pub(super) fn report(error: ConfigError, checker: &mut Checker) {
    match error {
        ConfigError::Invalid { key, message, .. } => checker.error(key, message),
        other => checker.error("", other.to_string()),
    }
}

/// No token could be of two issuers.
fn check_distinct(issuers: &[IssuerConfig], checker: &mut Checker) {
    for (at, one) in issuers.iter().enumerate() {
        for other in &issuers[..at] {
            let (key, name) = (one.key(), &other.name);
            let (own, known) = (&one.settings, &other.settings);
            if own.issuer.is_some() && own.issuer == known.issuer {
                let rule = format!("is that of `{name}`, too: one of them would never be asked");
                checker.error(format!("{key}.issuer"), rule);
            }
            if let (KeySource::Secret(secret), KeySource::Secret(known)) = (&own.keys, &known.keys)
                && secret.expose_secret() == known.expose_secret()
            {
                let rule = format!("is that of `{name}`, too: each could issue the other's tokens");
                checker.error(format!("{key}.hs256_secret"), rule);
            }
            let prefix = &own.mapping.subject_prefix;
            if !prefix.is_empty() && *prefix == known.mapping.subject_prefix {
                let rule = format!("is that of `{name}`, too: their users would be the same");
                checker.error(format!("{key}.subject_prefix"), rule);
            }
        }
    }
}

/// No subject may begin as if it were of another issuer.
fn reserve_prefixes(issuers: &mut [IssuerConfig]) {
    let prefixes: Vec<String> = issuers
        .iter()
        .map(|issuer| issuer.settings.mapping.subject_prefix.clone())
        .collect();
    for (at, issuer) in issuers.iter_mut().enumerate() {
        let others = prefixes.iter().enumerate();
        let own = &issuer.settings.mapping.subject_prefix;
        // One that begins the own prefix begins every subject here, and no subject there may begin
        // with the own prefix.
        let others = others.filter(|(other, prefix)| {
            *other != at && !prefix.is_empty() && !own.starts_with(prefix.as_str())
        });
        issuer.settings.mapping.reserved_prefixes =
            others.map(|(_, prefix)| prefix.clone()).collect();
    }
}

impl IssuerConfig {
    fn key(&self) -> Arc<str> {
        if self.is_default() {
            return Arc::clone(&self.name);
        }
        format!("issuers.{}", self.name).into()
    }
}
