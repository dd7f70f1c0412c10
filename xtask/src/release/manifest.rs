//! The version in a service's Cargo.toml.

use anyhow::{Context as _, ensure};
use semver::Version;
use toml::{Table, Value};

pub(super) fn version(text: &str) -> anyhow::Result<Version> {
    let manifest: Table = text.parse()?;
    let version = manifest.get("package").and_then(|it| it.get("version"));
    let version = version.and_then(Value::as_str);
    let version = version.context("Cargo.toml has no version of its own")?;
    Ok(version.parse()?)
}

/// The same text with another version: comments and order are kept.
pub(super) fn with_version(text: &str, new: &Version) -> anyhow::Result<String> {
    let line = format!("version = \"{}\"\n", version(text)?);
    let lines = text.split_inclusive('\n').filter(|it| *it == line).count();
    ensure!(lines == 1, "Cargo.toml has {lines} lines `{}`", line.trim());
    Ok(text.replace(&format!("\n{line}"), &format!("\nversion = \"{new}\"\n")))
}
