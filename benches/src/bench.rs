//! What every benchmark needs: the plan, the cores, a place to work in.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use quartet_devstack::{Cancel, Service, ServiceSpec, workspace};

use crate::plan::Plan;
use crate::tools;

const READY_TIMEOUT: Duration = Duration::from_secs(30);

/// Which cores do what.
#[derive(Clone, Debug)]
pub(crate) struct Cores {
    /// The one core of the server that is measured.
    pub(crate) server: usize,
    /// Everything else: the load, the upstream, Postgres.
    pub(crate) others: Vec<usize>,
}

impl Cores {
    fn find() -> anyhow::Result<Self> {
        let status = fs::read_to_string("/proc/self/status")
            .context("the benchmarks need Linux: /proc/self/status")?;
        let list = status
            .lines()
            .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))
            .unwrap_or_default();
        let (server, others) = match parse_cores(list.trim())?.split_first() {
            Some((&server, others)) if !others.is_empty() => (server, others.to_vec()),
            _ => bail!("the benchmarks need two cores: one for the server, one for the load"),
        };
        Ok(Self { server, others })
    }

    pub(crate) fn all(&self) -> String {
        list(&[&[self.server], self.others.as_slice()].concat())
    }
}

/// A directory of our own; only one run at a time may have it.
#[derive(Debug)]
struct Place {
    path: PathBuf,
    _lock: File,
}

impl Place {
    fn take() -> anyhow::Result<Self> {
        let path = workspace::profile_dir()?.join("bench");
        fs::create_dir_all(&path).with_context(|| format!("make {}", path.display()))?;
        let lock = File::create(path.with_extension("lock")).context("make the lock")?;
        if lock.try_lock().is_err() {
            bail!("another benchmark is running: they would disturb each other");
        }
        // What an earlier run that was killed has left.
        fs::remove_dir_all(&path).with_context(|| format!("empty {}", path.display()))?;
        fs::create_dir_all(&path).with_context(|| format!("make {}", path.display()))?;
        Ok(Self { path, _lock: lock })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// One run.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) plan: Plan,
    pub(crate) cancel: Cancel,
    pub(crate) cores: Cores,
    place: Place,
}

impl Bench {
    /// Checks the tools and moves this process, and so all that it starts, off the server's core.
    pub(crate) fn prepare(plan: Plan, cancel: Cancel) -> anyhow::Result<Self> {
        let cores = Cores::find()?;
        tools::require("taskset", "util-linux")?;
        tools::require("wrk", "wrk")?;
        let own = std::process::id().to_string();
        let status = Command::new("taskset")
            .args(["-apc", &list(&cores.others), &own])
            .stdout(std::process::Stdio::null())
            .status()
            .context("start taskset")?;
        ensure!(
            status.success(),
            "taskset cannot move this process ({status})"
        );
        Ok(Self {
            plan,
            cancel,
            cores,
            place: Place::take()?,
        })
    }

    /// The directory for everything that a run writes; removed at its end.
    pub(crate) fn work(&self) -> &Path {
        &self.place.path
    }

    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.work().join(format!("{name}.log"))
    }

    /// The same service on the core of the server that is measured.
    pub(crate) fn pinned(&self, spec: ServiceSpec) -> ServiceSpec {
        on_cores(spec, &self.cores.server.to_string())
    }

    /// The same service on any core.
    pub(crate) fn free(&self, spec: ServiceSpec) -> ServiceSpec {
        on_cores(spec, &self.cores.all())
    }

    pub(crate) fn start(&self, spec: &ServiceSpec) -> anyhow::Result<Service> {
        let mut service = spec.start()?;
        service.wait_ready(READY_TIMEOUT, &self.cancel)?;
        Ok(service)
    }

    /// Fails when the run is to end.
    pub(crate) fn go_on(&self) -> anyhow::Result<()> {
        ensure!(!self.cancel.is_set(), "interrupted");
        Ok(())
    }

    /// Waits, and ends early when the run is to end.
    pub(crate) fn pause(&self, duration: Duration) -> anyhow::Result<()> {
        const STEP: Duration = Duration::from_millis(20);
        let deadline = std::time::Instant::now() + duration;
        while std::time::Instant::now() < deadline {
            self.go_on()?;
            std::thread::sleep(STEP.min(duration));
        }
        Ok(())
    }
}

/// taskset becomes the program, so the process id and the process group stay the program's.
fn on_cores(mut spec: ServiceSpec, cores: &str) -> ServiceSpec {
    let program = std::mem::replace(&mut spec.program, "taskset".into());
    let front = ["-c".into(), cores.into(), program.into_os_string()];
    spec.args.splice(0..0, front);
    spec
}

fn list(cores: &[usize]) -> String {
    cores
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(",")
}

/// Reads `0-3,6`.
fn parse_cores(list: &str) -> anyhow::Result<Vec<usize>> {
    let mut cores = Vec::new();
    for part in list.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let range = || Some(first.parse::<usize>().ok()?..=last.parse::<usize>().ok()?);
        cores.extend(range().with_context(|| format!("`{list}` is no list of cores"))?);
    }
    Ok(cores)
}

#[cfg(test)]
mod tests {
    use super::parse_cores;

    #[test]
    fn reads_lists_of_cores() {
        assert_eq!(parse_cores("0-2,5").unwrap(), [0, 1, 2, 5]);
        assert_eq!(parse_cores("3").unwrap(), [3]);
        assert!(parse_cores("").is_err());
    }
}
