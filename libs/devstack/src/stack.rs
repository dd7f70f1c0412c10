//! The processes of a whole Quartet on one machine: which binary, with which
//! settings, listening where. The only place that wires the services together:
//! `cargo xtask up`, the benchmarks and the end-to-end tests all start from here
//! and change single settings.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context as _, Result, ensure};

use crate::postgres::PostgresUrl;
use crate::roles::{self, Passwords};
use crate::service::ServiceSpec;
use crate::{port, secret};

/// Shorter than in production: an open browser tab may hold a stream, and a
/// developer waits for the shutdown.
const GRACE_SECONDS: &str = "5";
const PRIVATE_BUCKET: &str = "quartet-private";
const PUBLIC_BUCKET: &str = "quartet-public";
const STORE_ACCESS_KEY: &str = "quartet";
const MASTER_KEY: &str = "core-master-key";

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
    /// Overrides of the settings that this module chooses.
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
        secret::load_or_create(&self.secrets(), MASTER_KEY)
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
        let address = loopback(self.ports.store);
        let settings = [
            ("DEVSTORE_LISTEN", address.to_string()),
            ("DEVSTORE_DATA", self.path("s3")),
            ("DEVSTORE_ACCESS_KEY", STORE_ACCESS_KEY.into()),
            ("DEVSTORE_SECRET_KEY", self.store_secret()?),
            ("DEVSTORE_BUCKETS", PRIVATE_BUCKET.into()),
            ("DEVSTORE_PUBLIC_BUCKETS", PUBLIC_BUCKET.into()),
        ];
        let spec = set(self.spec("quartet-devstore"), settings);
        Ok(spec.ready_at(address, "/health"))
    }

    /// Migrates the schema of `core`, `media` or `links`, as its owner.
    pub fn migration(&self, service: &str) -> Result<ServiceSpec> {
        let url = roles::owner_url(&self.database, service, &self.passwords)?;
        let spec = self.settings_of(service, 1)?;
        let name = format!("quartet-{service} migrate");
        Ok(ServiceSpec {
            log: self.spec(&format!("quartet-{service}-migrate")).log,
            name,
            ..set(spec, [("DATABASE_MIGRATE_URL", url.reveal())]).arg("migrate")
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
    pub fn gateway(&self) -> ServiceSpec {
        let admin = loopback(self.ports.admin);
        let address = |service| self.address(service, 1).to_string();
        let settings = [
            ("SERVER_LISTEN", loopback(self.ports.gateway).to_string()),
            ("SERVER_ADMIN_LISTEN", admin.to_string()),
            ("SERVER_SHUTDOWN_GRACE_SECONDS", GRACE_SECONDS.into()),
            ("JWT_ISSUER", self.public_url()),
            ("JWT_JWKS_URL", self.jwks_url()),
            ("UPSTREAMS_CORE_ADDRESSES", address("core")),
            ("UPSTREAMS_MEDIA_ADDRESSES", address("media")),
            ("UPSTREAMS_LINKS_ADDRESSES", address("links")),
        ];
        let spec = set(self.spec("quartet-gateway"), settings);
        self.with_settings(spec, "gateway")
            .arg("serve")
            .ready_at(admin, "/ready")
    }

    fn with_settings(&self, spec: ServiceSpec, service: &str) -> ServiceSpec {
        let settings = self.settings.iter();
        settings
            .filter(|setting| setting.service == service)
            .fold(spec, |spec, it| spec.env(&it.variable, &it.value))
    }

    fn settings_of(&self, service: &str, replica: u8) -> Result<ServiceSpec> {
        let url = roles::url(&self.database, service, &self.passwords)?;
        let mut settings = vec![
            ("SERVER_LISTEN", self.address(service, replica).to_string()),
            ("SERVER_SHUTDOWN_GRACE_SECONDS", GRACE_SECONDS.into()),
            // The client IP comes from the gateway.
            ("SERVER_TRUSTED_PROXIES", "127.0.0.0/8,::1/128".into()),
            ("DATABASE_URL", url.reveal()),
            ("JWT_ISSUER", self.public_url()),
            ("EVENTS_SECRET", self.events_secret()?),
        ];
        if service != "core" {
            settings.push(("JWT_JWKS_URL", self.jwks_url()));
        }
        let url = |service| format!("http://{}", self.address(service, 1));
        settings.extend(match service {
            "core" => {
                self.master_key()?;
                let file = self.secrets().join(MASTER_KEY);
                vec![
                    ("KEYS_MASTER_KEY_FILE", file.display().to_string()),
                    ("EVENTS_MEDIA_URL", url("media")),
                    ("EVENTS_LINKS_URL", url("links")),
                ]
            }
            "media" => vec![
                (
                    "S3_ENDPOINT",
                    format!("http://{}", loopback(self.ports.store)),
                ),
                ("S3_ACCESS_KEY", STORE_ACCESS_KEY.into()),
                ("S3_SECRET_KEY", self.store_secret()?),
                ("S3_PRIVATE_BUCKET", PRIVATE_BUCKET.into()),
                ("S3_PUBLIC_BUCKET", PUBLIC_BUCKET.into()),
            ],
            _ => vec![
                ("PUBLIC_SHORT_URL", format!("{}/s/", self.public_url())),
                ("CLICKS_LOG_DIR", self.path("links/clicks")),
            ],
        });
        let spec = set(self.spec(&format!("quartet-{service}")), settings);
        Ok(self.with_settings(spec, service))
    }

    fn jwks_url(&self) -> String {
        format!("http://{}/.well-known/jwks.json", loopback(self.ports.core))
    }

    fn path(&self, below: &str) -> String {
        self.root.join(below).display().to_string()
    }

    fn spec(&self, binary: &str) -> ServiceSpec {
        let log = self.root.join("logs").join(format!("{binary}.log"));
        ServiceSpec::new(binary, self.programs.join(binary), log)
    }
}

/// Adds settings by their variables, without the common prefix.
fn set(
    spec: ServiceSpec,
    settings: impl IntoIterator<Item = (&'static str, String)>,
) -> ServiceSpec {
    let settings = settings.into_iter();
    settings.fold(spec, |spec, (name, value)| {
        spec.env(format!("QUARTET_{name}"), value)
    })
}

fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}
