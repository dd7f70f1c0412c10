//! An issuer of access tokens, for the gateway and its peers.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, anyhow};
use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
};
use jsonwebtoken::jwk::{Jwk, JwkSet, PublicKeyUse};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use pem::Pem;
use quartet_devstack::secret;
use serde_json::json;

/// The `iss` of its tokens.
pub(crate) const ISSUER: &str = "http://bench.test";
const KEY_ID: &str = "bench";
const LIFETIME: Duration = Duration::from_hours(1);

/// Keys of all three kinds, generated for each run.
pub(crate) struct Issuer {
    ed25519: EncodingKey,
    p256: EncodingKey,
    hmac: EncodingKey,
    /// The shared secret of HS256.
    pub(crate) secret: String,
    /// The public Ed25519 key as a JWKS document.
    pub(crate) jwks: String,
    /// The public P-256 key.
    pub(crate) p256_pem: String,
}

impl Issuer {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let random = SystemRandom::new();
        let failed = |_| anyhow!("a key could not be generated");
        let ed25519 = Ed25519KeyPair::generate_pkcs8v1(&random).map_err(failed)?;
        let ed25519 = EncodingKey::from_ed_der(ed25519.as_ref());
        let mut jwk = Jwk::from_encoding_key(&ed25519, Algorithm::EdDSA)?;
        jwk.common.key_id = Some(KEY_ID.to_owned());
        jwk.common.public_key_use = Some(PublicKeyUse::Signature);
        let p256 = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(failed)?;
        let public: PublicKeyX509Der<'_> = p256.public_key().as_der().map_err(failed)?;
        let secret = secret::random_hex()?;
        Ok(Self {
            jwks: serde_json::to_string(&JwkSet { keys: vec![jwk] })?,
            p256_pem: pem::encode(&Pem::new("PUBLIC KEY", public.as_ref())),
            ed25519,
            p256: EncodingKey::from_ec_der(p256.to_pkcs8v1().map_err(failed)?.as_ref()),
            hmac: EncodingKey::from_secret(secret.as_bytes()),
            secret,
        })
    }

    /// Tokens as core issues them, for a number of users.
    pub(crate) fn tokens(&self, algorithm: Algorithm, users: usize) -> anyhow::Result<Vec<String>> {
        let key = match algorithm {
            Algorithm::EdDSA => &self.ed25519,
            Algorithm::ES256 => &self.p256,
            _ => &self.hmac,
        };
        let mut header = Header::new(algorithm);
        header.typ = Some("at+jwt".to_owned());
        header.kid = Some(KEY_ID.to_owned());
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .context("the clock is before 1970")?;
        (0..users)
            .map(|user| {
                let claims = json!({
                    "iss": ISSUER,
                    "aud": "quartet",
                    "sub": format!("usr_{user:026}"),
                    "sid": format!("ses_{user:026}"),
                    "jti": format!("{user:032x}"),
                    "iat": now.as_secs(),
                    "nbf": now.as_secs(),
                    "exp": (now + LIFETIME).as_secs(),
                });
                jsonwebtoken::encode(&header, &claims, key).context("sign a token")
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{Algorithm, DecodingKey, Validation, jwk::JwkSet};
    use serde_json::Value;

    use super::Issuer;

    #[test]
    fn published_keys_verify_signed_tokens() {
        let issuer = Issuer::new().unwrap();
        let keys: JwkSet = serde_json::from_str(&issuer.jwks).unwrap();
        let public = DecodingKey::from_jwk(&keys.keys[0]).unwrap();
        let elliptic = DecodingKey::from_ec_pem(issuer.p256_pem.as_bytes()).unwrap();
        let shared = DecodingKey::from_secret(issuer.secret.as_bytes());
        let kinds = [
            (Algorithm::EdDSA, public),
            (Algorithm::ES256, elliptic),
            (Algorithm::HS256, shared),
        ];
        for (algorithm, key) in kinds {
            let mut rules = Validation::new(algorithm);
            rules.set_audience(&["quartet"]);
            for token in issuer.tokens(algorithm, 2).unwrap() {
                jsonwebtoken::decode::<Value>(&token, &key, &rules).unwrap();
            }
        }
    }
}
