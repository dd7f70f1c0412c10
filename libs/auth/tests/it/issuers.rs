//! Verifiers of several issuers, and what they accept.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use quartet_auth::jwt::{
    ClaimMapping, IssuerSettings, Issuers, JwtError, JwtVerifier, KeySource, TokenAlgorithm,
};
use quartet_common::clock::Clock;
use quartet_testing::{AUDIENCE, Issuer};
use serde_json::{Value, json};

use crate::support::clock;

const NAMES: [&str; 3] = [
    "https://a.example",
    "https://b.example",
    "https://c.example",
];

fn settings(issuer: &str) -> IssuerSettings {
    IssuerSettings {
        issuer: Some(issuer.to_owned()),
        audiences: vec!["x".to_owned(), AUDIENCE.to_owned()],
        token_type: Some("at+jwt".to_owned()),
        keys: KeySource::Own,
        algorithms: Vec::new(),
        refresh_seconds: 300,
        leeway_seconds: 0,
        mapping: ClaimMapping::default(),
    }
}

fn verifier(issuer: &Issuer, settings: IssuerSettings, clock: &Clock) -> JwtVerifier {
    let verifier = JwtVerifier::of_issuer(settings, clock.clone()).unwrap();
    verifier.set_keys(issuer.jwks());
    verifier
}

/// Every key with every `iss`: only the own one is accepted, by the verifier of its place.
#[tokio::test]
async fn no_key_vouches_for_another_issuer() {
    let clock = clock();
    let keys = NAMES.map(|_| Issuer::new(clock.clone()));
    let verifiers = NAMES.iter().zip(&keys);
    let verifiers = verifiers.map(|(name, key)| verifier(key, settings(name), &clock));
    let issuers = Issuers::new(verifiers.collect());
    for _ in 0..2 {
        for (signer, key) in keys.iter().enumerate() {
            for (named, name) in NAMES.iter().enumerate() {
                let token = key.token_with("usr_1", json!({ "iss": name }));
                match issuers.verify(&token).await {
                    Ok((at, claims)) => {
                        assert_eq!((at, signer), (named, named));
                        assert_eq!(claims.iss.as_deref(), Some(*name));
                        let (known, _) = issuers.verified(&token).unwrap().unwrap();
                        assert_eq!(known, named);
                    }
                    Err(error) => {
                        assert_ne!(signer, named, "{error}");
                        assert!(matches!(error, JwtError::BadSignature), "{error}");
                        assert!(issuers.verified(&token).is_none());
                    }
                }
            }
        }
    }
    let stranger = keys[0].token_with("usr_1", json!({ "iss": "https://d.example" }));
    let refused = issuers.verify(&stranger).await.unwrap_err();
    assert!(matches!(refused, JwtError::WrongIssuer), "{refused}");
}

/// What names no issuer, or two, is no token: nothing is asked about it.
#[tokio::test]
async fn a_token_names_one_issuer() {
    let clock = clock();
    let key = Issuer::new(clock.clone());
    let verifiers = NAMES.map(|name| verifier(&key, settings(name), &clock));
    let issuers = Issuers::new(verifiers.to_vec());
    let good = key.token_with("usr_1", json!({ "iss": NAMES[0] }));
    let parts: Vec<&str> = good.split('.').collect();
    let with = |payload: &str| {
        let payload = URL_SAFE_NO_PAD.encode(payload);
        format!("{}.{payload}.{}", parts[0], parts[2])
    };
    for token in [
        String::new(),
        "a".to_owned(),
        "a.b".to_owned(),
        parts[..2].join("."),
        with("{}"),
        with("[]"),
        with("{\"iss\": null}"),
        with("{\"iss\": [\"https://a.example\"]}"),
        with("{\"iss\": \"https://a.example\", \"iss\": \"https://b.example\"}"),
        format!("{}=.{}.{}", parts[0], parts[1], parts[2]),
        format!("{good}.{}", "x".repeat(17_000)),
    ] {
        assert!(issuers.verify(&token).await.is_err(), "{token}");
    }
}

