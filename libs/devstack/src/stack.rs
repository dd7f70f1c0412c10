//! The processes of a whole Quartet on one machine: which binary, with which
//! settings, listening where. The only place that wires the services together:
//! `cargo xtask up`, the benchmarks and the end-to-end tests all start from here
//! and change single settings.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::thread::scope;

use anyhow::{Context as _, Result, anyhow, ensure};

use crate::postgres::{Postgres, PostgresUrl};
use crate::roles::{self, Passwords};
use crate::service::ServiceSpec;
use crate::{port, secret};

/// The settings that this module chooses.
const SETTINGS: &str = include_str!("stack.toml");

/// Rate limits that nothing reaches; the budget for GraphQL is as large as its bounds allow.
const WIDE_LIMITS: [&str; 7] = [
    "gateway.limits.core.requests=10000000",
    "gateway.limits.media.requests=10000000",
    "gateway.limits.links.requests=10000000",
    "gateway.limits.redirects.requests=10000000",
    "gateway.limits.documents.requests=10000000",
    "links.graphql.cost_per_second=1000000",
    "links.graphql.cost_burst=100000000",
];

/// Where the processes listen, all on loopback.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    pub gateway: u16,
    pub admin: u16,
    pub core: u16,
    pub media: u16,
    pub links: u16,
    pub store: u16,
}

impl Ports {
    /// The documented ports.
    pub const CONTRACT: Self = Self::new([8080, 9080, 8081, 8082, 8083, 9000]);

    /// In the order of the fields.
    pub const fn new([gateway, admin, core, media, links, store]: [u16; 6]) -> Self {
        Self {
            gateway,
            admin,
            core,
            media,
            links,
            store,
        }
    }

    /// Ports that are not in use.
    pub fn free() -> Result<Self> {
        let mut ports = [0; 6];
        for port in &mut ports {
            *port = port::free()?;
        }
        Ok(Self::new(ports))
    }

    /// All ports, higher by this number.
    #[must_use]
    pub fn moved_by(self, offset: u16) -> Self {
        Self::new(self.wanted().map(|(port, _)| port.saturating_add(offset)))
    }

    /// Each port with the process that listens on it.
    pub fn wanted(&self) -> [(u16, &'static str); 6] {
        [
            (self.gateway, "quartet-gateway"),
            (self.admin, "quartet-gateway (its admin side)"),
            (self.core, "quartet-core"),
            (self.media, "quartet-media"),
            (self.links, "quartet-links"),
            (self.store, "quartet-devstore (the development S3)"),
        ]
    }
}

/// What the processes need to know of each other.
#[derive(Clone, Debug)]
pub struct Stack {
    /// Directory of the binaries.
    pub programs: PathBuf,
    /// Contains data, secrets and logs; usually `.quartet`. Absolute.
    pub root: PathBuf,
    pub ports: Ports,
    pub database: PostgresUrl,
    pub passwords: Passwords,
    /// Overrides of the settings in stack.toml.
    pub settings: Vec<Setting>,
}

/// One setting of one service, such as `core.sessions.access_token_ttl_seconds=3`.
#[derive(Clone, Debug)]
pub struct Setting {
    service: String,
    variable: String,
    value: String,
}

impl Setting {
    /// `service` is `gateway`, `core`, `media` or `links`; `key` such as `server.listen`.
    pub fn new(service: &str, key: &str, value: &str) -> Self {
        Self {
            service: service.to_owned(),
            variable: format!("QUARTET_{}", key.replace('.', "_").to_uppercase()),
            value: value.to_owned(),
        }
    }

    /// Limits that are counted and never reached.
    pub fn wide_limits() -> Result<Vec<Self>> {
        WIDE_LIMITS.iter().map(|setting| setting.parse()).collect()
    }
}

impl FromStr for Setting {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let parts = text
            .split_once('=')
            .and_then(|(name, value)| Some((name.split_once('.')?, value)));
        let parts = parts.with_context(|| format!("`{text}` is not SERVICE.KEY=VALUE"))?;
        let ((service, key), value) = parts;
        ensure!(
            service == "gateway" || roles::SERVICES.contains(&service),
            "`{service}` in `{text}` is none of gateway, core, media, links"
        );
        Ok(Self::new(service, key, value))
    }
}

impl Stack {
    /// The public URL, as people write it.
    pub fn public_url(&self) -> String {
        format!("http://localhost:{}", self.ports.gateway)
    }

    pub fn secrets(&self) -> PathBuf {
        self.root.join("secrets")
    }

    /// The key from which core derives its own keys, created if missing. Never print it.
    pub fn master_key(&self) -> Result<String> {
        secret::load_or_create(&self.secrets(), "core-master-key")
    }

    /// The secret that signs events between the services, created if missing. Never print it.
    pub fn events_secret(&self) -> Result<String> {
        // 64 hexadecimal digits are base64, too.
        let digits = secret::load_or_create(&self.secrets(), "events")?;
        Ok(format!("whsec_{digits}"))
    }

    /// The secret key of the development S3, created if missing. Never print it.
    pub fn store_secret(&self) -> Result<String> {
        secret::load_or_create(&self.secrets(), "s3")
    }

    /// The development S3, with the buckets of media.
    pub fn store(&self) -> Result<ServiceSpec> {
        let spec = self.spec("devstore", &self.known()?)?;
        Ok(spec.ready_at(loopback(self.ports.store), "/health"))
    }

