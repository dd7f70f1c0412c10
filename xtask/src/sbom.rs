//! `cargo xtask sbom`: what a service's binary is built from, as a bill of materials that scanners
//! and registries read (`CycloneDX` 1.6). The image contains nothing else.
//!
//! From `cargo tree`, which resolves features for one package; `cargo metadata` knows only those of
//! the whole workspace, and would list crates that are not linked.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use quartet_devstack::workspace;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::cargo::{SERVICES, cargo, output};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[arg(value_parser = SERVICES)]
    service: String,
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let bill = bill(&workspace::root(), &args.service)?;
    let text = serde_json::to_string_pretty(&bill)?;
    let file = &args.output;
    fs::write(file, text + "\n").with_context(|| format!("write {}", file.display()))
}

fn bill(root: &Path, service: &str) -> anyhow::Result<Value> {
    let mut tree = cargo(["tree", "--locked", "--edges", "normal", "--prefix", "depth"]);
    tree.args([
        "--format",
        "|{p}|{l}|",
        "--package",
        &format!("quartet-{service}"),
    ]);
    let (own, mut components, needs) = parse(&output(tree.current_dir(root))?)?;
    let mut application = components.remove(&own).context("a tree without a root")?;
    application["type"] = "application".into();
    let depends = |(reference, on)| json!({ "ref": reference, "dependsOn": on });
    Ok(json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": Uuid::new_v4().urn().to_string(),
        "version": 1,
        "metadata": { "component": application },
        "components": components.into_values().collect::<Vec<_>>(),
        "dependencies": needs.into_iter().map(depends).collect::<Vec<_>>(),
    }))
}

/// The root, each linked crate, and the names of its direct dependencies.
type Linked = (
    String,
    BTreeMap<String, Value>,
    BTreeMap<String, BTreeSet<String>>,
);

/// Reads lines such as `2|serde v1.0.229 (proc-macro)|MIT OR Apache-2.0| (*)`, which begin with the
/// depth in the tree. The dependencies of a crate follow its first line only.
fn parse(tree: &str) -> anyhow::Result<Linked> {
    let mut components = BTreeMap::new();
    let mut needs = BTreeMap::<String, BTreeSet<String>>::new();
    let mut path = Vec::<String>::new();
    for line in tree.lines() {
        let fields: Vec<&str> = line.split('|').collect();
        let [depth, package, license, _] = fields[..] else {
            anyhow::bail!("cargo tree printed `{line}`");
        };
        let (name, rest) = package
            .split_once(" v")
            .context("a crate without a version")?;
        let version = rest.split(' ').next().unwrap_or_default();
        let reference = format!("pkg:cargo/{name}@{version}");
        path.truncate(depth.parse()?);
        if let Some(parent) = path.last().and_then(|parent| needs.get_mut(parent)) {
            parent.insert(reference.clone());
        }
        path.push(reference.clone());
        needs.entry(reference.clone()).or_default();
        components.entry(reference.clone()).or_insert_with(|| {
            let mut component = json!({
                "type": "library", "bom-ref": reference, "name": name, "version": version,
            });
            // Only published crates can be found by a URL.
            if !package.contains(" (/") {
                component["purl"] = reference.into();
            }
            if !license.is_empty() {
                // Old manifests write a slash for `OR`.
                let expression = license.replace('/', " OR ");
                component["licenses"] = json!([{ "expression": expression }]);
            }
            component
        });
    }
    ensure!(!path.is_empty(), "cargo tree printed nothing");
    Ok((path.swap_remove(0), components, needs))
}

#[cfg(test)]
mod tests {
    use quartet_devstack::workspace;

    use super::{bill, parse};

    #[test]
    fn a_bill_lists_exactly_the_linked_crates() {
        let bill = bill(&workspace::root(), "core").unwrap();
        let components = bill["components"].as_array().unwrap().iter();
        let names: Vec<&str> = components
            .map(|component| component["name"].as_str().unwrap())
            .collect();
        assert_eq!(bill["metadata"]["component"]["name"], "quartet-core");
        assert!(
            names.contains(&"axum") && names.contains(&"quartet-common"),
            "{names:?}"
        );
        // The gateway's.
        assert!(!names.contains(&"pingora"), "{names:?}");
        let serial = bill["serialNumber"].as_str().unwrap();
        assert_eq!(serial.len(), "urn:uuid:".len() + 36, "{serial}");
    }

    #[test]
    fn a_tree_of_crates_keeps_its_relations() {
        let tree = "0|a v1.0.0 (/tree/a)|MIT|\n1|b v2.0.0|MIT/Apache-2.0|\n2|c v3.0.0 (proc-macro)||\n1|c v3.0.0 (proc-macro)|| (*)";
        let (own, components, needs) = parse(tree).unwrap();
        assert_eq!(own, "pkg:cargo/a@1.0.0");
        let needs = |name: &str| needs[name].iter().cloned().collect::<Vec<_>>();
        assert_eq!(
            needs("pkg:cargo/a@1.0.0"),
            ["pkg:cargo/b@2.0.0", "pkg:cargo/c@3.0.0"]
        );
        assert_eq!(needs("pkg:cargo/b@2.0.0"), ["pkg:cargo/c@3.0.0"]);
        let b = &components["pkg:cargo/b@2.0.0"];
        assert_eq!(b["licenses"][0]["expression"], "MIT OR Apache-2.0");
        assert_eq!(b["purl"], "pkg:cargo/b@2.0.0");
        assert!(components["pkg:cargo/a@1.0.0"].get("purl").is_none());
    }
}
