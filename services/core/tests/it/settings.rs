use quartet_common::{
    clock::Clock,
    config::{self, COMMON_DEFAULTS},
};
use quartet_core::{AppState, Config, Service, SigningAlgorithm};
use quartet_service::{Base, Service as _, check};
use quartet_testing::accepted_numbers;
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

use crate::support::{MASTER_KEY, config};

type Change = fn(&mut Config);

#[tokio::test]
async fn invalid_settings_are_named() {
    let cases: [(&str, Change); 18] = [
        ("keys.master_key", |c| c.keys.master_key = "abc".into()),
        ("keys.previous_master_keys", |c| {
            c.keys.previous_master_keys = vec!["abc".into()];
        }),
        ("keys.algorithms", |c| {
            c.keys.algorithms = vec![SigningAlgorithm::EdDsa; 2];
        }),
        ("keys.access_token_algorithm", |c| c.keys.algorithms.clear()),
        ("keys.access_token_algorithm", |c| {
            c.keys.access_token_algorithm = SigningAlgorithm::Rs256;
        }),
        ("keys.rotation_seconds", |c| c.keys.rotation_seconds = 0),
        ("keys.publish_ahead_seconds", |c| {
            c.keys.publish_ahead_seconds = c.keys.rotation_seconds;
        }),
        ("keys.publish_ahead_seconds", |c| {
            c.keys.publish_ahead_seconds = 300;
        }),
        ("keys.publish_ahead_seconds", |c| {
            c.keys.reload_seconds = c.keys.publish_ahead_seconds;
        }),
        ("passwords.min_length", |c| c.passwords.min_length = 7),
        ("passwords.memory_kib", |c| c.passwords.memory_kib = 1),
        ("sessions.max_per_user", |c| c.sessions.max_per_user = 0),
        ("retention.ended_sessions_seconds", |c| {
            c.retention.ended_sessions_seconds = c.retention.deleted_users_seconds + 1;
        }),
        ("jwt.issuer", |c| c.jwt.issuer = None),
        ("jwt.audience", |c| c.jwt.audience = None),
        ("jwt.token_type", |c| c.jwt.token_type = Some("JWT".into())),
        ("jwt.jwks_url", |c| {
            c.jwt.jwks_url = "http://localhost/jwks.json".parse().ok();
        }),
        ("jwt.hs256_secret", |c| {
            c.jwt.hs256_secret = Some(SecretString::from("x".repeat(32)));
        }),
    ];
    for (key, change) in cases {
        let mut config = config();
        change(&mut config);
        let error = start(config).unwrap_err().to_string();
        assert!(error.contains(key), "{key}: {error}");
    }
    assert!(start(config()).is_ok());
}

#[test]
fn every_number_is_bounded() {
    let defaults = [COMMON_DEFAULTS, Service::DEFAULTS];
    let accepted = accepted_numbers(&defaults, |variable, value| {
        let key = ("QUARTET_KEYS_MASTER_KEY".to_owned(), MASTER_KEY.to_owned());
        let environment = [key, (variable.to_owned(), value.to_owned())];
        config::load_checked::<Config>(&defaults, None, environment, check).map(drop)
    });
    assert!(accepted.is_empty(), "{accepted:#?}");
}

/// Requests could be sent to no other.
#[test]
fn every_url_is_one_of_http() {
    let defaults = [COMMON_DEFAULTS, Service::DEFAULTS];
    let load = |name: &str, url: &str| {
        let key = ("QUARTET_KEYS_MASTER_KEY".to_owned(), MASTER_KEY.to_owned());
        let secret = (
            "QUARTET_EVENTS_SECRET".to_owned(),
            "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=".to_owned(),
        );
        let environment = [key, secret, (format!("QUARTET_{name}"), url.to_owned())];
        config::load_checked::<Config>(&defaults, None, environment, check).map(drop)
    };
    for name in [
        "EVENTS_MEDIA_URL",
        "EVENTS_LINKS_URL",
        "TELEMETRY_OTLP_ENDPOINT",
    ] {
        load(name, "https://example.org").unwrap();
        for url in ["ftp://example.org", "media:8082", "data:,x"] {
            let error = load(name, url).unwrap_err().to_string();
            let key = name.to_lowercase().replacen('_', ".", 1);
            assert!(error.contains(&key), "{name} {url}: {error}");
        }
    }
}

fn start(mut config: Config) -> anyhow::Result<AppState> {
    config.database.url = SecretString::from("postgres://user@127.0.0.1:1/nothing");
    let base = Base::new::<Service>(&config, Clock::system(), CancellationToken::new())?;
    Service::state(config, base)
}
