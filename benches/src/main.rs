//! The benchmarks: Quartet beside its peers, in one run on one machine.
//!
//! `cargo xtask bench [--quick] [NAMES]` builds what is measured and runs this.

mod backend;
mod baseline;
mod bench;
mod empty;
mod load;
mod machine;
mod measures;
mod paced;
mod plan;
mod report;
mod rounds;
mod tokens;
mod tools;
mod upstream;
mod usage;

use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use quartet_devstack::Cancel;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use bench::Bench;
use plan::Plan;

/// That of the gateway: what is compared with it must not differ in it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures Quartet beside its peers
#[derive(Parser)]
#[command(bin_name = "cargo xtask bench", args_conflicts_with_subcommands = true)]
struct Args {
    #[command(flatten)]
    plan: Plan,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// A pingora proxy without any policy, as a process
    #[command(hide = true)]
    Empty(empty::Args),
}

fn main() -> ExitCode {
    let args = Args::parse();
    let cancel = Cancel::default();
    let outcome = match args.command {
        Some(Command::Empty(args)) => empty::run(&args),
        None => run(args.plan, &cancel),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) if cancel.is_set() => {
            eprintln!("interrupted; everything is stopped");
            ExitCode::from(130)
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(plan: Plan, cancel: &Cancel) -> anyhow::Result<()> {
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, cancel.flag()).context("install a signal handler")?;
    }
    let bench = Bench::prepare(plan, cancel.clone())?;
    let machine = machine::describe(&bench)?;
    println!("{machine}");
    if cfg!(debug_assertions) {
        println!("A debug build: its figures mean nothing.\n");
    }
    let sections = measures::run_all(&bench)?;
    baseline::update(&bench, &machine, &sections)
}
