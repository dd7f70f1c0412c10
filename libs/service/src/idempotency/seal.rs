//! Kept responses are sealed: they name the caller, and are of use only to a client that repeats the
//! request.
//!
//! The key follows from the whole request, of which the table holds a keyed hash only. So neither a
//! leaked table nor this process without the request can read a response, and what a sign-up
//! answered is unreadable after the account is deleted, long before the row expires.
//!
//! ```text
//! nonce (12) | ciphertext | tag (16)
//! ```

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use http::request::Parts;
use sha2::Sha256;

/// A request as the table knows it, and the key of its response.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Fingerprint {
    pub(super) hash: Vec<u8>,
    seal: [u8; 32],
}

impl Fingerprint {
    pub(super) fn new(key: &[u8; 32], request: &Parts, body: &[u8]) -> Self {
        Self {
            hash: digest(key, b"hash", request, body).to_vec(),
            seal: digest(key, b"seal", request, body),
        }
    }

    /// `None` only if the cipher is not available.
    pub(super) fn seal(&self, body: &Bytes) -> Option<Vec<u8>> {
        let nonce: [u8; NONCE_LEN] = rand::random();
        let mut sealed = body.to_vec();
        self.cipher()?
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::empty(),
                &mut sealed,
            )
            .ok()?;
        Some([nonce.as_slice(), &sealed].concat())
    }

    /// `None` for what was not sealed for this request.
    pub(super) fn open(&self, sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, text) = sealed.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut text = text.to_vec();
        let opened = self.cipher()?.open_in_place(nonce, Aad::empty(), &mut text);
        opened.ok().map(|body| body.to_vec())
    }

    fn cipher(&self) -> Option<LessSafeKey> {
        UnboundKey::new(&AES_256_GCM, &self.seal)
            .ok()
            .map(LessSafeKey::new)
    }
}

/// Parts are prefixed with their length, so that `ab, c` and `a, bc` differ.
fn digest(key: &[u8; 32], purpose: &[u8], request: &Parts, body: &[u8]) -> [u8; 32] {
    let mut hash = Hmac::<Sha256>::new_from_slice(key).expect("any length is a key");
    for part in [
        purpose,
        request.method.as_str().as_bytes(),
        request.uri.path().as_bytes(),
        body,
    ] {
        hash.update(&part.len().to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(key: u8, body: &[u8]) -> Fingerprint {
        let (parts, ()) = http::Request::post("/make").body(()).unwrap().into_parts();
        Fingerprint::new(&[key; 32], &parts, body)
    }

    #[test]
    fn only_the_same_request_opens_a_response() {
        let sealed = of(1, b"a")
            .seal(&Bytes::from_static(b"ada@example.com"))
            .unwrap();
        assert!(!sealed.windows(3).any(|part| part == b"ada"));
        assert_eq!(of(1, b"a").open(&sealed).unwrap(), b"ada@example.com");
        assert_eq!(of(1, b"b").open(&sealed), None);
        assert_eq!(of(2, b"a").open(&sealed), None);
        assert_eq!(of(1, b"a").open(&sealed[..20]), None);
        assert_ne!(of(1, b"a").hash, of(1, b"a").seal);
    }
}
