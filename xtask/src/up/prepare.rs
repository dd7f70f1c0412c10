//! What the services need before they start.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use quartet_devstack::roles::{self, Passwords};
use quartet_devstack::stack::{Ports, Stack, StoreKeys};
use quartet_devstack::{Options, Postgres, workspace};

/// The database on a server that was started here.
const DATABASE: &str = "quartet";

/// Removes all development data, and prints what.
pub(crate) fn wipe(root: &Path, options: &Options) -> anyhow::Result<()> {
    for directory in options.data_directories() {
        println!("Removing {}", directory.display());
    }
    options.wipe()?;
    for entry in fs::read_dir(root)? {
        let path = entry?.path();
        if path.is_dir() {
            println!("Removing {}", path.display());
            fs::remove_dir_all(&path).with_context(|| format!("remove {}", path.display()))?;
        }
    }
    if options.names_a_server() {
        println!("The database of DATABASE_URL is kept");
    }
    Ok(())
}

/// Ports, secrets and paths of all processes.
pub(crate) fn stack(
    root: &Path,
    postgres: &Postgres,
    ports: Ports,
    release: bool,
) -> anyhow::Result<Stack> {
    let secrets = root.join("secrets");
    let database = if postgres.is_ours() {
        postgres.ensure_database(DATABASE)?
    } else {
        postgres.admin_url().clone()
    };
    Ok(Stack {
        programs: programs(release)?,
        root: root.to_path_buf(),
        ports,
        database,
        passwords: Passwords::load_or_create(&secrets)?,
        store_keys: StoreKeys::load_or_create(&secrets)?,
        settings: Vec::new(),
    })
}

/// Creates the roles and migrates every schema, each as its owner.
pub(crate) fn roles(stack: &Stack, postgres: &Postgres) -> anyhow::Result<()> {
    println!("Roles and schemas: {}", roles::SERVICES.join(", "));
    roles::apply(postgres, &stack.database, &stack.passwords)?;
    // Concurrently: each has its own schema.
    std::thread::scope(|scope| {
        let migrations: Vec<_> = roles::SERVICES
            .map(|service| scope.spawn(move || stack.migration(service)?.run()))
            .into_iter()
            .collect();
        for migration in migrations {
            migration
                .join()
                .map_err(|_| anyhow::anyhow!("a migration panicked"))??;
        }
        Ok(())
    })
}

/// Where cargo puts the binaries: beside this program, or in the directory of the other profile.
fn programs(release: bool) -> anyhow::Result<std::path::PathBuf> {
    let own = workspace::profile_dir()?;
    Ok(match own.parent() {
        Some(target) if release => target.join("release"),
        Some(target) if own.ends_with("release") => target.join("debug"),
        _ => own,
    })
}
