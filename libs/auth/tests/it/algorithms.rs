//! Keys of several algorithms in one set, and tokens that claim another one.

use std::sync::LazyLock;

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der},
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
        Ed25519KeyPair, RsaKeyPair,
    },
};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use jsonwebtoken::{
    Algorithm::{self, ES256, ES384, EdDSA, HS256, PS256, RS256, RS512},
    EncodingKey, Header,
    jwk::{AlgorithmParameters, Jwk, JwkSet, KeyAlgorithm, PublicKeyUse},
};
use quartet_auth::jwt::{JwtError, JwtVerifier};
use quartet_common::clock::Clock;
use quartet_testing::{AUDIENCE, ISSUER, Issuer};
use serde_json::{Value, json};

use crate::support::clock;

const ALGORITHMS: [Algorithm; 4] = [EdDSA, ES256, ES384, RS256];

fn der(der: Pkcs8V1Der<'_>) -> Vec<u8> {
    der.as_ref().to_vec()
}

/// Takes long for RSA.
static KEYS: LazyLock<[EncodingKey; 4]> = LazyLock::new(|| {
    let ed = Ed25519KeyPair::generate().unwrap().as_der().map(der);
    let [ec, ec384] = [
        &ECDSA_P256_SHA256_FIXED_SIGNING,
        &ECDSA_P384_SHA384_FIXED_SIGNING,
    ]
    .map(|algorithm| {
        let pair = EcdsaKeyPair::generate(algorithm).unwrap();
        pair.to_pkcs8v1().unwrap()
    });
    let rsa = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let rsa = STANDARD.encode(rsa.as_der().map(der).unwrap());
    let rsa = format!("-----BEGIN PRIVATE KEY-----\n{rsa}\n-----END PRIVATE KEY-----\n");
    [
        EncodingKey::from_ed_der(&ed.unwrap()),
        EncodingKey::from_ec_der(ec.as_ref()),
        EncodingKey::from_ec_der(ec384.as_ref()),
        EncodingKey::from_rsa_pem(rsa.as_bytes()).unwrap(),
    ]
});

fn key(algorithm: Algorithm) -> &'static EncodingKey {
    let index = ALGORITHMS.iter().position(|one| *one == algorithm);
    &KEYS[index.unwrap()]
}

fn name(algorithm: Algorithm) -> String {
    format!("{algorithm:?}-key")
}

fn jwk(algorithm: Algorithm) -> Jwk {
    let mut jwk = Jwk::from_encoding_key(key(algorithm), algorithm).unwrap();
    jwk.common.key_id = Some(name(algorithm));
    jwk.common.public_key_use = Some(PublicKeyUse::Signature);
    jwk
}

fn verifier(clock: &Clock, keys: Vec<Jwk>) -> JwtVerifier {
    let settings = Issuer::new(clock.clone()).settings("127.0.0.1:1".parse().unwrap());
    let verifier = JwtVerifier::with_own_keys(&settings, clock.clone());
    verifier.set_keys(&JwkSet { keys });
    verifier
}

fn claims(clock: &Clock) -> Value {
    let now = clock.now().timestamp();
    json!({"iss": ISSUER, "aud": AUDIENCE, "sub": "usr_1", "iat": now, "exp": now + 900})
}

fn header(algorithm: Algorithm, kid: Option<String>) -> Header {
    let mut header = Header::new(algorithm);
    header.typ = Some("at+jwt".into());
    header.kid = kid;
    header
}

fn sign(clock: &Clock, algorithm: Algorithm, kid: Option<String>) -> String {
    jsonwebtoken::encode(&header(algorithm, kid), &claims(clock), key(algorithm)).unwrap()
}

#[tokio::test]
async fn every_algorithm_of_the_issuer_is_accepted() {
    let clock = clock();
    let verifier = verifier(&clock, ALGORITHMS.map(jwk).to_vec());
    for algorithm in ALGORITHMS {
        let token = sign(&clock, algorithm, Some(name(algorithm)));
        verifier.verify(&token).await.unwrap();
    }
}

