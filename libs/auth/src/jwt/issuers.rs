//! The issuers whose tokens are accepted together.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;

use super::{Claims, JwtError, JwtVerifier, MAX_TOKEN_BYTES};

/// Verifiers of issuers of which no two have the same `iss`. Cheap to clone.
///
/// With several, `iss` chooses one before anything is verified, and only that one verifies the token,
/// with its own keys and rules: a key of one issuer never vouches for another (RFC 8725, 3.8).
#[derive(Clone, Debug)]
pub struct Issuers(Arc<[JwtVerifier]>);

/// A token's claims, and the place of the issuer that vouches for them.
pub type VerifiedClaims = (usize, Arc<Claims>);

#[derive(Deserialize)]
struct Unverified {
    iss: String,
}

impl Issuers {
    pub fn new(verifiers: Vec<JwtVerifier>) -> Self {
        Self(verifiers.into())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The tolerated clock skew of the issuer at this place.
    pub fn leeway_seconds(&self, at: usize) -> u64 {
        let verifier = self.0.get(at);
        verifier.map_or(0, |verifier| verifier.settings().leeway_seconds)
    }

    /// As [`JwtVerifier::verified`].
    pub fn verified(&self, token: &str) -> Option<Result<VerifiedClaims, JwtError>> {
        // At most one issuer can have verified it.
        let mut all = self.0.iter().enumerate();
        all.find_map(|(at, verifier)| {
            let known = verifier.verified(token)?;
            Some(known.map(|claims| (at, claims)))
        })
    }

    /// As [`JwtVerifier::verify`].
    ///
    /// # Errors
    /// [`JwtError`]. `WrongIssuer` when none of them is the token's.
    pub async fn verify(&self, token: &str) -> Result<VerifiedClaims, JwtError> {
        let at = match &*self.0 {
            [_] => 0,
            all => {
                let issuer = unverified_issuer(token).ok_or(JwtError::Malformed)?;
                let is_named = |verifier: &JwtVerifier| verifier.issuer() == Some(&issuer);
                let place = all.iter().position(is_named);
                place.ok_or(JwtError::WrongIssuer)?
            }
        };
        let claims = self.0[at].verify(token).await?;
        Ok((at, claims))
    }
}

/// What the token claims to be from.
fn unverified_issuer(token: &str) -> Option<String> {
    if token.len() > MAX_TOKEN_BYTES {
        return None;
    }
    let mut parts = token.split('.');
    let (_, payload) = (parts.next()?, parts.next()?);
    let payload = URL_SAFE_NO_PAD.decode(payload).ok()?;
    let claims: Unverified = serde_json::from_slice(&payload).ok()?;
    Some(claims.iss)
}
