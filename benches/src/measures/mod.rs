//! The benchmarks, in the order in which they run.

mod beside;
mod cache;
mod gateway;
mod idle;
mod latency;
mod limits;
mod login;
mod peers;
mod presign;
mod redirect;
mod session;
mod sites;
mod sizes;
mod soak;
mod syscalls;
mod through;
mod tls;

use clap::ValueEnum as _;

use crate::backend::Backend;
use crate::bench::Bench;
use crate::plan::Measure;
use crate::report::Section;

/// A path whose responses are stored, and one whose responses are compressed.
const CACHED: &str = "/cached/thing";
const TEXT: &str = "/text/thing";
/// Connections of a load, unless stated otherwise.
const CONNECTIONS: usize = 64;
/// Each with a token of its own.
const USERS: usize = 64;
/// A path of the gateway where tokens are verified and requests counted, and one that is only proxied.
const GUARDED: &str = "/guarded/thing";
const PLAIN: &str = "/plain/thing";
/// As guarded, and compared with an OpenAPI document.
const VALIDATED: &str = "/validated/thing?limit=20&status=open";
/// All four. The gateway is last: it looks for the others.
const SERVICES: [&str; 4] = ["core", "media", "links", "gateway"];

/// Runs what the plan names and prints each result as soon as it is known.
pub(crate) fn run_all(bench: &Bench) -> anyhow::Result<Vec<(Measure, Section)>> {
    let mut sections = Vec::new();
    // Started after the gateway's benchmarks, which need no Postgres.
    let mut backend = None;
    for &measure in Measure::value_variants() {
        if !bench.plan.includes(measure) {
            continue;
        }
        bench.require_running()?;
        println!("{}", measure.name());
        let section = match measure {
            Measure::Gateway => gateway::run(bench)?,
            Measure::Cache => cache::run(bench)?,
            Measure::Sites => sites::run(bench)?,
            Measure::Tls => tls::run(bench)?,
            Measure::Session => session::run(bench)?,
            Measure::Latency => latency::run(bench)?,
            Measure::Limits => limits::run(bench)?,
            Measure::Idle => idle::run(bench)?,
            Measure::Syscalls => syscalls::run(bench)?,
            Measure::Redirect => redirect::run(bench, started(&mut backend, bench)?)?,
            Measure::Login => login::run(bench, started(&mut backend, bench)?)?,
            Measure::Soak => soak::run(bench, started(&mut backend, bench)?)?,
            Measure::Presign => presign::run(bench, started(&mut backend, bench)?)?,
            Measure::Through => through::run(bench, started(&mut backend, bench)?)?,
            Measure::Sizes => sizes::run(bench, started(&mut backend, bench)?)?,
        };
        println!("\n{section}");
        sections.push((measure, section));
    }
    Ok(sections)
}

/// The backend, settled; started if this is the first that needs it.
fn started<'b>(backend: &'b mut Option<Backend>, bench: &Bench) -> anyhow::Result<&'b Backend> {
    let backend = match backend {
        Some(backend) => backend,
        none => none.insert(Backend::start(bench)?),
    };
    backend.settle()?;
    Ok(backend)
}
