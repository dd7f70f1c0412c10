//! API keys on the wire and at rest.

use quartet_auth::opaque::{self, API_KEY_BYTES, API_KEY_PREFIX};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

/// The secret of a key. At rest: its SHA-256.
pub(crate) struct ApiKey([u8; API_KEY_BYTES]);

impl ApiKey {
    pub(crate) fn random() -> Self {
        Self(rand::random())
    }

    pub(crate) fn parse(text: &SecretString) -> Option<Self> {
        opaque::decode(API_KEY_PREFIX, text.expose_secret()).map(Self)
    }

    pub(crate) fn hash(&self) -> Vec<u8> {
        Sha256::digest(self.0).to_vec()
    }

    pub(crate) fn to_wire(&self) -> SecretString {
        opaque::encode(API_KEY_PREFIX, &self.0)
    }
}
