//! Encrypts what leaves the process.

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey},
    hkdf::{HKDF_SHA256, KeyType, Salt},
};
use secrecy::{ExposeSecret as _, SecretString};

const SALT: &[u8] = b"quartet-gateway sessions";

/// AES-256-GCM with a key that is derived from the secret of the configuration.
pub(super) struct Sealer(RandomizedNonceKey);

struct KeyBytes;

impl KeyType for KeyBytes {
    fn len(&self) -> usize {
        32
    }
}

impl Sealer {
    pub(super) fn new(secret: &SecretString) -> Self {
        let pseudo_random = Salt::new(HKDF_SHA256, SALT).extract(secret.expose_secret().as_bytes());
        let mut key = [0; 32];
        let derived = pseudo_random.expand(&[b"v1"], KeyBytes);
        derived
            .and_then(|derived| derived.fill(&mut key))
            .expect("the length is one that SHA-256 allows");
        Self(RandomizedNonceKey::new(&AES_256_GCM, &key).expect("the key has 32 bytes"))
    }

    /// `place` is where it is stored: what is moved elsewhere cannot be opened.
    pub(super) fn seal(&self, place: &str, text: &[u8]) -> Vec<u8> {
        let mut sealed = text.to_vec();
        let nonce = self
            .0
            .seal_in_place_append_tag(Aad::from(place.as_bytes()), &mut sealed);
        let nonce = nonce.expect("the text is shorter than 64 GiB");
        let mut all = nonce.as_ref().to_vec();
        all.append(&mut sealed);
        all
    }

    /// `None`: another key, another place, or changed on the way.
    pub(super) fn open(&self, place: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, text) = sealed.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut text = text.to_vec();
        let opened = self
            .0
            .open_in_place(nonce, Aad::from(place.as_bytes()), &mut text);
        opened.ok().map(|opened| opened.to_vec())
    }
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sealer")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_in_its_place_with_its_key_alone() {
        let sealer = |secret: &str| Sealer::new(&secret.to_owned().into());
        let (one, other) = (sealer("one"), sealer("other"));
        let mut sealed = one.seal("a", b"token");
        assert!(!sealed.windows(5).any(|part| part == b"token"));
        assert_ne!(sealed, one.seal("a", b"token"));
        assert_eq!(one.open("a", &sealed).as_deref(), Some(&b"token"[..]));
        assert_eq!(one.open("b", &sealed), None);
        assert_eq!(other.open("a", &sealed), None);
        assert_eq!(one.open("a", b"short"), None);
        sealed[20] ^= 1;
        assert_eq!(one.open("a", &sealed), None);
    }
}
