//! `cargo xtask affected`: the services that a change touches. A service is touched by its own
//! files, by those of every crate of this tree that it is built from, by its schema, and by
//! whatever affects all builds.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use quartet_devstack::workspace;

use crate::cargo::{SERVICES, cargo, output};
use crate::git;

/// What affects all builds; a directory ends with a slash.
const ALL_BUILDS: [&str; 7] = [
    ".cargo/",
    ".dockerignore",
    ".github/workflows/service.yaml",
    "Cargo.lock",
    "Cargo.toml",
    "deploy/",
    "rust-toolchain.toml",
];
/// The database roles of the services that have a schema.
const ROLES: &str = "db/roles.sql";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The commit to compare with; zeros stand for an empty tree
    #[arg(long, value_name = "REF")]
    since: String,
    /// Print the names as a JSON list, for workflows
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let affected = since_commit(&workspace::root(), &args.since)?;
    if args.json {
        let names: Vec<&String> = affected.keys().collect();
        println!("{}", serde_json::to_string(&names)?);
        return Ok(());
    }
    for (service, cause) in affected {
        println!("{service}: {cause}");
    }
    Ok(())
}

/// The services that differ from where this branch left `since`, uncommitted changes included, each
/// with the first file that touches it.
fn since_commit(root: &Path, since: &str) -> anyhow::Result<BTreeMap<String, String>> {
    let services = services(root)?;
    // Forges send zeros for the parent of a first push.
    if !since.is_empty() && since.bytes().all(|byte| byte == b'0') {
        let everything = services
            .into_keys()
            .map(|name| (name, "everything is new".to_owned()));
        return Ok(everything.collect());
    }
    let changed = changed_files(root, since)?;
    let affected = services.into_iter().filter_map(|(service, sources)| {
        let cause = changed.iter().find(|file| touches(file, &sources))?;
        Some((service, cause.clone()))
    });
    Ok(affected.collect())
}

fn touches(file: &str, sources: &BTreeSet<String>) -> bool {
    let mut sources = sources.iter().map(String::as_str).chain(ALL_BUILDS);
    sources.any(|source| file == source || (source.ends_with('/') && file.starts_with(source)))
}

fn changed_files(root: &Path, since: &str) -> anyhow::Result<BTreeSet<String>> {
    let since = git::commit(root, since)?;
    let base = git::output(root, &["merge-base", &since, "HEAD"]).unwrap_or(since);
    let changed = git::files(root, &["diff", "--name-only", "--no-renames", "-z", &base])?;
    let new = git::files(root, &["ls-files", "--others", "--exclude-standard", "-z"])?;
    Ok(changed.into_iter().chain(new).collect())
}

/// Each service with the paths that it is built from.
fn services(root: &Path) -> anyhow::Result<BTreeMap<String, BTreeSet<String>>> {
    let mut services = BTreeMap::new();
    for service in SERVICES {
        if !root
            .join(format!("services/{service}/Cargo.toml"))
            .is_file()
        {
            continue;
        }
        let mut sources = crates(root, &format!("services/{service}"))?;
        let schema = format!("db/schemas/{service}/");
        if root.join(&schema).is_dir() {
            sources.extend([schema, ROLES.to_owned()]);
        }
        services.insert(service.to_owned(), sources);
    }
    Ok(services)
}

/// The directories of all crates of this tree that a package and its own tests are built from,
/// itself included. Dependencies of published crates count: a crate of this tree may replace a
/// published one.
fn crates(root: &Path, package: &str) -> anyhow::Result<BTreeSet<String>> {
    let edges = ["--edges", "normal,build,dev", "--target", "all"];
    let mut tree = cargo(["tree", "--locked", "--prefix", "none", "--format", "{p}"]);
    tree.args(edges)
        .arg("--manifest-path")
        .arg(root.join(package).join("Cargo.toml"));
    let listed = output(tree.current_dir(root))?;
    let root = format!("({}/", root.canonicalize()?.display());
    // `quartet-common v0.1.0 (/path/of/the/tree/libs/common) (*)`
    let directories = listed.lines().filter_map(|line| {
        let (_, rest) = line.split_once(&root)?;
        Some(format!("{}/", rest.split_once(')')?.0))
    });
    Ok(directories.collect())
}

#[cfg(test)]
mod tests;
