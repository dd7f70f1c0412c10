//! `postmaster.pid`, the file in which a running server says who it is.
//!
//! A crash leaves the file behind. Its process id may then belong to the server
//! still, or to an unrelated process, which Postgres would take for a running
//! server and refuse to start.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process};

use crate::error::{Doing as _, Error, Result};
use crate::process::{POLL, pid};
use crate::progress::Say;

const NAME: &str = "postmaster.pid";
const STOP_TIMEOUT: Duration = Duration::from_secs(20);

/// Whether the server with this process id reports that it accepts connections.
pub(crate) fn is_ready(data: &Path, process: u32) -> bool {
    let text = fs::read_to_string(data.join(NAME)).unwrap_or_default();
    recorded_pid(&text) == Some(process)
        && text
            .lines()
            .nth(7)
            .is_some_and(|line| line.trim() == "ready")
}

/// Stops the server that an earlier run left on this data. Removes the file if
/// its process id belongs to another process.
pub(crate) fn stop_leftover(data: &Path, say: Say) -> Result<()> {
    let file = data.join(NAME);
    let text = match fs::read_to_string(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).doing(|| format!("read {}", file.display())),
    };
    let recorded = recorded_pid(&text).filter(|&process| is_server(process, data));
    let Some((number, process)) = recorded.and_then(|number| Some((number, pid(number)?))) else {
        say("Postgres: an earlier run did not stop in order; recovering");
        return fs::remove_file(&file).doing(|| format!("remove {}", file.display()));
    };
    say("Postgres: stopping the server that an earlier run left behind");
    let _ = kill_process(process, Signal::INT);
    let deadline = Instant::now() + STOP_TIMEOUT;
    // A process id that exists proves nothing: a zombie keeps it until it is reaped.
    while is_server(number, data) {
        if Instant::now() >= deadline {
            return Err(Error::other(format!(
                "process {number} still serves {}; stop it first",
                data.display()
            )));
        }
        sleep(POLL);
    }
    Ok(())
}

fn recorded_pid(text: &str) -> Option<u32> {
    text.lines().next()?.trim().parse().ok()
}

/// Whether the process is a Postgres server of this data directory.
fn is_server(process: u32, data: &Path) -> bool {
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
