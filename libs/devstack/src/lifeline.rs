//! Ends a child when its starter is gone, even after SIGKILL.
//!
//! The lifeline is a shell that waits on a pipe held open by the starter. A line
//! on the pipe means that the child has been reaped; the end of the pipe means
//! that the starter is gone, and the shell shuts the child down. It works alike
//! on Linux and macOS, needs no unsafe code between fork and exec, and unlike the
//! parent-death signal does not fire when the starting *thread* ends.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use crate::error::{Doing as _, Result};

/// $1 signal number, $2 process id (negative: process group), $3 grace in fifths
/// of a second, $4 directory to remove at the end (may be empty).
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

/// How a child is asked to end, and how it is forced to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shutdown {
    pub(crate) first: Signal,
    /// A lifeline sends SIGKILL instead.
    pub(crate) last: Signal,
    /// Time between the two.
    pub(crate) grace: Duration,
    /// Signal the whole process group that the child leads.
    pub(crate) group: bool,
}

/// The other end of the pipe: dropping it without [`Lifeline::release`] ends the child.
#[derive(Debug)]
pub(crate) struct Lifeline {
    shell: Child,
}

impl Lifeline {
    /// Watches process `pid`. `scratch` is removed after it ended; `held` (a
    /// locked file) stays open until then, so that the next run waits for it.
    pub(crate) fn attach(
        pid: u32,
        shutdown: Shutdown,
        scratch: Option<&Path>,
        held: Option<&File>,
    ) -> Result<Self> {
        let target = if shutdown.group {
            format!("-{pid}")
        } else {
            pid.to_string()
        };
        let held = match held {
            Some(file) => Stdio::from(file.try_clone().doing(|| "copy the lock".to_owned())?),
            None => Stdio::null(),
        };
        let shell = Command::new("/bin/sh")
            .args(["-c", SCRIPT, "quartet-lifeline"])
            .arg(shutdown.first.as_raw().to_string())
            .arg(target)
            .arg((shutdown.grace.as_millis() / 200).max(1).to_string())
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

    /// Ends the watch: the child has been reaped.
    pub(crate) fn release(mut self) {
        if let Some(mut pipe) = self.shell.stdin.take() {
            // Fails when the shell has ended already, which is as good.
            let _ = pipe.write_all(b"ended\n");
        }
        let _ = self.shell.wait();
    }
}
