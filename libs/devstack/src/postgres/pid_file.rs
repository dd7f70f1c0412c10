//! `postmaster.pid`, the file in which a running server says who it is.
//!
//! A crash leaves the file behind. Its process id may then belong to the server
//! still, or to an unrelated process, which Postgres would take for a running
//! server and refuse to start (`pg_ctl stop` would even end it).

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

use super::Say;
use crate::service::POLL;

const NAME: &str = "postmaster.pid";
const STOP_TIMEOUT: Duration = Duration::from_secs(20);

/// Whether the server with this process id reports that it accepts connections.
pub(crate) fn is_ready(data: &Path, process: u32) -> bool {
    let text = fs::read_to_string(data.join(NAME)).unwrap_or_default();
    let mut lines = text.lines().map(str::trim);
    lines.next() == Some(&process.to_string()) && lines.nth(6) == Some("ready")
}

/// Stops the server that an earlier run left on this data. Removes the file if
/// its process id belongs to another process.
pub(crate) fn stop_leftover(data: &Path, say: Say) -> Result<()> {
    let file = data.join(NAME);
    if !file.exists() {
        return Ok(());
    }
    let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
    let recorded = text
        .lines()
        .next()
        .and_then(|line| line.trim().parse().ok());
    let server = recorded
        .and_then(Pid::from_raw)
        .filter(|&process| serves(process, data));
    let Some(server) = server else {
        say("Postgres: an earlier run did not stop in order; recovering");
        return fs::remove_file(&file).with_context(|| format!("remove {}", file.display()));
    };
    say("Postgres: stopping the server that an earlier run left behind");
    let _ = kill_process(server, Signal::INT);
    let deadline = Instant::now() + STOP_TIMEOUT;
    // A process id that exists proves nothing: a zombie keeps it until it is reaped.
    while serves(server, data) {
        ensure!(
            Instant::now() < deadline,
            "process {} still serves {}; stop it first",
            server.as_raw_nonzero(),
            data.display()
        );
        sleep(POLL);
    }
    Ok(())
}

/// Whether the process is a Postgres server of this data directory.
fn serves(process: Pid, data: &Path) -> bool {
    let command = command_line(process).unwrap_or_default();
    command.contains("postgres") && command.contains(&*data.to_string_lossy())
}

fn command_line(process: Pid) -> Option<String> {
    let id = process.as_raw_nonzero().to_string();
    let bytes = if cfg!(target_os = "linux") {
        fs::read(format!("/proc/{id}/cmdline")).ok()?
    } else {
        let mut ps = Command::new("ps");
        ps.args(["-o", "command=", "-p", &id]).output().ok()?.stdout
    };
    Some(String::from_utf8_lossy(&bytes).replace('\0', " "))
}
