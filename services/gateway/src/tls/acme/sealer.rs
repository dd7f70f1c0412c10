//! Private keys as the store has them.

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use quartet_auth::master_key::{KEY_BYTES, MasterKey};

use super::failure::AcmeError;

const SEALED: &str = "sealed:";
const PLAIN: &str = "plain:";

/// Encrypts private keys, if the configuration has a key for that.
#[derive(Debug)]
pub(super) struct Sealer {
    key: Option<MasterKey>,
    /// Keys from the time before they were encrypted are used. Not those of a shared store: anyone who can write
    /// there could choose them.
    accepts_plain: bool,
}

impl Sealer {
    /// `keys`: the first one seals.
    pub(super) fn new(keys: &[[u8; KEY_BYTES]], is_of_this_machine: bool) -> Self {
        let key = keys.split_first();
        Self {
            accepts_plain: is_of_this_machine || key.is_none(),
            key: key.map(|(current, previous)| MasterKey::new(current, previous)),
        }
    }

    /// # Errors
    /// When the cipher refuses.
    pub(super) fn seal(&self, name: &str, secret: &[u8]) -> Result<String, AcmeError> {
        let Some(key) = &self.key else {
            return Ok(format!("{PLAIN}{}", STANDARD_NO_PAD.encode(secret)));
        };
        let sealed = key.seal(name, secret).map_err(unusable)?;
        Ok(format!("{SEALED}{}", STANDARD_NO_PAD.encode(sealed)))
    }

    /// Whether the current key has sealed this, or there is none.
    pub(super) fn is_current(&self, text: &str) -> bool {
        let Some(key) = &self.key else {
            return true;
        };
        let sealed = text.strip_prefix(SEALED);
        let sealed = sealed.and_then(|text| STANDARD_NO_PAD.decode(text).ok());
        sealed.is_some_and(|sealed| key.is_current(&sealed))
    }

    /// # Errors
    /// When it was sealed with another key or under another name, or not at all.
    pub(super) fn open(&self, name: &str, text: &str) -> Result<Vec<u8>, AcmeError> {
        let decode = |text: &str| STANDARD_NO_PAD.decode(text).map_err(unusable);
        if let Some(text) = text.strip_prefix(PLAIN).filter(|_| self.accepts_plain) {
            return decode(text);
        }
        let text = text.strip_prefix(SEALED).zip(self.key.as_ref());
        let (text, key) =
            text.ok_or_else(|| unusable("it is not encrypted, or acme.encryption_key is missing"))?;
        key.open(name, &decode(text)?).map_err(unusable)
    }
}

fn unusable(error: impl ToString) -> AcmeError {
    AcmeError::Unusable(format!("a stored key: {}", error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_open_with_the_same_key_and_name_only() {
        let (old, new) = ([1; 32], [2; 32]);
        let sealed = Sealer::new(&[old], false).seal("a", b"secret").unwrap();
        assert!(!sealed.contains("secret"));
        let rotated = Sealer::new(&[new, old], false);
        assert_eq!(rotated.open("a", &sealed).unwrap(), b"secret");
        assert!(!rotated.is_current(&sealed) && Sealer::new(&[old], false).is_current(&sealed));
        for (sealer, name) in [
            (Sealer::new(&[old], false), "b"),
            (Sealer::new(&[new], false), "a"),
            (Sealer::new(&[], true), "a"),
        ] {
            assert!(sealer.open(name, &sealed).is_err(), "{sealer:?} {name}");
        }
        let plain = Sealer::new(&[], true).seal("a", b"secret").unwrap();
        assert_eq!(
            Sealer::new(&[old], true).open("a", &plain).unwrap(),
            b"secret"
        );
        // In a shared store, it may be anyone's.
        assert!(Sealer::new(&[old], false).open("a", &plain).is_err());
        assert!(Sealer::new(&[old], true).open("a", "sealed:").is_err());
    }
}
