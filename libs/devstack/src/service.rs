use std::ffi::OsString;
use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use crate::error::{Doing as _, Error, Result};
use crate::lifeline::Lifeline;
use crate::{Cancel, http, logfile};

const POLL: Duration = Duration::from_millis(20);
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
const DROP_GRACE: Duration = Duration::from_secs(5);

/// How to start a service process. A kept specification can start it again after a crash.
#[derive(Clone, Debug)]
pub struct ServiceSpec {
    pub name: String,
    pub program: PathBuf,
    pub args: Vec<OsString>,
    pub env: Vec<(OsString, OsString)>,
    /// Gets standard output and standard error, appended.
    pub log: PathBuf,
    /// Where a GET answers 200 once the service is ready.
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

    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Ready means: GET `path` at `address` answers 200.
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
    /// is gone, also when the caller is killed.
    pub fn start_holding(&self, held: Option<&File>) -> Result<Service> {
        let log = logfile::open(&self.log)?;
        let errors = log.try_clone().doing(|| "copy the log".to_owned())?;
        let mut child = self
            .command()
            .stdout(log)
            .stderr(errors)
            .process_group(0)
            .spawn()
            .doing(|| format!("start {} ({})", self.name, self.program.display()))?;
        match Lifeline::for_group(child.id(), held) {
            Ok(lifeline) => Ok(Service {
                spec: self.clone(),
                child,
                lifeline: Some(lifeline),
            }),
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(error)
            }
        }
    }

    /// Runs the process to its end; its output is in the error when it fails.
    pub fn run(&self) -> Result<()> {
        let output = self
            .command()
            .output()
            .doing(|| format!("start {} ({})", self.name, self.program.display()))?;
        if output.status.success() {
            return Ok(());
        }
        let text = [output.stdout, output.stderr].concat();
        Err(Error::Program {
            program: self.name.clone(),
            status: output.status,
            output: String::from_utf8_lossy(&text).trim_end().to_owned(),
        })
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.args).stdin(Stdio::null());
        // Settings of the caller's own shell must not change what is started here.
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("QUARTET_") || text.starts_with("PG") || text == "DATABASE_URL" {
                command.env_remove(&name);
            }
        }
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }
}

/// A running service process. Dropping it stops it.
#[derive(Debug)]
pub struct Service {
    spec: ServiceSpec,
    child: Child,
    lifeline: Option<Lifeline>,
}

impl Service {
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn log(&self) -> &Path {
        &self.spec.log
    }

    /// Waits until the service is ready, has exited, or the time is over.
    pub fn wait_ready(&mut self, timeout: Duration, cancel: &Cancel) -> Result<()> {
        let deadline = Instant::now() + timeout;
        let mut why = "it was not asked".to_owned();
        loop {
            if let Some(status) = self.exited()? {
                return Err(self.exit_error(status));
            }
            match self.probe() {
                Ok(()) => return Ok(()),
                Err(reason) => why = if reason.is_empty() { why } else { reason },
            }
            if cancel.is_set() {
                return Err(Error::Cancelled);
            }
            if Instant::now() >= deadline {
                return Err(Error::NotReady {
                    service: self.spec.name.clone(),
                    seconds: timeout.as_secs(),
                    why,
                    log: self.spec.log.clone(),
                    lines: self.last_lines(),
                });
            }
            sleep(POLL);
        }
    }

    fn probe(&self) -> std::result::Result<(), String> {
        let Some((address, path)) = &self.spec.ready else {
            return Ok(());
        };
        match http::get(*address, path, PROBE_TIMEOUT) {
            Ok(response) if response.status == 200 => Ok(()),
            Ok(response) => Err(format!(
                "http://{address}{path} answered {} {}",
                response.status,
                response.body.trim()
            )),
            Err(error) => Err(format!("http://{address}{path}: {error}")),
        }
    }

    /// How it ended, if it ended.
    pub fn exited(&mut self) -> Result<Option<ExitStatus>> {
        let status = self
            .child
            .try_wait()
            .doing(|| format!("wait for {}", self.spec.name))?;
        if status.is_some() {
            self.release();
        }
        Ok(status)
    }

    /// The error that describes an unexpected end: name, status, last log lines.
    pub fn exit_error(&self, status: ExitStatus) -> Error {
        Error::Exited {
            service: self.spec.name.clone(),
            status,
            log: self.spec.log.clone(),
            lines: self.last_lines(),
        }
    }

    /// The last lines of its log, indented.
    pub fn last_lines(&self) -> String {
        logfile::block(&self.spec.log, logfile::LAST_LINES)
    }

    /// SIGTERM now; use [`Service::stop`] to wait as well.
    pub fn terminate(&mut self) {
        self.signal(Signal::TERM);
    }

    /// SIGTERM, then SIGKILL when it is still there after `grace`.
    pub fn stop(&mut self, grace: Duration) -> Result<ExitStatus> {
        self.stop_unless(grace, &Cancel::default())
    }

    /// The same, with SIGKILL at once when the flag is set.
    pub fn stop_unless(&mut self, grace: Duration, hurry: &Cancel) -> Result<ExitStatus> {
        self.terminate();
        let deadline = Instant::now() + grace;
        while Instant::now() < deadline && !hurry.is_set() {
            if let Some(status) = self.exited()? {
                return Ok(status);
            }
            sleep(POLL);
        }
        self.kill()
    }

    /// SIGKILL, as a crash: nothing is flushed.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::KILL);
        let status = self
            .child
            .wait()
            .doing(|| format!("wait for {}", self.spec.name))?;
        self.release();
        Ok(status)
    }

    /// Sends a signal to its process group, unless it has ended.
    fn signal(&mut self, signal: Signal) {
        if let Ok(None) = self.child.try_wait()
            && let Some(group) = pid(self.child.id())
        {
            // It may end between the check and the signal; its id is ours until it is waited for.
            let _ = rustix::process::kill_process_group(group, signal);
        }
    }

    fn release(&mut self) {
        if let Some(lifeline) = self.lifeline.take() {
            lifeline.release();
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if self.lifeline.is_some() {
            let _ = self.stop(DROP_GRACE);
        }
    }
}

pub(crate) fn pid(id: u32) -> Option<Pid> {
    i32::try_from(id).ok().and_then(Pid::from_raw)
}
