//! The proxies that are compared, each with its configuration in benches/peers/.

use std::fs;
use std::path::PathBuf;

use anyhow::Context as _;
use jsonwebtoken::Algorithm;
use quartet_devstack::{Service, ServiceSpec, port, workspace};

use crate::bench::{Bench, Cores};
use crate::tokens::Issuer;
use crate::tools;

const GATEWAY: &str = include_str!("../../peers/gateway.toml");
const HAPROXY: &str = include_str!("../../peers/haproxy.cfg");
const NGINX: &str = include_str!("../../peers/nginx.conf");
const CADDY: &str = include_str!("../../peers/Caddyfile");

/// A running proxy.
pub(super) struct Proxy {
    pub(super) service: Service,
    pub(super) port: u16,
    /// Gets a line for every request.
    pub(super) access_log: PathBuf,
}

/// What all proxies have in common.
pub(super) struct Setup<'a> {
    pub(super) bench: &'a Bench,
    pub(super) issuer: &'a Issuer,
    pub(super) upstream: u16,
}

/// How to start a proxy.
struct Plan<'a> {
    name: String,
    program: PathBuf,
    template: &'a str,
    /// Replaces `@ALGORITHM@`, `@KEY@`, `@JWKS_URL@` and `@SECRET@`.
    values: &'a [(&'a str, String)],
    /// The file of the configuration follows.
    arguments: &'a [&'a str],
    ready: Ready,
    cores: Cores,
}

/// How the gateway is run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Variant {
    pub(super) algorithm: Algorithm,
    pub(super) direct: bool,
    pub(super) threads: usize,
}

impl Variant {
    /// As it is by default, on one core.
    pub(super) fn of(algorithm: Algorithm) -> Self {
        Self {
            algorithm,
            direct: true,
            threads: 1,
        }
    }
}

/// Where a proxy says that it is ready.
enum Ready {
    Admin(&'static str),
    Public(&'static str),
}

impl Setup<'_> {
    /// The gateway with public keys, or with a shared secret.
    pub(super) fn gateway(&self, variant: Variant) -> anyhow::Result<Proxy> {
        let Variant {
            algorithm,
            direct,
            threads,
        } = variant;
        let jwks = format!("http://127.0.0.1:{}/.well-known/jwks.json", self.upstream);
        let (jwks, secret) = if algorithm == Algorithm::HS256 {
            (String::new(), self.issuer.secret().to_owned())
        } else {
            (jwks, String::new())
        };
        self.start(&Plan {
            name: format!("gateway-{algorithm:?}-{direct}-{threads}"),
            program: workspace::binary("quartet-gateway")?,
            template: GATEWAY,
            values: &[
                ("JWKS_URL", jwks),
                ("SECRET", secret),
                ("DIRECT", direct.to_string()),
                ("THREADS", threads.to_string()),
            ],
            arguments: &["serve", "--config"],
            ready: Ready::Admin("/ready"),
            cores: if threads == 1 {
                Cores::Server
            } else {
                Cores::Two
            },
        })
    }

    /// pingora without the gateway. It writes no log.
    pub(super) fn empty_pingora(&self) -> anyhow::Result<Proxy> {
        self.start(&Plan {
            name: "empty-pingora".to_owned(),
            program: std::env::current_exe().context("find this program")?,
            template: "@PORT@ @UPSTREAM_PORT@",
            values: &[],
            arguments: &["empty"],
            ready: Ready::Public("/plain/ready"),
            cores: Cores::Server,
        })
    }

    pub(super) fn haproxy(&self, algorithm: Algorithm) -> anyhow::Result<Proxy> {
        let public_key = self.bench.work().join("public.pem");
        fs::write(&public_key, &self.issuer.p256_pem).context("write the public key")?;
        let key = match algorithm {
            Algorithm::HS256 => self.issuer.secret().to_owned(),
            _ => public_key.display().to_string(),
        };
        self.start(&Plan {
            name: format!("haproxy-{algorithm:?}"),
            program: tools::require("haproxy", "haproxy")?,
            template: HAPROXY,
            values: &[("ALGORITHM", format!("{algorithm:?}")), ("KEY", key)],
            arguments: &["-f"],
            ready: Ready::Public("/health"),
            cores: Cores::Server,
        })
    }

    pub(super) fn nginx(&self) -> anyhow::Result<Proxy> {
        self.start(&Plan {
            name: "nginx".to_owned(),
            program: tools::require("nginx", "nginx-light")?,
            template: NGINX,
            values: &[],
            // Before it has read its configuration it would log to a system directory.
            arguments: &["-e", "stderr", "-c"],
            ready: Ready::Public("/plain/ready"),
            cores: Cores::Server,
        })
    }

    pub(super) fn caddy(&self) -> anyhow::Result<Proxy> {
        self.start(&Plan {
            name: "caddy".to_owned(),
            program: tools::require("caddy", "caddy")?,
            template: CADDY,
            values: &[],
            arguments: &["run", "--adapter", "caddyfile", "--config"],
            ready: Ready::Public("/plain/ready"),
            cores: Cores::Server,
        })
    }

    fn start(&self, plan: &Plan<'_>) -> anyhow::Result<Proxy> {
        let work = self.bench.work();
        let (port, admin) = (port::free()?, port::free()?);
        let log = self.bench.log(&plan.name);
        // Only nginx cannot log to its standard output.
        let (access_log, separate) = (work.join("access.log"), plan.template.contains("@LOG@"));
        let common = [
            ("WORK", work.display().to_string()),
            ("UPSTREAM_PORT", self.upstream.to_string()),
            ("PORT", port.to_string()),
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
        let (ready, path) = match plan.ready {
            Ready::Admin(path) => (admin, path),
            Ready::Public(path) => (port, path),
        };
        let spec = spec
            .arg(file)
            .ready_at(([127, 0, 0, 1], ready).into(), path);
        Ok(Proxy {
            service: self.bench.start(plan.cores, &spec)?,
            port,
            access_log: if separate { access_log } else { log },
        })
    }
}

fn fill<'a>(template: &str, values: impl Iterator<Item = &'a (&'a str, String)>) -> String {
    values.fold(template.to_owned(), |text, (name, value)| {
        text.replace(&format!("@{name}@"), value)
    })
}

#[cfg(test)]
mod tests {
    use super::{CADDY, GATEWAY, HAPROXY, NGINX, fill};

    #[test]
    fn every_placeholder_has_a_value() {
        let names = [
            "WORK",
            "UPSTREAM_PORT",
            "PORT",
            "ADMIN_PORT",
            "LOG",
            "JWKS_URL",
            "SECRET",
            "ALGORITHM",
            "KEY",
            "DIRECT",
            "THREADS",
        ];
        let values = names.map(|name| (name, "1".to_owned()));
        for template in [GATEWAY, HAPROXY, NGINX, CADDY] {
            let text = fill(template, values.iter());
            assert!(!text.contains('@'), "{text}");
        }
    }
}
