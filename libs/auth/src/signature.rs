//! Signed requests, as Standard Webhooks 1.0 describes them.
//!
//! The signature covers the id of the message, the time and the body. A request that is older or
//! newer than five minutes is refused, so that one that was recorded is worthless soon. Within that
//! time a repetition is harmless: the consumer knows the ids of the events.

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD};
use chrono::{DateTime, Utc};
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretSlice, SecretString};
use sha2::Sha256;

/// All headers of a signature.
pub static NAMES: [HeaderName; 3] = [
    HeaderName::from_static("webhook-id"),
    HeaderName::from_static("webhook-timestamp"),
    HeaderName::from_static("webhook-signature"),
];
static ID: HeaderName = HeaderName::from_static("webhook-id");
static TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
static SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
const TOLERANCE_SECONDS: u64 = 300;
/// Signatures of a request that are looked at.
const MAX_SIGNATURES: usize = 8;

/// Signs with every secret, and accepts the signature of any: while a secret is rotated, both sides
/// know the old and the new one.
#[derive(Clone)]
pub struct Signer(Vec<SecretSlice<u8>>);

/// The request is not signed with a known secret, or not now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSignature {
    #[error("a header of the signature is missing or malformed")]
    Malformed,
    #[error("the time of the signature differs by too much from the time here")]
    Time,
    #[error("the signature is of another secret, or of another request")]
    Mismatch,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signer")
    }
}

impl Signer {
    /// `None` unless the secret is `whsec_` and 24 to 64 bytes in base64.
    pub fn new(secret: &SecretString) -> Option<Self> {
        Some(Self(vec![parse(secret)?]))
    }

    /// Adds a secret that is on its way in or out.
    #[must_use]
    pub fn and_previous(mut self, secret: &SecretString) -> Option<Self> {
        self.0.push(parse(secret)?);
        Some(self)
    }

    /// The headers of a request with this body.
    pub fn sign(&self, id: &str, now: DateTime<Utc>, body: &[u8]) -> HeaderMap {
        let time = now.timestamp();
        let signatures: Vec<String> = self
            .0
            .iter()
            .map(|secret| {
                let code = code(secret, id, time, body).finalize().into_bytes();
                format!("v1,{}", STANDARD.encode(code))
            })
            .collect();
        let value = |text: &str| HeaderValue::from_str(text).expect("visible ASCII");
        [
            (ID.clone(), value(id)),
            (TIMESTAMP.clone(), HeaderValue::from(time)),
            (SIGNATURE.clone(), value(&signatures.join(" "))),
        ]
        .into_iter()
        .collect()
    }

    /// # Errors
    /// See [`InvalidSignature`].
    pub fn verify(
        &self,
        headers: &HeaderMap,
        now: DateTime<Utc>,
        body: &[u8],
    ) -> Result<(), InvalidSignature> {
        let (_, at) = self.open(headers, body)?;
        if (now - at).num_seconds().unsigned_abs() > TOLERANCE_SECONDS {
            return Err(InvalidSignature::Time);
        }
        Ok(())
    }

    /// The id of a message that is signed with a known secret, and when it was.
    ///
    /// # Errors
    /// `Malformed` or `Mismatch`.
    pub fn open<'a>(
        &self,
        headers: &'a HeaderMap,
        body: &[u8],
    ) -> Result<(&'a str, DateTime<Utc>), InvalidSignature> {
        let text = |name: &HeaderName| {
            let value: Option<&HeaderValue> = headers.get(name);
            let text = value.and_then(|value| value.to_str().ok());
            text.ok_or(InvalidSignature::Malformed)
        };
        let (id, signatures) = (text(&ID)?, text(&SIGNATURE)?);
        let time: i64 = text(&TIMESTAMP)?
            .parse()
            .map_err(|_| InvalidSignature::Malformed)?;
        let at = DateTime::from_timestamp(time, 0).ok_or(InvalidSignature::Malformed)?;
        let given = signatures
            .split(' ')
            .take(MAX_SIGNATURES)
            .filter_map(|signature| STANDARD.decode(signature.strip_prefix("v1,")?).ok());
        let valid = given.into_iter().any(|signature| {
            let mut secrets = self.0.iter();
            secrets.any(|secret| {
                code(secret, id, time, body)
                    .verify_slice(&signature)
                    .is_ok()
            })
        });
        valid.then_some((id, at)).ok_or(InvalidSignature::Mismatch)
    }
}

