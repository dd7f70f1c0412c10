//! Size of the binaries, memory of idle services, time from start to ready.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use quartet_devstack::{Service, ServiceSpec, http, workspace};

use crate::backend::Backend;
use crate::bench::Bench;
use crate::plan::Measure;
use crate::report::{Section, Table};
use crate::rounds::median;
use crate::usage::Usage;
use crate::wrk::count;

const SERVICES: [&str; 4] = ["gateway", "core", "media", "links"];
const SETTLE: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(1);
const READY_TIMEOUT: Duration = Duration::from_secs(20);
const MEMORY_GOAL_MB: f64 = 100.0;
const READY_GOAL_MS: f64 = 300.0;

pub(super) fn run(bench: &Bench, backend: &Backend) -> anyhow::Result<Section> {
    let specs = SERVICES.map(|name| spec(bench, backend, name));
    let specs: Vec<ServiceSpec> = specs.into_iter().collect::<anyhow::Result<_>>()?;
    let _store = bench.start(&backend.stack.store())?;
    let idle = idle_memory(bench, &specs)?;
    let ready = ready_times(bench, &specs)?;

    let mut table = Table::new(&[
        "binary",
        "size MB",
        "idle resident MB",
        "ready after ms",
        "lowest-highest",
    ]);
    let mut sizes = 0.0;
    for ((name, times), resident_mb) in SERVICES.iter().zip(&ready).zip(&idle) {
        let binary = workspace::binary(&format!("quartet-{name}"))?;
        let size_mb = count(fs::metadata(binary).context("look at a binary")?.len()) / 1e6;
        sizes += size_mb;
        let least = times.iter().copied().fold(f64::INFINITY, f64::min);
        let most = times.iter().copied().fold(0.0, f64::max);
        table.row(vec![
            format!("quartet-{name}"),
            format!("{size_mb:.1}"),
            format!("{resident_mb:.1}"),
            format!("{:.0}", median(times.clone())),
            format!("{least:.0}-{most:.0}"),
        ]);
    }
    let resident: f64 = idle.iter().sum();
    let slowest = ready.into_iter().map(median).fold(0.0, f64::max);
    table.row(vec![
        "together".to_owned(),
        format!("{sizes:.1}"),
        format!("{resident:.1}"),
        format!("{slowest:.0}"),
        String::new(),
    ]);
    Ok(Section {
        measure: Measure::Sizes,
        title: "Size, memory and start",
        how: format!(
            "Memory is what /proc says is resident, libraries included, {} s after all four were ready and had \
             answered nothing else. Ready is the time from starting the process until /ready answered 200, with the \
             schema current, asked every millisecond; medians of {} starts on any core. The last row has sums, and \
             the slowest start.",
            SETTLE.as_secs(),
            bench.plan.starts()
        ),
        table,
        notes: vec![
            goal("Idle memory together", resident, MEMORY_GOAL_MB, "MB"),
            goal("Slowest start", slowest, READY_GOAL_MS, "ms"),
        ],
    })
}

fn goal(what: &str, value: f64, goal: f64, unit: &str) -> String {
    let verdict = if value < goal { "reached" } else { "missed" };
    format!("{what}: {value:.0} {unit}; the goal of {goal:.0} {unit} is {verdict}.")
}

fn spec(bench: &Bench, backend: &Backend, name: &str) -> anyhow::Result<ServiceSpec> {
    Ok(bench.free(match name {
        "gateway" => backend.stack.gateway(),
        service => backend.stack.service(service)?,
    }))
}

/// All of them at the same time, as on a machine that runs Quartet.
fn idle_memory(bench: &Bench, specs: &[ServiceSpec]) -> anyhow::Result<Vec<f64>> {
    // The gateway last: it looks for the others.
    let order: Vec<&ServiceSpec> = specs[1..].iter().chain(&specs[..1]).collect();
    let running: Vec<Service> = order
        .into_iter()
        .map(|spec| bench.start(spec))
        .collect::<anyhow::Result<_>>()?;
    bench.pause(SETTLE)?;
    let (gateway, others) = running.split_last().context("four services run")?;
    std::iter::once(gateway)
        .chain(others)
        .map(|service| Ok(count(Usage::of_group(service.pid())?.resident_bytes) / 1e6))
        .collect()
}

/// Starts each service so often, the services in turn. Core stays up for the others.
fn ready_times(bench: &Bench, specs: &[ServiceSpec]) -> anyhow::Result<Vec<Vec<f64>>> {
    let mut times = vec![Vec::new(); specs.len()];
    for _ in 0..bench.plan.starts() {
        for (spec, times) in specs.iter().zip(&mut times) {
            bench.go_on()?;
            times.push(time_to_ready(spec)?.as_secs_f64() * 1e3);
        }
    }
    Ok(times)
}

fn time_to_ready(spec: &ServiceSpec) -> anyhow::Result<Duration> {
    let (address, path) = spec
        .ready
        .as_ref()
        .context("the service says when it is ready")?;
    let begin = Instant::now();
    let mut service = spec.start()?;
    loop {
        let answer = http::get(*address, path, READY_TIMEOUT);
        if answer.as_ref().is_ok_and(|answer| answer.status == 200) {
            let took = begin.elapsed();
            // Nothing is in flight; a stop in order would only take longer.
            service.kill()?;
            return Ok(took);
        }
        if let Some(status) = service.exited()? {
            return Err(service.exit_error(status).into());
        }
        ensure!(begin.elapsed() < READY_TIMEOUT, not_ready(spec, answer));
        sleep(POLL);
    }
}

fn not_ready(spec: &ServiceSpec, answer: std::io::Result<http::Response>) -> String {
    let why = match answer {
        Ok(answer) => format!("it answers {} {}", answer.status, answer.body.trim()),
        Err(error) => error.to_string(),
    };
    format!(
        "{} was not ready within {} s: {why}",
        spec.name,
        READY_TIMEOUT.as_secs()
    )
}
