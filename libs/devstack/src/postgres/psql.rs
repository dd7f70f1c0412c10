//! The command line client. Receives passwords through its environment, never
//! through its arguments, which other users of the machine can read.

use std::fs::File;
use std::io::{Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::programs::{self, Programs};
use super::url::PostgresUrl;
use crate::command::{directories, output};
use crate::service::remove_settings;

/// The client beside the server's programs, else the one on PATH, else any.
pub(crate) fn find(beside: Option<&Programs>) -> Result<PathBuf> {
    let beside = beside.map(|it| it.bin.clone()).into_iter();
    let any = programs::find_all(None).into_iter().map(|it| it.bin);
    let directories = beside.chain(directories()).chain(any);
    let mut programs = directories.map(|directory| directory.join("psql"));
    programs.find(|program| program.is_file()).context(
        "psql was not found; install it (Debian, Ubuntu: `apt-get install postgresql-client`)",
    )
}

pub(crate) fn query(psql: &Path, url: &PostgresUrl, sql: &str) -> Result<String> {
    let mut command = command(psql, url);
    command.args(["--tuples-only", "--no-align"]);
    let mut script = tempfile::tempfile().context("create a temporary file")?;
    script.write_all(sql.as_bytes())?;
    script.rewind()?;
    output(command.stdin(script))
}

pub(crate) fn run_file(
    psql: &Path,
    url: &PostgresUrl,
    file: &Path,
    atomic: bool,
    environment: &[(String, &str)],
) -> Result<()> {
    let name = file.display().to_string();
    let script = File::open(file).with_context(|| format!("read {name}"))?;
    let mut command = command(psql, url);
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    if atomic {
        command.arg("--single-transaction");
    }
    let printed = output(command.stdin(script));
    printed.map_or_else(|error| bail!("{name}: {error}"), |_| Ok(()))
}

fn command(psql: &Path, url: &PostgresUrl) -> Command {
    let mut command = Command::new(psql);
    remove_settings(&mut command);
    command
        .args(["--no-psqlrc", "--quiet", "--no-password", "--file=-"])
        .args(["--set=ON_ERROR_STOP=1", "--dbname", &url.without_password()])
        .env("PGCONNECT_TIMEOUT", "10")
        .env("PGCLIENTENCODING", "UTF8")
        .env("PGAPPNAME", "quartet-devstack")
        .env("PGOPTIONS", "-c client_min_messages=warning");
    if let Some(password) = url.password() {
        command.env("PGPASSWORD", password);
    }
    command
}
