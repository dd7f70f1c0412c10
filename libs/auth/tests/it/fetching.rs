use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::TimeDelta;
use futures_util::future::join_all;
use quartet_auth::jwt::{Claims, JwtError, JwtVerifier};
use quartet_testing::Issuer;
use serde_json::json;

use crate::support::{PublishedKeys, clock};

fn is_unavailable(result: &Result<Arc<Claims>, JwtError>) -> bool {
    matches!(result, Err(JwtError::KeysUnavailable(_)))
}

#[tokio::test]
async fn requests_share_one_fetch_of_a_server_that_never_responds() {
    let clock = clock();
    let (issuer, published) = (Issuer::new(clock.clone()), PublishedKeys::start().await);
    published.hold();
    let verifier = published.verifier(&issuer, &clock);
    let tokens: Vec<String> = (0..30).map(|n| issuer.token(&format!("usr_{n}"))).collect();
    let started = Instant::now();
    let results = join_all(tokens.iter().map(|token| verifier.verify(token))).await;
    assert!(results.iter().all(is_unavailable));
    assert!(
        started.elapsed() < Duration::from_secs(4),
        "one after the other"
    );
    assert_eq!(published.asked(), 1);
    assert!(verifier.ready().await.is_err());
    assert!(!verifier.has_keys());
}

#[tokio::test]
async fn a_failure_is_remembered_and_not_for_long() {
    let clock = clock();
    let (issuer, published) = (Issuer::new(clock.clone()), PublishedKeys::start().await);
    let verifier = published.verifier(&issuer, &clock);
    for n in 0..50 {
        let result = verifier.verify(&issuer.token(&format!("usr_{n}"))).await;
        assert!(is_unavailable(&result));
    }
    assert_eq!(published.asked(), 1);

    published.publish(&issuer);
    let token = issuer.token("usr_1");
    assert!(is_unavailable(&verifier.verify(&token).await));
    clock.advance(TimeDelta::seconds(1));
    verifier.verify(&token).await.unwrap();
    verifier.ready().await.unwrap();
    assert_eq!(published.asked(), 2);
}

#[tokio::test]
async fn a_request_that_leaves_does_not_cancel_the_fetch_of_the_others() {
    let clock = clock();
    let (issuer, published) = (Issuer::new(clock.clone()), PublishedKeys::start().await);
    published.publish(&issuer);
    let gate = published.hold();
    let verifier = published.verifier(&issuer, &clock);
    let token = issuer.token("usr_1");
    tokio::select! {
        _ = verifier.verify(&token) => panic!("no keys yet"),
        () = published.entered() => {}
    }
    let (waiting, ()) = tokio::join!(verifier.verify(&token), async { gate.add_permits(1) });
    waiting.unwrap();
    assert_eq!(published.asked(), 1);
}

#[tokio::test]
async fn keys_are_fetched_before_the_first_request() {
    let clock = clock();
    let (issuer, published) = (Issuer::new(clock.clone()), PublishedKeys::start().await);
    published.publish(&issuer);
    let verifier = published.verifier(&issuer, &clock);
    verifier.prefetch();
    verifier.ready().await.unwrap();
    verifier.verify(&issuer.token("usr_1")).await.unwrap();
    assert_eq!(published.asked(), 1);
}

#[tokio::test]
async fn keys_are_fetched_once_and_kept_while_the_issuer_is_away() {
    let clock = clock();
    let (issuer, published) = (Issuer::new(clock.clone()), PublishedKeys::start().await);
    published.publish(&issuer);
    let verifier = published.verifier(&issuer, &clock);
    let tokens: Vec<String> = (0..50).map(|n| issuer.token(&format!("usr_{n}"))).collect();
    let checks = tokens.iter().map(|token| verifier.verify(token));
    for result in join_all(checks).await {
        result.unwrap();
    }
    assert_eq!(published.asked(), 1, "fifty requests share one fetch");

    published.withdraw();
    verifier.verify(&issuer.token("usr_new")).await.unwrap();
    let stranger = Issuer::new(clock);
    verifier.verify(&stranger.token("usr_1")).await.unwrap_err();
    assert_eq!(published.asked(), 1, "a known key id needs no fetch");
}

#[tokio::test]
async fn keys_are_not_trusted_for_longer_than_a_day() {
    let clock = clock();
    let (issuer, published) = (Issuer::new(clock.clone()), PublishedKeys::start().await);
    published.publish(&issuer);
    let verifier = published.verifier(&issuer, &clock);
    let exp = clock.now().timestamp() + 7 * 86_400;
    let token = issuer.token_with("usr_1", json!({"exp": exp}));
    verifier.verify(&token).await.unwrap();
    assert!(verifier.overdue().is_none());

    published.withdraw();
    clock.advance(TimeDelta::hours(23));
    verifier.verify(&token).await.unwrap();
    assert_eq!(verifier.overdue().unwrap().num_hours(), 23);
    clock.advance(TimeDelta::hours(1));
    let away = verifier.verify(&token).await;
    assert!(
        is_unavailable(&away),
        "a cached token needs trusted keys, too"
    );
    assert!(verifier.ready().await.is_err());
}

