use std::ffi::OsString;
use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use crate::cancel::Cancel;
use crate::command::{remove_settings, stdout_of};
use crate::error::{Doing as _, Error, Result};
use crate::http;
use crate::lifeline::Shutdown;
use crate::process::{Process, Spawn};

const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
const SHUTDOWN: Shutdown = Shutdown {
    first: Signal::TERM,
    last: Signal::KILL,
    grace: Duration::from_secs(10),
    group: true,
};

/// How to start a service process. Can be started again after a crash.
#[derive(Clone, Debug)]
pub struct ServiceSpec {
    pub name: String,
    pub program: PathBuf,
    pub args: Vec<OsString>,
    pub env: Vec<(OsString, OsString)>,
    /// Receives standard output and standard error, appended.
    pub log: PathBuf,
    /// The service is ready once a GET here returns 200.
    pub ready: Option<(SocketAddr, String)>,
}

impl ServiceSpec {
    pub fn new(name: &str, program: impl Into<PathBuf>, log: impl Into<PathBuf>) -> Self {
        Self {
            name: name.to_owned(),
            program: program.into(),
            args: Vec::new(),
            env: Vec::new(),
            log: log.into(),
            ready: None,
        }
    }

    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Sets an environment variable. Of two values for one name, the later counts.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// The service is ready once GET `path` at `address` returns 200.
    #[must_use]
    pub fn ready_at(mut self, address: SocketAddr, path: &str) -> Self {
        self.ready = Some((address, path.to_owned()));
        self
    }

    /// Starts the process in a process group of its own.
    pub fn start(&self) -> Result<Service> {
        self.start_holding(None)
    }

    /// Starts the process; `held` (a locked file) stays open until the process
    /// has ended, even if the caller is killed.
    pub fn start_holding(&self, held: Option<&File>) -> Result<Service> {
        let spawn = Spawn {
            name: &self.name,
            log: &self.log,
            shutdown: SHUTDOWN,
            scratch: None,
            held,
        };
        Ok(Service {
            process: spawn.spawn(self.command())?,
            spec: self.clone(),
        })
    }

    /// Runs the process to its end; an error contains its output.
    pub fn run(&self) -> Result<()> {
        let output = self
            .command()
            .output()
            .doing(|| format!("start {} ({})", self.name, self.program.display()))?;
        stdout_of(&self.name, output).map(drop)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        remove_settings(&mut command, &["QUARTET_", "PG", "DATABASE_URL"]);
        command
            .args(&self.args)
            .stdin(Stdio::null())
            .envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }
}

/// A running service process. Dropping it stops it.
#[derive(Debug)]
pub struct Service {
    spec: ServiceSpec,
    process: Process,
}

impl Service {
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    pub fn log(&self) -> &Path {
        &self.spec.log
    }

    /// Waits until the service is ready, has exited, or the time is over.
    pub fn wait_ready(&mut self, timeout: Duration, cancel: &Cancel) -> Result<()> {
        let ready = self.spec.ready.as_ref();
        self.process.wait_ready(timeout, cancel, || probe(ready))
    }

    /// Its exit status, if it has exited.
    pub fn exited(&mut self) -> Result<Option<ExitStatus>> {
        self.process.exited()
    }

    /// The error for an unexpected exit: name, status, last lines of the log.
    pub fn exit_error(&self, status: ExitStatus) -> Error {
        self.process.exit_error(status)
    }

    /// The last lines of its log, indented.
    pub fn last_lines(&self) -> String {
        self.process.last_lines()
    }

    /// SIGTERM without waiting; see [`Service::stop`].
    pub fn terminate(&mut self) {
        self.process.terminate();
    }

    /// SIGTERM, then SIGKILL if it still runs after `grace`.
    pub fn stop(&mut self, grace: Duration) -> Result<ExitStatus> {
        self.stop_unless(grace, &Cancel::default())
    }

    /// The same, with SIGKILL as soon as the flag is set.
    pub fn stop_unless(&mut self, grace: Duration, hurry: &Cancel) -> Result<ExitStatus> {
        self.process.stop(grace, hurry)
    }

    /// SIGKILL, as in a crash: nothing is flushed.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        self.process.kill()
    }
}

fn probe(ready: Option<&(SocketAddr, String)>) -> std::result::Result<(), String> {
    let Some((address, path)) = ready else {
        return Ok(());
    };
    match http::get(*address, path, PROBE_TIMEOUT) {
        Ok(response) if response.status == 200 => Ok(()),
        Ok(response) => Err(format!(
            "http://{address}{path} returned {} {}",
            response.status,
            response.body.trim()
        )),
        Err(error) => Err(format!("http://{address}{path}: {error}")),
    }
}
