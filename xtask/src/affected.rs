//! `cargo xtask affected`: the services that a change touches. A service is touched
//! by its own files, by those of every crate of this tree that it is built from, by
//! its schema, and by what decides about all builds.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use quartet_devstack::workspace;
use serde::Deserialize;

use crate::cargo::cargo;
use crate::git;

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

/// The part of `cargo metadata` that tells who is built from whom.
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
    workspace_root: String,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    manifest_path: String,
    /// None: a crate of this tree.
    source: Option<String>,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<Kind>,
}

#[derive(Deserialize)]
struct Kind {
    /// None: a usual dependency.
    kind: Option<String>,
}

impl Metadata {
    fn read(root: &Path) -> anyhow::Result<Self> {
        let output = cargo(["metadata", "--format-version", "1", "--locked"])
            .current_dir(root)
            .output()
            .context("start cargo")?;
        if !output.status.success() {
            bail!(
                "cargo metadata: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        serde_json::from_slice(&output.stdout).context("read what cargo metadata printed")
    }

    /// The directory of a crate of this tree, from the root, with a slash at its end.
    fn directory(&self, id: &str) -> Option<String> {
        let package = self.packages.iter().find(|package| package.id == id)?;
        let manifest = Path::new(&package.manifest_path);
        let directory = manifest.parent()?.strip_prefix(&self.workspace_root).ok()?;
        let own = package.source.is_none();
        own.then(|| format!("{}/", directory.display()))
    }

    /// The directories of all crates of this tree that a package and its tests are
    /// built from, its own included. Ways through foreign crates count: a crate of
    /// this tree may stand in for a published one.
    fn parts_of(&self, id: &str) -> BTreeSet<String> {
        let mut seen = BTreeSet::from([id]);
        let mut open = vec![id];
        while let Some(next) = open.pop() {
            let node = self.resolve.nodes.iter().find(|node| node.id == next);
            for dependency in node.iter().flat_map(|node| &node.deps) {
                // What only the tests of a dependency need is no part of the service.
                let needed = next == id || dependency.dep_kinds.iter().any(Kind::is_built_in);
                if needed && seen.insert(&dependency.pkg) {
                    open.push(&dependency.pkg);
                }
            }
        }
        seen.into_iter()
            .filter_map(|id| self.directory(id))
            .collect()
    }
}

impl Kind {
    fn is_built_in(&self) -> bool {
        self.kind.as_deref() != Some("dev")
    }
}

#[cfg(test)]
mod tests;
