use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use super::PostgresUrl;
use super::programs::{self, Programs};
use crate::error::{Doing as _, Error, Result};

/// The command line client. Passwords reach it through its environment, never
/// through its arguments, which other users of the machine can read.
#[derive(Debug)]
pub(crate) struct Psql {
    program: PathBuf,
}

impl Psql {
    /// The client beside the server's programs, else the one on PATH, else any.
    pub(crate) fn find(beside: Option<&Programs>) -> Result<Self> {
        let all = programs::find_all(None);
        let mut directories: Vec<PathBuf> = beside.iter().map(|it| it.bin.clone()).collect();
        directories.extend(programs::on_path());
        directories.extend(all.into_iter().map(|it| it.bin));
        directories
            .into_iter()
            .map(|directory| directory.join("psql"))
            .find(|program| program.is_file())
            .map(|program| Self { program })
            .ok_or_else(|| {
                Error::other("psql was not found; install it (Debian, Ubuntu: `apt-get install postgresql-client`)")
            })
    }

    pub(crate) fn query(&self, url: &PostgresUrl, sql: &str) -> Result<String> {
        let mut command = self.command(url);
        command.args(["--tuples-only", "--no-align", "--file=-"]);
        run(command, sql)
    }

    pub(crate) fn run_file(
        &self,
        url: &PostgresUrl,
        file: &Path,
        atomic: bool,
        environment: &[(&str, &str)],
    ) -> Result<()> {
        let script = fs::read_to_string(file).doing(|| format!("read {}", file.display()))?;
        let mut command = self.command(url);
        command.envs(environment.iter().copied()).arg("--file=-");
        if atomic {
            command.arg("--single-transaction");
        }
        run(command, &script)
            .map(drop)
            .map_err(|error| match error {
                Error::Program { status, output, .. } => Error::Program {
                    program: file.display().to_string(),
                    status,
                    output,
                },
                other => other,
            })
    }

    fn command(&self, url: &PostgresUrl) -> Command {
        let mut command = Command::new(&self.program);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("PG") {
                command.env_remove(&name);
            }
        }
        command
            .args(["--no-psqlrc", "--quiet", "--no-password"])
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
}

fn run(mut command: Command, script: &str) -> Result<String> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .doing(|| "start psql".to_owned())?;
    let mut input = child.stdin.take();
    let script = script.as_bytes().to_vec();
    // From another thread, so that neither side waits on a full pipe.
    let writer = std::thread::spawn(move || {
        // psql stops reading at the first error; its message tells more than ours.
        input.as_mut().map(|input| input.write_all(&script))
    });
    let Output {
        status,
        stdout,
        stderr,
    } = child
        .wait_with_output()
        .doing(|| "wait for psql".to_owned())?;
    drop(writer.join());
    if status.success() {
        return Ok(String::from_utf8_lossy(&stdout).into_owned());
    }
    Err(Error::Program {
        program: "psql".to_owned(),
        status,
        output: String::from_utf8_lossy(&stderr).trim_end().to_owned(),
    })
}
