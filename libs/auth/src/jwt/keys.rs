//! The keys of an issuer.
//!
//! A key keeps its identity (its `Arc`) for as long as it is published: a new set takes over the
//! keys that it has in common with the previous one. The cache of verified tokens relies on that.
//!
//! A key is bound to one algorithm: the one it declares, or else the only one that suits its kind. So
//! the header of a token can choose among keys, but never how a key is used (RFC 8725, 3.1).

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{
    Algorithm, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyAlgorithm, PublicKeyUse},
};

/// A larger set is cut: no issuer publishes more keys, and every one of them is parsed.
const MAX_KEYS: usize = 64;
/// Of RSA (RFC 7518, 3.3). A shorter modulus is not secure.
const MIN_MODULUS_BITS: usize = 2048;

pub(super) struct Key {
    /// As published; `None` for a shared secret.
    jwk: Option<Jwk>,
    pub(super) algorithm: Algorithm,
    pub(super) key: DecodingKey,
}

impl Key {
    pub(super) fn from_secret(secret: &[u8]) -> Self {
        Self {
            jwk: None,
            algorithm: Algorithm::HS256,
            key: DecodingKey::from_secret(secret),
        }
    }

    fn id(&self) -> Option<&str> {
        self.jwk.as_ref()?.common.key_id.as_deref()
    }
}

/// Keys that verify tokens, and no others.
#[derive(Default)]
pub(super) struct KeySet(Vec<Arc<Key>>);

impl KeySet {
    pub(super) fn of_secret(secret: &[u8]) -> Self {
        Self(vec![Arc::new(Key::from_secret(secret))])
    }

    /// The usable keys of a published set.
    pub(super) fn from_jwks(set: &JwkSet, previous: Option<&Self>) -> Self {
        let known = |jwk: &Jwk| {
            let keys = &previous?.0;
            keys.iter()
                .find(|key| key.jwk.as_ref() == Some(jwk))
                .cloned()
        };
        let usable = set
            .keys
            .iter()
            .take(MAX_KEYS)
            .filter_map(|jwk| known(jwk).or_else(|| usable_key(jwk).map(Arc::new)));
        Self(usable.collect())
    }

    /// The key with this id. Without an id, and in a set without ids, the only key. Of several with
    /// the same id, the one for `algorithm`; whether the key is for it is left to the caller.
    pub(super) fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Option<&Arc<Key>> {
        let has_ids = self.0.iter().any(|key| key.id().is_some());
        match (id, self.0.as_slice()) {
            (Some(id), keys) if has_ids => {
                let mut named = keys.iter().filter(|key| key.id() == Some(id));
                let first = named.clone().next();
                named.find(|key| key.algorithm == algorithm).or(first)
            }
            (_, [only]) => Some(only),
            _ => None,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn contains(&self, key: &Arc<Key>) -> bool {
        self.0.iter().any(|own| Arc::ptr_eq(own, key))
    }
}

/// A key of one of the four accepted asymmetric algorithms.
fn usable_key(jwk: &Jwk) -> Option<Key> {
    if !matches!(
        jwk.common.public_key_use,
        None | Some(PublicKeyUse::Signature)
    ) {
        return None;
    }
    let algorithm = match &jwk.algorithm {
        AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => {
            Algorithm::EdDSA
        }
        AlgorithmParameters::EllipticCurve(curve) if curve.curve == EllipticCurve::P256 => {
            Algorithm::ES256
        }
        AlgorithmParameters::EllipticCurve(curve) if curve.curve == EllipticCurve::P384 => {
            Algorithm::ES384
        }
        AlgorithmParameters::RSA(key) if modulus_bits(&key.n) >= MIN_MODULUS_BITS => {
            Algorithm::RS256
        }
        _ => return None,
    };
    let declared = match jwk.common.key_algorithm {
        None => algorithm,
        Some(KeyAlgorithm::EdDSA) => Algorithm::EdDSA,
        Some(KeyAlgorithm::ES256) => Algorithm::ES256,
        Some(KeyAlgorithm::ES384) => Algorithm::ES384,
        Some(KeyAlgorithm::RS256) => Algorithm::RS256,
        Some(_) => return None,
    };
    let key = DecodingKey::from_jwk(jwk).ok()?;
    (declared == algorithm).then(|| Key {
        jwk: Some(jwk.clone()),
        algorithm,
        key,
    })
}

/// Zeros at the front make a number longer, and not larger.
fn modulus_bits(modulus: &str) -> usize {
    let bytes = URL_SAFE_NO_PAD.decode(modulus).unwrap_or_default();
    let start = bytes.iter().position(|byte| *byte != 0);
    let significant = start.map_or(&[][..], |start| &bytes[start..]);
    let zeros = significant.first().map_or(0, |byte| byte.leading_zeros());
    significant.len() * 8 - zeros as usize
}
