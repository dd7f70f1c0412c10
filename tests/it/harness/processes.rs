//! How each process of a test's stack is started: as in development, with replicas, on
//! ports of its own, found by DNS.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use quartet_devstack::roles::{Passwords, SERVICES};
use quartet_devstack::stack::{Ports, Setting, Stack};
use quartet_devstack::{ServiceSpec, workspace};

use super::database::Database;
use super::options::Options;
use super::ports;

/// What differs from development for core, media and links.
const SERVICE_SETTINGS: [(&str, &str); 3] = [
    // Many stacks share one server, whose connections are limited.
    ("database.max_connections", "6"),
    ("server.shutdown_grace_seconds", "25"),
    ("telemetry.log", "info"),
];
const GATEWAY_SETTINGS: [(&str, &str); 3] = [
    ("server.threads", "2"),
    ("server.shutdown_grace_seconds", "25"),
    ("discovery.interval_ms", "100"),
];

/// The listen addresses, files and secrets of one stack.
#[derive(Debug)]
pub(super) struct Processes {
    pub(super) directory: PathBuf,
    stack: Stack,
}

impl Processes {
    pub(super) fn new(
        directory: &Path,
        nameserver: SocketAddr,
        database: Option<&Database>,
        options: &Options,
    ) -> Self {
        let (url, passwords) = database.map_or_else(
            || {
                let unused = "postgres://127.0.0.1".parse().unwrap();
                (unused, Passwords::random().unwrap())
            },
            Database::connection,
        );
        let stack = Stack {
            programs: workspace::profile_dir().unwrap(),
            root: directory.to_owned(),
            ports: Ports::new([(); 6].map(|()| ports::take())),
            database: url,
            passwords,
            settings: Vec::new(),
        };
        let mut processes = Self {
            directory: directory.to_owned(),
            stack,
        };
        processes.stack.settings = processes.settings(nameserver);
        processes
            .stack
            .settings
            .extend(options.settings.iter().cloned());
        processes
    }

    fn settings(&self, nameserver: SocketAddr) -> Vec<Setting> {
        let mut settings = vec![
            Setting::new("gateway", "discovery.nameserver", &nameserver.to_string()),
            // An IP address: the name `localhost` may resolve to ::1 first.
            Setting::new(
                "links",
                "public.short_url",
                &format!("http://{}/s/", self.address("gateway", 1)),
            ),
        ];
        for (key, value) in GATEWAY_SETTINGS {
            settings.push(Setting::new("gateway", key, value));
        }
        for service in SERVICES {
            let addresses = format!("{service}:{}", self.address(service, 1).port());
            let key = format!("upstreams.{service}.addresses");
            settings.push(Setting::new("gateway", &key, &addresses));
            for (key, value) in SERVICE_SETTINGS {
                settings.push(Setting::new(service, key, value));
            }
        }
        settings
    }

    /// Values that must not appear in a log.
    pub(super) fn secrets(&self) -> [String; 3] {
        [
            self.stack.store_secret().unwrap(),
            self.stack.master_key().unwrap(),
            self.stack.events_secret().unwrap(),
        ]
    }

    /// Where a process listens; replicas are counted from 1.
    pub(super) fn address(&self, name: &str, replica: u8) -> SocketAddr {
        let port = match name {
            "store" => self.stack.ports.store,
            "gateway" => self.stack.ports.gateway,
            "admin" => self.stack.ports.admin,
            service => return self.stack.address(service, replica),
        };
        ([127, 0, 0, 1], port).into()
    }

    pub(super) fn log(&self, name: &str) -> PathBuf {
        self.directory.join("logs").join(format!("{name}.log"))
    }

    /// The `migrate` run of a service.
    pub(super) fn migration(&self, service: &'static str) -> ServiceSpec {
        self.named(service, self.stack.migration(service).unwrap())
    }

    /// A replica of core, media or links.
    pub(super) fn replica(&self, service: &'static str, replica: u8) -> ServiceSpec {
        let spec = self.stack.replica(service, replica).unwrap();
        self.named(&format!("{service}-{replica}"), spec)
    }

    pub(super) fn store(&self) -> ServiceSpec {
        self.named("store", self.stack.store().unwrap())
    }

    /// The gateway with a configuration file, which a test may change and reload.
    pub(super) fn gateway(&self, options: &Options) -> ServiceSpec {
        let file = self.directory.join("gateway.toml");
        std::fs::write(&file, gateway_file(options)).unwrap();
        self.named("gateway", self.stack.gateway().unwrap())
            .env("QUARTET_CONFIG", file)
    }

    /// Another gateway with the settings of the first one, and where it listens.
    pub(super) fn another_gateway(&self, number: u8) -> (ServiceSpec, SocketAddr) {
        let [public, admin] = [(); 2].map(|()| SocketAddr::from(([127, 0, 0, 1], ports::take())));
        let spec = self.named(&format!("gateway-{number}"), self.stack.gateway().unwrap());
        let spec = spec
            .env("QUARTET_CONFIG", self.directory.join("gateway.toml"))
            .env("QUARTET_SERVER_LISTEN", public.to_string())
            .env("QUARTET_SERVER_ADMIN_LISTEN", admin.to_string())
            .ready_at(admin, "/ready");
        (spec, public)
    }

    fn named(&self, name: &str, mut spec: ServiceSpec) -> ServiceSpec {
        assert!(
            spec.program.is_file(),
            "{} is not built; `cargo xtask e2e` builds it",
            spec.program.display()
        );
        name.clone_into(&mut spec.name);
        spec.log = self.log(name);
        spec
    }
}

fn gateway_file(options: &Options) -> String {
    use std::fmt::Write as _;
    let mut file = String::new();
    if !options.shipped_limits {
        for limit in ["core", "media", "links", "redirects", "documents"] {
            let _ = writeln!(file, "[limits.{limit}]\nrequests = 10000000");
        }
    }
    file + &options.gateway_settings
}
