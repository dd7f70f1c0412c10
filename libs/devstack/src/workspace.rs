//! Paths in the source tree and in cargo's target directory.

use std::env;
use std::path::{Path, PathBuf};

use crate::error::{Doing as _, Error, Result};

/// The root of the source tree: the directory of `Cargo.lock`.
pub fn root() -> PathBuf {
    let start = env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    start
        .ancestors()
        .find(|directory| directory.join("Cargo.lock").is_file())
        .map_or_else(|| start.clone(), Path::to_path_buf)
}

/// The directory of the binaries built with the running program, such as `target/debug`.
pub fn profile_dir() -> Result<PathBuf> {
    let program = env::current_exe().doing(|| "find the running program".to_owned())?;
    let mut directory = program.parent().unwrap_or(Path::new("/"));
    // Tests and examples are one level lower.
    if directory.ends_with("deps") || directory.ends_with("examples") {
        directory = directory.parent().unwrap_or(directory);
    }
    Ok(directory.to_path_buf())
}

/// The binary `name` beside the running program; the error says how to build it.
pub fn binary(name: &str) -> Result<PathBuf> {
    let path = profile_dir()?.join(name);
    if path.is_file() {
        return Ok(path);
    }
    Err(Error::other(format!(
        "{} is not built; run `cargo build -p {name}`",
        path.display()
    )))
}
