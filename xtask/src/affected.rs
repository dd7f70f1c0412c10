//! `cargo xtask affected`: the services that a change touches. A service is touched
//! by its own files, by those of every crate of this tree that it is built from, by
//! its schema, and by what decides about all builds.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use quartet_devstack::workspace;

use crate::git;
use crate::metadata::Metadata;

/// What every service is built with; a directory ends with a slash.
const EVERYBODY: [&str; 7] = [
    ".cargo/",
    ".dockerignore",
    ".github/workflows/service.yaml",
    "Cargo.lock",
    "Cargo.toml",
    "deploy/",
    "rust-toolchain.toml",
];
/// The roles of the services that have a schema.
const ROLES: &str = "db/roles.sql";

pub(crate) fn run(words: &[&str]) -> anyhow::Result<ExitCode> {
    let (since, json) = parse(words)?;
    let affected = since_commit(&workspace::root(), since)?;
    if json {
        let names: Vec<&String> = affected.keys().collect();
        println!("{}", serde_json::to_string(&names)?);
    } else {
        for (service, cause) in affected {
            println!("{service}: {cause}");
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn parse<'a>(words: &[&'a str]) -> anyhow::Result<(&'a str, bool)> {
    let (mut since, mut json) = (None, false);
    let mut words = words.iter();
    while let Some(&word) = words.next() {
        match word {
            "--since" => since = words.next().copied(),
            "--json" => json = true,
            other => bail!("`{other}` is not known here; see `cargo xtask --help`"),
        }
    }
    let since = since.context("`--since REF` is missing: the commit to compare with")?;
    Ok((since, json))
}

/// The services that differ from what they were where this branch left `since`,
/// uncommitted changes included, each with the first file that touches it.
pub(crate) fn since_commit(root: &Path, since: &str) -> anyhow::Result<BTreeMap<String, String>> {
    let services = services(root)?;
    // What forges send for "there was nothing before".
    if !since.is_empty() && since.bytes().all(|byte| byte == b'0') {
        let all = services.into_keys();
        return Ok(all
            .map(|name| (name, "everything is new".to_owned()))
            .collect());
    }
    let changed = changed_files(root, since)?;
    let affected = services.into_iter().filter_map(|(service, parts)| {
        let cause = changed.iter().find(|file| touches(file, &parts))?;
        Some((service, cause.clone()))
    });
    Ok(affected.collect())
}

fn touches(file: &str, parts: &BTreeSet<String>) -> bool {
    let mut parts = parts.iter().map(String::as_str).chain(EVERYBODY);
    parts.any(|part| file == part || (part.ends_with('/') && file.starts_with(part)))
}

fn changed_files(root: &Path, since: &str) -> anyhow::Result<BTreeSet<String>> {
    let since = git::commit(root, since)?;
    let base = git::output(root, &["merge-base", &since, "HEAD"]).unwrap_or(since);
    let changed = git::output(root, &["diff", "--name-only", "--no-renames", "-z", &base])?;
    let new = git::output(root, &["ls-files", "--others", "--exclude-standard", "-z"])?;
    let files = changed.split('\0').chain(new.split('\0'));
    Ok(files
        .filter(|file| !file.is_empty())
        .map(str::to_owned)
        .collect())
}

/// Each service with the paths that it is made of.
fn services(root: &Path) -> anyhow::Result<BTreeMap<String, BTreeSet<String>>> {
    let metadata = Metadata::read(root)?;
    let mut services = BTreeMap::new();
    for package in &metadata.packages {
        let Some(directory) = metadata.directory(&package.id) else {
            continue;
        };
        if let Some(service) = directory.strip_prefix("services/") {
            let service = service.trim_end_matches('/').to_owned();
            let mut parts = metadata.parts_of(&package.id);
            let schema = format!("db/schemas/{service}/");
            if root.join(&schema).is_dir() {
                parts.extend([schema, ROLES.to_owned()]);
            }
            services.insert(service, parts);
        }
    }
    Ok(services)
}

#[cfg(test)]
mod tests;
