//! Key pairs of each algorithm: generated, sealed for storage, and opened for signing.
//!
//! What is sealed is bound to its algorithm and its id: a row that claims another algorithm, or another
//! row's key, does not open. Private keys are PKCS#8 in DER.

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der},
    rsa::KeySize,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RsaKeyPair},
};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use jsonwebtoken::{
    Algorithm, EncodingKey,
    jwk::{Jwk, PublicKeyUse},
};

use crate::{config::SigningAlgorithm, domain::crypto::master_key::MasterKey, error::Error};

const KEY_ID_BYTES: usize = 9;

/// A private key as it is stored.
pub(super) struct SealedKey {
    pub(super) kid: String,
    pub(super) private_key: Vec<u8>,
}

pub(super) fn jwt_algorithm(algorithm: SigningAlgorithm) -> Algorithm {
    match algorithm {
        SigningAlgorithm::EdDsa => Algorithm::EdDSA,
        SigningAlgorithm::Es256 => Algorithm::ES256,
        SigningAlgorithm::Rs256 => Algorithm::RS256,
    }
}

/// A new key with a new id. For RS256 this takes a tenth of a second and more.
pub(super) fn generate(
    algorithm: SigningAlgorithm,
    master_key: &MasterKey,
) -> Result<SealedKey, Error> {
    let private =
        private_key(algorithm).map_err(|_| Error::Crypto("generating a signing key failed"))?;
    let kid = URL_SAFE_NO_PAD.encode(rand::random::<[u8; KEY_ID_BYTES]>());
    let private_key = master_key.seal(&name(algorithm.as_str(), &kid), &private)?;
    Ok(SealedKey { kid, private_key })
}

fn private_key(algorithm: SigningAlgorithm) -> Result<Vec<u8>, aws_lc_rs::error::Unspecified> {
    let der = |der: Pkcs8V1Der<'_>| der.as_ref().to_vec();
    match algorithm {
        SigningAlgorithm::EdDsa => Ed25519KeyPair::generate()?.as_der().map(der),
        SigningAlgorithm::Es256 => {
            let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?;
            Ok(pair.to_pkcs8v1()?.as_ref().to_vec())
        }
        SigningAlgorithm::Rs256 => RsaKeyPair::generate(KeySize::Rsa2048)?.as_der().map(der),
    }
}

/// Opens a stored key for signing.
pub(super) fn open(
    algorithm: SigningAlgorithm,
    kid: &str,
    sealed: &[u8],
    master_key: &MasterKey,
) -> Result<EncodingKey, Error> {
    let private = master_key.open(&name(algorithm.as_str(), kid), sealed)?;
    Ok(match algorithm {
        SigningAlgorithm::EdDsa => EncodingKey::from_ed_der(&private),
        SigningAlgorithm::Es256 => EncodingKey::from_ec_der(&private),
        // The function for DER expects PKCS#1.
        SigningAlgorithm::Rs256 => EncodingKey::from_rsa_pem(pem(&private).as_bytes())
            .map_err(|_| Error::Crypto("a signing key is not an RSA key"))?,
    })
}

/// Seals a stored key with the current master key. `None` when that is done already.
pub(super) fn reseal(
    algorithm: &str,
    kid: &str,
    sealed: &[u8],
    master_key: &MasterKey,
) -> Result<Option<Vec<u8>>, Error> {
    if master_key.is_current(sealed) {
        return Ok(None);
    }
    let name = name(algorithm, kid);
    let private = master_key.open(&name, sealed)?;
    Ok(Some(master_key.seal(&name, &private)?))
}

/// The public half as it is published.
pub(super) fn public_key(
    algorithm: SigningAlgorithm,
    kid: &str,
    key: &EncodingKey,
) -> Result<Jwk, Error> {
    let mut jwk = Jwk::from_encoding_key(key, jwt_algorithm(algorithm))
        .map_err(|_| Error::Crypto("a signing key has no public key"))?;
    jwk.common.key_id = Some(kid.to_owned());
    jwk.common.public_key_use = Some(PublicKeyUse::Signature);
    Ok(jwk)
}

fn name(algorithm: &str, kid: &str) -> String {
    format!("signing key {algorithm} {kid}")
}

fn pem(pkcs8: &[u8]) -> String {
    let text = STANDARD.encode(pkcs8);
    format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_key_opens_with_its_own_algorithm_and_id_only() {
        let master_key = MasterKey::new(&[1; 32], &[]);
        for algorithm in SigningAlgorithm::ALL {
            let SealedKey { kid, private_key } = generate(algorithm, &master_key).unwrap();
            let key = open(algorithm, &kid, &private_key, &master_key).unwrap();
            let jwk = public_key(algorithm, &kid, &key).unwrap();
            assert_eq!(jwk.common.key_id.as_deref(), Some(kid.as_str()));
            assert!(open(algorithm, "other", &private_key, &master_key).is_err());
            for other in SigningAlgorithm::ALL {
                let opened = open(other, &kid, &private_key, &master_key);
                assert_eq!(
                    opened.is_ok(),
                    other == algorithm,
                    "{algorithm:?} as {other:?}"
                );
            }
        }
    }
}
