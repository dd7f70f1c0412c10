//! Size of the binaries, memory of idle services, time from start to ready.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use quartet_devstack::{Service, ServiceSpec, http, workspace};

use super::SERVICES;
use crate::backend::Backend;
use crate::bench::{Bench, Cores};
use crate::load::count;
use crate::report::{Section, Table, verdict};
use crate::rounds::median;
use crate::usage::{Usage, anonymous_bytes};

const IDLE: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(1);
const READY_TIMEOUT: Duration = Duration::from_secs(20);
const MEMORY_GOAL_MB: f64 = 60.0;
const READY_GOAL_MS: f64 = 300.0;

/// Of one idle service.
struct Memory {
    resident_mb: f64,
    anonymous_mb: f64,
}

pub(super) fn run(bench: &Bench, backend: &Backend) -> anyhow::Result<Section> {
    // Without core, the others need other keys to be ready.
    let spec = |name| match name {
        "core" => backend.stack.service(name),
        "gateway" => Ok(backend.trusting(backend.stack.gateway()?)),
        service => Ok(backend.trusting(backend.stack.service(service)?)),
    };
    let specs: Vec<ServiceSpec> = SERVICES.into_iter().map(spec).collect::<Result<_, _>>()?;
    let _store = bench.start(Cores::Others, &backend.stack.store()?)?;
    let memory = idle_memory(bench, &specs)?;
    let times = ready_times(bench, &specs)?;

    let mut table = Table::new(&[
        "binary",
        "size MB",
        "idle resident MB",
        "of it anonymous",
        "ready after ms",
        "lowest-highest",
    ]);
    let (mut sizes, mut resident, mut anonymous, mut slowest) = (0.0, 0.0, 0.0, 0.0_f64);
    for ((name, times), memory) in SERVICES.iter().zip(&times).zip(&memory) {
        let binary = workspace::binary(&format!("quartet-{name}"))?;
        let size_mb = count(fs::metadata(binary)?.len()) / 1e6;
        let ready = median(times.clone());
        let lowest = times.iter().copied().fold(f64::INFINITY, f64::min);
        let highest = times.iter().copied().fold(0.0, f64::max);
        table.row([
            format!("quartet-{name}"),
            format!("{size_mb:.1}"),
            format!("{:.1}", memory.resident_mb),
            format!("{:.1}", memory.anonymous_mb),
            format!("{ready:.0}"),
            format!("{lowest:.0}-{highest:.0}"),
        ]);
        sizes += size_mb;
        resident += memory.resident_mb;
        anonymous += memory.anonymous_mb;
        slowest = slowest.max(ready);
    }
    table.row([
        "together".to_owned(),
        format!("{sizes:.1}"),
        format!("{resident:.1}"),
        format!("{anonymous:.1}"),
        format!("{slowest:.0}"),
        String::new(),
    ]);
    Ok(Section {
        title: "Size, memory and start",
        how: format!(
            "Memory is the resident set of /proc, libraries included, {} s after all four were ready, without any \
             other request; what is not anonymous are pages of the binaries and libraries, which the system can drop. \
             Ready is the time from the start of the process until /ready returned 200, with a current \
             schema, polled every millisecond; medians of {} starts on any core. The last row has sums, and the \
             slowest start.",
            IDLE.as_secs(),
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
    let verdict = verdict(value, goal);
    format!("{what}: {value:.0} {unit}; the goal of {goal:.0} {unit} is {verdict}.")
}

/// All of them at the same time, as on a machine that runs Quartet.
fn idle_memory(bench: &Bench, specs: &[ServiceSpec]) -> anyhow::Result<Vec<Memory>> {
    let start = |spec| bench.start(Cores::All, spec);
    let running: Vec<Service> = specs.iter().map(start).collect::<anyhow::Result<_>>()?;
    bench.pause(IDLE)?;
    let memory = |service: &Service| {
        Ok(Memory {
            resident_mb: count(Usage::of_group(service.pid())?.resident_bytes) / 1e6,
            anonymous_mb: count(anonymous_bytes(service.pid())?) / 1e6,
        })
    };
    running.iter().map(memory).collect()
}

/// Starts the services in turn, each alone.
fn ready_times(bench: &Bench, specs: &[ServiceSpec]) -> anyhow::Result<Vec<Vec<f64>>> {
    let mut times = vec![Vec::new(); specs.len()];
    for _ in 0..bench.plan.starts() {
        for (spec, times) in specs.iter().zip(&mut times) {
            bench.require_running()?;
            let took = bench.on(Cores::All, || time_to_ready(spec))??;
            times.push(took.as_secs_f64() * 1e3);
        }
    }
    Ok(times)
}

fn time_to_ready(spec: &ServiceSpec) -> anyhow::Result<Duration> {
    let (address, path) = spec.ready.as_ref().context("a service without /ready")?;
    let begin = Instant::now();
    let mut service = spec.start()?;
    loop {
        let response = http::get(*address, path, READY_TIMEOUT);
        if let Ok(http::Response { status: 200, .. }) = response {
            let took = begin.elapsed();
            // Nothing is in flight; a graceful stop would only take longer.
            service.kill()?;
            return Ok(took);
        }
        service.check()?;
        ensure!(
            begin.elapsed() < READY_TIMEOUT,
            "{} was not ready within {} s: {response:?}",
            spec.name,
            READY_TIMEOUT.as_secs()
        );
        sleep(POLL);
    }
}