/// Each key with each algorithm but its own: signed as the header says where that is possible, and
/// with the signature of the key's own algorithm under a header that says otherwise.
#[tokio::test]
async fn a_key_verifies_no_algorithm_but_its_own() {
    let clock = clock();
    let verifier = verifier(&clock, ALGORITHMS.map(jwk).to_vec());
    let mut cases = 0;
    for own in ALGORITHMS {
        let public = serde_json::to_vec(&jwk(own)).unwrap();
        for claimed in [EdDSA, ES256, RS256, ES384, RS512, PS256, HS256] {
            if claimed == own {
                continue;
            }
            let head = header(claimed, Some(name(own)));
            let mut tokens = Vec::new();
            if ALGORITHMS.contains(&claimed) {
                tokens.push(jsonwebtoken::encode(&head, &claims(&clock), key(claimed)).unwrap());
            }
            if own == RS256 && [RS512, PS256].contains(&claimed) {
                tokens.push(jsonwebtoken::encode(&head, &claims(&clock), key(own)).unwrap());
            }
            if claimed == HS256 {
                let secret = EncodingKey::from_secret(&public);
                tokens.push(jsonwebtoken::encode(&head, &claims(&clock), &secret).unwrap());
            }
            let signed = sign(&clock, own, Some(name(own)));
            let (_, rest) = signed.split_once('.').unwrap();
            let head = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&head).unwrap());
            tokens.push(format!("{head}.{rest}"));
            for token in tokens {
                let refused = verifier.verify(&token).await.unwrap_err();
                let is_refused = matches!(refused, JwtError::WrongAlgorithm);
                assert!(is_refused, "{own:?} as {claimed:?}: {refused}");
                cases += 1;
            }
        }
    }
    assert_eq!(cases, 4 * 6 + 4 * 3 + 2 + 4);
    for algorithm in ["none", "None", "", "HS512", "RS1"] {
        let head = json!({"alg": algorithm, "typ": "at+jwt", "kid": name(EdDSA)});
        let (head, claims) = (head.to_string(), claims(&clock).to_string());
        let [head, claims] = [head, claims].map(|text| URL_SAFE_NO_PAD.encode(text));
        for token in [format!("{head}.{claims}."), format!("{head}.{claims}.AAAA")] {
            assert!(verifier.verify(&token).await.is_err(), "{algorithm}");
        }
    }
}

/// A verifier that ignores such an extension reads another token than the one that was signed.
#[tokio::test]
async fn critical_extensions_are_refused() {
    let clock = clock();
    let verifier = verifier(&clock, vec![jwk(EdDSA)]);
    for extensions in [vec![], vec!["b64"], vec!["exp", "http://example.org/x"]] {
        let mut head = header(EdDSA, Some(name(EdDSA)));
        head.crit = Some(extensions.into_iter().map(str::to_owned).collect());
        let token = jsonwebtoken::encode(&head, &claims(&clock), key(EdDSA)).unwrap();
        let refused = verifier.verify(&token).await.unwrap_err();
        assert!(matches!(refused, JwtError::CriticalExtension), "{refused}");
    }
}

#[tokio::test]
async fn a_key_id_that_two_algorithms_share_names_one_key_for_each() {
    let clock = clock();
    let keys = ALGORITHMS.map(|algorithm| {
        let mut jwk = jwk(algorithm);
        jwk.common.key_id = Some("shared".into());
        jwk
    });
    let verifier = verifier(&clock, keys.to_vec());
    for algorithm in ALGORITHMS {
        let token = sign(&clock, algorithm, Some("shared".into()));
        verifier.verify(&token).await.unwrap();
    }
    let other = sign(&clock, EdDSA, None);
    let refused = verifier.verify(&other).await.unwrap_err();
    assert!(matches!(refused, JwtError::UnknownKey), "{refused}");
}

#[tokio::test]
async fn keys_for_anything_else_are_not_used() {
    let clock = clock();
    let change = |algorithm: Algorithm, change: fn(&mut Jwk)| {
        let mut jwk = jwk(algorithm);
        change(&mut jwk);
        (algorithm, jwk)
    };
    let cases = [
        change(RS256, |jwk| {
            jwk.common.public_key_use = Some(PublicKeyUse::Encryption);
        }),
        change(RS256, |jwk| {
            jwk.common.key_algorithm = Some(KeyAlgorithm::PS256);
        }),
        change(RS256, |jwk| {
            jwk.common.key_algorithm = Some(KeyAlgorithm::RSA_OAEP);
        }),
        change(RS256, |jwk| {
            jwk.common.key_algorithm = Some(KeyAlgorithm::HS256);
        }),
        change(ES256, |jwk| {
            jwk.common.key_algorithm = Some(KeyAlgorithm::EdDSA);
        }),
        change(EdDSA, |jwk| {
            jwk.common.key_algorithm = Some(KeyAlgorithm::ES256);
        }),
        change(RS256, |jwk| {
            // 1024 bits.
            let AlgorithmParameters::RSA(key) = &mut jwk.algorithm else {
                panic!("an RSA key")
            };
            key.n.truncate(171);
        }),
        change(RS256, |jwk| {
            // 1024 bits, with zeros at the front.
            let AlgorithmParameters::RSA(key) = &mut jwk.algorithm else {
                panic!("an RSA key")
            };
            key.n = format!("{}{}", "A".repeat(172), &key.n[..170]);
        }),
    ];
    for (algorithm, jwk) in cases {
        let description = serde_json::to_string(&jwk).unwrap();
        let verifier = verifier(&clock, vec![jwk]);
        let token = sign(&clock, algorithm, Some(name(algorithm)));
        let refused = verifier.verify(&token).await.unwrap_err();
        assert!(
            matches!(refused, JwtError::UnknownKey),
            "{description}: {refused}"
        );
    }
    // Without declarations, the kind of the key decides.
    for algorithm in ALGORITHMS {
        let (_, jwk) = change(algorithm, |jwk| {
            jwk.common.key_algorithm = None;
            jwk.common.public_key_use = None;
        });
        let token = sign(&clock, algorithm, Some(name(algorithm)));
        verifier(&clock, vec![jwk]).verify(&token).await.unwrap();
    }
}
