//! Where everything of one stack listens, and how each of its processes is started.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use quartet_devstack::{ServiceSpec, secret, workspace};

use super::database::Database;
use super::options::{Options, variable};
use super::ports;

pub(super) const SERVICES: [&str; 3] = ["core", "media", "links"];
const PUBLIC_BUCKET: &str = "public";
const STORE_KEY: &str = "quartet";
const PRIVATE_BUCKET: &str = "private";

/// The addresses, files and secrets of one stack.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) directory: PathBuf,
    pub(super) nameserver: SocketAddr,
    core: u16,
    media: u16,
    links: u16,
    store: u16,
    gateway: u16,
    admin: u16,
    store_secret: String,
    core_secret: String,
    env: Vec<(&'static str, String, String)>,
}

impl Plan {
    pub(super) fn new(directory: &Path, nameserver: SocketAddr, options: &Options) -> Self {
        Self {
            directory: directory.to_owned(),
            nameserver,
            core: ports::take(),
            media: ports::take(),
            links: ports::take(),
            store: ports::take(),
            gateway: ports::take(),
            admin: ports::take(),
            store_secret: secret::random_hex().unwrap(),
            core_secret: secret::random_hex().unwrap(),
            env: options.env.clone(),
        }
    }

    /// What must never stand in a log.
    pub(super) fn secrets(&self) -> [&str; 2] {
        [&self.store_secret, &self.core_secret]
    }

    /// The address of a replica, counted from 1.
    pub(super) fn address(&self, service: &str, replica: u8) -> SocketAddr {
        let port = match service {
            "core" => self.core,
            "media" => self.media,
            "links" => self.links,
            "store" => self.store,
            "gateway" => self.gateway,
            "admin" => self.admin,
            other => panic!("there is no service {other}"),
        };
        (Ipv4Addr::new(127, 0, 0, replica), port).into()
    }

    pub(super) fn log(&self, name: &str) -> PathBuf {
        self.directory.join("logs").join(format!("{name}.log"))
    }

    /// The `migrate` run of a service.
    pub(super) fn migration(&self, service: &'static str, database: &Database) -> ServiceSpec {
        self.service(service, 1, database, "migrate")
    }

    /// A replica of core, media or links.
    pub(super) fn replica(
        &self,
        service: &'static str,
        replica: u8,
        database: &Database,
    ) -> ServiceSpec {
        let address = self.address(service, replica);
        self.service(service, replica, database, "serve")
            .ready_at(address, "/ready")
    }

    fn service(
        &self,
        service: &'static str,
        replica: u8,
        database: &Database,
        command: &str,
    ) -> ServiceSpec {
        let name = format!("{service}-{replica}");
        let program = binary(&format!("quartet-{service}"));
        let mut spec = ServiceSpec::new(&name, program, self.log(&name)).arg(command);
        let address = self.address(service, replica).to_string();
        spec = set(spec, "server.listen", &address);
        spec = set(spec, "server.trusted_proxies", "127.0.0.0/8");
        spec = set(spec, "database.url", &database.url_of(service));
        // Many stacks share one server, whose connections are counted.
        spec = set(spec, "database.max_connections", "6");
        spec = set(spec, "telemetry.log", "info");
        spec = match service {
            "core" => self.core(spec),
            "media" => self.media(spec),
            _ => self.links(spec),
        };
        self.with_options(spec, service)
    }

    fn core(&self, spec: ServiceSpec) -> ServiceSpec {
        set(spec, "keys.master_key", &self.core_secret)
    }

    fn media(&self, mut spec: ServiceSpec) -> ServiceSpec {
        let endpoint = format!("http://{}", self.address("store", 1));
        spec = set(spec, "jwt.jwks_url", &self.jwks_url());
        spec = set(spec, "s3.endpoint", &endpoint);
        spec = set(spec, "s3.access_key", STORE_KEY);
        spec = set(spec, "s3.secret_key", &self.store_secret);
        spec = set(spec, "s3.private_bucket", PRIVATE_BUCKET);
        set(spec, "s3.public_bucket", PUBLIC_BUCKET)
    }

    fn links(&self, mut spec: ServiceSpec) -> ServiceSpec {
        let short_url = format!("http://{}/s/", self.address("gateway", 1));
        let clicks = self.directory.join("clicks").display().to_string();
        spec = set(spec, "jwt.jwks_url", &self.jwks_url());
        spec = set(spec, "public.short_url", &short_url);
        set(spec, "clicks.log_dir", &clicks)
    }

    fn jwks_url(&self) -> String {
        format!("http://{}/.well-known/jwks.json", self.address("core", 1))
    }

    /// The development S3 store.
    pub(super) fn store(&self) -> ServiceSpec {
        let address = self.address("store", 1);
        ServiceSpec::new("store", binary("quartet-devstore"), self.log("store"))
            .env("QUARTET_DEVSTORE_LISTEN", address.to_string())
            .env("QUARTET_DEVSTORE_DATA", self.directory.join("store"))
            .env("QUARTET_DEVSTORE_ACCESS_KEY", STORE_KEY)
            .env("QUARTET_DEVSTORE_SECRET_KEY", &self.store_secret)
            .env("QUARTET_DEVSTORE_BUCKETS", PRIVATE_BUCKET)
            .env("QUARTET_DEVSTORE_PUBLIC_BUCKETS", PUBLIC_BUCKET)
            .ready_at(address, "/health")
    }

    /// The gateway with its file.
    pub(super) fn gateway(&self, options: &Options) -> ServiceSpec {
        let file = self.directory.join("gateway.toml");
        std::fs::write(&file, self.gateway_file(options)).unwrap();
        let admin = self.address("admin", 1);
        let mut spec = ServiceSpec::new("gateway", binary("quartet-gateway"), self.log("gateway"))
            .arg("serve");
        spec = spec.env("QUARTET_CONFIG", &file).ready_at(admin, "/ready");
        spec = set(
            spec,
            "server.listen",
            &self.address("gateway", 1).to_string(),
        );
        spec = set(spec, "server.admin_listen", &admin.to_string());
        spec = set(spec, "server.threads", "2");
        spec = set(spec, "discovery.nameserver", &self.nameserver.to_string());
        spec = set(spec, "discovery.interval_ms", "100");
        spec = set(spec, "jwt.jwks_url", &self.jwks_url());
        self.with_options(spec, "gateway")
    }

    fn gateway_file(&self, options: &Options) -> String {
        use std::fmt::Write as _;
        let mut file = String::new();
        for service in SERVICES {
            let port = self.address(service, 1).port();
            let _ = writeln!(
                file,
                "[upstreams.{service}]\naddresses = [\"{service}:{port}\"]"
            );
        }
        if !options.shipped_limits {
            for limit in ["core", "media", "links", "redirects", "documents"] {
                let _ = writeln!(file, "[limits.{limit}]\nrequests = 10000000");
            }
        }
        file + &options.gateway_settings
    }

    fn with_options(&self, mut spec: ServiceSpec, service: &str) -> ServiceSpec {
        for (_, name, value) in self.env.iter().filter(|(of, _, _)| *of == service) {
            spec = spec.env(name, value);
        }
        spec
    }
}

fn set(spec: ServiceSpec, key: &str, value: &str) -> ServiceSpec {
    spec.env(variable(key), value)
}

fn binary(name: &str) -> PathBuf {
    let path = workspace::profile_dir().unwrap().join(name);
    assert!(
        path.is_file(),
        "{} is not built; `cargo xtask e2e` builds it",
        path.display()
    );
    path
}
