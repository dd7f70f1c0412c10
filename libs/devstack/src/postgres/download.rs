//! Downloads Postgres by the helper program `quartet-devpostgres`, which is
//! built only when it is needed: its dependencies are many.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::progress::Say;
use crate::workspace;

const HELPER: &str = "quartet-devpostgres";

/// Where downloaded versions are kept, for all source trees of this user.
fn directory() -> PathBuf {
    if rustix::process::geteuid().is_root() {
        // The server runs under another user, which cannot enter /root.
        return PathBuf::from("/var/cache/quartet/postgres");
    }
    env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| env::home_dir().map(|home| home.join(".cache")))
        .unwrap_or_else(env::temp_dir)
        .join("quartet/postgres")
}

/// The program directories of versions that were downloaded earlier.
pub(crate) fn installed() -> Vec<PathBuf> {
    fs::read_dir(directory())
        .into_iter()
        .flatten()
        .flatten()
        .map(|version| version.path().join("bin"))
        .collect()
}

/// Builds the helper, which downloads and unpacks a server.
pub(crate) fn download(say: Say) -> Result<(), String> {
    say("Postgres: not found; building its download helper (a few minutes, once)");
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["build", "--quiet", "--package", HELPER])
        .current_dir(workspace::root())
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("cargo: {error}"))?;
    if !built.status.success() {
        let text = String::from_utf8_lossy(&built.stderr).trim().to_owned();
        return Err(format!("the helper could not be built: {text}"));
    }
    let helper = workspace::binary(HELPER).map_err(|error| error.to_string())?;
    let directory = directory();
    say(&format!("Postgres: downloading to {}", directory.display()));
    let output = Command::new(helper)
        .arg(&directory)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{HELPER}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
}
