//! The master keys and what is derived from them: one key per purpose.
//!
//! What is sealed names its key, so the master key can be changed: the new one seals, the previous
//! ones still open, until everything has been sealed again.
//!
//! ```text
//! version (1) | key id (4) | nonce (12) | ciphertext | tag (16)
//! ```

use std::{fmt, sync::Arc};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    hmac,
};

/// Why something was not sealed or opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    #[error("it was encrypted with another key or under another name")]
    OtherKey,
    #[error("cryptography failed: {0}")]
    Failed(&'static str),
}

pub const KEY_BYTES: usize = 32;
const VERSION: u8 = 1;
const KEY_ID_BYTES: usize = 4;
const HEADER_BYTES: usize = 1 + KEY_ID_BYTES;

type KeyId = [u8; KEY_ID_BYTES];

/// The current master key, then the previous ones. Cheap to clone; never printed.
#[derive(Clone)]
pub struct MasterKey(Arc<[hmac::Key]>);

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey")
    }
}

impl MasterKey {
    pub fn new(current: &[u8; KEY_BYTES], previous: &[[u8; KEY_BYTES]]) -> Self {
        let keys = [current].into_iter().chain(previous);
        Self(
            keys.map(|bytes| hmac::Key::new(hmac::HMAC_SHA256, bytes))
                .collect(),
        )
    }

    /// 32 bytes that depend on the current master key, the purpose and the data. Parts are prefixed
    /// with their length, so `ab, c` and `a, bc` differ.
    pub fn derive(&self, purpose: &str, data: &[&[u8]]) -> [u8; KEY_BYTES] {
        derive(&self.0[0], purpose, data)
    }

    /// The same from every master key, the current one first.
    pub fn derive_all(
        &self,
        purpose: &str,
        data: &[&[u8]],
    ) -> impl Iterator<Item = [u8; KEY_BYTES]> {
        self.0.iter().map(move |key| derive(key, purpose, data))
    }

    /// Encrypts with AES-256-GCM. `name` is authenticated with it, so a sealed secret cannot be moved
    /// to another row.
    ///
    /// # Errors
    /// When the cipher refuses.
    pub fn seal(&self, name: &str, secret: &[u8]) -> Result<Vec<u8>, SealError> {
        let nonce: [u8; NONCE_LEN] = rand::random();
        let mut header = vec![VERSION];
        header.extend(key_id(&self.0[0]));
        let mut sealed = secret.to_vec();
        cipher(&self.0[0])?
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from([&header, name.as_bytes()].concat()),
                &mut sealed,
            )
            .map_err(|_| SealError::Failed("encryption failed"))?;
        Ok([header.as_slice(), &nonce, &sealed].concat())
    }

    /// Decrypts the output of [`MasterKey::seal`] for the same name.
    ///
    /// # Errors
    /// [`SealError::OtherKey`], also for what is no output of it.
    pub fn open(&self, name: &str, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        let failed = || SealError::OtherKey;
        let (header, rest) = sealed.split_at_checked(HEADER_BYTES).ok_or_else(failed)?;
        let (nonce, text) = rest.split_at_checked(NONCE_LEN).ok_or_else(failed)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| failed())?;
        let key = self.sealed_with(sealed).ok_or_else(failed)?;
        let mut text = text.to_vec();
        let opened = cipher(key)?
            .open_in_place(
                nonce,
                Aad::from([header, name.as_bytes()].concat()),
                &mut text,
            )
            .map_err(|_| failed())?;
        Ok(opened.to_vec())
    }

    /// Whether the current master key has sealed this.
    pub fn is_current(&self, sealed: &[u8]) -> bool {
        sealed
            .get(1..HEADER_BYTES)
            .is_some_and(|id| id == key_id(&self.0[0]))
    }

    fn sealed_with(&self, sealed: &[u8]) -> Option<&hmac::Key> {
        let (version, id) = sealed.get(..HEADER_BYTES)?.split_first()?;
        if *version != VERSION {
            return None;
        }
        self.0.iter().find(|key| key_id(key) == id)
    }
}

/// Distinguishes the keys and reveals nothing else.
fn key_id(key: &hmac::Key) -> KeyId {
    let [a, b, c, d, ..] = derive(key, "key id", &[]);
    [a, b, c, d]
}

fn derive(key: &hmac::Key, purpose: &str, data: &[&[u8]]) -> [u8; KEY_BYTES] {
    let mut context = hmac::Context::with_key(key);
    for part in [purpose.as_bytes()].iter().chain(data) {
        context.update(&part.len().to_be_bytes());
        context.update(part);
    }
    let mut derived = [0; KEY_BYTES];
    derived.copy_from_slice(context.sign().as_ref());
    derived
}

fn cipher(key: &hmac::Key) -> Result<LessSafeKey, SealError> {
    UnboundKey::new(&AES_256_GCM, &derive(key, "seal", &[]))
        .map(LessSafeKey::new)
        .map_err(|_| SealError::Failed("the encryption key is unusable"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> MasterKey {
        MasterKey::new(&[byte; KEY_BYTES], &[])
    }

    #[test]
    fn a_previous_key_opens_and_the_current_one_seals() {
        let old = key(1).seal("kid", b"secret").unwrap();
        let rotated = MasterKey::new(&[2; KEY_BYTES], &[[3; KEY_BYTES], [1; KEY_BYTES]]);
        assert_eq!(rotated.open("kid", &old).unwrap(), b"secret");
        assert!(!rotated.is_current(&old));
        let new = rotated.seal("kid", b"secret").unwrap();
        assert!(rotated.is_current(&new));
        assert_eq!(key(2).open("kid", &new).unwrap(), b"secret");
        assert!(key(1).open("kid", &new).is_err());
        let mut future = new;
        future[0] = 2;
        assert!(key(2).open("kid", &future).is_err(), "an unknown version");
    }

    #[test]
    fn a_sealed_secret_opens_only_with_the_same_key_and_name() {
        let sealed = key(1).seal("kid", b"secret").unwrap();
        assert_eq!(key(1).open("kid", &sealed).unwrap(), b"secret");
        assert!(key(2).open("kid", &sealed).is_err());
        assert!(key(1).open("other", &sealed).is_err());
        assert!(key(1).open("kid", &sealed[..5]).is_err());
        assert_ne!(
            key(1).seal("kid", b"secret").unwrap(),
            sealed,
            "the nonce is new each time"
        );
    }

    #[test]
    fn derived_keys_differ_by_purpose_and_by_part_boundaries() {
        let key = key(1);
        assert_ne!(
            key.derive("x", &[b"ab", b"c"]),
            key.derive("x", &[b"a", b"bc"])
        );
        assert_ne!(key.derive("x", &[b"a"]), key.derive("y", &[b"a"]));
    }
}
