//! What a token must permit.

use http::HeaderValue;
use quartet_auth::jwt::{Claims, KeptClaim};
use quartet_common::problem::Problem;

use crate::{
    error,
    routing::{Access, RequiredClaim},
};

/// Scopes, roles and claims, all of which are required.
#[derive(Debug)]
pub(super) struct Required {
    scopes: Box<[String]>,
    roles: Box<[String]>,
    claims: Box<[RequiredClaim]>,
    /// Of every refusal (RFC 6750, 3.1).
    challenge: HeaderValue,
}

impl Required {
    /// `None`: nothing is required.
    pub(super) fn new(access: &Access) -> Option<Self> {
        if access.scopes.is_empty() && access.roles.is_empty() && access.claims.is_empty() {
            return None;
        }
        let mut challenge = "Bearer error=\"insufficient_scope\"".to_owned();
        if !access.scopes.is_empty() {
            challenge = format!("{challenge}, scope=\"{}\"", access.scopes.join(" "));
        }
        Some(Self {
            scopes: access.scopes.clone().into(),
            roles: access.roles.clone().into(),
            claims: access.claims.clone().into(),
            challenge: HeaderValue::try_from(challenge)
                .expect("scopes are visible ASCII; validation refuses others"),
        })
    }

    /// # Errors
    /// 403 with what is missing.
    pub(super) fn check(&self, claims: &Claims) -> Result<(), Problem> {
        let refused = |what, name: &str| {
            let detail = format!("the access token lacks the {what} {name}");
            error::insufficient_scope(&detail, self.challenge.clone())
        };
        if let Some(scope) = self.scopes.iter().find(|scope| !claims.has_scope(scope)) {
            return Err(refused("scope", scope));
        }
        if let Some(role) = self.roles.iter().find(|role| !claims.has_role(role)) {
            return Err(refused("role", role));
        }
        let lacks = |required: &&RequiredClaim| {
            let claim = claims.mapped.kept(required.claim);
            !claim.is_some_and(|claim: &KeptClaim| claim.is_any_of(&required.values))
        };
        match self.claims.iter().find(lacks) {
            Some(claim) => Err(refused("required value of the claim", &claim.name)),
            None => Ok(()),
        }
    }
}
