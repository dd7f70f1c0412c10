//! The processes of a whole Quartet on one machine: which binary, with which
//! settings, listening where. The only place that wires the services together:
//! `cargo xtask up`, the benchmarks and the end-to-end tests all start from here
//! and change single settings.

use std::ffi::OsString;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::postgres::PostgresUrl;
use crate::roles::{self, Passwords};
use crate::service::ServiceSpec;
use crate::{port, secret};

/// Shorter than in production: an open browser tab may hold a stream, and a
/// developer waits for the shutdown.
const GRACE_SECONDS: &str = "5";
const PRIVATE_BUCKET: &str = "quartet-private";
const PUBLIC_BUCKET: &str = "quartet-public";
const MASTER_KEY: &str = "core-master-key";
const EVENTS_SECRET: &str = "events";

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
    pub const CONTRACT: Self = Self {
        gateway: 8080,
        admin: 9080,
        core: 8081,
        media: 8082,
        links: 8083,
        store: 9000,
    };

    /// Ports that are not in use.
    pub fn free() -> Result<Self> {
        Ok(Self {
            gateway: port::free()?,
            admin: port::free()?,
            core: port::free()?,
            media: port::free()?,
            links: port::free()?,
            store: port::free()?,
        })
    }

    /// All ports, higher by this number.
    #[must_use]
    pub fn moved_by(self, offset: u16) -> Self {
        let moved = |port: u16| port.saturating_add(offset);
        Self {
            gateway: moved(self.gateway),
            admin: moved(self.admin),
            core: moved(self.core),
            media: moved(self.media),
            links: moved(self.links),
            store: moved(self.store),
        }
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

    fn of(&self, service: &str) -> u16 {
        match service {
            "core" => self.core,
            "media" => self.media,
            _ => self.links,
        }
    }
}

/// The key pair of the development S3.
#[derive(Clone)]
pub struct StoreKeys {
    access: String,
    secret: String,
}

impl StoreKeys {
    /// The keys kept in `secrets`, created if missing.
    pub fn load_or_create(secrets: &Path) -> Result<Self> {
        Ok(Self {
            access: "quartet".to_owned(),
            secret: secret::load_or_create(secrets, "s3")?,
        })
    }

    pub fn access(&self) -> &str {
        &self.access
    }

    /// The secret key. Never print it.
    pub fn secret(&self) -> &str {
        &self.secret
    }
}

