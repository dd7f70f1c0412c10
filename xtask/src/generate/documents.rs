//! What the binaries say about themselves: specifications and settings.

use std::fmt::Write as _;
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

pub(crate) fn generate(generated: &mut Generated) -> anyhow::Result<()> {
    let mut config = CONFIG_HEAD.to_owned();
    for service in roles::SERVICES {
        let path = format!("services/{service}/openapi.json");
        generated.add(path, output(service, "openapi")?);
        add_settings(&mut config, service)?;
    }
    add_settings(&mut config, "gateway")?;
    generated.add("docs/config.md", config);
    generated.add(
        "services/links/schema.graphql",
        output("links", "graphql-schema")?,
    );
    Ok(())
}

fn add_settings(config: &mut String, service: &str) -> anyhow::Result<()> {
    let table = output(service, "config")?;
    let table = String::from_utf8(table).context("the settings are no text")?;
    writeln!(config, "\n## quartet-{service}\n\n{}", table.trim())?;
    Ok(())
}

/// What the service's binary prints, in a plain environment.
fn output(service: &str, command: &str) -> anyhow::Result<Vec<u8>> {
    let program = workspace::binary(&format!("quartet-{service}"))?;
    let output = Command::new(&program)
        .arg(command)
        .env_clear()
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("start {}", program.display()))?;
    ensure!(
        output.status.success(),
        "`quartet-{service} {command}` failed ({})",
        output.status
    );
    Ok(output.stdout)
}
