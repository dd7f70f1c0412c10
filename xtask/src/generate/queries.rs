//! The data for checked queries (`services/X/.sqlx`): how a real database describes each query. It is
//! committed, so that a fresh clone builds without a database.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context as _, bail};
use quartet_devstack::roles::{self, Passwords};
use quartet_devstack::{Options, Postgres, PostgresUrl};

use super::files::Generated;
use crate::cargo::{cargo, succeed};
use crate::signals::Signals;

/// Crate roots: when one is newer, all macros of its crate run again.
const CRATE_ROOTS: [&str; 3] = ["src/lib.rs", "src/main.rs", "tests/it/main.rs"];
/// Another build in the same target directory may compile the touched files first.
const ATTEMPTS: usize = 3;

pub(super) fn generate(
    root: &Path,
    scratch: &Path,
    generated: &mut Generated,
    signals: &Signals,
) -> anyhow::Result<()> {
    let options = Options::throw_away()
        .saying(|line| println!("{line}"))
        .cancelled_by(signals.cancel());
    let postgres = Postgres::find_or_start(&options)?;
    let database = postgres.create_database("generate")?;
    let passwords = Passwords::random()?;
    roles::apply(&postgres, &database, &passwords)?;
    for service in roles::SERVICES {
        let migrations = migrations(&root.join("db/schemas").join(service))?;
        if migrations.is_empty() {
            continue;
        }
        let owner = roles::owner_url(&database, service, &passwords)?;
        for file in migrations {
            migrate(&postgres, &owner, &file)?;
        }
        // As the role that serves, so that a query on what it may not use fails here too.
        let url = roles::url(&database, service, &passwords)?;
        let fresh = scratch.join(service);
        check_queries(root, service, &url, &fresh, signals)?;
        generated.add_directory(&format!("services/{service}/.sqlx"), &fresh)?;
    }
    Ok(())
}

/// The migrations in order. psql runs them, since the binary may not build before this.
fn migrations(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if !directory.exists() {
        return Ok(Vec::new());
    }
    let mut files = fs::read_dir(directory)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "sql"));
    files.sort();
    Ok(files)
}

fn migrate(postgres: &Postgres, url: &PostgresUrl, file: &Path) -> anyhow::Result<()> {
    let atomic = !fs::read_to_string(file)?.starts_with("-- no-transaction");
    Ok(postgres.run_file(url, file, atomic, &[])?)
}

/// Compiles the service with its queries checked against the database, which writes `fresh`.
fn check_queries(
    root: &Path,
    service: &str,
    url: &PostgresUrl,
    fresh: &Path,
    signals: &Signals,
) -> anyhow::Result<()> {
    fs::create_dir_all(fresh)?;
    let package = format!("quartet-{service}");
    for _ in 0..ATTEMPTS {
        for crate_root in CRATE_ROOTS {
            touch(&root.join("services").join(service).join(crate_root))?;
        }
        let mut command = cargo(["check", "--quiet", "--all-targets", "--package", &package]);
        command
            .env("SQLX_OFFLINE", "false")
            .env("SQLX_OFFLINE_DIR", fresh)
            .env("DATABASE_URL", url.reveal());
        succeed(command, signals)
            .context("the queries of the service do not match its schema; see above")?;
        if fs::read_dir(fresh)?.next().is_some() {
            return Ok(());
        }
    }
    // Otherwise the data of every query would count as stale and be removed.
    bail!("another build of {package} interfered each time; run this again alone")
}

fn touch(path: &Path) -> anyhow::Result<()> {
    if path.exists() {
        fs::File::options()
            .append(true)
            .open(path)
            .and_then(|file| file.set_modified(SystemTime::now()))
            .with_context(|| format!("touch {}", path.display()))?;
    }
    Ok(())
}
