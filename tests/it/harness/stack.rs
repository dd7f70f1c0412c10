//! A whole Quartet for one test.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitStatus;
use std::thread;
use std::time::Duration;

use quartet_devstack::roles::SERVICES;
use quartet_devstack::{Cancel, Service, ServiceSpec};
use tempfile::TempDir;
use tokio::task::block_in_place;

use super::client::Client;
use super::database::Database;
use super::dns::Dns;
use super::logs;
use super::options::Options;
use super::processes::Processes;
use super::secrets::Secrets;

const START: Duration = Duration::from_mins(1);
const STOP: Duration = Duration::from_secs(30);
const TAIL_LINES: usize = 25;

/// Four services, Postgres, S3 and DNS; all end when it is dropped.
///
/// At the end of every test the logs are searched for secrets and panics.
pub(crate) struct Stack {
    pub(crate) dns: Dns,
    pub(crate) secrets: Secrets,
    database: Option<Database>,
    nodes: BTreeMap<String, Node>,
    /// Further gateways by their number.
    gateways: BTreeMap<u8, SocketAddr>,
    processes: Processes,
    // The last field: its files are needed until everything else has been dropped.
    _directory: TempDir,
}

struct Node {
    spec: ServiceSpec,
    service: Option<Service>,
}

impl Stack {
    /// Starts everything and waits until it is ready.
    pub(crate) async fn start(options: Options) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("quartet-e2e-")
            .tempdir()
            .unwrap();
        let dns = Dns::start().await;
        let database = block_in_place(|| match &options {
            options if options.gateway_only => None,
            options if options.own_postgres => Some(Database::own()),
            _ => Some(Database::shared(&directory.path().join("secrets"))),
        });
        let processes =
            Processes::new(directory.path(), dns.address(), database.as_ref(), &options);
        let secrets = Secrets::default();
        processes.secrets().iter().for_each(|it| secrets.add(it));
        let nodes = BTreeMap::new();
        let mut stack = Self {
            dns,
            secrets,
            database,
            nodes,
            gateways: BTreeMap::new(),
            processes,
            _directory: directory,
        };
        block_in_place(|| stack.start_all(&options));
        stack
    }

    /// The usual small stack.
    pub(crate) async fn small() -> Self {
        Self::start(Options::default()).await
    }

    fn start_all(&mut self, options: &Options) {
        for service in SERVICES {
            self.announce(service, &(1..=options.count(service)).collect::<Vec<_>>());
        }
        if !options.gateway_only {
            self.start_services(options);
        }
        self.launch(self.processes.gateway(options));
        for name in self.names() {
            self.wait_ready(&name);
        }
    }

    fn start_services(&mut self, options: &Options) {
        self.launch(self.processes.store());
        thread::scope(|scope| {
            for service in SERVICES {
                let spec = self.processes.migration(service);
                scope.spawn(move || spec.run().unwrap_or_else(|error| panic!("{error:#}")));
            }
        });
        for service in SERVICES {
            for replica in 1..=options.count(service) {
                self.launch(self.processes.replica(service, replica));
                if service == "core" {
                    // A service that finds no keys answers 503 for a second before it looks again.
                    self.wait_ready(&format!("core-{replica}"));
                }
            }
        }
    }

    fn launch(&mut self, spec: ServiceSpec) {
        let service = spec.start().unwrap_or_else(|error| panic!("{error:#}"));
        self.nodes.insert(
            spec.name.clone(),
            Node {
                spec,
                service: Some(service),
            },
        );
    }

    fn wait_ready(&mut self, name: &str) {
        let service = self.node(name).service.as_mut().expect("a started service");
        if let Err(error) = service.wait_ready(START, &Cancel::default()) {
            panic!("{error:#}");
        }
    }

    fn node(&mut self, name: &str) -> &mut Node {
        self.nodes
            .get_mut(name)
            .unwrap_or_else(|| panic!("there is no {name}"))
    }

    pub(crate) fn database(&self) -> &Database {
        self.database.as_ref().expect("a stack with services")
    }

    pub(crate) fn database_mut(&mut self) -> &mut Database {
        self.database.as_mut().expect("a stack with services")
    }

    /// A client of the gateway, without a token.
    pub(crate) fn client(&self) -> Client {
        Client::new(self.gateway(), &self.secrets)
    }

    /// Where a replica listens, counted from 1: for requests that bypass the gateway.
    pub(crate) fn replica(&self, service: &str, number: u8) -> SocketAddr {
        self.processes.address(service, number)
    }

    pub(crate) fn gateway(&self) -> SocketAddr {
        self.processes.address("gateway", 1)
    }

    /// The development S3 store.
    pub(crate) fn store(&self) -> SocketAddr {
        self.processes.address("store", 1)
    }

    pub(crate) fn gateway_admin(&self) -> SocketAddr {
        self.processes.address("admin", 1)
    }

    /// The gateway's configuration file.
    pub(crate) fn gateway_file(&self) -> PathBuf {
        self.processes.directory.join("gateway.toml")
    }

    /// The log of `gateway`, `store`, `core-1`, `media-2`...
    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.processes.log(name)
    }

    /// Publishes these replicas of a service by DNS.
    pub(crate) fn announce(&self, service: &str, replicas: &[u8]) {
        let addresses: Vec<Ipv4Addr> = replicas
            .iter()
            .map(
                |number| match self.processes.address(service, *number).ip() {
                    IpAddr::V4(address) => address,
                    IpAddr::V6(address) => panic!("{address} is not an IPv4 address"),
                },
            )
            .collect();
        self.dns.set(service, &addresses);
    }

    /// Starts another replica, which is not in DNS yet.
    pub(crate) fn add_replica(&mut self, service: &'static str, number: u8) {
        block_in_place(|| {
            self.launch(self.processes.replica(service, number));
            self.wait_ready(&format!("{service}-{number}"));
        });
    }

    /// Starts another gateway beside the first.
    pub(crate) fn add_gateway(&mut self, number: u8) {
        let (spec, public) = self.processes.another_gateway(number);
        block_in_place(|| {
            self.launch(spec);
            self.wait_ready(&format!("gateway-{number}"));
        });
        self.gateways.insert(number, public);
    }

    /// A client of one of several gateways, counted from 1, without a token.
    pub(crate) fn client_of(&self, gateway: u8) -> Client {
        let first = self.gateway();
        let address = self.gateways.get(&gateway).copied().unwrap_or(first);
        Client::new(address, &self.secrets)
    }

    /// SIGKILL: nothing is flushed.
    pub(crate) fn kill(&mut self, name: &str) {
        let mut service = self.node(name).service.take().expect("a running service");
        block_in_place(|| service.kill()).unwrap();
    }

    /// SIGTERM without waiting.
    pub(crate) fn terminate(&mut self, name: &str) {
        self.node(name)
            .service
            .as_mut()
            .expect("a running service")
            .terminate();
    }

    /// SIGTERM, then waits for the exit.
    pub(crate) fn stop(&mut self, name: &str) -> ExitStatus {
        let mut service = self.node(name).service.take().expect("a running service");
        block_in_place(|| service.stop(STOP)).unwrap()
    }

    /// Starts a stopped or killed service again with the same settings and files.
    pub(crate) fn restart(&mut self, name: &str) {
        block_in_place(|| {
            let spec = self.node(name).spec.clone();
            self.launch(spec);
            self.wait_ready(name);
        });
    }

    /// The process id, while it runs.
    pub(crate) fn pid(&mut self, name: &str) -> u32 {
        let service = self.node(name).service.as_mut().expect("a running service");
        assert!(
            service.exited().unwrap().is_none(),
            "{name} has exited by itself"
        );
        service.pid()
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.nodes.keys().cloned().collect()
    }

    fn logs(&self) -> Vec<PathBuf> {
        self.nodes
            .keys()
            .map(|name| self.processes.log(name))
            .collect()
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        let failed = thread::panicking();
        for node in self.nodes.values_mut() {
            if let Some(mut service) = node.service.take() {
                // It may have exited already.
                let _ = service.kill();
            }
        }
        if failed {
            logs::print_tails(&self.logs(), TAIL_LINES);
            return;
        }
        let faults = logs::faults(&self.logs(), &self.secrets);
        assert!(faults.is_empty(), "{faults:#?}");
    }
}
