//! The master key, and what is derived from it: one key per purpose.

use std::{fmt, sync::Arc};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    hmac,
};
use quartet_common::config::ConfigError;
use secrecy::{ExposeSecret, SecretString};

use crate::error::Error;

const KEY_BYTES: usize = 32;

/// Cheap to clone; never printed.
#[derive(Clone)]
pub(crate) struct MasterKey(Arc<hmac::Key>);

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey")
    }
}

impl MasterKey {
    /// # Errors
    /// When the setting is not 64 hexadecimal digits.
    pub(crate) fn parse(text: &SecretString) -> Result<Self, ConfigError> {
        let wrong = || {
            ConfigError::invalid(
                "keys.master_key",
                "must be 64 hexadecimal digits; make one with `openssl rand -hex 32`",
            )
        };
        let digits = text.expose_secret().trim().as_bytes();
        if digits.len() != 2 * KEY_BYTES {
            return Err(wrong());
        }
        let nibble = |digit: u8| {
            char::from(digit)
                .to_digit(16)
                .and_then(|n| u8::try_from(n).ok())
        };
        let bytes: Option<Vec<u8>> = digits
            .chunks_exact(2)
            .map(|pair| Some(nibble(pair[0])? << 4 | nibble(pair[1])?))
            .collect();
        let key = hmac::Key::new(hmac::HMAC_SHA256, &bytes.ok_or_else(wrong)?);
        Ok(Self(Arc::new(key)))
    }

    /// 32 bytes that only who has the master key can make again from the same words.
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

    /// Nonce, ciphertext and tag; opens only with the same name.
    pub(crate) fn seal(&self, name: &str, secret: &[u8]) -> Result<Vec<u8>, Error> {
        let nonce: [u8; NONCE_LEN] = rand::random();
        let mut sealed = secret.to_vec();
        self.cipher()?
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(name.as_bytes()),
                &mut sealed,
            )
            .map_err(|_| Error::Crypto("sealing failed"))?;
        Ok([nonce.as_slice(), &sealed].concat())
    }

    pub(crate) fn open(&self, name: &str, sealed: &[u8]) -> Result<Vec<u8>, Error> {
        let wrong = || Error::Crypto("a signing key was sealed with another keys.master_key");
        let (nonce, text) = sealed.split_at_checked(NONCE_LEN).ok_or_else(wrong)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| wrong())?;
        let mut text = text.to_vec();
        let opened = self
            .cipher()?
            .open_in_place(nonce, Aad::from(name.as_bytes()), &mut text)
            .map_err(|_| wrong())?;
        Ok(opened.to_vec())
    }

    fn cipher(&self) -> Result<LessSafeKey, Error> {
        let key = self.derive("seal", &[]);
        UnboundKey::new(&AES_256_GCM, &key)
            .map(LessSafeKey::new)
            .map_err(|_| Error::Crypto("the sealing key is unusable"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(digit: &str) -> MasterKey {
        MasterKey::parse(&digit.repeat(64).into()).unwrap()
    }

    #[test]
    fn what_is_sealed_opens_with_the_same_key_and_name_only() {
        let sealed = key("a").seal("kid", b"secret").unwrap();
        assert_eq!(key("a").open("kid", &sealed).unwrap(), b"secret");
        assert!(key("b").open("kid", &sealed).is_err());
        assert!(key("a").open("other", &sealed).is_err());
        assert!(key("a").open("kid", &sealed[..5]).is_err());
        assert_ne!(
            key("a").seal("kid", b"secret").unwrap(),
            sealed,
            "the nonce is new each time"
        );
    }

    #[test]
    fn purposes_and_boundaries_matter() {
        let key = key("a");
        assert_ne!(
            key.derive("x", &[b"ab", b"c"]),
            key.derive("x", &[b"a", b"bc"])
        );
        assert_ne!(key.derive("x", &[b"a"]), key.derive("y", &[b"a"]));
    }

    #[test]
    fn a_wrong_master_key_is_named_and_not_shown() {
        for text in ["", "abc", &"g".repeat(64)] {
            let error = MasterKey::parse(&SecretString::from(text))
                .unwrap_err()
                .to_string();
            assert!(error.contains("keys.master_key"), "{error}");
            assert!(!error.contains("ggg"), "{error}");
        }
    }
}
