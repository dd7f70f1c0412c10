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

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::cancel::Cancel;
use crate::user::User;
use crate::{http, lifeline};

pub(crate) const POLL: Duration = Duration::from_millis(20);
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// What an error shows of a log.
const LAST_LINES: usize = 20;
const TAIL_BYTES: u64 = 64 * 1024;
/// The caller's settings, which must not change what is started here: ours and those of libpq.
const SETTINGS: [&str; 3] = ["QUARTET_", "PG", "DATABASE_URL"];

/// How to start a process. Can be started again after a crash.
#[derive(Clone, Debug)]
pub struct ServiceSpec {
    pub name: String,
    pub program: PathBuf,
    pub args: Vec<OsString>,
    /// Of two values for one name, the later counts.
    pub env: Vec<(OsString, OsString)>,
    /// Receives standard output and standard error, appended.
    pub log: PathBuf,
    /// It is ready once a GET here returns 200.
    pub ready: Option<(SocketAddr, String)>,
    /// The polling interval for a process that is awaited.
    pub poll: Duration,
    /// A locked file that stays open until the process has ended, even if the starter is killed.
    pub held: Option<Arc<File>>,
    pub(crate) shutdown: Shutdown,
    pub(crate) user: Option<User>,
    /// Removed by the lifeline when the starter is killed.
    pub(crate) scratch: Option<PathBuf>,
}

/// How a process is asked to end, and how it is forced to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shutdown {
    pub(crate) first: Signal,
    /// A lifeline sends SIGKILL instead.
    pub(crate) last: Signal,
    /// Time between the two.
    pub(crate) grace: Duration,
    /// Signal the whole process group that the process leads.
    pub(crate) group: bool,
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
            poll: POLL,
            held: None,
            shutdown: Shutdown {
                first: Signal::TERM,
                last: Signal::KILL,
                grace: Duration::from_secs(10),
                group: true,
            },
            user: None,
            scratch: None,
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

    #[must_use]
    pub fn ready_at(mut self, address: SocketAddr, path: &str) -> Self {
        self.ready = Some((address, path.to_owned()));
        self
    }

    /// Starts it in a process group of its own: Ctrl-C in a terminal reaches only the
    /// starter, which stops its children in order.
    pub fn start(&self) -> Result<Service> {
        let log = self.open_log()?;
        let mut command = Command::new(&self.program);
        remove_settings(&mut command);
        command
            .args(&self.args)
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("copy the log")?)
            .stderr(log)
            .process_group(0);
        if let Some(user) = &self.user {
            user.apply(&mut command);
        }
        let child = command
            .spawn()
            .with_context(|| format!("start {} ({})", self.name, self.program.display()))?;
        // Stopped when it is dropped because its lifeline cannot be started.
        let mut service = Service {
            spec: self.clone(),
            child,
            lifeline: None,
        };
        service.lifeline = Some(lifeline::attach(service.pid(), self)?);
        Ok(service)
    }

    /// Runs it to its end; an error has the end of its log.
    pub fn run(&self) -> Result<()> {
        let mut service = self.start()?;
        loop {
            match service.exited()? {
                None => sleep(POLL),
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(service.error(&format!("failed ({status})"))),
            }
        }
    }

    fn open_log(&self) -> Result<File> {
        let path = self.log.display();
        if let Some(parent) = self.log.parent() {
            fs::create_dir_all(parent)
                .with_context(|| format!("create the directory of {path}"))?;
        }
        let mut options = OpenOptions::new();
        let log = options.create(true).append(true).open(&self.log);
        log.with_context(|| format!("open {path}"))
    }
}

pub(crate) fn remove_settings(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if SETTINGS.iter().any(|prefix| text.starts_with(prefix)) {
            command.env_remove(&name);
        }
    }
}

/// A running process. Dropping it stops it.
#[derive(Debug)]
pub struct Service {
    spec: ServiceSpec,
    child: Child,
    lifeline: Option<Child>,
}

impl Service {
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it is ready, has exited, or the time is over.
    pub fn wait_ready(&mut self, timeout: Duration, cancel: &Cancel) -> Result<()> {
        let ready = self.spec.ready.clone();
        self.wait_until(timeout, cancel, || match &ready {
            Some((address, path)) => probe(*address, path),
            None => Ok(()),
        })
    }