impl fmt::Debug for StoreKeys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("StoreKeys(hidden)")
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
    pub store_keys: StoreKeys,
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
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parts = text
            .split_once('=')
            .and_then(|(name, value)| Some((name.split_once('.')?, value)));
        let Some(((service, key), value)) = parts else {
            return Err(Error::other(format!("`{text}` is not SERVICE.KEY=VALUE")));
        };
        if service != "gateway" && !roles::SERVICES.contains(&service) {
            return Err(Error::other(format!(
                "`{service}` in `{text}` is none of gateway, core, media, links"
            )));
        }
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
        let digits = secret::load_or_create(&self.secrets(), EVENTS_SECRET)?;
        Ok(format!("whsec_{digits}"))
    }

    /// The development S3, with the buckets of media.
    pub fn store(&self) -> ServiceSpec {
        let address = loopback(self.ports.store);
        self.spec("quartet-devstore")
            .env("QUARTET_DEVSTORE_LISTEN", address.to_string())
            .env("QUARTET_DEVSTORE_DATA", self.root.join("s3"))
            .env("QUARTET_DEVSTORE_ACCESS_KEY", &self.store_keys.access)
            .env("QUARTET_DEVSTORE_SECRET_KEY", &self.store_keys.secret)
            .env("QUARTET_DEVSTORE_BUCKETS", PRIVATE_BUCKET)
            .env("QUARTET_DEVSTORE_PUBLIC_BUCKETS", PUBLIC_BUCKET)
            .ready_at(address, "/health")
    }

    /// Migrates the schema of `core`, `media` or `links`, as its owner.
    pub fn migration(&self, service: &str) -> Result<ServiceSpec> {
        let url = roles::owner_url(&self.database, service, &self.passwords)?;
        let mut spec = self
            .settings_of(service, 1)?
            .env("QUARTET_DATABASE_MIGRATE_URL", url.reveal())
            .arg("migrate");
        spec.name = format!("quartet-{service} migrate");
        Ok(spec)
    }

    /// The only replica of `core`, `media` or `links`.
    pub fn service(&self, service: &str) -> Result<ServiceSpec> {
        self.replica(service, 1)
    }

    /// One of several replicas, counted from 1. All use the same port, each on a
    /// loopback address of its own.
    pub fn replica(&self, service: &str, number: u8) -> Result<ServiceSpec> {
        let address = self.address(service, number);
        Ok(self
            .settings_of(service, number)?
            .arg("serve")
            .ready_at(address, "/ready"))
    }

    /// Where a replica of `core`, `media` or `links` listens: replica 2 on 127.0.0.2.
    pub fn address(&self, service: &str, replica: u8) -> SocketAddr {
        (Ipv4Addr::new(127, 0, 0, replica), self.ports.of(service)).into()
    }

    /// The gateway in front of the first replica of each service.
    pub fn gateway(&self) -> ServiceSpec {
        let admin = loopback(self.ports.admin);
        let mut spec = self
            .spec("quartet-gateway")
            .arg("serve")
            .env(
                "QUARTET_SERVER_LISTEN",
                loopback(self.ports.gateway).to_string(),
            )
            .env("QUARTET_SERVER_ADMIN_LISTEN", admin.to_string())
            .env("QUARTET_SERVER_SHUTDOWN_GRACE_SECONDS", GRACE_SECONDS)
            .env("QUARTET_JWT_ISSUER", self.public_url())
            .env("QUARTET_JWT_JWKS_URL", self.jwks_url())
            .ready_at(admin, "/ready");
        for service in roles::SERVICES {
            let name = format!("QUARTET_UPSTREAMS_{}_ADDRESSES", service.to_uppercase());
            spec = spec.env(name, self.address(service, 1).to_string());
        }
        self.with_settings(spec, "gateway")
    }

    fn with_settings(&self, spec: ServiceSpec, service: &str) -> ServiceSpec {
        self.settings
            .iter()
            .filter(|setting| setting.service == service)
            .fold(spec, |spec, setting| {
                spec.env(&setting.variable, &setting.value)
            })
    }

    fn settings_of(&self, service: &str, replica: u8) -> Result<ServiceSpec> {
        let url = roles::url(&self.database, service, &self.passwords)?;
        let spec = self
            .spec(&format!("quartet-{service}"))
            .env(
                "QUARTET_SERVER_LISTEN",
                self.address(service, replica).to_string(),
            )
            .env("QUARTET_SERVER_SHUTDOWN_GRACE_SECONDS", GRACE_SECONDS)
            // The client IP comes from the gateway.
            .env("QUARTET_SERVER_TRUSTED_PROXIES", "127.0.0.0/8,::1/128")
            .env("QUARTET_DATABASE_URL", url.reveal())
            .env("QUARTET_JWT_ISSUER", self.public_url())
            .env("QUARTET_EVENTS_SECRET", self.events_secret()?);
        let spec = match service {
            "core" => self.core_settings(spec)?,
            "media" => self.media_settings(spec),
            _ => self.links_settings(spec),
        };
        Ok(self.with_settings(spec, service))
    }

    fn core_settings(&self, spec: ServiceSpec) -> Result<ServiceSpec> {
        self.master_key()?;
        let file = self.secrets().join(MASTER_KEY);
        let url = |service| format!("http://{}", self.address(service, 1));
        Ok(spec
            .env("QUARTET_KEYS_MASTER_KEY_FILE", file)
            .env("QUARTET_EVENTS_MEDIA_URL", url("media"))
            .env("QUARTET_EVENTS_LINKS_URL", url("links")))
    }

    fn media_settings(&self, spec: ServiceSpec) -> ServiceSpec {
        let store = format!("http://{}", loopback(self.ports.store));
        spec.env("QUARTET_JWT_JWKS_URL", self.jwks_url())
            .env("QUARTET_S3_ENDPOINT", store)
            .env("QUARTET_S3_ACCESS_KEY", &self.store_keys.access)
            .env("QUARTET_S3_SECRET_KEY", &self.store_keys.secret)
            .env("QUARTET_S3_PRIVATE_BUCKET", PRIVATE_BUCKET)
            .env("QUARTET_S3_PUBLIC_BUCKET", PUBLIC_BUCKET)
    }

    fn links_settings(&self, spec: ServiceSpec) -> ServiceSpec {
        spec.env("QUARTET_JWT_JWKS_URL", self.jwks_url())
            .env(
                "QUARTET_PUBLIC_SHORT_URL",
                format!("{}/s/", self.public_url()),
            )
            .env("QUARTET_CLICKS_LOG_DIR", self.root.join("links/clicks"))
    }

    fn jwks_url(&self) -> OsString {
        let core = loopback(self.ports.core);
        format!("http://{core}/.well-known/jwks.json").into()
    }

    fn spec(&self, binary: &str) -> ServiceSpec {
        let log = self.root.join("logs").join(format!("{binary}.log"));
        ServiceSpec::new(binary, self.programs.join(binary), log)
    }
}

fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}
