//! What the binaries print about themselves: specifications and settings.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use quartet_devstack::{roles, workspace};

use super::files::Generated;
use crate::cargo::output;

const CONFIG_HEAD: &str = "\
# Settings

Written by `cargo xtask gen` from the services' own defaults; do not edit.

Later layers override earlier ones: the defaults below, a TOML file (`--config` or
`QUARTET_CONFIG`), the environment, and files named by `QUARTET_..._FILE`, meant for secrets.
The variable of the setting `a.b_c` is `QUARTET_A_B_C`; a list is separated by commas in it, such as
`EdDSA,ES256`. Unknown settings are rejected.

`quartet-NAME check` validates a file and the environment without starting anything, and reports every
error with its line and column. The meaning of `upstreams`, `limits` and `routes` of the gateway is explained
in [default.toml](../services/gateway/default.toml), at the first entry of each.
";

const ERRORS_HEAD: &str = "\
# Errors

Written by `cargo xtask gen` from the lists in the code; do not edit.

An error is a problem document (RFC 9457, `application/problem+json`):

| member | meaning |
|---|---|
| `code` | stable name of the kind of problem; decide by this |
| `type` | `urn:quartet:problem:` and the code |
| `title` | the same phrase for every problem of the kind |
| `status` | the status code of the response |
| `detail` | what is specific to this occurrence; may be absent |
| `errors` | each invalid field: `pointer` into the body or name of the `parameter`, `code` and `detail` of the rule; absent if no field is invalid |
| `instance` | path of the request |
| `request_id` | identifies the request in the logs, like the header `x-request-id` |

Any release may add codes: treat an unknown one by its status. `openapi.json` lists the codes of each
response of an operation (`x-problem-codes`). `Retry-After` is in seconds.
";

pub(super) fn generate(scratch: &Path, generated: &mut Generated) -> anyhow::Result<()> {
    print("documents", &[scratch])?;
    let mut config = CONFIG_HEAD.to_owned();
    for service in roles::SERVICES {
        let document = fs::read(scratch.join(format!("{service}.json")))?;
        generated.add(format!("services/{service}/openapi.json"), document);
        writeln!(
            config,
            "\n## quartet-{service}\n\n{}",
            print(service, &["config"])?
        )?;
    }
    writeln!(
        config,
        "\n## quartet-gateway\n\n{}",
        print("gateway", &["config"])?
    )?;
    generated.add("docs/config.md", config);
    let merged = print("gateway", &merge(scratch))?;
    generated.add("services/gateway/openapi.json", merged + "\n");
    let mut errors = ERRORS_HEAD.to_owned();
    writeln!(errors, "\n{}", print("gateway", &["problems"])?)?;
    for service in roles::SERVICES {
        writeln!(
            errors,
            "\n## quartet-{service}\n\n{}",
            print(service, &["problems"])?
        )?;
    }
    generated.add("docs/errors.md", errors);
    let schema = print("links", &["graphql-schema"])?;
    generated.add("services/links/schema.graphql", schema + "\n");
    Ok(())
}

/// Writes the merged document in version 3.0, which is not committed, and returns its path.
pub(super) fn write_merged_3_0(root: &Path, scratch: &Path) -> anyhow::Result<PathBuf> {
    for service in roles::SERVICES {
        let committed = root.join("services").join(service).join("openapi.json");
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
    let documents = roles::SERVICES.into_iter().map(document);
    std::iter::once("openapi".to_owned())
        .chain(documents)
        .collect()
}

/// What the binary `quartet-NAME` prints in an empty environment, trimmed.
fn print(name: &str, words: &[impl AsRef<OsStr>]) -> anyhow::Result<String> {
    let program = workspace::binary(&format!("quartet-{name}"))?;
    output(Command::new(program).args(words).env_clear())
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
