//! The benchmarks: Quartet beside its peers, in one run on one machine.
//!
//! `cargo xtask bench [--quick] [NAMES]` builds what is measured and runs this.

mod backend;
mod baseline;
mod bench;
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
use clap::Parser as _;
use quartet_devstack::Cancel;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use bench::Bench;
use plan::Plan;

fn main() -> ExitCode {
    let cancel = Cancel::default();
    match run(Plan::parse(), &cancel) {
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
