//! The benchmarks, in the order in which they run.

mod gateway;
mod login;
mod peers;
mod presign;
mod redirect;
mod sizes;

use crate::backend::Backend;
use crate::bench::Bench;
use crate::plan::Measure;
use crate::report::Section;

/// Connections of a load, where nothing else is said.
const CONNECTIONS: usize = 64;
/// A server that used less of its core was not what limited the figure.
const BUSY: f64 = 0.9;

/// Runs what the plan names and prints each result as soon as it is there.
pub(crate) fn run_all(bench: &Bench) -> anyhow::Result<Vec<Section>> {
    let needs_backend = bench
        .plan
        .measures
        .iter()
        .any(|&measure| measure != Measure::Gateway);
    let mut sections = Vec::new();
    // Before there is a Postgres: it would only be in the way.
    if bench.plan.measures.contains(&Measure::Gateway) {
        println!("gateway");
        sections.push(shown(gateway::run(bench)?));
    }
    if !needs_backend {
        return Ok(sections);
    }
    println!("Postgres");
    let backend = Backend::start(bench)?;
    for measure in Measure::ALL {
        if measure == Measure::Gateway || !bench.plan.measures.contains(&measure) {
            continue;
        }
        bench.go_on()?;
        println!("{}", measure.name());
        backend.settle()?;
        let section = match measure {
            Measure::Redirect => redirect::run(bench, &backend)?,
            Measure::Login => login::run(bench, &backend)?,
            Measure::Presign => presign::run(bench, &backend)?,
            Measure::Gateway | Measure::Sizes => sizes::run(bench, &backend)?,
        };
        sections.push(shown(section));
    }
    Ok(sections)
}

fn shown(section: Section) -> Section {
    println!("\n{section}");
    section
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}
