//! What `cargo metadata` tells: which crates there are, and who is built from whom.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, bail};
use serde::Deserialize;

use crate::cargo::cargo;

#[derive(Deserialize)]
pub(crate) struct Metadata {
    pub(crate) packages: Vec<Package>,
    resolve: Resolve,
    workspace_root: String,
}

#[derive(Deserialize)]
pub(crate) struct Package {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) license: Option<String>,
    manifest_path: String,
    /// None: a crate of this tree.
    pub(crate) source: Option<String>,
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
    pub(crate) fn read(root: &Path) -> anyhow::Result<Self> {
        let output = cargo(["metadata", "--format-version", "1", "--locked"])
            .current_dir(root)
            .output()
            .context("start cargo")?;
        if !output.status.success() {
            let told = String::from_utf8_lossy(&output.stderr);
            bail!("cargo metadata: {}", told.trim());
        }
        serde_json::from_slice(&output.stdout).context("read what cargo metadata printed")
    }

    /// The directory of a crate of this tree, from the root, with a slash at its end.
    pub(crate) fn directory(&self, id: &str) -> Option<String> {
        let package = self.packages.iter().find(|package| package.id == id)?;
        let manifest = Path::new(&package.manifest_path);
        let directory = manifest.parent()?.strip_prefix(&self.workspace_root).ok()?;
        let own = package.source.is_none();
        own.then(|| format!("{}/", directory.display()))
    }

    /// The crates that a crate names as what it is built from.
    pub(crate) fn dependencies(&self, id: &str) -> impl Iterator<Item = &str> {
        self.edges(id)
            .filter(|edge| edge.is_built_in())
            .map(|edge| edge.pkg.as_str())
    }

    /// The directories of all crates of this tree that a package and its tests are
    /// built from, its own included. Ways through foreign crates count: a crate of
    /// this tree may stand in for a published one.
    pub(crate) fn parts_of(&self, id: &str) -> BTreeSet<String> {
        let mut seen = BTreeSet::from([id]);
        let mut open = vec![id];
        while let Some(next) = open.pop() {
            for edge in self.edges(next) {
                // What only the tests of a dependency need is no part of the service.
                let needed = next == id || edge.is_built_in();
                if needed && seen.insert(&edge.pkg) {
                    open.push(&edge.pkg);
                }
            }
        }
        seen.into_iter()
            .filter_map(|id| self.directory(id))
            .collect()
    }

    fn edges(&self, id: &str) -> impl Iterator<Item = &Dependency> {
        let node = self.resolve.nodes.iter().find(|node| node.id == id);
        node.into_iter().flat_map(|node| &node.deps)
    }
}

impl Dependency {
    fn is_built_in(&self) -> bool {
        let mut kinds = self.dep_kinds.iter();
        kinds.any(|kind| kind.kind.as_deref() != Some("dev"))
    }
}
