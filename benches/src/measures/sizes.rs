//! Size of the binaries, memory of idle services, time from start to ready.

use std::fs;
use std::time::{Duration, Instant};

use quartet_devstack::{Service, ServiceSpec, signals, workspace};

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

    let mut table = Table::new(
        "binary | size MB | idle resident MB | of it anonymous | ready after ms | lowest-highest",
    );
    let (mut sums, mut slowest) = ([0.0; 3], 0.0_f64);
    for ((name, times), memory) in SERVICES.iter().zip(&times).zip(&memory) {
        let name = format!("quartet-{name}");
        let size = count(fs::metadata(workspace::binary(&name)?)?.len()) / 1e6;
        let figures = [size, memory[0], memory[1]];
        let ready = median(times.clone());
        let lowest = times.iter().copied().fold(f64::INFINITY, f64::min);
        let highest = times.iter().copied().fold(0.0, f64::max);
        let range = format!("{lowest:.0}-{highest:.0}");
        table
            .row(&name, 1, &figures)
            .extend([format!("{ready:.0}"), range]);
        for (sum, figure) in sums.iter_mut().zip(figures) {
            *sum += figure;
        }
        slowest = slowest.max(ready);
    }
    let last = [format!("{slowest:.0}"), String::new()];
    table.row("together", 1, &sums).extend(last);
    Ok(Section {
        text: format!(
            include_str!("sizes.md"),
            IDLE.as_secs(),
            bench.plan.starts()
        ),
        table,
        notes: vec![
            goal("Idle memory together", sums[1], MEMORY_GOAL_MB, "MB"),
            goal("Slowest start", slowest, READY_GOAL_MS, "ms"),
        ],
    })
}

fn goal(what: &str, value: f64, goal: f64, unit: &str) -> String {
    let verdict = verdict(value, goal);
    format!("{what}: {value:.0} {unit}; the goal of {goal:.0} {unit} is {verdict}.")
}

/// Megabytes, resident and anonymous, of all at the same time, as on a machine that runs Quartet.
fn idle_memory(bench: &Bench, specs: &[ServiceSpec]) -> anyhow::Result<Vec<[f64; 2]>> {
    let start = |spec| bench.start(Cores::All, spec);
    let running: Vec<Service> = specs.iter().map(start).collect::<anyhow::Result<_>>()?;
    bench.pause(IDLE)?;
    let memory = |service: &Service| {
        let anonymous = count(anonymous_bytes(service.pid())?) / 1e6;
        Ok([Usage::of_group(service.pid())?.resident_mb, anonymous])
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
    let mut spec = spec.clone();
    spec.poll = POLL;
    let begin = Instant::now();
    let mut service = spec.start()?;
    service.wait_ready(READY_TIMEOUT, signals::cancel())?;
    let took = begin.elapsed();
    // Nothing is in flight; a graceful stop would only take longer.
    service.kill()?;
    Ok(took)
}
