//! The binary, before it serves.

use quartet_common::config::{self, COMMON_DEFAULTS};
use quartet_media::{Config, Service};
use quartet_service::{Service as _, check};
use quartet_testing::{accepted_numbers, child::survives_hangup};

#[test]
fn sighup_ends_no_command() {
    assert!(survives_hangup(env!("CARGO_BIN_EXE_quartet-media")));
}

#[test]
fn every_number_is_bounded() {
    let defaults = [COMMON_DEFAULTS, Service::DEFAULTS];
    let accepted = accepted_numbers(&defaults, |variable, value| {
        let environment = [
            ("QUARTET_S3_ACCESS_KEY", "key"),
            ("QUARTET_S3_SECRET_KEY", "secret"),
            (variable, value),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        config::load_checked::<Config>(&defaults, None, environment, check).map(drop)
    });
    assert!(accepted.is_empty(), "{accepted:#?}");
}

/// Requests could be sent to no other.
#[test]
fn every_url_is_one_of_http() {
    let defaults = [COMMON_DEFAULTS, Service::DEFAULTS];
    let load = |name: &str, url: &str| {
        let variable = format!("QUARTET_{name}");
        let environment = [
            ("QUARTET_S3_ACCESS_KEY", "key"),
            ("QUARTET_S3_SECRET_KEY", "secret"),
            (variable.as_str(), url),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        config::load_checked::<Config>(&defaults, None, environment, check).map(drop)
    };
    for name in [
        "S3_ENDPOINT",
        "S3_PUBLIC_ENDPOINT",
        "S3_PUBLIC_BASE_URL",
        "JWT_JWKS_URL",
        "TELEMETRY_OTLP_ENDPOINT",
    ] {
        load(name, "https://example.org").unwrap();
        for url in [
            "ftp://example.org",
            "file:///etc",
            "localhost:9000",
            "data:,x",
        ] {
            let error = load(name, url).unwrap_err().to_string();
            let key = name.to_lowercase().replacen('_', ".", 1);
            assert!(error.contains(&key), "{name} {url}: {error}");
        }
    }
}