#[tokio::test]
async fn only_accepted_algorithms_and_audiences_count() {
    let clock = clock();
    let key = Issuer::new(clock.clone());
    for (algorithms, is_accepted) in [
        (vec![], true),
        (vec![TokenAlgorithm::EdDsa], true),
        (vec![TokenAlgorithm::Es256, TokenAlgorithm::Rs256], false),
    ] {
        let settings = IssuerSettings {
            algorithms,
            ..settings(NAMES[0])
        };
        let verifier = verifier(&key, settings, &clock);
        let token = key.token_with("usr_1", json!({ "iss": NAMES[0] }));
        let result = verifier.verify(&token).await;
        assert_eq!(result.is_ok(), is_accepted);
        if let Err(error) = result {
            assert!(matches!(error, JwtError::WrongAlgorithm), "{error}");
        }
    }
    let verifier = verifier(&key, settings(NAMES[0]), &clock);
    for (audience, is_accepted) in [
        (json!("x"), true),
        (json!(["other", "x"]), true),
        (json!(["other"]), false),
        (json!([]), false),
        (json!(null), false),
    ] {
        let claims = json!({ "iss": NAMES[0], "aud": audience });
        let result = verifier.verify(&key.token_with("usr_1", claims)).await;
        assert_eq!(result.is_ok(), is_accepted, "{audience}");
    }
}

/// A token with this header and payload, signed as they are.
fn signed(key: &Ed25519KeyPair, header: &Value, payload: &Value) -> String {
    let [header, payload] = [header, payload].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
    let text = format!("{header}.{payload}");
    let signature = URL_SAFE_NO_PAD.encode(key.sign(text.as_bytes()));
    format!("{text}.{signature}")
}

fn jwk(key: &Ed25519KeyPair) -> Value {
    let x = URL_SAFE_NO_PAD.encode(key.public_key());
    json!({ "kty": "OKP", "crv": "Ed25519", "x": x, "kid": "k" })
}

/// RFC 8725, 2 and 3: keys that the token brings along or points to have no effect, with any signature,
/// and a header that does not say what it is, or demands something unknown, is refused.
#[tokio::test]
async fn headers_of_a_token_choose_no_key() {
    let clock = clock();
    let pairs = [(); 2].map(|()| Ed25519KeyPair::generate().unwrap());
    let [own, thief] = &pairs;
    let verifier = JwtVerifier::of_issuer(settings(NAMES[0]), clock.clone()).unwrap();
    let keys = json!({ "keys": [jwk(own)] });
    verifier.set_keys(&serde_json::from_value(keys).unwrap());
    let now = clock.now().timestamp();
    let payload = json!({ "iss": NAMES[0], "aud": AUDIENCE, "sub": "usr_1", "exp": now + 60 });
    for (header, accepted) in [
        (json!({}), true),
        (json!({ "typ": "application/AT+JWT" }), true),
        (json!({ "jwk": jwk(thief) }), true),
        (json!({ "jku": "http://127.0.0.1:1/jwks.json" }), true),
        (json!({ "x5u": "http://127.0.0.1:1/x5u" }), true),
        (json!({ "x5c": ["AAAA"] }), true),
        (json!({ "kid": "../../etc/passwd" }), false),
        (json!({ "kid": "" }), false),
        (json!({ "kid": ["k"] }), false),
        (json!({ "alg": "none" }), false),
        (json!({ "alg": "HS256" }), false),
        (json!({ "alg": "ES256" }), false),
        (json!({ "alg": ["EdDSA"] }), false),
        (json!({ "crit": ["exp"] }), false),
        (json!({ "crit": [] }), false),
        (json!({ "b64": false, "crit": ["b64"] }), false),
        (json!({ "typ": "JWT" }), false),
        (json!({ "typ": null }), false),
    ] {
        let mut all = json!({ "alg": "EdDSA", "typ": "at+jwt", "kid": "k" });
        all.as_object_mut()
            .unwrap()
            .extend(header.as_object().unwrap().clone());
        let result = verifier.verify(&signed(own, &all, &payload)).await;
        assert_eq!(result.is_ok(), accepted, "{header}: {result:?}");
        let forged = signed(thief, &all, &payload);
        assert!(verifier.verify(&forged).await.is_err(), "{header}");
        let (unsigned, _) = forged.rsplit_once('.').unwrap();
        for end in ["", "."] {
            let unsigned = format!("{unsigned}{end}");
            assert!(verifier.verify(&unsigned).await.is_err(), "{header}");
        }
    }
}

