//! The version in a service's Cargo.toml.

use anyhow::{Context as _, ensure};
use semver::Version;

/// The line in the section `[package]` with the version.
fn line(text: &str) -> Option<&str> {
    let package = text.split("[package]").nth(1)?;
    let package = package.split("\n[").next()?;
    package
        .lines()
        .find(|line| line.starts_with("version = \""))
}

pub(super) fn version(text: &str) -> anyhow::Result<Version> {
    let line = line(text).context("Cargo.toml has no version of its own")?;
    let quoted = line.split('"').nth(1).unwrap_or_default();
    quoted
        .parse()
        .with_context(|| format!("the version `{quoted}`"))
}

pub(super) fn with_version(text: &str, version: &Version) -> anyhow::Result<String> {
    let line = line(text).context("Cargo.toml has no version of its own")?;
    ensure!(
        text.matches(line).count() == 1,
        "`{line}` occurs twice in Cargo.toml"
    );
    Ok(text.replace(line, &format!("version = \"{version}\"")))
}
