//! What a route requires of access tokens.

use std::collections::BTreeMap;

use super::{
    checker::Checker,
    issuers::{self, KeptClaims},
};
use crate::{
    config::model::{self, TokenPlace},
    routing::{Access, Auth, RequiredClaim, TokenCookie, TokenSource},
};

/// Of one route.
const MAX_ISSUERS: usize = 16;
const MAX_SOURCES: usize = 4;
const MAX_HEADERS: usize = 32;
const MAX_VALUES: usize = 64;

/// What routes may refer to.
pub(super) struct Known<'a> {
    /// By their index.
    pub(super) issuers: Vec<&'a str>,
    pub(super) kept: &'a KeptClaims,
    pub(super) model: &'a model::Model,
}

pub(super) fn check(
    key: &str,
    route: &model::Route,
    known: &Known<'_>,
    checker: &mut Checker,
) -> Access {
    check_auth(key, route, checker);
    if route.auth == Auth::Public {
        return Access::default();
    }
    if route.claim_headers.len() > MAX_HEADERS {
        let rule = format!("must be at most {MAX_HEADERS}");
        checker.error(format!("{key}.claim_headers"), rule);
    }
    Access {
        issuers: check_issuers(key, route, known, checker),
        token_from: check_sources(key, route.token_from.as_deref(), checker),
        scopes: check_scopes(key, route, checker),
        roles: check_roles(key, route, checker),
        claims: check_claims(key, &route.required_claims, known.kept, checker),
        headers: known.kept.headers(key, &route.claim_headers, checker),
    }
}

/// A rule that nothing would apply is a mistake.
fn check_auth(key: &str, route: &model::Route, checker: &mut Checker) {
    let required = [
        ("required_scopes", route.required_scopes.is_empty()),
        ("required_roles", route.required_roles.is_empty()),
        ("required_claims", route.required_claims.is_empty()),
    ];
    for (name, _) in required.iter().filter(|(_, is_empty)| !is_empty) {
        if route.auth != Auth::Required {
            let rule = "needs auth = \"required\"";
            checker.error(format!("{key}.{name}"), rule);
        }
    }
    let verified = [
        ("issuers", route.issuers.iter().next().is_none()),
        ("token_from", route.token_from.is_none()),
        ("claim_headers", route.claim_headers.is_empty()),
    ];
    for (name, _) in verified.iter().filter(|(_, is_empty)| !is_empty) {
        if route.auth == Auth::Public {
            let rule = "needs auth = \"required\" or \"optional\"";
            checker.error(format!("{key}.{name}"), rule);
        }
    }
}

fn check_issuers(
    key: &str,
    route: &model::Route,
    known: &Known<'_>,
    checker: &mut Checker,
) -> Vec<usize> {
    let key = format!("{key}.issuers");
    let mut names: Vec<&str> = route.issuers.iter().collect();
    if names.is_empty() {
        names.push(issuers::DEFAULT);
    }
    if names.len() > MAX_ISSUERS {
        checker.error(&key, format!("must be at most {MAX_ISSUERS}"));
    }
    let mut found = Vec::new();
    for name in &names {
        match known.issuers.iter().position(|issuer| issuer == name) {
            None => {
                let all = known.issuers.join(", ");
                checker.error(&key, format!("there is no issuer `{name}` among {all}"));
            }
            Some(place) if found.contains(&place) => {
                checker.error(&key, format!("must not have `{name}` twice"));
            }
            Some(place) => found.push(place),
        }
    }
    if names.len() > 1 && names.contains(&issuers::DEFAULT) && known.model.jwt.issuer.is_none() {
        let rule = "must be set: a route accepts tokens of several issuers";
        checker.error("jwt.issuer", rule);
    }
    found
}

fn check_sources(
    key: &str,
    places: Option<&[TokenPlace]>,
    checker: &mut Checker,
) -> Vec<TokenSource> {
    let key = format!("{key}.token_from");
    let Some(places) = places else {
        return vec![TokenSource::Header];
    };
    if places.is_empty() || places.len() > MAX_SOURCES {
        checker.error(&key, format!("must have 1 to {MAX_SOURCES} places"));
    }
    let mut sources: Vec<TokenSource> = Vec::new();
    for (at, place) in places.iter().enumerate() {
        let source = match place {
            TokenPlace::Header(_) => TokenSource::Header,
            TokenPlace::Cookie(place) => {
                if !is_cookie_name(&place.cookie) {
                    let rule = "must be the name of a cookie (RFC 6265)";
                    checker.error(format!("{key}[{at}].cookie"), rule);
                }
                TokenSource::Cookie(TokenCookie {
                    name: place.cookie.clone(),
                    forward: place.forward,
                })
            }
        };
        let is_same = |other: &TokenSource| match (other, &source) {
            (TokenSource::Header, TokenSource::Header) => true,
            (TokenSource::Cookie(one), TokenSource::Cookie(other)) => one.name == other.name,
            _ => false,
        };
        if sources.iter().any(is_same) {
            checker.error(&key, "must not have a place twice");
        }
        sources.push(source);
    }
    sources
}

/// A token in the sense of RFC 9110, 5.6.2.
pub(super) fn is_cookie_name(name: &str) -> bool {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.len() <= 128 && name.bytes().all(is_token)
}

fn check_scopes(key: &str, route: &model::Route, checker: &mut Checker) -> Vec<String> {
    // RFC 6749, 3.3. They are sent in a header, in quotes.
    let is_scope = |scope: &String| {
        let is_allowed = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
        !scope.is_empty() && scope.len() <= 255 && scope.bytes().all(is_allowed)
    };
    let scopes = &route.required_scopes;
    if scopes.len() > MAX_VALUES || !scopes.iter().all(is_scope) {
        let rule = format!(
            "must be at most {MAX_VALUES} scopes of visible ASCII, without quotes and backslashes"
        );
        checker.error(format!("{key}.required_scopes"), rule);
    }
    scopes.clone()
}

fn check_roles(key: &str, route: &model::Route, checker: &mut Checker) -> Vec<String> {
    let roles = &route.required_roles;
    if roles.len() > MAX_VALUES || roles.iter().any(String::is_empty) {
        let rule = format!("must be at most {MAX_VALUES} names");
        checker.error(format!("{key}.required_roles"), rule);
    }
    roles.clone()
}

fn check_claims(
    key: &str,
    claims: &BTreeMap<String, model::Names>,
    kept: &KeptClaims,
    checker: &mut Checker,
) -> Vec<RequiredClaim> {
    let claims = claims.iter().filter_map(|(name, values)| {
        let key = format!("{key}.required_claims.{name}");
        let values: Vec<String> = values.iter().map(str::to_owned).collect();
        if values.is_empty() || values.len() > MAX_VALUES {
            let rule = format!("must have 1 to {MAX_VALUES} values that are not empty");
            checker.error(&key, rule);
        }
        Some(RequiredClaim {
            claim: kept.place(&key, name, checker)?,
            name: name.clone(),
            values,
        })
    });
    claims.collect()
}
