//! The master key and what is derived from it: one key per purpose.

use std::{fmt, sync::Arc};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    hmac,
};

use crate::error::Error;

pub(crate) const KEY_BYTES: usize = 32;

/// Cheap to clone; never printed.
#[derive(Clone)]
pub(crate) struct MasterKey(Arc<hmac::Key>);

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey")
    }
}

impl MasterKey {
    pub(crate) fn new(bytes: &[u8; KEY_BYTES]) -> Self {
        Self(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, bytes)))
    }

    /// 32 bytes that depend on the master key, the purpose and the data. Parts are prefixed with
    /// their length, so `ab, c` and `a, bc` differ.
    pub(crate) fn derive(&self, purpose: &str, data: &[&[u8]]) -> [u8; KEY_BYTES] {
        let mut context = hmac::Context::with_key(&self.0);
        for part in [purpose.as_bytes()].iter().chain(data) {
            context.update(&part.len().to_be_bytes());
            context.update(part);
        }
        let mut derived = [0; KEY_BYTES];
        derived.copy_from_slice(context.sign().as_ref());
        derived
    }

    /// Encrypts with AES-256-GCM: nonce, ciphertext and tag. `name` is authenticated with it, so a
    /// sealed secret cannot be moved to another row.
    pub(crate) fn seal(&self, name: &str, secret: &[u8]) -> Result<Vec<u8>, Error> {
        let nonce: [u8; NONCE_LEN] = rand::random();
        let mut sealed = secret.to_vec();
        self.cipher()?
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(name.as_bytes()),
                &mut sealed,
            )
            .map_err(|_| Error::Crypto("encryption failed"))?;
        Ok([nonce.as_slice(), &sealed].concat())
    }

    /// Decrypts the output of [`MasterKey::seal`] for the same name.
    pub(crate) fn open(&self, name: &str, sealed: &[u8]) -> Result<Vec<u8>, Error> {
        let failed = || Error::Crypto("a signing key was encrypted with another keys.master_key");
        let (nonce, text) = sealed.split_at_checked(NONCE_LEN).ok_or_else(failed)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| failed())?;
        let mut text = text.to_vec();
        let opened = self
            .cipher()?
            .open_in_place(nonce, Aad::from(name.as_bytes()), &mut text)
            .map_err(|_| failed())?;
        Ok(opened.to_vec())
    }

    fn cipher(&self) -> Result<LessSafeKey, Error> {
        let key = self.derive("seal", &[]);
        UnboundKey::new(&AES_256_GCM, &key)
            .map(LessSafeKey::new)
            .map_err(|_| Error::Crypto("the encryption key is unusable"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> MasterKey {
        MasterKey::new(&[byte; KEY_BYTES])
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
