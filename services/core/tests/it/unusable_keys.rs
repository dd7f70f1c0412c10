//! Signing keys that cannot be opened.

use quartet_core::{
    Config,
    SigningAlgorithm::{EdDsa, Es256},
};
use reqwest::Method;
use serde_json::Value;

use crate::{
    keys::rotate,
    support::{ADA, PASSWORD, Replica, TestApp},
};

const UNUSABLE: &str = "core_unusable_signing_keys";

fn both(config: &mut Config) {
    config.keys.algorithms = vec![EdDsa, Es256];
    config.keys.access_token_algorithm = EdDsa;
}

async fn run(app: &TestApp, sql: &'static str) {
    let mut admin = app.database.connect_as_admin().await;
    let done = sqlx::query(sql).execute(&mut admin).await.unwrap();
    assert!(done.rows_affected() > 0, "{sql}");
}

async fn notices(replica: &Replica) -> Vec<String> {
    let ready = replica.request(Method::GET, "/ready").send().await.unwrap();
    let report: Value = ready.json().await.unwrap();
    let keys = report["notices"]["keys"].as_array().cloned();
    let keys = keys.unwrap_or_default().into_iter();
    keys.map(|key| key.as_str().unwrap().to_owned()).collect()
}

/// A new replica, and whether its start succeeds.
async fn start(app: &TestApp) -> (Replica, anyhow::Result<()>) {
    let replica = Replica::start(&app.database, &app.clock, both).await;
    let started = replica.state.run_jobs_once().await;
    (replica, started)
}

#[tokio::test]
async fn a_key_that_does_not_open_is_named_and_the_others_work() {
    for (damage, named, signs) in [
        (
            "UPDATE core.signing_keys SET sealed_private_key = substring(sealed_private_key, 1, 20)
             WHERE algorithm = 'ES256'",
            "(ES256)",
            true,
        ),
        (
            "UPDATE core.signing_keys SET sealed_private_key = '' WHERE algorithm = 'ES256'",
            "(ES256)",
            true,
        ),
        (
            "UPDATE core.signing_keys AS k SET sealed_private_key = o.sealed_private_key
             FROM core.signing_keys AS o WHERE k.algorithm = 'ES256' AND o.algorithm = 'EdDSA'",
            "(ES256)",
            true,
        ),
        (
            "UPDATE core.signing_keys SET algorithm = 'RS256' WHERE algorithm = 'ES256'",
            "(RS256)",
            true,
        ),
        (
            "UPDATE core.signing_keys SET sealed_private_key =
                 set_byte(sealed_private_key, 20, 255 - get_byte(sealed_private_key, 20))
             WHERE algorithm = 'EdDSA'",
            "(EdDSA)",
            false,
        ),
        (
            "UPDATE core.signing_keys SET sealed_private_key = '\\x01'",
            "(EdDSA)",
            false,
        ),
    ] {
        let app = TestApp::start_with(both).await;
        app.sign_up(ADA).await;
        app.advance(3601);
        run(&app, damage).await;
        let before = app.number("SELECT count(*) FROM core.signing_keys").await;
        let (replica, started) = start(&app).await;
        let named_keys = notices(&replica).await;
        let is_named =
            |text: &str| text.contains(named) && text.contains("another keys.master_key");
        assert!(
            named_keys.iter().any(|key| is_named(key)),
            "{damage}: {named_keys:?}"
        );
        assert_eq!(
            replica.metric(UNUSABLE),
            named_keys.len() as u64,
            "{damage}"
        );
        let logged_in = replica.try_log_in(ADA, PASSWORD).await;
        if signs {
            started.unwrap();
            assert_eq!(named_keys.len(), 1, "{named_keys:?}");
            assert_eq!(logged_in.status(), 201, "{damage}");
        } else {
            let error = format!("{:#}", started.unwrap_err());
            assert!(error.contains("for EdDSA") && is_named(&error), "{error}");
            assert_eq!(logged_in.status(), 500, "{damage}");
            let after = app.number("SELECT count(*) FROM core.signing_keys").await;
            assert_eq!(after, before, "creates no key that others cannot open");
        }
        // One that has opened them before continues.
        app.state.run_jobs_once().await.unwrap();
        app.log_in(ADA).await;
    }
}

/// Its successor is broken: until the next rotation the old key signs, and is kept.
#[tokio::test]
async fn a_key_whose_successor_does_not_open_signs_and_is_kept() {
    let app = TestApp::start_with(both).await;
    app.sign_up(ADA).await;
    let old = app.log_in(ADA).await.key_id();
    rotate(&app, &[]);
    run(
        &app,
        "UPDATE core.signing_keys SET sealed_private_key = sealed_private_key || '\\x00'
         WHERE algorithm = 'EdDSA' AND activates_at > (SELECT min(activates_at)
                                                       FROM core.signing_keys)",
    )
    .await;
    app.advance(3601 + 900 + 600);
    let (replica, started) = start(&app).await;
    started.unwrap();
    let tokens = replica.log_in(ADA).await;
    assert_eq!(tokens.key_id(), old);
    replica.me(&tokens).await;
    assert_eq!(replica.metric(UNUSABLE), 1);

    run(
        &app,
        "UPDATE core.signing_keys
         SET sealed_private_key = substring(sealed_private_key, 1, length(sealed_private_key) - 1)
         WHERE algorithm = 'EdDSA' AND activates_at > (SELECT min(activates_at)
                                                       FROM core.signing_keys)",
    )
    .await;
    replica.state.run_jobs_once().await.unwrap();
    assert_ne!(replica.log_in(ADA).await.key_id(), old, "usable again");
    assert_eq!(replica.metric(UNUSABLE), 0);
    assert!(notices(&replica).await.is_empty());
}
