//! Lints the OpenAPI documents with the rules of `sdk/lint/redocly.yaml`.

use std::path::Path;
use std::process::Command;

use anyhow::Context as _;

use crate::cargo::succeed;
use crate::signals::Signals;
use crate::tools;

const PACKAGE: &str = "sdk/lint";
const SERVICES: [&str; 4] = ["core", "media", "links", "gateway"];
const DOCUMENTS: [&str; 2] = ["openapi.json", "openapi-3.0.json"];

/// Fails on any finding in any committed document.
pub(crate) fn check(root: &Path, signals: &Signals) -> anyhow::Result<()> {
    let package = root.join(PACKAGE);
    let programs = tools::npm(&package, signals)?;
    let mut lint = Command::new(programs.join("redocly"));
    lint.arg("lint")
        .arg("--config")
        .arg(package.join("redocly.yaml"))
        .args(["--format", "stylish"])
        // It asks nobody for anything.
        .env("REDOCLY_TELEMETRY", "off")
        .env("REDOCLY_SUPPRESS_UPDATE_NOTICE", "true")
        .current_dir(root);
    for service in SERVICES {
        for document in DOCUMENTS {
            lint.arg(format!("services/{service}/{document}"));
        }
    }
    succeed(lint, signals).context("the OpenAPI documents break rules of sdk/lint; see above")
}
