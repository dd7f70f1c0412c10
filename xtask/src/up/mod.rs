//! `cargo xtask up`: everything, from one command, until Ctrl-C.

mod lock;
mod prepare;
mod running;
mod welcome;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context as _;
use quartet_devstack::stack::Ports;
use quartet_devstack::{Options, Postgres, PostgresUrl, port, workspace};

use crate::cargo::build_parts;
use crate::refuse_unknown;
use crate::signals::Signals;
use lock::Lock;
use running::Running;

/// Where the development Postgres listens.
pub(crate) const POSTGRES_PORT: u16 = 5433;

pub(crate) fn run(words: &[&str], signals: &Signals) -> anyhow::Result<ExitCode> {
    refuse_unknown(words, &["--fresh", "--release"])?;
    let (fresh, release) = (words.contains(&"--fresh"), words.contains(&"--release"));
    let root = data_root();
    let lock = Lock::take(&root, signals)?;
    let named = named_server()?;
    require_ports(named.is_none())?;
    println!(
        "Building the services{}",
        if release { " (release)" } else { "" }
    );
    build_parts(release, signals)?;
    let begin = Instant::now();
    if fresh {
        prepare::wipe(&root, named.is_some())?;
    }
    match start(&root, named, release, &lock, signals) {
        Ok(mut running) => {
            welcome::print(running.stack(), begin.elapsed());
            let outcome = running.watch(signals);
            println!("Stopping");
            running.stop();
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

/// Data, secrets and logs of development.
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

/// Before anything is built or started: a taken port is the commonest mishap.
fn require_ports(own_postgres: bool) -> anyhow::Result<()> {
    let mut wanted = Ports::CONTRACT.wanted().to_vec();
    if own_postgres {
        wanted.push((POSTGRES_PORT, "Postgres"));
    }
    let taken: Vec<String> = wanted
        .into_iter()
        .filter_map(|(port, part)| port::require_free(port, part).err())
        .map(|error| error.to_string())
        .collect();
    anyhow::ensure!(taken.is_empty(), "{}", taken.join("\nerror: "));
    Ok(())
}

/// Starts one part after the other; whatever was started stops when one fails.
fn start(
    root: &std::path::Path,
    named: Option<PostgresUrl>,
    release: bool,
    lock: &Lock,
    signals: &Signals,
) -> anyhow::Result<Running> {
    let options = Options::kept(root, POSTGRES_PORT)
        .named(named)
        .saying(|line| println!("{line}"))
        .cancelled_by(signals.cancel())
        .holding(lock.file());
    let postgres = Postgres::find_or_start(&options)?;
    let stack = prepare::stack(root, &postgres, release)?;
    prepare::roles(&stack, &postgres)?;
    let mut running = Running::new(stack, postgres, lock);
    running.start_all(signals)?;
    Ok(running)
}
