//! What a token permits.
//!
//! A token without scopes is that of a whole login and permits everything its subject may do. One
//! with scopes permits what they name. The scopes of OpenID Connect are about the ID token: they
//! neither permit anything nor limit a token that has no others.

use http::{HeaderValue, header};
use quartet_common::problem::{Problem, kinds};

const OPENID_SCOPES: [&str; 6] = [
    "openid",
    "profile",
    "email",
    "address",
    "phone",
    "offline_access",
];

/// The name of a permission, as in the scopes of a token: `media:write`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permission(&'static str);

impl Permission {
    #[must_use]
    pub const fn new(scope: &'static str) -> Self {
        Self(scope)
    }
}

/// A permission that a token does not give.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the access token lacks the scope {}", .0.0)]
pub struct Forbidden(Permission);

pub(super) fn check(scope: Option<&str>, wanted: Permission) -> Result<(), Forbidden> {
    let mut is_limited = false;
    for name in scope.unwrap_or_default().split_ascii_whitespace() {
        if name == wanted.0 {
            return Ok(());
        }
        is_limited |= !OPENID_SCOPES.contains(&name);
    }
    if is_limited {
        Err(Forbidden(wanted))
    } else {
        Ok(())
    }
}

/// 403 with the challenge of RFC 6750, 3.1.
impl From<Forbidden> for Problem {
    fn from(error: Forbidden) -> Self {
        let problem = Self::new(&kinds::FORBIDDEN).detail(error.to_string());
        let challenge = format!(
            "Bearer error=\"insufficient_scope\", scope=\"{}\"",
            error.0.0
        );
        match HeaderValue::try_from(challenge) {
            Ok(challenge) => problem.header(header::WWW_AUTHENTICATE, challenge),
            Err(_) => problem,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_limit_a_token_and_those_of_openid_do_not() {
        let write = Permission::new("media:write");
        for scope in [
            None,
            Some(""),
            Some(" "),
            Some("openid profile email"),
            Some("openid media:write"),
            Some("media:read  media:write"),
        ] {
            assert_eq!(check(scope, write), Ok(()), "{scope:?}");
        }
        for scope in [
            "media:read",
            "openid media:read",
            "media:writer",
            "MEDIA:WRITE",
            "*",
            "web-origins",
        ] {
            assert_eq!(check(Some(scope), write), Err(Forbidden(write)), "{scope}");
        }
    }

    #[test]
    fn a_refusal_names_the_scope() {
        let problem = Problem::from(Forbidden(Permission::new("media:write")));
        assert_eq!(problem.kind.code, "forbidden");
        let challenge = &problem.headers[header::WWW_AUTHENTICATE];
        assert_eq!(
            challenge,
            "Bearer error=\"insufficient_scope\", scope=\"media:write\""
        );
    }
}
