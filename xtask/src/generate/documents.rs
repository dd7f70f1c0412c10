//! What the binaries say about themselves: specifications and settings.

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

Later layers win: the defaults below, a TOML file (`--config` or `QUARTET_CONFIG`),
the environment, and files named by `QUARTET_..._FILE`, meant for secrets. Setting
`a.b_c` is the variable `QUARTET_A_B_C`. Unknown settings are refused.
";

const ERRORS_HEAD: &str = "\
# Errors

Written by `cargo xtask gen` from the lists in the code; do not edit.

An error is a problem document (RFC 9457, `application/problem+json`):

| member | meaning |
|---|---|
| `code` | stable name of the kind of problem: decide by this one |
| `type` | `urn:quartet:problem:` and the code |
| `title` | the same sentence for every problem of the kind |
| `status` | as in the answer's head |
| `detail` | what is special this time; may be absent |
| `errors` | each field at fault: `pointer` into the body or name of the `parameter`, `code` and `detail` of the rule; absent where no field is |
| `instance` | path of the request |
| `request_id` | names the request in the logs, as the header `x-request-id` |

New codes may come with any release: treat an unknown one by its status. Which operation answers with
which codes stands at each answer in `openapi.json` (`x-problem-codes`). `Retry-After` is seconds.
";

/// What comes after `openapi` to get the copy in 3.0.
const IN_3_0: [&str; 2] = ["--version", "3.0"];

pub(crate) fn generate(scratch: &Path, generated: &mut Generated) -> anyhow::Result<()> {
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

/// The reference of errors, from the lists that the code answers from.
fn add_errors(generated: &mut Generated) -> anyhow::Result<()> {
    let mut errors = ERRORS_HEAD.to_owned();
    for service in std::iter::once("gateway").chain(roles::SERVICES) {
        let table = output(service, &["problems"])?;
        let table = String::from_utf8(table).context("the problems are no text")?;
        writeln!(errors, "\n## quartet-{service}\n\n{}", table.trim())?;
    }
    generated.add("docs/errors.md", errors);
    Ok(())
}

/// What the gateway makes of the services' documents.
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
    let table = String::from_utf8(table).context("the settings are no text")?;
    writeln!(config, "\n## quartet-{service}\n\n{}", table.trim())?;
    Ok(())
}

/// What the service's binary prints, in a plain environment.
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
