//! A running server process.

use std::fs;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process};

use super::cluster::Cluster;
use super::place::Scratch;
use crate::error::{Doing as _, Error, Result};
use crate::lifeline::{Ending, Lifeline};
use crate::service::pid;
use crate::{Say, logfile};

const POLL: Duration = Duration::from_millis(20);
const LEFTOVER_TIMEOUT: Duration = Duration::from_secs(20);

/// The postmaster. Dropping it stops it.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    lifeline: Option<Lifeline>,
}

impl Server {
    pub(crate) fn spawn(cluster: &Cluster) -> Result<Self> {
        let log = logfile::open(&cluster.log)?;
        let errors = log.try_clone().doing(|| "copy the log".to_owned())?;
        let mut child = cluster
            .server_command()
            .stdout(log)
            .stderr(errors)
            // Ctrl-C in the terminal must reach the services first.
            .process_group(0)
            .spawn()
            .doing(|| "start postgres".to_owned())?;
        let ending = Ending {
            signal: "INT",
            grace: Duration::from_secs(20),
            // Only the postmaster: it takes its own children down in order.
            group: false,
        };
        let scratch = cluster.scratch.as_ref().map(Scratch::path);
        match Lifeline::attach(child.id(), ending, scratch, cluster.held.as_deref()) {
            Ok(lifeline) => Ok(Self {
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

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The error that describes its end, if it ended.
    pub(crate) fn failure(&mut self, cluster: &Cluster) -> Result<Option<Error>> {
        let status = self
            .child
            .try_wait()
            .doing(|| "wait for postgres".to_owned())?;
        Ok(status.map(|status| {
            self.release();
            Error::Exited {
                service: "Postgres".to_owned(),
                status,
                log: cluster.log.clone(),
                lines: logfile::block(&cluster.log, logfile::LAST_LINES),
            }
        }))
    }

    /// Fast shutdown; an immediate one when it takes longer than `grace`.
    pub(crate) fn stop(&mut self, grace: Duration) -> Result<()> {
        self.signal(Signal::INT);
        let deadline = Instant::now() + grace;
        while Instant::now() < deadline {
            let status = self.child.try_wait();
            if status.doing(|| "wait for postgres".to_owned())?.is_some() {
                self.release();
                return Ok(());
            }
            sleep(POLL);
        }
        self.signal(Signal::QUIT);
        self.wait()
    }

    /// SIGKILL. Its backends notice and end by themselves.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.signal(Signal::KILL);
        self.wait()
    }

    fn wait(&mut self) -> Result<()> {
        self.child.wait().doing(|| "wait for postgres".to_owned())?;
        self.release();
        Ok(())
    }

    fn signal(&mut self, signal: Signal) {
        if let Ok(None) = self.child.try_wait()
            && let Some(process) = pid(self.child.id())
        {
            let _ = kill_process(process, signal);
        }
    }

    fn release(&mut self) {
        if let Some(lifeline) = self.lifeline.take() {
            lifeline.release();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.lifeline.is_some() {
            let _ = self.stop(Duration::from_secs(10));
        }
    }
}

/// Whether the server with this process id says in its pid file that it accepts connections.
pub(crate) fn is_ready(data: &Path, process: u32) -> bool {
    let text = fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines.first().and_then(|line| line.trim().parse().ok()) == Some(process)
        && lines.get(7).map(|line| line.trim()) == Some("ready")
}

/// Deals with the pid file that a crash left: stops the server if it still
/// runs, removes the file if its process id now belongs to something else.
pub(crate) fn end_leftover(data: &Path, say: Say) -> Result<()> {
    let file = data.join("postmaster.pid");
    let text = match fs::read_to_string(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).doing(|| format!("read {}", file.display())),
    };
    let recorded = text
        .lines()
        .next()
        .and_then(|line| line.trim().parse().ok());
    let Some(process) = recorded.and_then(pid).filter(|_| is_server(recorded, data)) else {
        say("Postgres: an earlier run did not end in order; it recovers by itself");
        return fs::remove_file(&file).doing(|| format!("remove {}", file.display()));
    };
    say("Postgres: stopping the server that an earlier run left behind");
    let _ = kill_process(process, Signal::INT);
    let deadline = Instant::now() + LEFTOVER_TIMEOUT;
    // Not by whether the id exists: a dead process keeps it until its parent looks.
    while is_server(recorded, data) {
        if Instant::now() >= deadline {
            return Err(Error::other(format!(
                "process {} still serves {}; stop it first",
                process.as_raw_nonzero(),
                data.display()
            )));
        }
        sleep(POLL);
    }
    Ok(())
}

/// Whether the process is a Postgres server of this data directory.
fn is_server(process: Option<u32>, data: &Path) -> bool {
    let Some(process) = process else {
        return false;
    };
    let command = command_line(process).unwrap_or_default();
    command.contains("postgres") && command.contains(&*data.to_string_lossy())
}

fn command_line(process: u32) -> Option<String> {
    if cfg!(target_os = "linux") {
        let bytes = fs::read(format!("/proc/{process}/cmdline")).ok()?;
        return Some(String::from_utf8_lossy(&bytes).replace('\0', " "));
    }
    let output = Command::new("ps")
        .args(["-o", "command=", "-p", &process.to_string()])
        .output()
        .ok()?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}
