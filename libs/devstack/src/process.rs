//! A child process that logs to a file and never outlives its starter.
//!
//! ```text
//! spawn ──> running ──┬── ends by itself, noticed by `exited` ──┬──> reaped
//!                     ├── `stop`: first signal, grace, last ────┤
//!                     ├── dropped: the same ────────────────────┘
//!                     └── the starter is killed: the lifeline does the same
//! ```
//!
//! The lifeline is released when the child has been reaped, never before (a killed
//! starter would leave the child running) and never later (its process id may by
//! then belong to another process).

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::cancel::Cancel;
use crate::error::{Doing as _, Error, Result};
use crate::lifeline::{Lifeline, Shutdown};
use crate::logfile;

pub(crate) const POLL: Duration = Duration::from_millis(20);

/// How to start a [`Process`].
pub(crate) struct Spawn<'a> {
    pub(crate) name: &'a str,
    /// Receives standard output and standard error, appended.
    pub(crate) log: &'a Path,
    pub(crate) shutdown: Shutdown,
    /// Removed by the lifeline when the starter is killed.
    pub(crate) scratch: Option<&'a Path>,
    /// A locked file that stays open until the child has ended.
    pub(crate) held: Option<&'a File>,
}

/// A running child. Dropping it stops it.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    log: PathBuf,
    shutdown: Shutdown,
    child: Child,
    lifeline: Option<Lifeline>,
}

impl Spawn<'_> {
    /// Starts the command in a process group of its own: Ctrl-C in a terminal
    /// reaches only the starter, which stops its children in order.
    pub(crate) fn spawn(self, mut command: Command) -> Result<Process> {
        let log = logfile::open(self.log)?;
        let errors = log.try_clone().doing(|| "copy the log".to_owned())?;
        let program = command.get_program().to_string_lossy().into_owned();
        let mut child = command
            .stdout(log)
            .stderr(errors)
            .process_group(0)
            .spawn()
            .doing(|| format!("start {} ({program})", self.name))?;
        match Lifeline::attach(child.id(), self.shutdown, self.scratch, self.held) {
            Ok(lifeline) => Ok(Process {
                name: self.name.to_owned(),
                log: self.log.to_owned(),
                shutdown: self.shutdown,
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
}

impl Process {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until `probe` succeeds, the process has exited, or the time is over.
    pub(crate) fn wait_ready(
        &mut self,
        timeout: Duration,
        cancel: &Cancel,
        probe: impl Fn() -> std::result::Result<(), String>,
    ) -> Result<()> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(status) = self.exited()? {
                return Err(self.exit_error(status));
            }
            let Err(why) = probe() else {
                return Ok(());
            };
            if cancel.is_set() {
                return Err(Error::Cancelled);
            }
            if Instant::now() >= deadline {
                return Err(Error::NotReady {
                    service: self.name.clone(),
                    seconds: timeout.as_secs(),
                    why,
                    log: self.log.clone(),
                    lines: self.last_lines(),
                });
            }
            sleep(POLL);
        }
    }

    /// Its exit status, if it has exited.
    pub(crate) fn exited(&mut self) -> Result<Option<ExitStatus>> {
        let status = self
            .child
            .try_wait()
            .doing(|| format!("wait for {}", self.name))?;
        if status.is_some() {
            self.release();
        }
        Ok(status)
    }

    /// The error for an unexpected exit: name, status, last lines of the log.
    pub(crate) fn exit_error(&self, status: ExitStatus) -> Error {
        Error::Exited {
            service: self.name.clone(),
            status,
            log: self.log.clone(),
            lines: self.last_lines(),
        }
    }

    /// The last lines of its log, indented.
    pub(crate) fn last_lines(&self) -> String {
        logfile::block(&self.log, logfile::LAST_LINES)
    }

    /// Sends the first signal of the shutdown, without waiting.
    pub(crate) fn terminate(&mut self) {
        self.signal(self.shutdown.first);
    }

    /// The whole shutdown; `hurry` cuts the grace short.
    pub(crate) fn stop(&mut self, grace: Duration, hurry: &Cancel) -> Result<ExitStatus> {
        self.terminate();
        let deadline = Instant::now() + grace;
        while Instant::now() < deadline && !hurry.is_set() {
            if let Some(status) = self.exited()? {
                return Ok(status);
            }
            sleep(POLL);
        }
        self.end_by(self.shutdown.last)
    }

    /// SIGKILL, as in a crash: nothing is flushed.
    pub(crate) fn kill(&mut self) -> Result<ExitStatus> {
        self.end_by(Signal::KILL)
    }

    fn end_by(&mut self, signal: Signal) -> Result<ExitStatus> {
        self.signal(signal);
        let status = self
            .child
            .wait()
            .doing(|| format!("wait for {}", self.name))?;
        self.release();
        Ok(status)
    }

    fn signal(&mut self, signal: Signal) {
        // It may exit after this check; its id stays ours until it is reaped.
        if let Ok(None) = self.child.try_wait()
            && let Some(pid) = pid(self.child.id())
        {
            let _ = if self.shutdown.group {
                kill_process_group(pid, signal)
            } else {
                kill_process(pid, signal)
            };
        }
    }

    fn release(&mut self) {
        if let Some(lifeline) = self.lifeline.take() {
            lifeline.release();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.lifeline.is_some() {
            let _ = self.stop(self.shutdown.grace, &Cancel::default());
        }
    }
}

pub(crate) fn pid(id: u32) -> Option<Pid> {
    i32::try_from(id).ok().and_then(Pid::from_raw)
}
