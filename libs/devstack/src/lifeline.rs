//! Ends a process when the process that started it goes away, even by SIGKILL.
//!
//! The lifeline is a shell that waits on a pipe held open by the starter. A line
//! on the pipe means "ended in order"; the end of the pipe means that the
//! starter is gone, and the shell signals its charge. It works alike on Linux
//! and macOS, needs no unsafe code between fork and exec, and unlike the
//! parent-death signal does not fire when the starting *thread* ends.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::error::{Doing as _, Result};

/// $1 signal, $2 process id (negative: process group), $3 fifths of a second of
/// grace, $4 directory to remove at the end (may be empty).
const SCRIPT: &str = r#"
trap '' HUP INT TERM
if read -r _; then exit 0; fi
kill -s "$1" -- "$2" 2>/dev/null
left=$3
while [ "$left" -gt 0 ] && kill -s 0 -- "$2" 2>/dev/null; do
  sleep 0.2
  left=$((left - 1))
done
kill -s KILL -- "$2" 2>/dev/null
if [ -n "$4" ]; then rm -rf -- "$4"; fi
"#;

/// How a charge is ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ending {
    /// Signal name as `kill -s` takes it.
    pub(crate) signal: &'static str,
    pub(crate) grace: Duration,
    /// Signal the process group that the charge leads.
    pub(crate) group: bool,
}

/// The other end of the pipe: dropping it without [`Lifeline::release`] ends the charge.
#[derive(Debug)]
pub struct Lifeline {
    shell: Child,
}

impl Lifeline {
    /// Watches a process that leads its own group: SIGTERM to the group, SIGKILL after 10 s.
    pub fn for_group(pid: u32, held: Option<&File>) -> Result<Self> {
        let ending = Ending {
            signal: "TERM",
            grace: Duration::from_secs(10),
            group: true,
        };
        Self::attach(pid, ending, None, held)
    }

    /// Watches process `pid`. `scratch` is removed after it ended; `held` (a
    /// locked file) stays open until then, so that the next run waits for it.
    pub(crate) fn attach(
        pid: u32,
        ending: Ending,
        scratch: Option<&Path>,
        held: Option<&File>,
    ) -> Result<Self> {
        let target = if ending.group {
            format!("-{pid}")
        } else {
            pid.to_string()
        };
        let held = match held {
            Some(file) => Stdio::from(file.try_clone().doing(|| "copy the lock".to_owned())?),
            None => Stdio::null(),
        };
        let shell = Command::new("/bin/sh")
            .args(["-c", SCRIPT, "quartet-lifeline", ending.signal, &target])
            .arg((ending.grace.as_millis() / 200).max(1).to_string())
            .arg(scratch.unwrap_or(Path::new("")))
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(held)
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .doing(|| "start /bin/sh".to_owned())?;
        Ok(Self { shell })
    }

    /// Says that the charge ended in order, and takes the lifeline down.
    pub fn release(mut self) {
        if let Some(mut pipe) = self.shell.stdin.take() {
            // A lifeline that is already gone has nothing to be told.
            let _ = pipe.write_all(b"ended\n");
        }
        let _ = self.shell.wait();
    }
}
