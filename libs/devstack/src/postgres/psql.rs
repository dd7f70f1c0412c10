use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::programs::{self, Programs};
use super::url::PostgresUrl;
use crate::command::{remove_settings, stdout_of};
use crate::error::{Doing as _, Error, Result};

/// The command line client. Receives passwords through its environment, never
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
        run("psql", command, sql)
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
        run(&file.display().to_string(), command, &script).map(drop)
    }

    fn command(&self, url: &PostgresUrl) -> Command {
        let mut command = Command::new(&self.program);
        remove_settings(&mut command, &["PG"]);
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

/// Runs psql on a script; `name` appears in the error.
fn run(name: &str, mut command: Command, script: &str) -> Result<String> {
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
        // Fails when psql stops reading at an error, which psql itself reports better.
        input.as_mut().map(|input| input.write_all(&script))
    });
    let output = child
        .wait_with_output()
        .doing(|| "wait for psql".to_owned())?;
    drop(writer.join());
    stdout_of(name, output)
}
