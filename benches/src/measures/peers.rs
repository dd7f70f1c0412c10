//! The proxies that are compared, each with its configuration in benches/peers/.

use std::fs;
use std::path::{Path, PathBuf};

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

/// A process that is about to be started with its configuration.
struct Plan {
    spec: ServiceSpec,
    port: u16,
    access_log: Option<PathBuf>,
    ready: (u16, &'static str),
}

impl Setup<'_> {
    /// The gateway with public keys, or with a shared secret.
    pub(super) fn gateway(&self, algorithm: Algorithm) -> anyhow::Result<Proxy> {
        let (port, admin) = (port::free()?, port::free()?);
        let jwks = format!("http://127.0.0.1:{}/.well-known/jwks.json", self.upstream);
        let (jwks, secret) = if algorithm == Algorithm::HS256 {
            ("", self.issuer.secret())
        } else {
            (jwks.as_str(), "")
        };
        let (port_text, admin_text) = (port.to_string(), admin.to_string());
        let values = [
            ("PORT", port_text.as_str()),
            ("ADMIN_PORT", &admin_text),
            ("JWKS_URL", jwks),
            ("SECRET", secret),
        ];
        let name = format!("gateway-{algorithm:?}");
        let file = self.write(&format!("{name}.toml"), GATEWAY, &values)?;
        let program = workspace::binary("quartet-gateway")?;
        let spec = ServiceSpec::new("quartet-gateway", program, self.bench.log(&name))
            .arg("serve")
            .arg("--config")
            .arg(file);
        self.start(Plan {
            spec,
            port,
            access_log: None,
            ready: (admin, "/ready"),
        })
    }

    pub(super) fn haproxy(&self, algorithm: Algorithm) -> anyhow::Result<Proxy> {
        let program = tools::require("haproxy", "haproxy")?;
        let port = port::free()?;
        let public_key = self.bench.work().join("public.pem");
        fs::write(&public_key, &self.issuer.p256_pem).context("write the public key")?;
        let public_key = public_key.display().to_string();
        let key = match algorithm {
            Algorithm::HS256 => self.issuer.secret(),
            _ => &public_key,
        };
        let name = format!("haproxy-{algorithm:?}");
        let values = [
            ("PORT", port.to_string()),
            ("ADMIN_PORT", port::free()?.to_string()),
            ("ALGORITHM", format!("{algorithm:?}")),
            ("KEY", key.to_owned()),
        ];
        let values = values
            .each_ref()
            .map(|(name, value)| (*name, value.as_str()));
        let file = self.write(&format!("{name}.cfg"), HAPROXY, &values)?;
        let spec = ServiceSpec::new("haproxy", program, self.bench.log(&name))
            .arg("-f")
            .arg(file);
        self.start(Plan {
            spec,
            port,
            access_log: None,
            ready: (port, "/health"),
        })
    }

    pub(super) fn nginx(&self) -> anyhow::Result<Proxy> {
        let program = tools::require("nginx", "nginx-light")?;
        let port = port::free()?;
        let access_log = self.bench.log("nginx-access");
        let (port_text, log_text) = (port.to_string(), access_log.display().to_string());
        let values = [("PORT", port_text.as_str()), ("LOG", &log_text)];
        let file = self.write("nginx.conf", NGINX, &values)?;
        let spec = ServiceSpec::new("nginx", program, self.bench.log("nginx"))
            .arg("-p")
            .arg(self.bench.work())
            // Before it has read its configuration it would log to a system directory.
            .arg("-e")
            .arg("stderr")
            .arg("-c")
            .arg(file);
        self.start(Plan {
            spec,
            port,
            access_log: Some(access_log),
            ready: (port, "/plain/ready"),
        })
    }

    pub(super) fn caddy(&self) -> anyhow::Result<Proxy> {
        let program = tools::require("caddy", "caddy")?;
        let port = port::free()?;
        let file = self.write("Caddyfile", CADDY, &[("PORT", &port.to_string())])?;
        let mut spec = ServiceSpec::new("caddy", program, self.bench.log("caddy"))
            .env("GOMAXPROCS", "1")
            .arg(file);
        let options = ["run", "--adapter", "caddyfile", "--config"];
        spec.args.splice(0..0, options.map(Into::into));
        for variable in ["HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"] {
            spec = spec.env(variable, self.bench.work());
        }
        self.start(Plan {
            spec,
            port,
            access_log: None,
            ready: (port, "/plain/ready"),
        })
    }

    fn start(&self, plan: Plan) -> anyhow::Result<Proxy> {
        let (port, path) = plan.ready;
        let spec = plan.spec.ready_at(([127, 0, 0, 1], port).into(), path);
        Ok(Proxy {
            service: self.bench.start(Cores::Server, &spec)?,
            port: plan.port,
            access_log: plan.access_log.unwrap_or(spec.log),
        })
    }

    fn write(
        &self,
        name: &str,
        template: &str,
        values: &[(&str, &str)],
    ) -> anyhow::Result<PathBuf> {
        let work = self.bench.work();
        let path = work.join(name);
        fs::write(&path, fill(template, work, self.upstream, values))
            .with_context(|| format!("write {}", path.display()))?;
        Ok(path)
    }
}

fn fill(template: &str, work: &Path, upstream: u16, values: &[(&str, &str)]) -> String {
    let common = template
        .replace("@WORK@", &work.display().to_string())
        .replace("@UPSTREAM_PORT@", &upstream.to_string());
    let fill =
        |text: String, (name, value): &(&str, &str)| text.replace(&format!("@{name}@"), value);
    values.iter().fold(common, fill)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{CADDY, GATEWAY, HAPROXY, NGINX, fill};

    #[test]
    fn every_placeholder_has_a_value() {
        let names = [
            "PORT",
            "ADMIN_PORT",
            "JWKS_URL",
            "SECRET",
            "ALGORITHM",
            "KEY",
            "LOG",
        ];
        let values = names.map(|name| (name, "1"));
        for template in [GATEWAY, HAPROXY, NGINX, CADDY] {
            let text = fill(template, Path::new("/w"), 2, &values);
            assert!(!text.contains('@'), "{text}");
        }
    }
}
