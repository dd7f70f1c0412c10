//! The started processes: watched together, stopped together.

use std::fs;
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use quartet_devstack::stack::Stack;
use quartet_devstack::{Cancel, Postgres, Service, ServiceSpec, roles};

use super::lock::Lock;
use crate::signals::Signals;

const READY_TIMEOUT: Duration = Duration::from_mins(1);
/// Longer than the 25 s that services take to drain.
const STOP_GRACE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(100);

/// The processes in the order in which they were started.
pub(crate) struct RunningStack {
    stack: Stack,
    services: Vec<Service>,
    postgres: Postgres,
    lock: Arc<fs::File>,
}

impl RunningStack {
    pub(crate) fn new(stack: Stack, postgres: Postgres, lock: &Lock) -> Self {
        Self {
            stack,
            services: Vec::new(),
            postgres,
            lock: lock.file(),
        }
    }

    pub(crate) fn stack(&self) -> &Stack {
        &self.stack
    }

    /// The object store first; then the services and the gateway together, which find each other.
    pub(crate) fn start_all(&mut self, signals: &Signals) -> anyhow::Result<()> {
        self.start(&self.stack.store())?;
        self.wait_ready(0, signals)?;
        let waiting_from = self.services.len();
        for service in roles::SERVICES {
            self.start(&self.stack.service(service)?)?;
        }
        self.start(&self.stack.gateway())?;
        self.wait_ready(waiting_from, signals)
    }

    fn start(&mut self, spec: &ServiceSpec) -> anyhow::Result<()> {
        println!("Starting {}", spec.name);
        // A log covers one run; that of the run before is kept.
        let _ = fs::rename(&spec.log, spec.log.with_extension("log.1"));
        self.services.push(spec.start_holding(Some(&self.lock))?);
        Ok(())
    }

    fn wait_ready(&mut self, from: usize, signals: &Signals) -> anyhow::Result<()> {
        for index in from..self.services.len() {
            if let Err(error) = self.services[index].wait_ready(READY_TIMEOUT, signals.cancel()) {
                // The cause may be another process that has crashed in the meantime.
                self.first_failure()?;
                return Err(error.into());
            }
        }
        Ok(())
    }

    /// Returns on a signal; fails when a process ends by itself.
    pub(crate) fn watch(&mut self, signals: &Signals) -> anyhow::Result<()> {
        while !signals.received() {
            self.first_failure()?;
            sleep(POLL);
        }
        Ok(())
    }

    fn first_failure(&mut self) -> anyhow::Result<()> {
        if let Some(error) = self.postgres.failure()? {
            return Err(error.into());
        }
        for service in &mut self.services {
            if let Some(status) = service.exited()? {
                return Err(service.exit_error(status).into());
            }
        }
        Ok(())
    }

    /// The gateway first, so that it routes no request to a stopped service; Postgres last.
    /// With `hurry` set, only Postgres is waited for.
    pub(crate) fn stop(&mut self, hurry: &Cancel) {
        while let Some(mut service) = self.services.pop() {
            if let Ok(Some(_)) = service.exited() {
                // Its crash is reported already.
                continue;
            }
            match service.stop_unless(STOP_GRACE, hurry) {
                Ok(status) if status.success() => {}
                Ok(status) => println!("{} ended with {status}", service.name()),
                Err(error) => println!("{}: {error}", service.name()),
            }
        }
        if let Err(error) = self.postgres.stop() {
            println!("Postgres: {error}");
        }
    }
}

impl Drop for RunningStack {
    fn drop(&mut self) {
        self.stop(&Cancel::default());
    }
}
