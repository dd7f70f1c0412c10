//! Programs of others: finds and runs them.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

/// Where Debian installs servers, which is not on every PATH.
const SERVERS: [&str; 2] = ["/usr/sbin", "/usr/local/sbin"];

/// The program of this name on PATH, or among the servers of the system.
pub fn find(program: &str) -> Option<PathBuf> {
    let mut paths = directories().map(|directory| directory.join(program));
    paths.find(|path| path.is_file())
}

/// The directories in which programs are looked for.
pub(crate) fn directories() -> impl Iterator<Item = PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let on_path: Vec<PathBuf> = env::split_paths(&path).collect();
    on_path.into_iter().chain(SERVERS.map(PathBuf::from))
}

/// Runs a command to its end without showing its output; returns its standard output, trimmed, or
/// fails with all that it printed.
pub fn output(command: &mut Command) -> Result<String> {
    let name = describe(command);
    let output = command.output().with_context(|| format!("start {name}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() {
        return Ok(text(&output.stdout));
    }
    let printed = text(&[output.stdout, output.stderr].concat());
    bail!("{name} ({}): {printed}", output.status)
}

/// The words of a command, without the directory of its program.
pub fn describe(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let words: Vec<_> = std::iter::once(program.file_name().unwrap_or(program.as_os_str()))
        .chain(command.get_args())
        .map(OsStr::to_string_lossy)
        .collect();
    words.join(" ")
}
