//! Failures of the download.

use std::process::Command;

#[test]
fn the_error_names_an_unreachable_source_and_nothing_is_left() {
    let directory =
        std::env::temp_dir().join(format!("quartet-devpostgres-{}", std::process::id()));
    // A proxy that refuses every connection simulates a machine without a network.
    let output = Command::new(env!("CARGO_BIN_EXE_quartet-devpostgres"))
        .arg(&directory)
        .env("HTTPS_PROXY", "http://127.0.0.1:1")
        .env_remove("NO_PROXY")
        .output()
        .unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(
        message.starts_with("Postgres could not be downloaded from https://"),
        "{message}"
    );
    assert!(!directory.exists());
}

#[test]
fn a_missing_argument_is_a_usage_error() {
    let output = Command::new(env!("CARGO_BIN_EXE_quartet-devpostgres"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("usage:"));
}
