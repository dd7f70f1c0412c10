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
mod tls;
mod tokens;
mod tools;
mod upstream;
mod usage;

use std::process::ExitCode;

use clap::Parser as _;
use quartet_devstack::signals;

use bench::Bench;
use plan::Plan;

fn main() -> ExitCode {
    let plan = Plan::parse();
    signals::main(|| run(plan))
}

fn run(plan: Plan) -> anyhow::Result<ExitCode> {
    let bench = Bench::prepare(plan)?;
    let machine = machine::describe(&bench)?;
    println!("{machine}");
    if cfg!(debug_assertions) {
        println!("A debug build: its figures mean nothing.\n");
    }
    let sections = measures::run_all(&bench)?;
    baseline::update(&bench, &machine, &sections)?;
    Ok(ExitCode::SUCCESS)
}
