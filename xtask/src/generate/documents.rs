//! What the binaries print about themselves: specifications and settings.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};
use quartet_devstack::{roles, workspace};

use super::files::Generated;

const CONFIG_HEAD: &str = "\
# Settings

Written by `cargo xtask gen` from the services' own defaults; do not edit.

Later layers override earlier ones: the defaults below, a TOML file (`--config` or
`QUARTET_CONFIG`), the environment, and files named by `QUARTET_..._FILE`, meant for secrets.
The variable of the setting `a.b_c` is `QUARTET_A_B_C`. Unknown settings are rejected.
";

const ERRORS_HEAD: &str = "\
# Errors

Written by `cargo xtask gen` from the lists in the code; do not edit.

An error is a problem document (RFC 9457, `application/problem+json`):

| member | meaning |
|---|---|
| `code` | stable name of the kind of problem; decide by this |
| `type` | `urn:quartet:problem:` and the code |
| `title` | the same sentence for every problem of the kind |
| `status` | the status code of the response |
| `detail` | what is specific to this occurrence; may be absent |
| `errors` | each invalid field: `pointer` into the body or name of the `parameter`, `code` and `detail` of the rule; absent if no field is invalid |
| `instance` | path of the request |
| `request_id` | identifies the request in the logs, like the header `x-request-id` |

Any release may add codes: treat an unknown one by its status. `openapi.json` lists the codes of each
response of an operation (`x-problem-codes`). `Retry-After` is in seconds.
";

pub(super) fn generate(scratch: &Path, generated: &mut Generated) -> anyhow::Result<()> {
    let mut config = CONFIG_HEAD.to_owned();
    print("quartet-documents", &[scratch])?;
    for service in roles::SERVICES {
        let document = fs::read(scratch.join(format!("{service}.json")))?;
        generated.add(format!("services/{service}/openapi.json"), document);
        add_settings(&mut config, service)?;
    }
    let merged = output("gateway", &merging(scratch))?;
    generated.add("services/gateway/openapi.json", merged);
    add_errors(generated)?;
    add_settings(&mut config, "gateway")?;
    generated.add("docs/config.md", config);
    generated.add(
        "services/links/schema.graphql",
        output("links", &["graphql-schema"])?,
    );
    Ok(())
}

/// Writes the merged document in version 3.0, which is not committed, and returns its path.
pub(super) fn write_merged_3_0(root: &Path, scratch: &Path) -> anyhow::Result<PathBuf> {
    for service in roles::SERVICES {
        let committed = root.join("services").join(service).join("openapi.json");
        fs::copy(committed, scratch.join(format!("{service}.json")))?;
    }
    let mut words = merging(scratch);
    words.extend(["--version".to_owned(), "3.0".to_owned()]);
    let path = scratch.join("openapi-3.0.json");
    fs::write(&path, output("gateway", &words)?)?;
    Ok(path)
}

/// The gateway's command that merges the documents of the services in `scratch`.
fn merging(scratch: &Path) -> Vec<String> {
    let documents = roles::SERVICES.iter().map(|service| {
        let file = scratch.join(format!("{service}.json"));
        format!("{service}={}", file.display())
    });
    std::iter::once("openapi".to_owned())
        .chain(documents)
        .collect()
}

/// The reference of errors, from the problem kinds in the code.
fn add_errors(generated: &mut Generated) -> anyhow::Result<()> {
    let mut errors = ERRORS_HEAD.to_owned();
    for service in std::iter::once("gateway").chain(roles::SERVICES) {
        let table = output(service, &["problems"])?;
        let table = String::from_utf8(table).context("the problems are not text")?;
        writeln!(errors, "\n## quartet-{service}\n\n{}", table.trim())?;
    }
    generated.add("docs/errors.md", errors);
    Ok(())
}

fn add_settings(config: &mut String, service: &str) -> anyhow::Result<()> {
    let table = output(service, &["config"])?;
    let table = String::from_utf8(table).context("the settings are not text")?;
    writeln!(config, "\n## quartet-{service}\n\n{}", table.trim())?;
    Ok(())
}

/// What the binary of a service prints.
fn output(service: &str, words: &[impl AsRef<OsStr>]) -> anyhow::Result<Vec<u8>> {
    print(&format!("quartet-{service}"), words)
}

/// What a binary of the workspace prints, in an empty environment.
fn print(binary: &str, words: &[impl AsRef<OsStr>]) -> anyhow::Result<Vec<u8>> {
    let program = workspace::binary(binary)?;
    let output = Command::new(&program)
        .args(words)
        .env_clear()
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("start {}", program.display()))?;
    ensure!(
        output.status.success(),
        "`{binary}` failed ({})",
        output.status
    );
    Ok(output.stdout)
}
