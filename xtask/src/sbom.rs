//! `cargo xtask sbom`: what a service's binary is made of, as a bill of materials that
//! scanners and registries read (`CycloneDX` 1.6). The image holds nothing else.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail, ensure};
use quartet_devstack::{secret, workspace};
use serde_json::{Value, json};

use crate::cargo::cargo;
use crate::metadata::{Metadata, Package};

pub(crate) fn run(words: &[&str]) -> anyhow::Result<ExitCode> {
    let [service, "--output", file] = *words else {
        bail!("name a service and a file: `cargo xtask sbom core --output sbom.cdx.json`");
    };
    let bill = bill(&workspace::root(), service)?;
    let text = serde_json::to_string_pretty(&bill)?;
    fs::write(file, text + "\n").with_context(|| format!("write {file}"))?;
    Ok(ExitCode::SUCCESS)
}

fn bill(root: &Path, service: &str) -> anyhow::Result<Value> {
    let name = format!("quartet-{service}");
    let linked = linked(root, &name)?;
    let metadata = Metadata::read(root)?;
    let (own, others): (Vec<&Package>, Vec<&Package>) = metadata
        .packages
        .iter()
        .filter(|package| linked.contains(&(package.name.clone(), package.version.clone())))
        .partition(|package| package.name == name);
    let [own] = own[..] else {
        bail!("there is no package `{name}`");
    };
    let everything: Vec<&Package> = std::iter::once(own).chain(others.iter().copied()).collect();
    Ok(json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": serial_number()?,
        "version": 1,
        "metadata": { "component": component(own, "application") },
        "components": others.iter().map(|package| component(package, "library")).collect::<Vec<_>>(),
        "dependencies": everything
            .iter()
            .map(|package| relation(&metadata, package, &everything))
            .collect::<Vec<_>>(),
    }))
}

/// Names and versions of the crates that cargo links for a package alone. `cargo metadata`
/// knows them only with the features that the whole tree asks for.
fn linked(root: &Path, package: &str) -> anyhow::Result<BTreeSet<(String, String)>> {
    let output = cargo(["tree", "--locked", "--edges", "normal", "--prefix", "none"])
        .args(["--format", "{p}", "--package", package])
        .current_dir(root)
        .output()
        .context("start cargo")?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "cargo tree: {}", told.trim());
    // `serde v1.0.229 (proc-macro)`
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(lines
        .lines()
        .filter_map(|line| {
            let (name, rest) = line.split_once(" v")?;
            let version = rest.split(' ').next()?;
            Some((name.to_owned(), version.to_owned()))
        })
        .collect())
}

fn component(package: &Package, kind: &str) -> Value {
    let mut component = json!({
        "type": kind,
        "bom-ref": address(package),
        "name": package.name,
        "version": package.version,
    });
    // Only what is published has an address there.
    if package.source.is_some() {
        component["purl"] = address(package).into();
    }
    if let Some(license) = &package.license {
        // Before expressions there was the slash.
        let expression = license.replace('/', " OR ");
        component["licenses"] = json!([{ "expression": expression }]);
    }
    component
}

fn relation(metadata: &Metadata, package: &Package, among: &[&Package]) -> Value {
    let needs: BTreeSet<String> = metadata
        .dependencies(&package.id)
        .filter_map(|id| among.iter().find(|other| other.id == id))
        .map(|other| address(other))
        .collect();
    json!({ "ref": address(package), "dependsOn": needs })
}

fn address(package: &Package) -> String {
    format!("pkg:cargo/{}@{}", package.name, package.version)
}

/// A random UUID of version 4.
fn serial_number() -> anyhow::Result<String> {
    let digits = secret::random_hex()?;
    let part = |from: usize, to: usize| digits.get(from..to).unwrap_or_default();
    Ok(format!(
        "urn:uuid:{}-{}-4{}-8{}-{}",
        part(0, 8),
        part(8, 12),
        part(12, 15),
        part(15, 18),
        part(18, 30)
    ))
}

#[cfg(test)]
mod tests {
    use quartet_devstack::workspace;

    use super::bill;

    #[test]
    fn a_bill_names_what_is_linked_and_nothing_else() {
        let bill = bill(&workspace::root(), "core").unwrap();
        let names: Vec<&str> = bill["components"]
            .as_array()
            .unwrap()
            .iter()
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
    fn a_package_that_is_not_there_is_named() {
        let error = bill(&workspace::root(), "nothing").unwrap_err();
        assert!(error.to_string().contains("quartet-nothing"));
    }
}
