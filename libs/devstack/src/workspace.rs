//! Paths in the source tree and in cargo's target directory.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

/// The root of the source tree: the directory of `Cargo.lock`.
pub fn root() -> PathBuf {
    let start = env::var_os("CARGO_MANIFEST_DIR");
    let start = start.map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    let mut directories = start.ancestors();
    let root = directories.find(|directory| directory.join("Cargo.lock").is_file());
    root.unwrap_or(&start).to_path_buf()
}

/// The directory of the binaries built with the running program, such as `target/debug`.
pub fn profile_dir() -> Result<PathBuf> {
    let program = env::current_exe().context("find the running program")?;
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
    let is_built = path.is_file();
    ensure!(
        is_built,
        "{} is not built; run `cargo build -p {name}`",
        path.display()
    );
    Ok(path)
}
