//! `cargo xtask gen`: the generated files, in the order in which they depend on each other: data for
//! checked queries, then documents from binaries that need it, then clients from the documents.

mod clients;
mod documents;
mod files;
mod queries;

use std::path::Path;

use anyhow::ensure;
use quartet_devstack::workspace;

use crate::cargo::build_for_tests;

/// Writes every generated file; with `check` only reports which are stale.
pub(crate) fn write(check: bool) -> anyhow::Result<()> {
    let root = workspace::root();
    let mut scratch = tempfile::Builder::new();
    let scratch = scratch
        .prefix("generated-")
        .tempdir_in(workspace::profile_dir()?)?;
    let scratch = scratch.path();
    let fresh = scratch.join("fresh");
    println!("Checking every query against a new database");
    finish(&fresh, &root, &queries::generate(&root, &fresh)?, check)?;
    println!("Writing specifications and references");
    build_for_tests()?;
    documents::generate(scratch, &fresh)?;
    finish(&fresh, &root, &[], check)?;
    println!("Writing the clients");
    finish(
        &fresh,
        &root,
        &clients::generate(&root, scratch, &fresh)?,
        check,
    )?;
    println!("The generated files are up to date");
    Ok(())
}

/// The next step builds on these files, so that a check ends at the first stale ones. `only` are
/// the directories that contain nothing but generated files.
fn finish(fresh: &Path, root: &Path, only: &[String], check: bool) -> anyhow::Result<()> {
    if !check {
        return files::write(fresh, root, only);
    }
    let stale = files::stale(fresh, root, only)?;
    for path in &stale {
        eprintln!("stale: {path}");
    }
    ensure!(
        stale.is_empty(),
        "generated files are stale; run `cargo xtask gen` and commit what it writes"
    );
    Ok(())
}
