//! Headers in which nothing that a client sends may decide: they name a caller, or say where a request comes
//! from, and upstreams never get them as they were sent. A condition or a limit would see what was sent.

use std::collections::BTreeSet;

use http::HeaderName;

use crate::{
    config::model,
    request::{has_prefix, is_untrusted},
};

const HASURA_PREFIX: &str = "x-hasura-";
/// What the connection was like; a trusted proxy says so, and routes may go by it.
const CONNECTION_PREFIX: &str = "x-forwarded-";

pub(super) struct ReservedHeaders {
    /// Those that upstreams get of claims, and of services that decide.
    claims: BTreeSet<String>,
    /// Those that upstreams get of client certificates.
    certificates: BTreeSet<String>,
    hasura: bool,
}

/// Those by which upstreams learn who is logged in.
fn login_headers(login: &model::Login) -> impl Iterator<Item = &String> {
    let headers = &login.headers;
    let all = [
        &headers.user,
        &headers.email,
        &headers.groups,
        &headers.name,
    ];
    let token = login.access_token_header.as_ref();
    let token = token.filter(|name| !name.eq_ignore_ascii_case("authorization"));
    all.into_iter().chain(token).filter(|name| !name.is_empty())
}

impl ReservedHeaders {
    pub(super) fn of(model: &model::Model) -> Self {
        let of_issuers = model
            .issuers
            .values()
            .chain([&model.jwt])
            .map(|issuer| &issuer.claim_headers);
        let of_routes = model.routes.values().map(|route| &route.claim_headers);
        let names = of_issuers.chain(of_routes).flat_map(|table| table.keys());
        let of_logins = model.logins.values().flat_map(login_headers);
        let names = names.chain(of_logins);
        let of_services = model
            .routes
            .values()
            .filter_map(|it| it.forward_auth.as_ref());
        let names = names.chain(of_services.flat_map(|it| &it.copy_response_headers));
        let has_claims = |issuer: &model::Issuer| issuer.hasura_claims.is_some();
        Self {
            claims: names.map(|name| name.to_ascii_lowercase()).collect(),
            certificates: certificate_headers(model),
            hasura: model.jwt.hasura_claims.is_some() || model.issuers.values().any(has_claims),
        }
    }

    /// # Errors
    /// When a route must not be chosen by the header.
    pub(super) fn check_condition(&self, name: &HeaderName) -> Result<(), String> {
        let is_of_connection = has_prefix(name.as_str().as_bytes(), CONNECTION_PREFIX);
        if is_of_connection {
            return Ok(());
        }
        self.check(name)
    }

    /// # Errors
    /// When requests must not be counted by the header.
    pub(super) fn check_key(&self, name: &HeaderName) -> Result<(), String> {
        let why = "use \"user\", \"token\", \"api_key\" or \"client_ip\"";
        self.check(name).map_err(|rule| format!("{rule}; {why}"))
    }

    /// Whether upstreams get it of a claim.
    pub(super) fn is_claim(&self, name: &HeaderName) -> bool {
        let bytes = name.as_str().as_bytes();
        self.claims.contains(name.as_str()) || (self.hasura && has_prefix(bytes, HASURA_PREFIX))
    }

    fn check(&self, name: &HeaderName) -> Result<(), String> {
        let bytes = name.as_str().as_bytes();
        let is_certificate = self.certificates.contains(name.as_str());
        if self.is_claim(name) || is_certificate || is_untrusted(bytes) {
            return Err(format!(
                "`{name}` is a header that clients can forge, and that the gateway removes"
            ));
        }
        Ok(())
    }
}

fn certificate_headers(model: &model::Model) -> BTreeSet<String> {
    let names = model.client_authorities.values().flat_map(|authority| {
        [
            &authority.subject_header,
            &authority.fingerprint_header,
            &authority.certificate_header,
        ]
    });
    let names = names.flatten();
    names.map(|name| name.to_ascii_lowercase()).collect()
}
