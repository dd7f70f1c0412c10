//! Refresh tokens on the wire and at rest.

use quartet_auth::opaque;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use crate::domain::crypto::master_key::MasterKey;

const PREFIX: &str = "qrt_ref_";
const FAMILY_BYTES: usize = 16;
const SECRET_BYTES: usize = 32;
const BYTES: usize = FAMILY_BYTES + SECRET_BYTES;

/// Two secrets: one that all tokens of a session share, and one of its own. At rest: the SHA-256 of each.
#[derive(Clone)]
pub(crate) struct RefreshToken {
    family: [u8; FAMILY_BYTES],
    secret: [u8; SECRET_BYTES],
}

impl RefreshToken {
    /// The first token of a family.
    pub(crate) fn random() -> Self {
        Self {
            family: rand::random(),
            secret: rand::random(),
        }
    }

    pub(crate) fn parse(text: &SecretString) -> Option<Self> {
        let bytes = opaque::decode::<BYTES>(PREFIX, text.expose_secret())?;
        let (family, secret) = bytes.split_at_checked(FAMILY_BYTES)?;
        Some(Self {
            family: family.try_into().ok()?,
            secret: secret.try_into().ok()?,
        })
    }

    /// The successor of this token for a salt. Deriving it takes this very token: a second request
    /// within the grace period gets the same successor, and nothing at rest reveals it.
    pub(crate) fn successor(&self, key: &MasterKey, salt: &[u8]) -> Self {
        self.with_secret(key.derive("refresh-successor", &[salt, &self.secret]))
    }

    /// The successor by every master key, the current one first.
    pub(crate) fn successors(&self, key: &MasterKey, salt: &[u8]) -> impl Iterator<Item = Self> {
        let derived: Vec<_> = key
            .derive_all("refresh-successor", &[salt, &self.secret])
            .collect();
        derived.into_iter().map(|secret| self.with_secret(secret))
    }

    fn with_secret(&self, secret: [u8; SECRET_BYTES]) -> Self {
        Self {
            family: self.family,
            secret,
        }
    }

    /// The same for all tokens of a session.
    pub(crate) fn family_hash(&self) -> Vec<u8> {
        Sha256::digest(self.family).to_vec()
    }

    pub(crate) fn hash(&self) -> Vec<u8> {
        Sha256::digest(self.secret).to_vec()
    }

    pub(crate) fn to_wire(&self) -> SecretString {
        let mut bytes = [0; BYTES];
        bytes[..FAMILY_BYTES].copy_from_slice(&self.family);
        bytes[FAMILY_BYTES..].copy_from_slice(&self.secret);
        opaque::encode(PREFIX, &bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_round_trip_and_damaged_ones_are_rejected() {
        let token = RefreshToken::random();
        let wire = token.to_wire();
        let parsed = RefreshToken::parse(&wire).unwrap();
        assert_eq!(parsed.hash(), token.hash());
        assert_eq!(parsed.family_hash(), token.family_hash());
        let text = wire.expose_secret();
        for damaged in [
            "",
            "qrt_ref_",
            &text[1..],
            &text[..text.len() - 1],
            &text.replacen("qrt_ref_", "qrt_pat_", 1),
            &format!("{}A{}", &text[..10], &text[11..]).replace("AA", "AB"),
            &format!("{text}0"),
        ] {
            if damaged != text {
                assert!(
                    RefreshToken::parse(&SecretString::from(damaged)).is_none(),
                    "{damaged}"
                );
            }
        }
    }

    #[test]
    fn the_successor_depends_on_token_key_and_salt() {
        let key = MasterKey::new(&[1; 32], &[]);
        let other_key = MasterKey::new(&[2; 32], &[]);
        let token = RefreshToken::random();
        let family = token.successor(&key, b"salt").family_hash();
        assert_eq!(family, token.family_hash());
        let successor = token.successor(&key, b"salt").hash();
        assert_eq!(successor, token.successor(&key, b"salt").hash());
        assert_ne!(successor, token.successor(&key, b"pepper").hash());
        assert_ne!(successor, token.successor(&other_key, b"salt").hash());
        assert_ne!(
            successor,
            RefreshToken::random().successor(&key, b"salt").hash()
        );
    }
}