    pub(crate) fn wait_until(
        &mut self,
        timeout: Duration,
        cancel: &Cancel,
        probe: impl Fn() -> Result<(), String>,
    ) -> Result<()> {
        let deadline = Instant::now() + timeout;
        loop {
            self.check()?;
            let Err(why) = probe() else {
                return Ok(());
            };
            if cancel.is_set() {
                bail!("interrupted");
            }
            if Instant::now() >= deadline {
                let seconds = timeout.as_secs();
                return Err(self.error(&format!("was not ready within {seconds} s: {why}")));
            }
            sleep(self.spec.poll);
        }
    }

    /// Its exit status, if it has exited.
    pub fn exited(&mut self) -> Result<Option<ExitStatus>> {
        let status = self.child.try_wait();
        let status = status.with_context(|| format!("wait for {}", self.name()))?;
        if status.is_some() {
            self.release();
        }
        Ok(status)
    }

    /// Fails if it has exited: the error has its name, the status and the last lines of the log.
    pub fn check(&mut self) -> Result<()> {
        match self.exited()? {
            None => Ok(()),
            Some(status) => Err(self.error(&format!("stopped by itself ({status})"))),
        }
    }

    fn error(&self, what: &str) -> anyhow::Error {
        let (name, log, lines) = (self.name(), self.spec.log.display(), self.last_lines());
        anyhow!("{name} {what}. Last lines of {log}:\n{lines}")
    }

    /// The last lines of its log, indented.
    pub fn last_lines(&self) -> String {
        let bytes = tail(&self.spec.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        match &lines[lines.len().saturating_sub(LAST_LINES)..] {
            [] => "    (the log is empty)".to_owned(),
            last => format!("    {}", last.join("\n    ")),
        }
    }

    /// The first signal of the shutdown, without waiting; see [`Service::stop`].
    pub fn terminate(&mut self) {
        self.signal(self.spec.shutdown.first);
    }

    /// SIGTERM, then SIGKILL if it still runs after `grace`.
    pub fn stop(&mut self, grace: Duration) -> Result<ExitStatus> {
        self.stop_unless(grace, &Cancel::default())
    }

    /// The same, with SIGKILL as soon as the flag is set.
    pub fn stop_unless(&mut self, grace: Duration, hurry: &Cancel) -> Result<ExitStatus> {
        self.terminate();
        let deadline = Instant::now() + grace;
        while Instant::now() < deadline && !hurry.is_set() {
            if let Some(status) = self.exited()? {
                return Ok(status);
            }
            sleep(POLL);
        }
        self.end_by(self.spec.shutdown.last)
    }

    /// SIGKILL, as in a crash: nothing is flushed.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        self.end_by(Signal::KILL)
    }

    fn end_by(&mut self, signal: Signal) -> Result<ExitStatus> {
        self.signal(signal);
        let status = self.child.wait();
        self.release();
        status.with_context(|| format!("wait for {}", self.name()))
    }

    fn release(&mut self) {
        if let Some(lifeline) = self.lifeline.take() {
            lifeline::release(lifeline);
        }
    }

    fn signal(&mut self, signal: Signal) {
        // It may exit after this check; its id stays ours until it is reaped.
        if let Ok(None) = self.child.try_wait() {
            let pid = Pid::from_child(&self.child);
            let _ = if self.spec.shutdown.group {
                kill_process_group(pid, signal)
            } else {
                kill_process(pid, signal)
            };
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if let Ok(None) = self.exited() {
            let _ = self.stop(self.spec.shutdown.grace);
        }
    }
}

fn tail(log: &Path) -> std::io::Result<Vec<u8>> {
    let mut file = File::open(log)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn probe(address: SocketAddr, path: &str) -> Result<(), String> {
    let url = format!("http://{address}{path}");
    match http::get(address, path, PROBE_TIMEOUT) {
        Ok(response) if response.status == 200 => Ok(()),
        Ok(response) => {
            let (status, body) = (response.status, response.body.trim());
            Err(format!("{url} returned {status} {body}"))
        }
        Err(error) => Err(format!("{url}: {error}")),
    }
}
