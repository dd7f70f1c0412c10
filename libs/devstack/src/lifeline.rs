//! Ends a child when its starter is gone, even after SIGKILL.
//!
//! The lifeline is a shell that waits on a pipe held open by the starter. A line
//! on the pipe means that the child has been reaped; the end of the pipe means
//! that the starter is gone, and the shell shuts the child down. It works alike
//! on Linux and macOS, needs no unsafe code between fork and exec, and unlike the
//! parent-death signal does not fire when the starting *thread* ends.

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

use anyhow::Context as _;

use crate::service::ServiceSpec;

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

/// Watches process `pid`. Dropping the result without [`release`] ends the process.
pub(crate) fn attach(pid: u32, spec: &ServiceSpec) -> anyhow::Result<Child> {
    let shutdown = &spec.shutdown;
    let target = if shutdown.group { "-" } else { "" };
    // The next run waits until the lock that this file holds is released.
    let held = match &spec.held {
        Some(file) => Stdio::from(file.try_clone().context("copy the lock")?),
        None => Stdio::null(),
    };
    Command::new("/bin/sh")
        .args(["-c", SCRIPT, "quartet-lifeline"])
        .arg(shutdown.first.as_raw().to_string())
        .arg(format!("{target}{pid}"))
        .arg((shutdown.grace.as_millis() / 200).max(1).to_string())
        .arg(spec.scratch.as_deref().unwrap_or("".as_ref()))
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(held)
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .context("start /bin/sh")
}

/// Ends the watch: the child has been reaped.
pub(crate) fn release(mut lifeline: Child) {
    if let Some(mut pipe) = lifeline.stdin.take() {
        // Fails when the shell has ended already, which is as good.
        let _ = pipe.write_all(b"ended\n");
    }
    let _ = lifeline.wait();
}
