//! Refresh tokens on the wire and at rest.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use crate::domain::crypto::master_key::MasterKey;

/// Lets secret scanners recognize the token.
const PREFIX: &str = "qrt_ref_";
const SECRET_BYTES: usize = 32;
const SECRET_CHARS: usize = 43;
const CHECKSUM_CHARS: usize = 8;

/// A secret of 256 bits. On the wire: prefix, base64url, and a CRC-32 that detects a mistyped token
/// without a query. At rest: its SHA-256 only.
#[derive(Clone)]
pub(crate) struct RefreshToken([u8; SECRET_BYTES]);

impl RefreshToken {
    pub(crate) fn random() -> Self {
        Self(rand::random())
    }

    pub(crate) fn parse(text: &SecretString) -> Option<Self> {
        let text = text.expose_secret().strip_prefix(PREFIX)?;
        if text.len() != SECRET_CHARS + CHECKSUM_CHARS || !text.is_ascii() {
            return None;
        }
        let (secret, checksum) = text.split_at(SECRET_CHARS);
        if checksum != checksum_of(secret) {
            return None;
        }
        URL_SAFE_NO_PAD
            .decode(secret)
            .ok()?
            .try_into()
            .ok()
            .map(Self)
    }

    /// The successor of this token for a salt. Deriving it takes this very token: a second request
    /// within the grace period gets the same successor, and nothing at rest reveals it.
    pub(crate) fn successor(&self, key: &MasterKey, salt: &[u8]) -> Self {
        Self(key.derive("refresh-successor", &[salt, &self.0]))
    }

    /// The successor by every master key, the current one first.
    pub(crate) fn successors(&self, key: &MasterKey, salt: &[u8]) -> impl Iterator<Item = Self> {
        let derived: Vec<_> = key
            .derive_all("refresh-successor", &[salt, &self.0])
            .collect();
        derived.into_iter().map(Self)
    }

    pub(crate) fn hash(&self) -> Vec<u8> {
        Sha256::digest(self.0).to_vec()
    }

    pub(crate) fn to_wire(&self) -> SecretString {
        let secret = URL_SAFE_NO_PAD.encode(self.0);
        let checksum = checksum_of(&secret);
        format!("{PREFIX}{secret}{checksum}").into()
    }
}

fn checksum_of(secret: &str) -> String {
    format!("{:08x}", crc32fast::hash(secret.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_round_trip_and_damaged_ones_are_rejected() {
        let token = RefreshToken::random();
        let wire = token.to_wire();
        assert_eq!(RefreshToken::parse(&wire).unwrap().hash(), token.hash());
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
