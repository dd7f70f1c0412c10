//! The started processes: watched together, stopped together.

use std::fs::{self, File};
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use quartet_devstack::roles::SERVICES;
use quartet_devstack::stack::Stack;
use quartet_devstack::{Cancel, Postgres, Service, ServiceSpec, signals};

const READY_TIMEOUT: Duration = Duration::from_mins(1);
/// Longer than the 25 s that services take to drain.
const STOP_GRACE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(100);

/// The processes in the order in which they were started.
pub(crate) struct RunningStack {
    pub(crate) stack: Stack,
    services: Vec<Service>,
    postgres: Postgres,
    lock: Arc<File>,
}

impl RunningStack {
    /// Roles and schemas first, then the object store; then the services and the gateway together,
    /// which find each other. All of them stop when one fails.
    pub(crate) fn start(stack: Stack, postgres: Postgres, lock: Arc<File>) -> anyhow::Result<Self> {
        println!("Roles and schemas: {}", SERVICES.join(", "));
        stack.prepare(&postgres)?;
        let mut this = Self {
            stack,
            services: Vec::new(),
            postgres,
            lock,
        };
        this.launch(this.stack.store()?)?;
        this.wait_ready(0)?;
        for service in SERVICES {
            this.launch(this.stack.service(service)?)?;
        }
        this.launch(this.stack.gateway()?)?;
        this.wait_ready(1)?;
        Ok(this)
    }

    fn launch(&mut self, mut spec: ServiceSpec) -> anyhow::Result<()> {
        println!("Starting {}", spec.name);
        // A log covers one run; that of the run before is kept.
        let _ = fs::rename(&spec.log, spec.log.with_extension("log.1"));
        spec.held = Some(Arc::clone(&self.lock));
        self.services.push(spec.start()?);
        Ok(())
    }

    fn wait_ready(&mut self, from: usize) -> anyhow::Result<()> {
        for index in from..self.services.len() {
            if let Err(error) = self.services[index].wait_ready(READY_TIMEOUT, signals::cancel()) {
                // The cause may be another process that has crashed in the meantime.
                self.first_failure()?;
                return Err(error);
            }
        }
        Ok(())
    }

    /// Returns on a signal; fails when a process ends by itself.
    pub(crate) fn watch(&mut self) -> anyhow::Result<()> {
        while !signals::received() {
            self.first_failure()?;
            sleep(POLL);
        }
        Ok(())
    }

    fn first_failure(&mut self) -> anyhow::Result<()> {
        self.postgres.check()?;
        self.services.iter_mut().try_for_each(Service::check)
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
                Err(error) => println!("{}: {error:#}", service.name()),
            }
        }
        if let Err(error) = self.postgres.stop() {
            println!("Postgres: {error:#}");
        }
    }
}

impl Drop for RunningStack {
    fn drop(&mut self) {
        self.stop(&Cancel::default());
    }
}
