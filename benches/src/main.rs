//! The kept benchmarks: Quartet beside its peers, in one run on one machine.
//!
//! `cargo xtask bench [--quick] [NAMES]` builds what is measured and runs this.

mod backend;
mod baseline;
mod bench;
mod helpers;
mod http;
mod machine;
mod measures;
mod plan;
mod report;
mod rounds;
mod tokens;
mod tools;
mod usage;
mod wrk;

use std::process::ExitCode;

use anyhow::Context as _;
use quartet_devstack::Cancel;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use bench::Bench;
use plan::{HELP, Plan};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.iter().any(|word| word == "--help" || word == "-h") {
        print!("{HELP}");
        return ExitCode::SUCCESS;
    }
    if let Some(outcome) = helpers::run(&words) {
        return code(&outcome);
    }
    let cancel = Cancel::default();
    let outcome = run(&words, &cancel);
    if outcome.is_err() && cancel.is_set() {
        eprintln!("interrupted; everything is stopped");
        return ExitCode::from(130);
    }
    code(&outcome)
}

fn run(words: &[String], cancel: &Cancel) -> anyhow::Result<()> {
    let plan = Plan::from_words(words)?;
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, cancel.flag()).context("install a signal handler")?;
    }
    let bench = Bench::prepare(plan, cancel.clone())?;
    let machine = machine::describe(&bench)?;
    println!("{machine}");
    if cfg!(debug_assertions) {
        println!("A debug build: the figures of Quartet mean nothing.\n");
    }
    let sections = measures::run_all(&bench)?;
    baseline::conclude(&bench, &machine, &sections)
}

fn code(outcome: &anyhow::Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
