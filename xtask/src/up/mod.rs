//! `cargo xtask up`: the whole stack, from one command, until Ctrl-C.

mod lock;
pub(crate) mod prepare;
mod running;
mod welcome;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context as _;
use quartet_devstack::stack::Ports;
use quartet_devstack::{Options, Postgres, PostgresUrl, port, workspace};

use crate::cargo::build_services;
use crate::signals::Signals;
pub(crate) use lock::Lock;
pub(crate) use running::RunningStack;

/// Where the development Postgres listens.
pub(crate) const POSTGRES_PORT: u16 = 5433;
/// Keeps the highest port within 16 bits.
const MAX_OFFSET: i64 = 50_000;
/// Seven ports, for the tests of this command; the usual ones are part of the contract.
const PORTS_VARIABLE: &str = "XTASK_UP_PORTS";

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

pub(crate) fn run(args: &Args, signals: &Signals) -> anyhow::Result<ExitCode> {
    let release = args.release;
    let root = data_root();
    let lock = Lock::take(&root, signals)?;
    let named = named_server()?;
    let (ports, postgres_port) = ports(args.port_offset)?;
    require_ports(&ports, named.is_none().then_some(postgres_port))?;
    println!(
        "Building the services{}",
        if release { " (release)" } else { "" }
    );
    build_services(if release { "release" } else { "dev" }, signals)?;
    let begin = Instant::now();
    let options = Options::kept(&root, postgres_port)
        .named(named)
        .saying(|line| println!("{line}"))
        .cancelled_by(signals.cancel())
        .holding(lock.file());
    if args.fresh {
        prepare::wipe(&root, &options)?;
    }
    match start(&root, &options, ports, release, &lock, signals) {
        Ok(mut running) => {
            welcome::print(running.stack(), begin.elapsed());
            let outcome = running.watch(signals);
            println!("Stopping (Ctrl-C again to stop immediately)");
            signals.cancel().clear();
            running.stop(signals.cancel());
            outcome?;
            println!("Stopped; the data is kept in {}", root.display());
            Ok(ExitCode::SUCCESS)
        }
        Err(_) if signals.received() => {
            println!("Interrupted; everything is stopped");
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => Err(error),
    }
}

/// The directory of data, secrets and logs.
pub(crate) fn data_root() -> PathBuf {
    workspace::root().join(".quartet")
}

/// The server that `DATABASE_URL` names.
pub(crate) fn named_server() -> anyhow::Result<Option<PostgresUrl>> {
    match std::env::var("DATABASE_URL") {
        Ok(text) if !text.is_empty() => Ok(Some(text.parse().context("DATABASE_URL")?)),
        _ => Ok(None),
    }
}

/// Before anything is built or started: a taken port is the most common failure.
fn require_ports(ports: &Ports, postgres: Option<u16>) -> anyhow::Result<()> {
    let mut needed = ports.wanted().to_vec();
    needed.extend(postgres.map(|port| (port, "Postgres")));
    let taken: Vec<String> = needed
        .into_iter()
        .filter_map(|(port, part)| port::require_free(port, part).err())
        .map(|error| error.to_string())
        .collect();
    let other = "hint: `cargo xtask up --port-offset 100` adds 100 to every port";
    anyhow::ensure!(taken.is_empty(), "{}\n{other}", taken.join("\nerror: "));
    Ok(())
}

fn ports(offset: u16) -> anyhow::Result<(Ports, u16)> {
    let (ports, postgres) = usual_ports()?;
    Ok((ports.moved_by(offset), postgres.saturating_add(offset)))
}

fn usual_ports() -> anyhow::Result<(Ports, u16)> {
    let Ok(text) = std::env::var(PORTS_VARIABLE) else {
        return Ok((Ports::CONTRACT, POSTGRES_PORT));
    };
    let numbers: Vec<u16> = text
        .split(',')
        .map(str::parse)
        .collect::<Result<_, _>>()
        .context(PORTS_VARIABLE)?;
    let [gateway, admin, core, media, links, store, postgres] = numbers[..] else {
        anyhow::bail!("{PORTS_VARIABLE} needs seven ports");
    };
    let ports = Ports {
        gateway,
        admin,
        core,
        media,
        links,
        store,
    };
    Ok((ports, postgres))
}

/// Starts one process after the other; all of them stop when one fails.
fn start(
    root: &Path,
    options: &Options,
    ports: Ports,
    release: bool,
    lock: &Lock,
    signals: &Signals,
) -> anyhow::Result<RunningStack> {
    let postgres = Postgres::find_or_start(options)?;
    let stack = prepare::stack(root, &postgres, ports, release)?;
    prepare::roles(&stack, &postgres)?;
    let mut running = RunningStack::new(stack, postgres, lock);
    running.start_all(signals)?;
    Ok(running)
}
