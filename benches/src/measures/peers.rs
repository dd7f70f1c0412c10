//! The proxies that are compared, each with its configuration in benches/peers/.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use jsonwebtoken::Algorithm;
use quartet_ca::{Authority, Request as CertificateRequest, Validity};
use quartet_devstack::{Service, ServiceSpec, port, workspace};

use super::{CONNECTIONS, USERS};
use crate::bench::{Bench, Cores};
use crate::load::{Load, Request, Requests};
use crate::rounds::Round;
use crate::tokens::Issuer;
use crate::{tls, tools, upstream};

const GATEWAY: &str = include_str!("../../peers/gateway.toml");
const GATEWAY_WITH_LOGIN: &str = concat!(
    include_str!("../../peers/gateway.toml"),
    include_str!("../../peers/login.toml")
);
const HAPROXY: &str = include_str!("../../peers/haproxy.cfg");
const NGINX: &str = include_str!("../../peers/nginx.conf");
const CADDY: &str = include_str!("../../peers/Caddyfile");

/// A running proxy.
pub(super) struct Proxy {
    pub(super) service: Service,
    pub(super) port: u16,
    /// 0 for one without TLS.
    pub(super) tls_port: u16,
    /// Gets a line for every request.
    pub(super) access_log: PathBuf,
}

/// What all proxies have in common.
pub(super) struct Setup<'a> {
    pub(super) bench: &'a Bench,
    pub(super) issuer: Issuer,
    pub(super) upstream: u16,
}

/// How to start a proxy.
struct Plan<'a> {
    name: String,
    program: PathBuf,
    template: &'a str,
    /// Replace placeholders beside those that all templates have.
    values: &'a [(&'a str, String)],
    /// The file of the configuration follows.
    arguments: &'a [&'a str],
    /// Where it says that it is ready.
    ready: &'a str,
    /// Whether that is on a port for administrators.
    has_admin: bool,
    cores: Cores,
}

impl Proxy {
    pub(super) fn run(&self, bench: &Bench, load: &Load, seconds: u32) -> anyhow::Result<Round> {
        let port = match load {
            Load::Secure(..) | Load::Handshakes(..) => self.tls_port,
            Load::Cycle(..) | Load::Refresh(..) => self.port,
        };
        load.run(bench, port, self.service.pid(), seconds)
    }
}

impl<'a> Setup<'a> {
    pub(super) fn new(bench: &'a Bench) -> anyhow::Result<Self> {
        let issuer = Issuer::new()?;
        let upstream = upstream::start(&issuer.jwks)?;
        write_certificate(&bench.work)?;
        Ok(Self {
            bench,
            issuer,
            upstream,
        })
    }

    /// GETs of all users in turn.
    pub(super) fn requests(&self, algorithm: Algorithm, path: &str) -> anyhow::Result<Requests> {
        let tokens = self.issuer.tokens(algorithm, USERS)?;
        let get = |token: &String| Request::get(path, Some(token));
        Ok(tokens.iter().map(get).collect())
    }

    /// The same over the usual connections.
    pub(super) fn load(&self, algorithm: Algorithm, path: &str) -> anyhow::Result<Load> {
        Ok(Load::Cycle(self.requests(algorithm, path)?, CONNECTIONS))
    }

    /// The gateway as it is by default, on one core.
    pub(super) fn gateway(&self, algorithm: Algorithm) -> anyhow::Result<Proxy> {
        self.gateway_with(algorithm, true, 1)
    }

    /// The gateway with public keys or a shared secret, with or without the direct path, with a number of threads.
    pub(super) fn gateway_with(
        &self,
        algorithm: Algorithm,
        direct: bool,
        threads: usize,
    ) -> anyhow::Result<Proxy> {
        self.gateway_of(GATEWAY, algorithm, direct, threads, "")
    }

    /// The gateway with HS256 and a login, on one core.
    pub(super) fn gateway_with_login(&self) -> anyhow::Result<Proxy> {
        self.gateway_of(GATEWAY_WITH_LOGIN, Algorithm::HS256, true, 1, "")
    }

    /// The gateway with HS256 on one core, with or without the direct path, and with the URL of the Redis in which it
    /// counts.
    pub(super) fn gateway_counting(&self, direct: bool, store: &str) -> anyhow::Result<Proxy> {
        self.gateway_of(GATEWAY, Algorithm::HS256, direct, 1, store)
    }

    fn gateway_of(
        &self,
        template: &str,
        algorithm: Algorithm,
        direct: bool,
        threads: usize,
        store: &str,
    ) -> anyhow::Result<Proxy> {
        let counts = if store.is_empty() { "here" } else { "in-store" };
        let jwks = format!("http://127.0.0.1:{}/.well-known/jwks.json", self.upstream);
        let (jwks, secret) = match algorithm {
            Algorithm::HS256 => (String::new(), self.issuer.secret.clone()),
            _ => (jwks, String::new()),
        };
        self.start(&Plan {
            name: format!("gateway-{algorithm:?}-{direct}-{threads}-{counts}"),
            program: workspace::binary("quartet-gateway")?,
            template,
            values: &[
                ("JWKS_URL", jwks),
                ("SECRET", secret),
                ("DIRECT", direct.to_string()),
                ("THREADS", threads.to_string()),
                ("STORE", store.to_owned()),
            ],
            arguments: &["serve", "--config"],
            ready: "/ready",
            has_admin: true,
            cores: match threads {
                1 => Cores::Server,
                _ => Cores::Two,
            },
        })
    }

