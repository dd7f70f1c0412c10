//! What the binaries print about themselves: specifications and settings.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use quartet_devstack::{roles, workspace};

use super::files::add;
use crate::cargo::{SERVICES, command, output};

const CONFIG_HEAD: &str = include_str!("config-head.md");
const ERRORS_HEAD: &str = include_str!("errors-head.md");

pub(super) fn generate(scratch: &Path, fresh: &Path) -> anyhow::Result<()> {
    print("documents", &[scratch])?;
    let mut config = CONFIG_HEAD.to_owned();
    let mut errors = format!("{ERRORS_HEAD}\n{}\n", print("gateway", &["problems"])?);
    for service in SERVICES {
        let settings = print(service, &["config"])?;
        writeln!(config, "\n## quartet-{service}\n\n{settings}")?;
        // The gateway's are those of all services.
        if service != "gateway" {
            let problems = print(service, &["problems"])?;
            writeln!(errors, "\n## quartet-{service}\n\n{problems}")?;
            let document = fs::read(scratch.join(format!("{service}.json")))?;
            add(fresh, &format!("services/{service}/openapi.json"), document)?;
        }
    }
    add(fresh, "docs/config.md", config)?;
    add(fresh, "docs/errors.md", errors)?;
    let merged = print("gateway", &merge(scratch))?;
    add(fresh, "services/gateway/openapi.json", merged + "\n")?;
    let schema = print("links", &["graphql-schema"])?;
    add(fresh, "services/links/schema.graphql", schema + "\n")
}

/// Writes the merged document in version 3.0, which is not committed, and returns its path.
pub(super) fn write_merged_3_0(root: &Path, scratch: &Path) -> anyhow::Result<PathBuf> {
    for service in roles::SERVICES {
        let committed = root.join(format!("services/{service}/openapi.json"));
        fs::copy(committed, scratch.join(format!("{service}.json")))?;
    }
    let mut words = merge(scratch);
    words.extend(["--version".to_owned(), "3.0".to_owned()]);
    let path = scratch.join("openapi-3.0.json");
    fs::write(&path, print("gateway", &words)?)?;
    Ok(path)
}

/// The words by which the gateway merges the documents of the services in `scratch`.
fn merge(scratch: &Path) -> Vec<String> {
    let document = |service| format!("{service}={}/{service}.json", scratch.display());
    let mut words = vec!["openapi".to_owned()];
    words.extend(roles::SERVICES.map(document));
    words
}

/// What the binary `quartet-NAME` prints in an empty environment, trimmed.
fn print(name: &str, words: &[impl AsRef<OsStr>]) -> anyhow::Result<String> {
    let program = workspace::binary(&format!("quartet-{name}"))?;
    output(command(program, words).env_clear())
}

#[cfg(test)]
mod tests {
    const ERRORS: &str = include_str!("../../../docs/errors.md");

    /// In an HTTP table the title follows the status and the code, in that of GraphQL the code.
    fn title(row: &str) -> Option<&str> {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        match cells[..] {
            ["", _, code, title, _, _, ""] | ["", code, title, _, _, ""]
                if code.starts_with('`') =>
            {
                Some(title)
            }
            _ => None,
        }
    }

    #[test]
    fn titles_of_problems_are_noun_phrases() {
        let verbs = [
            "is", "are", "was", "were", "has", "have", "does", "cannot", "must", "requires",
            "require", "needs", "need", "costs", "limits", "contains", "exceeds",
        ];
        let titles: Vec<&str> = ERRORS.lines().filter_map(title).collect();
        assert!(titles.len() > 50, "{}", titles.len());
        for title in titles {
            let verb = title.split(' ').find(|word| verbs.contains(word));
            assert_eq!(verb, None, "{title}");
            assert!(!title.ends_with('.'), "{title}");
        }
    }
}
