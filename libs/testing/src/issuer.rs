//! An issuer of access tokens that services under test trust.

use std::{net::SocketAddr, sync::Arc};

use axum::{Json, Router, routing::get};
use jsonwebtoken::{
    Algorithm, EncodingKey, Header,
    jwk::{Jwk, JwkSet},
};
use quartet_common::{clock::Clock, config::Jwt};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// Signs tokens with an Ed25519 key of its own, as core does.
#[derive(Clone, Debug)]
pub struct Issuer {
    inner: Arc<IssuerKey>,
    clock: Clock,
}

struct IssuerKey {
    key: EncodingKey,
    algorithm: Algorithm,
    jwks: JwkSet,
}

impl std::fmt::Debug for IssuerKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("IssuerKey")
    }
}

pub const ISSUER: &str = "http://localhost:8080";
pub const AUDIENCE: &str = "quartet";
const KEY_ID: &str = "test-key";

impl Issuer {
    /// # Panics
    /// When the key is not valid.
    pub fn new(clock: Clock) -> Self {
        // PKCS#8 (RFC 8410): a fixed prefix and the 32 bytes of the seed.
        let mut pkcs8 = vec![
            0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22,
            0x04, 0x20,
        ];
        pkcs8.extend(rand::random::<[u8; 32]>());
        let key = EncodingKey::from_ed_der(&pkcs8);
        let mut jwk = Jwk::from_encoding_key(&key, Algorithm::EdDSA).expect("a public key");
        jwk.common.key_id = Some(KEY_ID.into());
        let inner = Arc::new(IssuerKey {
            key,
            algorithm: Algorithm::EdDSA,
            jwks: JwkSet { keys: vec![jwk] },
        });
        Self { inner, clock }
    }

    /// An issuer that signs with a shared secret.
    pub fn with_secret(clock: Clock, secret: &str) -> Self {
        let inner = Arc::new(IssuerKey {
            key: EncodingKey::from_secret(secret.as_bytes()),
            algorithm: Algorithm::HS256,
            jwks: JwkSet { keys: Vec::new() },
        });
        Self { inner, clock }
    }

    pub fn jwks(&self) -> &JwkSet {
        &self.inner.jwks
    }

    /// A valid access token for this subject; it expires in 15 minutes.
    pub fn token(&self, subject: &str) -> String {
        self.token_with(subject, json!({}))
    }

    /// The same with claims added or replaced; null removes one.
    ///
    /// # Panics
    /// When `claims` is not an object.
    pub fn token_with(&self, subject: &str, claims: Value) -> String {
        let now = self.clock.now().timestamp();
        let mut all = json!({
            "iss": ISSUER, "aud": AUDIENCE, "sub": subject, "sid": "ses_test",
            "iat": now, "nbf": now, "exp": now + 900, "jti": uuid::Uuid::new_v4().to_string(),
        });
        let all_claims = all.as_object_mut().expect("an object");
        for (name, value) in claims.as_object().expect("claims are an object") {
            if value.is_null() {
                all_claims.remove(name);
            } else {
                all_claims.insert(name.clone(), value.clone());
            }
        }
        let mut header = Header::new(self.inner.algorithm);
        header.typ = Some("at+jwt".into());
        header.kid = Some(KEY_ID.into());
        jsonwebtoken::encode(&header, &all, &self.inner.key).expect("claims can be signed")
    }

    /// Serves the JWKS on a loopback port until the runtime ends.
    ///
    /// # Panics
    /// When no port is free.
    pub async fn serve(&self) -> SocketAddr {
        let jwks = serde_json::to_value(self.jwks()).expect("keys are plain data");
        let router = Router::new().route(
            "/.well-known/jwks.json",
            get(move || async move { Json(jwks) }),
        );
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound address");
        tokio::spawn(async move { axum::serve(listener, router).await });
        address
    }

    /// Settings of a verifier that trusts this issuer at `address`.
    ///
    /// # Panics
    /// Never: the URL is valid.
    pub fn settings(&self, address: SocketAddr) -> Jwt {
        Jwt {
            issuer: Some(ISSUER.into()),
            audience: Some(AUDIENCE.into()),
            token_type: Some("at+jwt".into()),
            jwks_url: Some(
                format!("http://{address}/.well-known/jwks.json")
                    .parse()
                    .expect("a URL"),
            ),
            hs256_secret: None,
            jwks_refresh_seconds: 300,
            leeway_seconds: 0,
        }
    }
}
