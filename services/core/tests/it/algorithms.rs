//! Signing keys of several algorithms.

use quartet_auth::jwt::JwtVerifier;
use quartet_core::{
    Config,
    SigningAlgorithm::{self, EdDsa, Es256, Rs256},
};
use quartet_testing::Issuer;
use reqwest::Method;
use secrecy::SecretString;
use serde_json::Value;

use crate::{
    keys::run,
    support::{ADA, JWKS, MASTER_KEY, Replica, TestApp, json_of},
};

const HOUR: i64 = 3600;

fn keep(algorithms: &[SigningAlgorithm], signs: SigningAlgorithm) -> impl FnOnce(&mut Config) {
    let algorithms = algorithms.to_vec();
    move |config| {
        config.keys.algorithms = algorithms;
        config.keys.access_token_algorithm = signs;
    }
}

/// The algorithms of the published keys, in alphabetical order.
async fn published(replica: &Replica) -> Vec<String> {
    let response = replica.request(Method::GET, JWKS).send().await.unwrap();
    let keys = json_of(response, 200).await;
    let keys = keys["keys"].as_array().unwrap().iter();
    let mut algorithms: Vec<_> = keys.map(|key| text(&key["alg"])).collect();
    algorithms.sort();
    algorithms
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn command(app: &TestApp, words: &[&str], algorithms: &str) -> String {
    let variables = [
        ("QUARTET_KEYS_MASTER_KEY", MASTER_KEY),
        ("QUARTET_KEYS_ALGORITHMS", algorithms),
    ];
    run(app, words, &variables)
}

#[tokio::test]
async fn each_algorithm_signs_and_is_verified_by_other_services() {
    let members = [
        (EdDsa, vec!["alg", "crv", "kid", "kty", "use", "x"]),
        (Es256, vec!["alg", "crv", "kid", "kty", "use", "x", "y"]),
        (Rs256, vec!["alg", "e", "kid", "kty", "n", "use"]),
    ];
    for (algorithm, members) in members {
        let app = TestApp::start_with(keep(&[algorithm], algorithm)).await;
        let tokens = app.join(ADA).await;
        app.me(&tokens).await;
        assert_eq!(tokens.parts().0["alg"], algorithm.to_string());
        let response = app.request(Method::GET, JWKS).send().await.unwrap();
        let keys = json_of(response, 200).await;
        let key = keys["keys"][0].as_object().unwrap();
        let mut names: Vec<&str> = key.keys().map(String::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, members, "public members only");
        assert_eq!(key["alg"], algorithm.to_string());
        assert_eq!(key["use"], "sig");
        let settings = Issuer::new(app.clock.clone()).settings(app.address);
        let verifier = JwtVerifier::new(&settings, app.clock.clone()).unwrap();
        verifier.verify(tokens.access()).await.unwrap();
    }
}

#[tokio::test]
async fn a_new_algorithm_signs_after_its_key_was_published() {
    let app = TestApp::start().await;
    let old = app.join(ADA).await;
    let new = app.replica(keep(&[EdDsa, Es256], Es256)).await;
    assert_eq!(published(&new).await, ["ES256", "EdDSA"]);
    let alg = |tokens: &crate::support::Tokens| text(&tokens.parts().0["alg"]);
    let early = new.log_in(ADA).await;
    assert_eq!(alg(&early), "EdDSA", "published and not active");
    app.advance(HOUR);
    let switched = new.log_in(ADA).await;
    assert_eq!(alg(&switched), "ES256");
    // A replica that has the previous settings.
    app.me(&switched).await;
    assert_eq!(alg(&app.log_in(ADA).await), "EdDSA");
    new.me(&new.refresh(&old).await).await;
}

#[tokio::test]
async fn algorithms_rotate_apart() {
    let app = TestApp::start_with(keep(&[EdDsa, Es256], EdDsa)).await;
    let first = app.key_ids().await;
    assert_eq!(first.len(), 2);
    let maintain = async || app.state.run_jobs_once().await.unwrap();
    command(
        &app,
        &["rotate-keys", "--algorithm", "ES256"],
        "EdDSA,ES256",
    );
    maintain().await;
    assert_eq!(published(&app).await, ["ES256", "ES256", "EdDSA"]);
    let signed = app.join(ADA).await;

    let said = command(
        &app,
        &["rotate-keys", "--algorithm", "ES256", "--now"],
        "EdDSA,ES256",
    );
    assert!(
        said.contains("(ES256)") && !said.contains("(EdDSA)"),
        "{said}"
    );
    maintain().await;
    assert_eq!(published(&app).await, ["ES256", "EdDSA"]);
    let left = app.key_ids().await;
    let kept = first.iter().filter(|kid| left.contains(kid));
    assert_eq!(kept.count(), 1, "the key of the other algorithm");
    app.me(&signed).await;

    app.advance(30 * 24 * HOUR);
    maintain().await;
    assert_eq!(published(&app).await, ["ES256", "ES256", "EdDSA", "EdDSA"]);
    app.advance(2 * HOUR);
    maintain().await;
    assert_eq!(published(&app).await, ["ES256", "EdDSA"]);
}

#[tokio::test]
async fn a_key_of_a_removed_algorithm_stays_until_its_rotation_was_due() {
    let app = TestApp::start_with(keep(&[EdDsa, Es256], Es256)).await;
    let signed = app.join(ADA).await;
    let after = app.replica(keep(&[EdDsa], EdDsa)).await;
    after.me(&signed).await;
    assert_eq!(published(&after).await, ["ES256", "EdDSA"]);
    app.advance(29 * 24 * HOUR);
    after.state.run_jobs_once().await.unwrap();
    assert_eq!(published(&after).await, ["ES256", "EdDSA"]);
    app.advance(24 * HOUR + 30 * 60);
    after.state.run_jobs_once().await.unwrap();
    assert!(!published(&after).await.contains(&"ES256".to_owned()));
}

/// However old it is, and however short the rotation has become.
#[tokio::test]
async fn a_removed_algorithm_signs_until_another_does() {
    let app = TestApp::start().await;
    app.advance(5 * 24 * HOUR);
    let signed = app.join(ADA).await;
    let daily = |config: &mut Config| {
        keep(&[Es256], Es256)(config);
        config.keys.rotation_seconds = 24 * 3600;
    };
    let after = app.replica(daily).await;
    assert_eq!(published(&after).await, ["ES256", "EdDSA"]);
    after.me(&signed).await;
    assert_eq!(after.log_in(ADA).await.parts().0["alg"], "EdDSA");
    // The new key signs, and the tokens of the old one are valid for a while.
    app.advance(HOUR);
    let last = app.log_in(ADA).await;
    assert_eq!(after.log_in(ADA).await.parts().0["alg"], "ES256");
    after.state.run_jobs_once().await.unwrap();
    after.me(&last).await;
    app.advance(2 * HOUR);
    after.state.run_jobs_once().await.unwrap();
    assert_eq!(published(&after).await, ["ES256"]);
}

#[tokio::test]
async fn keys_of_every_algorithm_are_sealed_again() {
    let all = [EdDsa, Es256, Rs256];
    let app = TestApp::start_with(keep(&all, Rs256)).await;
    let tokens = app.join(ADA).await;
    let new_key = "ab".repeat(32);
    let variables = [
        ("QUARTET_KEYS_MASTER_KEY", new_key.as_str()),
        ("QUARTET_KEYS_PREVIOUS_MASTER_KEYS", MASTER_KEY),
    ];
    let said = run(&app, &["reseal"], &variables);
    assert!(said.contains("3 keys"), "{said}");
    let said = run(&app, &["reseal"], &variables);
    assert!(said.contains("0 keys"), "{said}");
    let only_new = |config: &mut Config| {
        config.keys.master_key = SecretString::from(new_key.clone());
        keep(&all, Rs256)(config);
    };
    let after = app.replica(only_new).await;
    after.me(&tokens).await;
    assert_eq!(after.key_ids().await, app.key_ids().await);
}

/// A row cannot be turned into a key of another algorithm.
#[tokio::test]
async fn a_stored_key_is_bound_to_its_algorithm() {
    let app = TestApp::start_with(keep(&[EdDsa, Es256], EdDsa)).await;
    let mut db = app.database.connect_as_role().await;
    let swap = "UPDATE core.signing_keys SET algorithm = 'RS256' WHERE algorithm = 'ES256'";
    sqlx::query(swap).execute(&mut db).await.unwrap();
    let other = Replica::start(&app.database, &app.clock, |_| {}).await;
    other.state.run_jobs_once().await.unwrap();
    assert_eq!(
        published(&other).await,
        ["EdDSA"],
        "neither as one nor as the other"
    );
    assert_eq!(other.metric("core_unusable_signing_keys"), 1);
}

#[tokio::test]
async fn the_configuration_names_the_algorithms_that_are_kept() {
    let app = TestApp::start_with(keep(&[EdDsa, Es256], EdDsa)).await;
    let path = "/.well-known/openid-configuration";
    let response = app.request(Method::GET, path).send().await.unwrap();
    let found = &json_of(response, 200).await["id_token_signing_alg_values_supported"];
    assert_eq!(*found, serde_json::json!(["EdDSA", "ES256"]));
}
