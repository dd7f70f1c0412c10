use quartet_auth::jwt::{JwtError, JwtVerifier};
use quartet_testing::Issuer;
use secrecy::SecretString;
use serde_json::json;

use crate::support::clock;

const UNUSABLE: &str = "the subject or session of the access token is one that no header can name";

#[tokio::test]
async fn valid_tokens_pass_and_each_invalid_one_gets_its_reason() {
    let clock = clock();
    let issuer = Issuer::new(clock.clone());
    let verifier = JwtVerifier::new(&issuer.settings(issuer.serve().await), clock.clone()).unwrap();
    let claims = verifier.verify(&issuer.token("usr_1")).await.unwrap();
    assert_eq!(
        (claims.sub.as_str(), claims.sid.as_deref()),
        ("usr_1", Some("ses_test"))
    );

    let now = clock.now().timestamp();
    let cases = [
        (json!({"exp": now}), "the access token has expired"),
        (
            json!({"nbf": now + 60}),
            "the access token is not valid yet",
        ),
        (
            json!({"iss": "https://evil.example"}),
            "the issuer of the access token is not accepted",
        ),
        (
            json!({"iss": null}),
            "the issuer of the access token is not accepted",
        ),
        (
            json!({"aud": "other"}),
            "the access token is for another audience",
        ),
        (
            json!({"aud": null}),
            "the access token is for another audience",
        ),
        // The header that names the user would be lost, or name another one.
        (json!({"sub": ""}), UNUSABLE),
        (json!({"sub": "usr_1\r\nx: 1"}), UNUSABLE),
        (json!({"sub": " usr_1"}), UNUSABLE),
        (json!({"sub": "usr_1\u{a0}"}), UNUSABLE),
        (json!({"sid": "ses\t1"}), UNUSABLE),
        (json!({"sid": ""}), UNUSABLE),
        (json!({"sub": null}), "the access token is not a JWT"),
        (json!({"exp": null}), "the access token is not a JWT"),
    ];
    for (claims, expected) in cases {
        let token = issuer.token_with("usr_1", claims.clone());
        assert_eq!(
            verifier.verify(&token).await.unwrap_err().to_string(),
            expected,
            "{claims}"
        );
    }
    let stranger = Issuer::new(clock);
    let forged = verifier.verify(&stranger.token("usr_1")).await.unwrap_err();
    assert!(matches!(forged, JwtError::BadSignature), "{forged}");
    for text in ["", "a.b.c", "a", &"x".repeat(100_000)] {
        assert!(matches!(
            verifier.verify(text).await,
            Err(JwtError::Malformed)
        ));
    }
}

/// RFC 7519, 2: a `NumericDate` may have a fraction.
#[tokio::test]
async fn times_may_have_fractions() {
    let clock = clock();
    let issuer = Issuer::new(clock.clone());
    let verifier = JwtVerifier::new(&issuer.settings(issuer.serve().await), clock.clone()).unwrap();
    let now = clock.now().timestamp();
    let verify = async |claims| {
        let token = issuer.token_with("usr_1", claims);
        verifier.verify(&token).await
    };
    let since = format!("{now}.25").parse::<serde_json::Number>().unwrap();
    let until = format!("{}.75", now + 60)
        .parse::<serde_json::Number>()
        .unwrap();
    let times = json!({"iat": since, "nbf": since, "auth_time": since, "exp": until});
    let claims = verify(times).await.unwrap();
    assert_eq!((claims.exp, claims.nbf), (now + 60, Some(now)));
    let refused = verify(json!({"exp": since})).await.unwrap_err();
    assert!(matches!(refused, JwtError::Expired), "{refused}");
    for invalid in [json!({"exp": "1"}), json!({"nbf": true, "exp": until})] {
        let refused = verify(invalid).await.unwrap_err();
        assert!(matches!(refused, JwtError::Malformed), "{refused}");
    }
}