    /// Creates the roles and migrates every schema, each as its owner.
    pub fn prepare(&self, postgres: &Postgres) -> Result<()> {
        roles::apply(postgres, &self.database, &self.passwords)?;
        // Concurrently: each has its own schema.
        scope(|scope| {
            let migrate = |service| scope.spawn(move || self.migration(service)?.run());
            for migration in roles::SERVICES.map(migrate) {
                let ended = migration.join();
                ended.map_err(|_| anyhow!("a migration panicked"))??;
            }
            Ok(())
        })
    }

    /// Migrates the schema of `core`, `media` or `links`, as its owner.
    pub fn migration(&self, service: &str) -> Result<ServiceSpec> {
        let url = roles::owner_url(&self.database, service, &self.passwords)?;
        let spec = self.settings_of(service, 1)?.arg("migrate");
        Ok(ServiceSpec {
            name: format!("quartet-{service} migrate"),
            log: self.log(&format!("quartet-{service}-migrate")),
            ..spec.env("QUARTET_DATABASE_MIGRATE_URL", url.reveal())
        })
    }

    /// The only replica of `core`, `media` or `links`.
    pub fn service(&self, service: &str) -> Result<ServiceSpec> {
        self.replica(service, 1)
    }

    /// One of several replicas, counted from 1. All use the same port, each on a
    /// loopback address of its own.
    pub fn replica(&self, service: &str, number: u8) -> Result<ServiceSpec> {
        let spec = self.settings_of(service, number)?.arg("serve");
        Ok(spec.ready_at(self.address(service, number), "/ready"))
    }

    /// Where a replica of `core`, `media` or `links` listens: replica 2 on 127.0.0.2.
    pub fn address(&self, service: &str, replica: u8) -> SocketAddr {
        let port = match service {
            "core" => self.ports.core,
            "media" => self.ports.media,
            _ => self.ports.links,
        };
        (Ipv4Addr::new(127, 0, 0, replica), port).into()
    }

    /// The gateway in front of the first replica of each service.
    pub fn gateway(&self) -> Result<ServiceSpec> {
        let spec = self.spec("gateway", &self.known()?)?.arg("serve");
        Ok(spec.ready_at(loopback(self.ports.admin), "/ready"))
    }

    fn settings_of(&self, service: &str, replica: u8) -> Result<ServiceSpec> {
        let database = roles::url(&self.database, service, &self.passwords)?;
        let mut known = self.known()?;
        known.extend([
            ("listen", self.address(service, replica).to_string()),
            ("database", database.reveal()),
        ]);
        self.spec(service, &known)
    }

    /// What stands for the names in braces in stack.toml. Secrets are created if missing.
    fn known(&self) -> Result<Vec<(&'static str, String)>> {
        // core reads it from its file.
        self.master_key()?;
        let ports = &self.ports;
        Ok(vec![
            ("gateway", ports.gateway.to_string()),
            ("admin", ports.admin.to_string()),
            ("core", ports.core.to_string()),
            ("media", ports.media.to_string()),
            ("links", ports.links.to_string()),
            ("store", ports.store.to_string()),
            ("public_url", self.public_url()),
            ("root", self.root.display().to_string()),
            ("events_secret", self.events_secret()?),
            ("store_secret", self.store_secret()?),
        ])
    }

    /// A process with its settings; of two for one name, the later counts.
    fn spec(&self, service: &str, known: &[(&str, String)]) -> Result<ServiceSpec> {
        let binary = format!("quartet-{service}");
        let mut spec = ServiceSpec::new(&binary, self.programs.join(&binary), self.log(&binary));
        let tables: BTreeMap<String, BTreeMap<String, String>> = toml::from_str(SETTINGS)?;
        let shared = roles::SERVICES.contains(&service).then_some("services");
        for table in shared.into_iter().chain([service]) {
            let table = tables.get(table).with_context(|| format!("no `{table}`"))?;
            for (variable, value) in table {
                let fill = |text: String, (name, value): &(&str, String)| {
                    text.replace(&format!("{{{name}}}"), value)
                };
                let value = known.iter().fold(value.clone(), fill);
                spec = spec.env(format!("QUARTET_{variable}"), value);
            }
        }
        let own = self.settings.iter().filter(|it| it.service == service);
        Ok(own.fold(spec, |spec, it| spec.env(&it.variable, &it.value)))
    }

    fn log(&self, process: &str) -> PathBuf {
        self.root.join("logs").join(format!("{process}.log"))
    }
}

fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

#[cfg(test)]
mod tests {
    use super::{Ports, Stack};
    use crate::roles::{Passwords, SERVICES};

    #[test]
    fn every_name_in_braces_is_known() {
        let directory = tempfile::tempdir().unwrap();
        let stack = Stack {
            programs: "/bin".into(),
            root: directory.path().into(),
            ports: Ports::CONTRACT,
            database: "postgres://localhost".parse().unwrap(),
            passwords: Passwords::random().unwrap(),
            settings: Vec::new(),
        };
        let services = SERVICES.map(|service| stack.replica(service, 2).unwrap());
        let others = [stack.store().unwrap(), stack.gateway().unwrap()];
        for spec in services.into_iter().chain(others) {
            assert!(spec.env.len() > 5, "{}", spec.name);
            for (name, value) in spec.env {
                assert!(!value.to_string_lossy().contains('{'), "{name:?}");
            }
        }
    }
}
