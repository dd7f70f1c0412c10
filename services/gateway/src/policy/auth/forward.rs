//! What the upstream learns of a token, beside who the caller is.

use http::{HeaderName, HeaderValue, header};
use quartet_auth::jwt::{Claims, HasuraClaims, JwtError};
use quartet_common::problem::Problem;

use super::token::Presented;
use crate::{
    config::IssuerConfig,
    error,
    policy::context::Edit,
    request::{Headers, LeftCookies, RequestFacts, without_cookies},
    routing::{Access, ClaimHeader, CookieForward, TokenCookie, TokenSource},
};

static HASURA_ROLE: HeaderName = HeaderName::from_static("x-hasura-role");

/// What a route forwards of the tokens of one issuer.
#[derive(Debug)]
pub(super) struct Forward {
    headers: Box<[ClaimHeader]>,
    hasura: bool,
    /// Whose values the upstream does not get.
    removed: Box<[TokenCookie]>,
}

impl Forward {
    pub(super) fn new(access: &Access, issuer: &IssuerConfig) -> Self {
        let mut headers = access.headers.clone();
        for header in &issuer.headers {
            if headers.iter().all(|own| own.name != header.name) {
                headers.push(header.clone());
            }
        }
        let removed = access.token_from.iter().filter_map(|source| match source {
            TokenSource::Cookie(cookie) if cookie.forward != CookieForward::Cookie => {
                Some(cookie.clone())
            }
            _ => None,
        });
        Self {
            headers: headers.into(),
            hasura: issuer.settings.mapping.hasura.is_some(),
            removed: removed.collect(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.headers.is_empty() && !self.hasura && self.removed.is_empty()
    }

    /// # Errors
    /// The problem that is the response, when the request asks for a role that it must not have.
    pub(super) fn apply(
        &self,
        claims: &Claims,
        presented: Presented<'_>,
        facts: &RequestFacts<'_>,
        edits: &mut Vec<Edit>,
    ) -> Result<(), Problem> {
        // What the client sent under these names was removed before; see `claim_headers`.
        for header in &self.headers {
            let claim = claims.mapped.kept(header.claim);
            if let Some(value) = claim.and_then(|claim| claim.header.as_ref()) {
                edits.push(Edit::Set(header.name.clone(), value.clone()));
            }
        }
        if let Some(hasura) = claims.mapped.hasura.as_ref().filter(|_| self.hasura) {
            set_hasura(hasura, facts.headers, edits)?;
        }
        if !self.removed.is_empty() {
            self.remove_cookies(presented, facts.headers, edits)?;
        }
        Ok(())
    }

    fn remove_cookies(
        &self,
        presented: Presented<'_>,
        headers: &dyn Headers,
        edits: &mut Vec<Edit>,
    ) -> Result<(), Problem> {
        let values = (0..).map_while(|index| headers.nth(&header::COOKIE, index));
        let mut found = None;
        let left = without_cookies(values, |name| {
            let mut removed = self.removed.iter();
            let cookie = removed.find(|cookie| cookie.name.as_bytes() == name);
            found = cookie.map(|cookie| cookie.forward).or(found);
            cookie.is_some()
        });
        let Some(forward) = found else { return Ok(()) };
        edits.push(match left {
            LeftCookies::Some(left) => Edit::Set(header::COOKIE, left),
            LeftCookies::None | LeftCookies::All => Edit::Remove(header::COOKIE),
        });
        if forward == CookieForward::Header && presented.only_in_cookie {
            let value = HeaderValue::try_from(format!("Bearer {}", presented.token));
            let value = value.map_err(|_| Problem::from(JwtError::Malformed))?;
            edits.push(Edit::Set(header::AUTHORIZATION, value));
        }
        Ok(())
    }
}

/// The role that the request asks for, if the token allows it, and everything else that it says.
fn set_hasura(
    hasura: &HasuraClaims,
    headers: &dyn Headers,
    edits: &mut Vec<Edit>,
) -> Result<(), Problem> {
    let role = match headers.first(&HASURA_ROLE) {
        None => hasura.default_role.as_bytes(),
        Some(role) => role,
    };
    let mut allowed = hasura.allowed_roles.iter();
    let is_allowed = allowed.any(|allowed| allowed.as_bytes() == role);
    let is_only = headers.nth(&HASURA_ROLE, 1).is_none();
    let value = HeaderValue::from_bytes(role).ok();
    let Some(value) = value.filter(|_| is_allowed && is_only) else {
        let detail = "the access token does not allow the role in X-Hasura-Role";
        let challenge = HeaderValue::from_static("Bearer error=\"insufficient_scope\"");
        return Err(error::insufficient_scope(detail, challenge));
    };
    for (name, value) in &hasura.headers {
        edits.push(Edit::Set(name.clone(), value.clone()));
    }
    edits.push(Edit::Set(HASURA_ROLE.clone(), value));
    Ok(())
}
