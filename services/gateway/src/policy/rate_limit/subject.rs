//! Whose requests are counted.

use std::net::{IpAddr, Ipv6Addr};

use http::HeaderName;
use quartet_auth::jwt::Claims;

use crate::{config::LimitKey, request::RequestFacts};

/// Whose requests are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject<'a> {
    User {
        issuer: &'a str,
        name: &'a str,
    },
    Session(&'a str),
    /// A token without a session.
    Token {
        name: &'a str,
        issued: i64,
        expires: i64,
    },
    ApiKey(&'a str),
    Header(&'a HeaderName, &'a [u8]),
    /// IPv6 clients have at least a /64 to themselves, so the /64 is counted.
    ClientIp(IpAddr),
    /// The /48 of an IPv6 client: the least that a site is given, with 65 536 of the above.
    Site(Ipv6Addr),
}

impl<'a> Subject<'a> {
    /// The first of the keys that the request has. The client IP if it has none of them: a client
    /// must not escape a limit by leaving something out.
    pub(super) fn new(
        keys: &'a [LimitKey],
        facts: &RequestFacts<'a>,
        caller: Option<&'a Claims>,
    ) -> Self {
        let mut subjects = keys.iter();
        subjects
            .find_map(|key| Self::by(key, facts, caller))
            .unwrap_or(Self::ClientIp(facts.client_ip))
    }

    fn by(key: &'a LimitKey, facts: &RequestFacts<'a>, caller: Option<&'a Claims>) -> Option<Self> {
        match key {
            LimitKey::ClientIp => Some(Self::ClientIp(facts.client_ip)),
            LimitKey::User => caller.map(|claims| Self::User {
                issuer: claims.iss.as_deref().unwrap_or_default(),
                name: &claims.sub,
            }),
            LimitKey::Token => caller.map(|claims| match &claims.sid {
                Some(session) => Self::Session(session),
                None => Self::Token {
                    name: &claims.sub,
                    issued: claims.iat.unwrap_or_default(),
                    expires: claims.exp,
                },
            }),
            LimitKey::ApiKey => {
                let claims = caller?;
                let key = claims.client_id.as_deref().or(claims.azp.as_deref());
                key.map(Self::ApiKey)
            }
            LimitKey::Header(name) => {
                let value = facts
                    .headers
                    .first(name)
                    .filter(|value| !value.is_empty())?;
                // Of two values, it is open which one a server reads.
                let is_only = facts.headers.nth(name, 1).is_none();
                is_only.then_some(Self::Header(name, value))
            }
        }
    }

    /// The site of an IPv6 client.
    pub(super) fn site(self) -> Option<Self> {
        match self {
            Self::ClientIp(IpAddr::V6(address)) => Some(Self::Site(address)),
            _ => None,
        }
    }
}

/// A limit and a subject as bytes, on the stack if they fit. No two have the same.
pub(super) enum CounterKey {
    Short([u8; CounterKey::SHORT], usize),
    Long(Vec<u8>),
}

impl CounterKey {
    const SHORT: usize = 112;

    /// `limit` has no byte that is zero.
    pub(super) fn new(limit: &str, subject: Subject<'_>) -> Self {
        let limit = limit.as_bytes();
        match subject {
            Subject::User { issuer, name } => Self::join(&[
                limit,
                b"\0u",
                &length(issuer.as_bytes()),
                issuer.as_bytes(),
                name.as_bytes(),
            ]),
            Subject::Session(session) => Self::join(&[limit, b"\0n", session.as_bytes()]),
            Subject::Token {
                name,
                issued,
                expires,
            } => Self::join(&[
                limit,
                b"\0t",
                &issued.to_be_bytes(),
                &expires.to_be_bytes(),
                name.as_bytes(),
            ]),
            Subject::ApiKey(key) => Self::join(&[limit, b"\0k", key.as_bytes()]),
            Subject::Header(name, value) => {
                let name = name.as_str().as_bytes();
                Self::join(&[limit, b"\0h", &length(name), name, value])
            }
            Subject::ClientIp(IpAddr::V4(address)) => {
                Self::join(&[limit, b"\x004", &address.octets()])
            }
            Subject::ClientIp(IpAddr::V6(address)) => {
                Self::join(&[limit, b"\x006", &address.octets()[..8]])
            }
            Subject::Site(address) => Self::join(&[limit, b"\0s", &address.octets()[..6]]),
        }
    }

    fn join(parts: &[&[u8]]) -> Self {
        let length = parts.iter().map(|part| part.len()).sum();
        if length > Self::SHORT {
            return Self::Long(parts.concat());
        }
        let mut bytes = [0; Self::SHORT];
        let mut at = 0;
        for part in parts {
            bytes[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        Self::Short(bytes, length)
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Short(bytes, length) => &bytes[..*length],
            Self::Long(bytes) => bytes,
        }
    }
}

/// In front of a part that another one follows, so that two pairs are never the same bytes.
fn length(part: &[u8]) -> [u8; 4] {
    u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes()
}