/// Issuers whose access tokens are called `JWT` call their other tokens that, too.
#[tokio::test]
async fn other_tokens_of_an_issuer_are_no_access_tokens() {
    let clock = clock();
    let key = Issuer::new(clock.clone());
    let untyped = IssuerSettings {
        token_type: None,
        ..settings(NAMES[0])
    };
    let untyped = verifier(&key, untyped, &clock);
    let typed = verifier(&key, settings(NAMES[0]), &clock);
    for (claims, accepted) in [
        (json!({}), true),
        (json!({ "typ": "Bearer" }), true),
        (json!({ "typ": "DPoP" }), true),
        (json!({ "typ": 1 }), true),
        (json!({ "nonce": "n" }), true),
        (json!({ "typ": "ID" }), false),
        (json!({ "typ": "refresh" }), false),
        (json!({ "typ": "Offline" }), false),
        (json!({ "typ": "Logout" }), false),
        (json!({ "at_hash": "x" }), false),
        (json!({ "c_hash": "x" }), false),
        (json!({ "events": {} }), false),
    ] {
        let mut all = json!({ "iss": NAMES[0] });
        all.as_object_mut()
            .unwrap()
            .extend(claims.as_object().unwrap().clone());
        let token = key.token_with("usr_1", all);
        for _ in 0..2 {
            let result = untyped.verify(&token).await;
            assert_eq!(result.is_ok(), accepted, "{claims}");
            if let Err(error) = result {
                assert!(matches!(error, JwtError::WrongType), "{claims}: {error}");
            }
            // What its header calls an access token is one.
            assert!(typed.verify(&token).await.is_ok(), "{claims}");
        }
    }
}

/// A cached token is checked by the rules of its verifier, and goes with its keys.
#[tokio::test]
async fn caches_are_per_issuer() {
    let clock = clock();
    let key = Issuer::new(clock.clone());
    let verifiers = [NAMES[0], NAMES[1]].map(|name| verifier(&key, settings(name), &clock));
    let issuers = Issuers::new(verifiers.to_vec());
    let tokens = [NAMES[0], NAMES[1]].map(|name| key.token_with("usr_1", json!({ "iss": name })));
    for token in &tokens {
        issuers.verify(token).await.unwrap();
    }
    verifiers[0].set_keys(Issuer::new(clock.clone()).jwks());
    assert!(issuers.verified(&tokens[0]).is_none());
    assert!(issuers.verify(&tokens[0]).await.is_err());
    assert!(issuers.verified(&tokens[1]).unwrap().is_ok());
}

/// With a mapping, the same claims are required as without one.
#[tokio::test]
async fn a_mapping_reads_what_it_names() {
    let clock = clock();
    let key = Issuer::new(clock.clone());
    let mapping = ClaimMapping {
        subject: Some("user.id".parse().unwrap()),
        subject_prefix: "a:".to_owned(),
        reserved_prefixes: vec!["a:b:".to_owned()],
        roles: vec!["roles".parse().unwrap()],
        kept: vec!["user.email".parse().unwrap(), "none".parse().unwrap()],
        ..ClaimMapping::default()
    };
    let settings = IssuerSettings {
        mapping,
        ..settings(NAMES[0])
    };
    let verifier = verifier(&key, settings, &clock);
    let verify = async |claims: Value| {
        let mut all = json!({ "iss": NAMES[0] });
        all.as_object_mut()
            .unwrap()
            .extend(claims.as_object().unwrap().clone());
        verifier.verify(&key.token_with("ignored", all)).await
    };
    let user = json!({ "id": "1", "email": "a@b.example" });
    let claims = verify(json!({ "user": user, "roles": "x y", "scope": ["s"] }))
        .await
        .unwrap();
    assert_eq!(claims.sub, "a:1");
    assert!(claims.has_role("x") && claims.has_role("y") && !claims.has_role("x y"));
    assert!(claims.has_scope("s"));
    let email = claims.mapped.kept(0).unwrap();
    assert_eq!(email.header.as_ref().unwrap(), "a@b.example");
    assert!(claims.mapped.kept(1).is_none() && claims.mapped.kept(2).is_none());
    let now = clock.now().timestamp();
    for refused in [
        json!({}),
        json!({ "user": "1" }),
        json!({ "user": { "id": 1 } }),
        json!({ "user": { "id": "" } }),
        json!({ "user": { "id": "b:1" } }),
        json!({ "user": { "id": "\u{fc}" } }),
        json!({ "user": user, "exp": null }),
        json!({ "user": user, "exp": now }),
        json!({ "user": user, "nbf": now + 1 }),
        json!({ "user": user, "iss": NAMES[1] }),
        json!({ "user": user, "aud": "other" }),
    ] {
        assert!(verify(refused.clone()).await.is_err(), "{refused}");
    }
}