    /// pingora without the gateway. It writes no log.
    pub(super) fn empty_pingora(&self) -> anyhow::Result<Proxy> {
        let program = workspace::binary("quartet-bench-empty")?;
        let ports = "@PORT@ @UPSTREAM_PORT@";
        self.start(&Plan::plain("empty-pingora", program, ports, &[]))
    }

    pub(super) fn haproxy(&self, algorithm: Algorithm) -> anyhow::Result<Proxy> {
        let public_key = self.bench.work.join("public.pem");
        fs::write(&public_key, &self.issuer.p256_pem).context("write the public key")?;
        let key = match algorithm {
            Algorithm::HS256 => self.issuer.secret.clone(),
            _ => public_key.display().to_string(),
        };
        let algorithm = format!("{algorithm:?}");
        let name = format!("haproxy-{algorithm}");
        let program = tools::require("haproxy", "haproxy")?;
        self.start(&Plan {
            values: &[("ALGORITHM", algorithm), ("KEY", key)],
            ready: "/health",
            ..Plan::plain(&name, program, HAPROXY, &["-f"])
        })
    }

    pub(super) fn nginx(&self) -> anyhow::Result<Proxy> {
        let program = tools::require("nginx", "nginx-light")?;
        // Before it has read its configuration it would log to a system directory.
        let arguments = &["-e", "stderr", "-c"];
        self.start(&Plan::plain("nginx", program, NGINX, arguments))
    }

    pub(super) fn caddy(&self) -> anyhow::Result<Proxy> {
        let program = tools::require("caddy", "caddy")?;
        let arguments = &["run", "--adapter", "caddyfile", "--config"];
        self.start(&Plan::plain("caddy", program, CADDY, arguments))
    }

    fn start(&self, plan: &Plan<'_>) -> anyhow::Result<Proxy> {
        let work = &self.bench.work;
        let (port, tls_port, admin) = (port::free()?, port::free()?, port::free()?);
        let log = self.bench.log(&plan.name);
        // Only nginx cannot log to its standard output.
        let (access_log, separate) = (work.join("access.log"), plan.template.contains("@LOG@"));
        let common = [
            ("WORK", work.display().to_string()),
            ("UPSTREAM_PORT", self.upstream.to_string()),
            ("PORT", port.to_string()),
            ("TLS_PORT", tls_port.to_string()),
            ("ADMIN_PORT", admin.to_string()),
            ("LOG", access_log.display().to_string()),
        ];
        let file = work.join(format!("{}.conf", plan.name));
        fs::write(&file, fill(plan.template, common.iter().chain(plan.values)))
            .with_context(|| format!("write {}", file.display()))?;
        let mut spec = ServiceSpec::new(&plan.name, &plan.program, &log).env("GOMAXPROCS", "1");
        // Caddy writes to all of them.
        for variable in ["HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"] {
            spec = spec.env(variable, work);
        }
        spec.args.extend(plan.arguments.iter().map(Into::into));
        let ready = if plan.has_admin { admin } else { port };
        let spec = spec
            .arg(file)
            .ready_at(([127, 0, 0, 1], ready).into(), plan.ready);
        Ok(Proxy {
            service: self.bench.start(plan.cores, &spec)?,
            port,
            tls_port: if plan.template.contains("@TLS_PORT@") {
                tls_port
            } else {
                0
            },
            access_log: if separate { access_log } else { log },
        })
    }
}

/// A certificate of a day in `certificate.pem`, its key in `key.pem`, and both in `both.pem`.
fn write_certificate(work: &Path) -> anyhow::Result<()> {
    let life = Validity::of(Duration::from_hours(24));
    let identity = Authority::create("bench", life)
        .and_then(|authority| authority.issue(&CertificateRequest::of(&[tls::HOST])))
        .context("make a certificate")?;
    let both = [identity.certificate.as_str(), &identity.key].concat();
    for (name, text) in [
        ("certificate.pem", &identity.certificate),
        ("key.pem", &identity.key),
        ("both.pem", &both),
    ] {
        fs::write(work.join(name), text).with_context(|| format!("write {name}"))?;
    }
    Ok(())
}

impl<'a> Plan<'a> {
    /// On one core, ready once it proxies.
    fn plain(name: &str, program: PathBuf, template: &'a str, arguments: &'a [&'a str]) -> Self {
        Self {
            name: name.to_owned(),
            program,
            template,
            values: &[],
            arguments,
            ready: "/plain/ready",
            has_admin: false,
            cores: Cores::Server,
        }
    }
}

fn fill<'a>(template: &str, values: impl Iterator<Item = &'a (&'a str, String)>) -> String {
    values.fold(template.to_owned(), |text, (name, value)| {
        text.replace(&format!("@{name}@"), value)
    })
}

#[cfg(test)]
mod tests {
    use super::{CADDY, GATEWAY_WITH_LOGIN, HAPROXY, NGINX, fill};

    #[test]
    fn every_placeholder_has_a_value() {
        let names = [
            "WORK",
            "UPSTREAM_PORT",
            "PORT",
            "TLS_PORT",
            "ADMIN_PORT",
            "LOG",
            "JWKS_URL",
            "SECRET",
            "ALGORITHM",
            "KEY",
            "DIRECT",
            "THREADS",
            "STORE",
        ];
        let values = names.map(|name| (name, "1".to_owned()));
        for template in [GATEWAY_WITH_LOGIN, HAPROXY, NGINX, CADDY] {
            let text = fill(template, values.iter());
            assert!(!text.contains('@'), "{text}");
        }
    }
}
