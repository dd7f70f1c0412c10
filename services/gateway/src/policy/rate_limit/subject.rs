//! Whose requests are counted.

use std::net::{IpAddr, Ipv6Addr};

use aws_lc_rs::digest::{SHA256, digest};
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
    /// Ids are unique for their issuer only, so it is a part of every subject that has one.
    Session {
        issuer: &'a str,
        id: &'a str,
    },
    /// A token without a session.
    Token {
        issuer: &'a str,
        name: &'a str,
        issued: i64,
        expires: i64,
    },
    ApiKey {
        issuer: &'a str,
        client: &'a str,
    },
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
        requester: Requester<'a>,
    ) -> Self {
        let mut subjects = keys.iter();
        subjects
            .find_map(|key| Self::by(key, facts, requester))
            .unwrap_or(Self::ClientIp(facts.client_ip))
    }

    fn by(key: &'a LimitKey, facts: &RequestFacts<'a>, requester: Requester<'a>) -> Option<Self> {
        let Requester { caller, is_refused } = requester;
        let issuer = caller.and_then(|claims| claims.iss.as_deref());
        let issuer = issuer.unwrap_or_default();
        match key {
            LimitKey::ClientIp => Some(Self::ClientIp(facts.client_ip)),
            LimitKey::User => caller.map(|claims| Self::User {
                issuer,
                name: &claims.sub,
            }),
            LimitKey::Token => caller.map(|claims| match &claims.sid {
                Some(id) => Self::Session { issuer, id },
                None => Self::Token {
                    issuer,
                    name: &claims.sub,
                    issued: claims.iat.unwrap_or_default(),
                    expires: claims.exp,
                },
            }),
            LimitKey::ApiKey => {
                let claims = caller?;
                let key = claims.client_id.as_deref().or(claims.azp.as_deref());
                key.map(|client| Self::ApiKey { issuer, client })
            }
            LimitKey::Header(_) if is_refused => None,
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

/// What is known of who sent a request.
#[derive(Clone, Copy)]
pub(super) struct Requester<'a> {
    pub(super) caller: Option<&'a Claims>,
    /// A policy has refused the request, though the refusal is not sent yet. A header of it says nothing:
    /// who guesses tokens could use up the quota of another one, or have a new one for each guess.
    pub(super) is_refused: bool,
}

/// A limit and a subject as bytes. No two have the same. All are short, whatever a client sends: they
/// are kept for a window, in a number that the settings bound, but not their size.
pub(super) struct CounterKey {
    bytes: [u8; CounterKey::MOST],
    length: usize,
}

impl CounterKey {
    const MOST: usize = 112;

    /// `limit` has no byte that is zero.
    pub(super) fn new(limit: &str, subject: Subject<'_>) -> Self {
        let limit = limit.as_bytes();
        let of_issuer = |kind: &[u8], issuer: &str, rest: &[&[u8]]| {
            let (length, issuer) = (length(issuer.as_bytes()), issuer.as_bytes());
            let mut parts = [&[][..]; 7];
            parts[..4].copy_from_slice(&[limit, kind, &length, issuer]);
            parts[4..4 + rest.len()].copy_from_slice(rest);
            Self::join(&parts)
        };
        match subject {
            Subject::User { issuer, name } => of_issuer(b"\0u", issuer, &[name.as_bytes()]),
            Subject::Session { issuer, id } => of_issuer(b"\0n", issuer, &[id.as_bytes()]),
            Subject::Token {
                issuer,
                name,
                issued,
                expires,
            } => {
                let times = [issued.to_be_bytes(), expires.to_be_bytes()];
                of_issuer(b"\0t", issuer, &[&times[0], &times[1], name.as_bytes()])
            }
            Subject::ApiKey { issuer, client } => of_issuer(b"\0k", issuer, &[client.as_bytes()]),
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
        let length = parts.iter().map(|part| part.len()).sum::<usize>();
        if length > Self::MOST {
            // No limit has an empty name, and no subject this kind.
            let hash = digest(&SHA256, &parts.concat());
            return Self::join(&[b"\0#", hash.as_ref()]);
        }
        let mut bytes = [0; Self::MOST];
        let mut at = 0;
        for part in parts {
            bytes[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        Self { bytes, length }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// In front of a part that another one follows, so that two pairs are never the same bytes.
fn length(part: &[u8]) -> [u8; 4] {
    u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_short_and_no_two_are_alike() {
        let long = ["x".repeat(60_000), "x".repeat(60_001)];
        let tenant = HeaderName::from_static("x-tenant");
        let other = HeaderName::from_static("x-tenan");
        let session = |issuer, id| Subject::Session { issuer, id };
        let api_key = |issuer, client| Subject::ApiKey { issuer, client };
        let token = |issuer, name| Subject::Token {
            issuer,
            name,
            issued: 1,
            expires: 2,
        };
        let user = |issuer, name| Subject::User { issuer, name };
        let subjects = [
            session("a", "b"),
            session("c", "b"),
            session("ab", ""),
            session("", "ab"),
            api_key("a", "b"),
            api_key("c", "b"),
            token("a", "b"),
            token("c", "b"),
            user("a", "b"),
            user("", "ab"),
            user("", &long[0]),
            Subject::Header(&tenant, b"b"),
            Subject::Header(&other, b"tb"),
            Subject::Header(&tenant, long[0].as_bytes()),
            Subject::Header(&tenant, long[1].as_bytes()),
            Subject::ClientIp([10, 0, 0, 1].into()),
        ];
        let mut keys = Vec::new();
        for limit in ["core", "cor", "core@b", &long[0][..200], ""] {
            for subject in subjects {
                let key = CounterKey::new(limit, subject).as_bytes().to_vec();
                assert!(key.len() <= CounterKey::MOST, "{subject:?}");
                assert!(!keys.contains(&key), "{limit} {subject:?}");
                keys.push(key);
            }
        }
    }
}
