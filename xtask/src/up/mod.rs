//! `cargo xtask up`: the whole stack, from one command, until Ctrl-C.

pub(crate) mod lock;
mod running;

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use quartet_devstack::roles::Passwords;
use quartet_devstack::stack::{Ports, Stack};
use quartet_devstack::{Options, Postgres, port, signals, workspace};

use crate::cargo::build_services;
use crate::tools::target_directory;
pub(crate) use running::RunningStack;

/// Where the development Postgres listens.
pub(crate) const POSTGRES_PORT: u16 = 5433;
/// Keeps the highest port within 16 bits.
const MAX_OFFSET: i64 = 50_000;
/// The account is that of the tour in the README, which may be next.
const WELCOME: &str = include_str!("welcome.txt");

#[derive(clap::Args)]
#[command(after_help = "DATABASE_URL, if set, names the Postgres to use.")]
pub(crate) struct Args {
    /// First remove all data in .quartet
    #[arg(long)]
    fresh: bool,
    /// Use optimized binaries
    #[arg(long)]
    release: bool,
    /// Add this number to every port, when one of the usual ones is taken
    #[arg(long, value_name = "NUMBER", default_value_t = 0,
          value_parser = clap::value_parser!(u16).range(..=MAX_OFFSET))]
    port_offset: u16,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let root = data_root();
    let lock = lock::take(&root)?;
    let ports = Ports::CONTRACT.moved_by(args.port_offset);
    let postgres_port = POSTGRES_PORT + args.port_offset;
    let mut options = kept_postgres(&root, postgres_port, &lock);
    if let Some(url) = env::var("DATABASE_URL").ok().filter(|url| !url.is_empty()) {
        options.named = Some(url.parse().context("DATABASE_URL")?);
    }
    require_ports(&ports, options.named.is_none().then_some(postgres_port))?;
    println!(
        "Building the services{}",
        if args.release { " (release)" } else { "" }
    );
    build_services(if args.release { "release" } else { "dev" })?;
    let begin = Instant::now();
    if args.fresh {
        wipe(&root, &options)?;
    }
    let started = Postgres::find_or_start(&options).and_then(|postgres| {
        let stack = stack(&root, &postgres, ports, args.release)?;
        RunningStack::start(stack, postgres, lock)
    });
    let mut running = match started {
        Err(_) if signals::received() => {
            println!("Interrupted; everything is stopped");
            return Ok(());
        }
        started => started?,
    };
    print!("\n{}", welcome(&running.stack, begin.elapsed()));
    let outcome = running.watch();
    println!("Stopping (Ctrl-C again to stop immediately)");
    signals::cancel().clear();
    running.stop(signals::cancel());
    outcome?;
    println!("Stopped; the data is kept in {}", root.display());
    Ok(())
}

/// The directory of data, secrets and logs.
pub(crate) fn data_root() -> PathBuf {
    workspace::root().join(".quartet")
}

pub(crate) fn kept_postgres(root: &Path, port: u16, lock: &Arc<File>) -> Options {
    Options {
        say: |line| println!("{line}"),
        cancel: signals::cancel().clone(),
        held: Some(Arc::clone(lock)),
        ..Options::kept(root, port)
    }
}

/// Before anything is built or started: a taken port is the most common failure.
fn require_ports(ports: &Ports, postgres: Option<u16>) -> anyhow::Result<()> {
    let postgres = postgres.map(|port| (port, "Postgres"));
    let taken: Vec<String> = ports
        .wanted()
        .into_iter()
        .chain(postgres)
        .filter_map(|(port, part)| port::require_free(port, part).err())
        .map(|error| error.to_string())
        .collect();
    let other = "hint: `cargo xtask up --port-offset 100` adds 100 to every port";
    ensure!(taken.is_empty(), "{}\n{other}", taken.join("\nerror: "));
    Ok(())
}

/// Removes all development data, and prints what.
fn wipe(root: &Path, options: &Options) -> anyhow::Result<()> {
    options.wipe()?;
    for entry in fs::read_dir(root)? {
        let path = entry?.path();
        if path.is_dir() {
            println!("Removing {}", path.display());
            fs::remove_dir_all(&path).with_context(|| format!("remove {}", path.display()))?;
        }
    }
    if options.named.is_some() {
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
    // A server that the caller named has a database already.
    let database = if postgres.is_ours() {
        postgres.ensure_database("quartet")?
    } else {
        postgres.admin_url().clone()
    };
    Ok(Stack {
        programs: target_directory()?.join(if release { "release" } else { "debug" }),
        root: root.to_path_buf(),
        ports,
        database,
        passwords: Passwords::load_or_create(&root.join("secrets"))?,
        settings: Vec::new(),
    })
}

/// The URL and three things to try.
fn welcome(stack: &Stack, took: Duration) -> String {
    WELCOME
        .replace("{took}", &format!("{:.1}", took.as_secs_f32()))
        .replace("{url}", &stack.public_url())
        .replace("{logs}", &stack.root.join("logs").display().to_string())
}