#[tokio::test]
async fn a_cached_token_does_not_outlive_its_expiry() {
    let clock = clock();
    let issuer = Issuer::new(clock.clone());
    let verifier = JwtVerifier::new(&issuer.settings(issuer.serve().await), clock.clone()).unwrap();
    let token = issuer.token("usr_1");
    verifier.verify(&token).await.unwrap();
    clock.advance(chrono::Duration::seconds(899));
    verifier.verify(&token).await.unwrap();
    clock.advance(chrono::Duration::seconds(1));
    assert!(matches!(
        verifier.verify(&token).await,
        Err(JwtError::Expired)
    ));
}

#[tokio::test]
async fn a_public_key_is_never_taken_as_a_secret() {
    let clock = clock();
    let issuer = Issuer::new(clock.clone());
    let verifier = JwtVerifier::new(&issuer.settings(issuer.serve().await), clock.clone()).unwrap();
    let mut header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::HS256);
    header.kid = Some("test-key".into());
    header.typ = Some("at+jwt".into());
    let public = serde_json::to_value(&issuer.jwks().keys[0]).unwrap();
    let secret = public["x"].as_str().unwrap().as_bytes();
    let claims = json!({"sub": "usr_1", "exp": clock.now().timestamp() + 60});
    let key = jsonwebtoken::EncodingKey::from_secret(secret);
    let token = jsonwebtoken::encode(&header, &claims, &key).unwrap();
    let refused = verifier.verify(&token).await.unwrap_err();
    assert!(matches!(refused, JwtError::WrongAlgorithm), "{refused}");
}

#[tokio::test]
async fn a_shared_secret_verifies_hs256_and_nothing_else() {
    let clock = clock();
    let issuer = Issuer::new(clock.clone());
    let secret = "0123456789abcdef0123456789abcdef";
    let mut settings = issuer.settings("127.0.0.1:1".parse().unwrap());
    settings.hs256_secret = Some(SecretString::from(secret));
    let both = JwtVerifier::new(&settings, clock.clone())
        .unwrap_err()
        .to_string();
    assert!(both.contains("must not be set together"), "{both}");

    settings.jwks_url = None;
    settings.token_type = None;
    settings.issuer = None;
    settings.audience = None;
    let verifier = JwtVerifier::new(&settings, clock.clone()).unwrap();
    let claims =
        json!({"sub": "u1", "email": "a@example.com", "exp": clock.now().timestamp() + 60});
    let key = jsonwebtoken::EncodingKey::from_secret(secret.as_bytes());
    let token = jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).unwrap();
    let verified = verifier.verify(&token).await.unwrap();
    assert_eq!(verified.email.as_deref(), Some("a@example.com"));
    let other = verifier.verify(&issuer.token("usr_1")).await.unwrap_err();
    assert!(
        matches!(other, JwtError::WrongAlgorithm | JwtError::UnknownKey),
        "{other}"
    );

    settings.hs256_secret = Some(SecretString::from("short"));
    let short = JwtVerifier::new(&settings, clock).unwrap_err().to_string();
    assert!(
        short.contains("at least 32 bytes") && !short.contains("short\""),
        "{short}"
    );
}

/// Long tokens count by their bytes: the cache takes 32 MiB of memory, and no more.
#[tokio::test]
async fn the_cache_of_verified_tokens_is_bounded_in_bytes() {
    const CACHE_BYTES: usize = 32 * 1024 * 1024;
    let clock = clock();
    let issuer = Issuer::new(clock.clone());
    let verifier = JwtVerifier::new(&issuer.settings(issuer.serve().await), clock).unwrap();
    let padding = "x".repeat(5000);
    let mut tokens = Vec::new();
    let mut bytes = 0;
    for number in 0.. {
        let token = issuer.token_with("usr_1", json!({"padding": padding, "number": number}));
        verifier.verify(&token).await.unwrap();
        bytes += token.len();
        tokens.push(token);
        if bytes > CACHE_BYTES {
            break;
        }
    }
    let cached = tokens
        .iter()
        .filter(|token| verifier.verified(token).is_some());
    let cached: usize = cached.map(String::len).sum();
    // A token counts four times: its text, and its claims. The latest may not be counted yet.
    assert!(
        0 < cached && cached <= CACHE_BYTES / 3,
        "{cached} of {bytes}"
    );
}