fn code(secret: &SecretSlice<u8>, id: &str, time: i64, body: &[u8]) -> Hmac<Sha256> {
    let mut code =
        Hmac::<Sha256>::new_from_slice(secret.expose_secret()).expect("any length is a key");
    code.update(format!("{id}.{time}.").as_bytes());
    code.update(body);
    code
}

fn parse(secret: &SecretString) -> Option<SecretSlice<u8>> {
    let text = secret.expose_secret().trim().strip_prefix("whsec_")?;
    let bytes = STANDARD.decode(text).ok()?;
    (24..=64).contains(&bytes.len()).then(|| bytes.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signer(secret: &str) -> Signer {
        Signer::new(&SecretString::from(secret)).unwrap()
    }

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const OTHER: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

    /// The example of the specification's libraries.
    #[test]
    fn the_published_example_has_this_signature() {
        let body = br#"{"test": 2432232314}"#;
        let now = at(1_614_265_330);
        let headers = signer(SECRET).sign("msg_p5jXN8AQM9LWM0D4loKWxJek", now, body);
        let expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(headers[&SIGNATURE], expected);
        assert_eq!(signer(SECRET).verify(&headers, now, body), Ok(()));
    }

    #[test]
    fn what_is_not_signed_with_a_known_secret_now_is_refused() {
        let headers = signer(SECRET).sign("batch", at(1000), b"body");
        let verify = |seconds, body| signer(SECRET).verify(&headers, at(seconds), body);
        assert_eq!(verify(1300, b"body"), Ok(()));
        assert_eq!(verify(700, b"body"), Ok(()));
        assert_eq!(verify(1301, b"body"), Err(InvalidSignature::Time));
        assert_eq!(verify(699, b"body"), Err(InvalidSignature::Time));
        assert_eq!(verify(1000, b"Body"), Err(InvalidSignature::Mismatch));
        let foreign = signer(OTHER).verify(&headers, at(1000), b"body");
        assert_eq!(foreign, Err(InvalidSignature::Mismatch));
        for name in [&ID, &TIMESTAMP, &SIGNATURE] {
            let mut changed = headers.clone();
            changed.remove(name);
            let missing = signer(SECRET).verify(&changed, at(1000), b"body");
            assert_eq!(missing, Err(InvalidSignature::Malformed), "{name}");
            changed.insert(name.clone(), HeaderValue::from_static("1"));
            assert!(signer(SECRET).verify(&changed, at(1000), b"body").is_err());
        }
        let mut late = headers.clone();
        late.insert(TIMESTAMP.clone(), HeaderValue::from_static("1001"));
        let moved = signer(SECRET).verify(&late, at(1001), b"body");
        assert_eq!(moved, Err(InvalidSignature::Mismatch));
    }

    #[test]
    fn during_a_rotation_both_secrets_are_accepted() {
        let both = signer(OTHER).and_previous(&SECRET.into()).unwrap();
        let headers = both.sign("batch", at(1000), b"body");
        for one in [SECRET, OTHER] {
            assert_eq!(signer(one).verify(&headers, at(1000), b"body"), Ok(()));
            let old = signer(one).sign("batch", at(1000), b"body");
            assert_eq!(both.verify(&old, at(1000), b"body"), Ok(()));
        }
    }

    #[test]
    fn other_forms_of_secrets_are_refused() {
        for text in [
            "",
            "whsec_",
            "whsec_AAAA",
            "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "whsec_%",
        ] {
            assert!(Signer::new(&SecretString::from(text)).is_none(), "{text}");
        }
    }
}
