//! What the binaries print about themselves: specifications and settings.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
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

/// What comes after `openapi` to get the copy in 3.0.
const IN_3_0: [&str; 2] = ["--version", "3.0"];

pub(super) fn generate(scratch: &Path, generated: &mut Generated) -> anyhow::Result<()> {
    let mut config = CONFIG_HEAD.to_owned();
    let mut documents = Vec::new();
    for service in roles::SERVICES {
        let file = scratch.join(format!("{service}.json"));
        let document = output(service, &["openapi"])?;
        fs::write(&file, &document)?;
        documents.push(format!("{service}={}", file.display()));
        generated.add(format!("services/{service}/openapi.json"), document);
        generated.add(
            format!("services/{service}/openapi-3.0.json"),
            output(service, &[&["openapi"], &IN_3_0[..]].concat())?,
        );
        add_settings(&mut config, service)?;
    }
    add_merged(&documents, generated)?;
    add_errors(generated)?;
    add_settings(&mut config, "gateway")?;
    generated.add("docs/config.md", config);
    generated.add(
        "services/links/schema.graphql",
        output("links", &["graphql-schema"])?,
    );
    Ok(())
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

/// The document that the gateway merges from those of the services.
fn add_merged(documents: &[String], generated: &mut Generated) -> anyhow::Result<()> {
    let documents: Vec<&str> = documents.iter().map(String::as_str).collect();
    let merged = [&["openapi"], &documents[..]].concat();
    let copy = [&merged[..], &IN_3_0].concat();
    generated.add("services/gateway/openapi.json", output("gateway", &merged)?);
    generated.add(
        "services/gateway/openapi-3.0.json",
        output("gateway", &copy)?,
    );
    Ok(())
}

fn add_settings(config: &mut String, service: &str) -> anyhow::Result<()> {
    let table = output(service, &["config"])?;
    let table = String::from_utf8(table).context("the settings are not text")?;
    writeln!(config, "\n## quartet-{service}\n\n{}", table.trim())?;
    Ok(())
}

/// What the binary of a service prints, in an empty environment.
fn output(service: &str, words: &[&str]) -> anyhow::Result<Vec<u8>> {
    let program = workspace::binary(&format!("quartet-{service}"))?;
    let output = Command::new(&program)
        .args(words)
        .env_clear()
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("start {}", program.display()))?;
    ensure!(
        output.status.success(),
        "`quartet-{service} {}` failed ({})",
        words.join(" "),
        output.status
    );
    Ok(output.stdout)
}
