//! Random names, and the hashes by which they are stored.

use std::fmt;

use aws_lc_rs::{
    digest::{SHA256, digest},
    rand,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

const RANDOM_BYTES: usize = 32;
/// Of a random name in base64.
const NAME_BYTES: usize = 43;
/// Of the hash, enough to name a session to operators; no one can log in with it.
const SHOWN_BYTES: usize = 16;

/// What the store knows a session, a flow or a browser by.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct SessionKey([u8; 32]);

impl SessionKey {
    /// The key of a name that a client sent; `None`: it is none of ours.
    pub(super) fn of_sent(name: &[u8]) -> Option<Self> {
        let is_allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_".contains(byte);
        (name.len() == NAME_BYTES && name.iter().all(is_allowed)).then(|| Self::of(name))
    }

    pub(super) fn of(name: &[u8]) -> Self {
        let mut key = [0; 32];
        key.copy_from_slice(digest(&SHA256, name).as_ref());
        Self(key)
    }

    pub(super) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    pub(crate) fn hex(&self) -> String {
        hex::encode(self.0)
    }

    pub(super) fn from_hex(text: &str) -> Option<Self> {
        let mut key = [0; 32];
        hex::decode_to_slice(text, &mut key).ok()?;
        Some(Self(key))
    }

    /// For operators.
    pub(crate) fn shown(&self) -> String {
        hex::encode(&self.0[..SHOWN_BYTES])
    }

    /// Whether [`shown`](Self::shown) could have written it.
    pub(super) fn is_shown(text: &str) -> bool {
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        text.len() == 2 * SHOWN_BYTES && text.bytes().all(is_digit)
    }
}

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown())
    }
}

/// 256 random bits as text.
pub(super) fn random_name() -> String {
    let mut bytes = [0; RANDOM_BYTES];
    rand::fill(&mut bytes).expect("the system has random numbers");
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The challenge of a PKCE verifier (RFC 7636, 4.2).
pub(super) fn challenge(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_random_and_the_only_ones_that_are_looked_up() {
        let (one, other) = (random_name(), random_name());
        assert_ne!(one, other);
        let key = SessionKey::of_sent(one.as_bytes()).unwrap();
        assert_eq!(SessionKey::from_hex(&key.hex()), Some(key));
        assert!(!key.shown().contains(&one));
        for text in [
            "",
            "a",
            &one[1..],
            &format!("{one}a"),
            &format!("{}=", &one[1..]),
        ] {
            assert_eq!(SessionKey::of_sent(text.as_bytes()), None, "{text}");
        }
    }

    /// RFC 7636, appendix B.
    #[test]
    fn challenges_are_those_of_the_standard() {
        let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        assert_eq!(
            challenge(verifier),
            "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
        );
    }
}
