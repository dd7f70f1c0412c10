//! The benchmarks, in the order in which they run.

mod gateway;
mod login;
mod peers;
mod presign;
mod redirect;
mod sizes;
mod soak;

use clap::ValueEnum as _;

use crate::backend::Backend;
use crate::bench::Bench;
use crate::plan::Measure;
use crate::report::Section;

/// Connections of a load, unless stated otherwise.
const CONNECTIONS: usize = 64;
/// A server that used less of its core was not the bottleneck.
const BUSY: f64 = 0.9;

/// Runs what the plan names and prints each result as soon as it is known.
pub(crate) fn run_all(bench: &Bench) -> anyhow::Result<Vec<Section>> {
    let mut sections = Vec::new();
    // Started after the gateway's benchmark, which needs no Postgres.
    let mut backend = None;
    for &measure in Measure::value_variants() {
        if !bench.plan.includes(measure) {
            continue;
        }
        bench.require_running()?;
        println!("{}", measure.name());
        let section = if measure == Measure::Gateway {
            gateway::run(bench)?
        } else {
            let backend = match &mut backend {
                Some(backend) => backend,
                none => none.insert(Backend::start(bench)?),
            };
            backend.settle()?;
            match measure {
                Measure::Redirect => redirect::run(bench, backend)?,
                Measure::Login => login::run(bench, backend)?,
                Measure::Soak => soak::run(bench, backend)?,
                Measure::Presign => presign::run(bench, backend)?,
                Measure::Gateway | Measure::Sizes => sizes::run(bench, backend)?,
            }
        };
        println!("\n{section}");
        sections.push(section);
    }
    Ok(sections)
}