#[tokio::test]
async fn a_refresh_that_brings_the_same_keys_forgets_no_token() {
    let clock = clock();
    let (issuer, other) = (Issuer::new(clock.clone()), Issuer::new(clock.clone()));
    let verifier = JwtVerifier::with_own_keys(
        &issuer.settings("127.0.0.1:1".parse().unwrap()),
        clock.clone(),
    );
    verifier.set_keys(issuer.jwks());
    let token = issuer.token("usr_1");
    let first = verifier.verify(&token).await.unwrap();
    verifier.set_keys(issuer.jwks());
    let again = verifier.verify(&token).await.unwrap();
    assert!(
        Arc::ptr_eq(&first, &again),
        "the signature was checked again"
    );

    verifier.set_keys(other.jwks());
    assert!(verifier.verify(&token).await.is_err(), "the key is gone");
    verifier.set_keys(issuer.jwks());
    verifier.verify(&token).await.unwrap();
}

/// A request may have found its key just before the key was removed.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_token_of_a_removed_key_stays_in_the_cache() {
    let clock = clock();
    let (old, new) = (Issuer::new(clock.clone()), Issuer::new(clock.clone()));
    let settings = old.settings("127.0.0.1:1".parse().unwrap());
    let verifier = JwtVerifier::with_own_keys(&settings, clock);
    for round in 0..300 {
        verifier.set_keys(old.jwks());
        let tokens: Vec<String> = (0..8).map(|n| old.token(&format!("usr_{n}"))).collect();
        let tasks: Vec<_> = tokens
            .iter()
            .cloned()
            .map(|token| {
                let verifier = verifier.clone();
                tokio::spawn(async move { drop(verifier.verify(&token).await) })
            })
            .collect();
        verifier.set_keys(new.jwks());
        for task in tasks {
            task.await.unwrap();
        }
        for token in &tokens {
            assert!(verifier.verify(token).await.is_err(), "round {round}");
        }
    }
}

/// RFC 7517, 5: an issuer may publish keys of kinds that are of a later time than this verifier.
#[tokio::test]
async fn keys_that_cannot_be_read_keep_no_other_from_being_used() {
    let others = [
        json!({"kty": "OKP", "crv": "X25519", "kid": "x", "x": "AAAA"}),
        json!({"kty": "OKP", "crv": "Ed448", "kid": "4", "x": "AAAA", "use": "sig"}),
        json!({"kty": "EC", "crv": "secp256k1", "kid": "k", "x": "AAAA", "y": "AAAA", "alg": "ES256K"}),
        json!({"kty": "AKP", "kid": "a", "alg": "ML-DSA-44", "pub": "AAAA"}),
        json!({"kty": "RSA", "kid": "r", "n": 5, "e": "AQAB"}),
        json!({"kty": "RSA", "kid": "s", "e": "AQAB", "x5c": "one certificate"}),
        json!({"kty": "oct", "kid": "o"}),
        json!({"kid": "n"}),
        json!({"kty": null}),
        json!("a text"),
    ];
    for other in others {
        let clock = clock();
        let (issuer, published) = (Issuer::new(clock.clone()), PublishedKeys::start().await);
        published.publish_after(vec![other.clone()], &issuer);
        let verifier = published.verifier(&issuer, &clock);
        let verified = verifier.verify(&issuer.token("usr_1")).await;
        assert!(verified.is_ok(), "{other}: {verified:?}");
    }
}

/// An issuer that has revoked every key, or has lost them by mistake: nothing is accepted, and no
/// token is reported as invalid.
#[tokio::test]
async fn a_set_without_a_usable_key_closes_until_there_is_one() {
    let useless = json!({"kty": "oct", "kid": "o", "k": "AAAA"});
    for set in [vec![], vec![useless]] {
        let clock = clock();
        let (issuer, published) = (Issuer::new(clock.clone()), PublishedKeys::start().await);
        published.publish(&issuer);
        let verifier = published.verifier(&issuer, &clock);
        let token = issuer.token_with("usr_1", json!({"exp": clock.now().timestamp() + 86_400}));
        verifier.verify(&token).await.unwrap();

        published.publish_keys(&set);
        clock.advance(TimeDelta::hours(1));
        // Due: the token still counts while the keys are fetched again.
        verifier.verify(&token).await.unwrap();
        let is_closed = async || {
            while verifier.has_keys() {
                tokio::task::yield_now().await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(20), is_closed()).await;
        waited.expect("the new set is in force");
        for _ in 0..20 {
            assert!(is_unavailable(&verifier.verify(&token).await));
        }
        assert!(verifier.verified(&token).is_none());
        assert!(verifier.ready().await.is_err());
        assert_eq!(verifier.notices(), ["there are no signing keys"]);
        assert_eq!(published.asked(), 2, "the issuer is not flooded");

        published.publish(&issuer);
        clock.advance(TimeDelta::seconds(10));
        verifier.verify(&token).await.unwrap();
        assert_eq!(published.asked(), 3);
    }
}

/// The fetch that the token itself has caused is the one that finds the set empty.
#[tokio::test]
async fn an_unknown_key_of_an_issuer_without_keys_is_not_reported_as_invalid() {
    let clock = clock();
    let (issuer, published) = (Issuer::new(clock.clone()), PublishedKeys::start().await);
    let mut other = serde_json::to_value(&issuer.jwks().keys[0]).unwrap();
    other["kid"] = json!("other");
    published.publish_keys(&[other]);
    let verifier = published.verifier(&issuer, &clock);
    let token = issuer.token("usr_1");
    let result = verifier.verify(&token).await;
    assert!(matches!(result, Err(JwtError::UnknownKey)), "{result:?}");

    published.publish_keys(&[]);
    clock.advance(TimeDelta::seconds(10));
    let result = verifier.verify(&token).await;
    assert!(is_unavailable(&result), "{result:?}");
    assert_eq!(published.asked(), 2);
}
