//! The data for checked queries (`services/X/.sqlx`): how a real database describes each query. It is
//! committed, so that a fresh clone builds without a database.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context as _, bail};
use quartet_devstack::PostgresUrl;
use quartet_devstack::roles::{self, Passwords};

use crate::cargo::{cargo, succeed};
use crate::test::throw_away_postgres;

/// Crate roots: when one is newer, all macros of its crate run again.
const CRATE_ROOTS: [&str; 3] = ["src/lib.rs", "src/main.rs", "tests/it/main.rs"];
/// Another build in the same target directory may compile the touched files first.
const ATTEMPTS: usize = 3;

/// Returns the directories.
pub(super) fn generate(root: &Path, fresh: &Path) -> anyhow::Result<Vec<String>> {
    let mut directories = Vec::new();
    let postgres = throw_away_postgres()?;
    let database = postgres.create_database("generate")?;
    let passwords = Passwords::random()?;
    roles::apply(&postgres, &database, &passwords)?;
    for service in roles::SERVICES {
        let schema = root.join("db/schemas").join(service);
        if !schema.exists() {
            continue;
        }
        let owner = roles::owner_url(&database, service, &passwords)?;
        // psql runs the migrations, since the binary may not build before this.
        for file in migrations(&schema)? {
            let atomic = !fs::read_to_string(&file)?.starts_with("-- no-transaction");
            postgres.run_file(&owner, &file, atomic, &[])?;
        }
        // As the role that serves, so that a query on what it may not use fails here too.
        let url = roles::url(&database, service, &passwords)?;
        let target = format!("services/{service}/.sqlx");
        check_queries(root, service, &url, &fresh.join(&target))?;
        directories.push(target);
    }
    Ok(directories)
}

/// The migrations in order.
fn migrations(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = fs::read_dir(directory)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "sql"));
    files.sort();
    Ok(files)
}

/// Compiles the service with its queries checked against the database, which writes `fresh`.
fn check_queries(
    root: &Path,
    service: &str,
    url: &PostgresUrl,
    fresh: &Path,
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
        succeed(command)
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
        let file = fs::File::options().append(true).open(path);
        file.and_then(|file| file.set_modified(SystemTime::now()))
            .with_context(|| format!("touch {}", path.display()))?;
    }
    Ok(())
}
