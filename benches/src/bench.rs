//! What every benchmark needs: the plan, the cores, a directory.

use std::fs::{self, File};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use quartet_devstack::{Service, ServiceSpec, signals, workspace};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::plan::Plan;

const READY_TIMEOUT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);

/// Which cores a process or thread may use.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cores {
    /// The one core of the server that is measured.
    Server,
    /// That core and another one; with two cores, the load shares both.
    Two,
    /// All others than the first: for the load, the upstream, Postgres.
    Others,
    All,
}

/// One run.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) plan: Plan,
    cores: Vec<usize>,
    /// For everything that a run writes; removed at its end.
    pub(crate) work: PathBuf,
    /// Held: two runs would disturb each other.
    _lock: File,
}

impl Bench {
    /// Moves this process, and thereby all that it starts, off the core of the server.
    pub(crate) fn prepare(plan: Plan) -> anyhow::Result<Self> {
        let allowed = sched_getaffinity(None).context("ask for the cores of this process")?;
        let cores: Vec<usize> = (0..CpuSet::MAX_CPU)
            .filter(|&core| allowed.is_set(core))
            .collect();
        ensure!(
            cores.len() > 1,
            "the benchmarks need two cores: one for the server, one for the load"
        );
        let work = workspace::profile_dir()?.join("bench");
        fs::create_dir_all(&work).with_context(|| format!("create {}", work.display()))?;
        let lock = File::create(work.with_extension("lock")).context("create the lock")?;
        if lock.try_lock().is_err() {
            bail!("another benchmark is running: they would disturb each other");
        }
        // An earlier run that was killed leaves files.
        fs::remove_dir_all(&work).with_context(|| format!("empty {}", work.display()))?;
        fs::create_dir(&work)?;
        let bench = Self {
            plan,
            cores,
            work,
            _lock: lock,
        };
        sched_setaffinity(None, &bench.set(Cores::Others))?;
        Ok(bench)
    }

    pub(crate) fn core_count(&self) -> usize {
        self.cores.len()
    }

    fn set(&self, cores: Cores) -> CpuSet {
        let cores = match cores {
            Cores::Server => &self.cores[..1],
            Cores::Two => &self.cores[..2],
            Cores::Others => &self.cores[1..],
            Cores::All => &self.cores[..],
        };
        let mut set = CpuSet::new();
        for &core in cores {
            set.set(core);
        }
        set
    }

    /// Runs `start` on some cores; processes and threads that it starts stay there.
    pub(crate) fn on<T>(&self, cores: Cores, start: impl FnOnce() -> T) -> anyhow::Result<T> {
        sched_setaffinity(None, &self.set(cores)).context("choose cores")?;
        let started = start();
        sched_setaffinity(None, &self.set(Cores::Others)).context("choose cores")?;
        Ok(started)
    }

    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.work.join(format!("{name}.log"))
    }

    /// Starts a service and waits until it is ready.
    pub(crate) fn start(&self, cores: Cores, spec: &ServiceSpec) -> anyhow::Result<Service> {
        let mut service = self.on(cores, || spec.start())??;
        service.wait_ready(READY_TIMEOUT, signals::cancel())?;
        Ok(service)
    }

    /// Fails if the run was interrupted.
    #[expect(clippy::unused_self, reason = "only a run can be interrupted")]
    pub(crate) fn require_running(&self) -> anyhow::Result<()> {
        ensure!(!signals::received(), "interrupted");
        Ok(())
    }

    /// Waits; fails if the run is interrupted in the meantime.
    pub(crate) fn pause(&self, duration: Duration) -> anyhow::Result<()> {
        let deadline = Instant::now() + duration;
        while Instant::now() < deadline {
            self.require_running()?;
            std::thread::sleep(POLL.min(duration));
        }
        Ok(())
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.work);
    }
}
