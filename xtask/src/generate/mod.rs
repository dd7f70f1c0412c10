//! `cargo xtask gen`: the generated files, in the order in which they depend on each other: data for
//! checked queries, then documents from binaries that need it, then clients from the documents.

mod clients;
mod documents;
mod files;
mod queries;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use quartet_devstack::workspace;

use crate::cargo::build_for_tests;
use crate::signals::Signals;
use files::Generated;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Write nothing; fail if a file is stale
    #[arg(long)]
    check: bool,
}

type Step<'a> = &'a dyn Fn(&mut Generated) -> anyhow::Result<()>;

pub(crate) fn run(args: &Args, signals: &Signals) -> anyhow::Result<ExitCode> {
    write(args.check, signals)
}

/// Writes every generated file; with `check` only reports which are stale.
pub(crate) fn write(check: bool, signals: &Signals) -> anyhow::Result<ExitCode> {
    let root = workspace::root();
    let scratch = Scratch::new()?;
    let steps: [(&str, Step<'_>); 3] = [
        (
            "Checking every query against a new database",
            &|generated| queries::generate(&root, &scratch.0, generated, signals),
        ),
        ("Writing specifications and references", &|generated| {
            build_for_tests(signals)?;
            documents::generate(&scratch.0, generated)
        }),
        ("Writing the clients", &|generated| {
            clients::generate(&root, &scratch.0, generated, signals)
        }),
    ];
    for (title, generate) in steps {
        println!("{title}");
        let mut generated = Generated::default();
        generate(&mut generated)?;
        // The next step builds on these files, so that a check ends at the first stale ones.
        if check && !is_fresh(&generated, &root)? {
            return Ok(ExitCode::FAILURE);
        }
        if !check {
            generated.write(&root)?;
        }
    }
    println!("The generated files are up to date");
    Ok(ExitCode::SUCCESS)
}

fn is_fresh(generated: &Generated, root: &Path) -> anyhow::Result<bool> {
    let stale = generated.stale(root)?;
    for path in &stale {
        eprintln!("stale: {path}");
    }
    if !stale.is_empty() {
        eprintln!("error: run `cargo xtask gen` and commit what it writes");
    }
    Ok(stale.is_empty())
}

/// A directory of this run alone, removed at its end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> anyhow::Result<Self> {
        let name = format!("generated-{}", std::process::id());
        let path = workspace::profile_dir()?.join(name);
        fs::create_dir_all(&path).with_context(|| format!("create {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
