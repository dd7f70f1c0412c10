//! The generated files: query data, specifications, the reference of settings, the clients.

mod clients;
mod documents;
mod files;
mod queries;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use quartet_devstack::workspace;

use crate::cargo::build_for_tests;
use crate::refuse_unknown;
use crate::signals::Signals;
use files::Generated;

/// Writes every generated file anew; with `--check` only tells which are stale.
pub(crate) fn run(words: &[&str], signals: &Signals) -> anyhow::Result<ExitCode> {
    refuse_unknown(words, &["--check"])?;
    let check = words.contains(&"--check");
    let root = workspace::root();
    let scratch = Scratch::new()?;

    println!("Checking every query against a new database");
    let mut generated = Generated::default();
    queries::generate(&root, &scratch.0, &mut generated, signals)?;
    if check {
        // The specifications come from binaries, which do not build on stale query data.
        let stale = generated.stale(&root)?;
        if !stale.is_empty() {
            return Ok(report(&stale));
        }
    } else {
        generated.write(&root)?;
    }

    println!("Building");
    build_for_tests(signals)?;
    println!("Writing specifications and references");
    let mut documents = Generated::default();
    documents::generate(&scratch.0, &mut documents)?;
    if check {
        // The clients come from the documents in the tree.
        let stale = documents.stale(&root)?;
        if !stale.is_empty() {
            return Ok(report(&stale));
        }
    } else {
        documents.write(&root)?;
    }

    println!("Writing the clients");
    let mut clients = Generated::default();
    clients::generate(&root, &scratch.0, &mut clients, signals)?;
    if check {
        return Ok(report(&clients.stale(&root)?));
    }
    clients.write(&root)?;
    println!("The generated files are up to date");
    Ok(ExitCode::SUCCESS)
}

/// A directory of this run alone, removed at its end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> anyhow::Result<Self> {
        let name = format!("generated-{}", std::process::id());
        let path = workspace::profile_dir()?.join(name);
        fs::create_dir_all(&path).with_context(|| format!("make {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn report(stale: &[String]) -> ExitCode {
    if stale.is_empty() {
        println!("The generated files are fresh");
        return ExitCode::SUCCESS;
    }
    for path in stale {
        eprintln!("stale: {path}");
    }
    eprintln!("error: run `cargo xtask gen` and commit what it writes");
    ExitCode::FAILURE
}
