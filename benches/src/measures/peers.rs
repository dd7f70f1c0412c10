//! The proxies that are compared: each from its configuration in benches/peers/.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use jsonwebtoken::Algorithm;
use quartet_devstack::{Service, ServiceSpec, port, workspace};

use crate::bench::Bench;
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
pub(super) struct Setting<'a> {
    pub(super) bench: &'a Bench,
    pub(super) issuer: &'a Issuer,
    pub(super) upstream: u16,
}

impl Setting<'_> {
    /// The gateway with public keys, or with a shared secret.
    pub(super) fn gateway(&self, algorithm: Algorithm) -> anyhow::Result<Proxy> {
        let name = format!("gateway-{algorithm:?}");
        let (port, admin) = (port::free()?, port::free()?);
        let jwks = format!("http://127.0.0.1:{}/.well-known/jwks.json", self.upstream);
        let shared = algorithm == Algorithm::HS256;
        let values = [
            ("PORT", port.to_string()),
            ("ADMIN_PORT", admin.to_string()),
            ("JWKS_URL", if shared { String::new() } else { jwks }),
            (
                "SECRET",
                if shared {
                    self.issuer.secret().to_owned()
                } else {
                    String::new()
                },
            ),
        ];
        let file = self.write(&format!("{name}.toml"), GATEWAY, &values)?;
        let program = workspace::binary("quartet-gateway")?;
        let spec = ServiceSpec::new("quartet-gateway", program, self.bench.log(&name))
            .arg("serve")
            .arg("--config")
            .arg(file)
            .ready_at(([127, 0, 0, 1], admin).into(), "/ready");
        self.start(spec, port, None)
    }

    pub(super) fn haproxy(&self, algorithm: Algorithm) -> anyhow::Result<Proxy> {
        let program = tools::require("haproxy", "haproxy")?;
        let name = format!("haproxy-{algorithm:?}");
        let (port, admin) = (port::free()?, port::free()?);
        let key = if algorithm == Algorithm::HS256 {
            self.issuer.secret().to_owned()
        } else {
            let path = self.bench.work().join("public.pem");
            fs::write(&path, &self.issuer.p256_pem).context("write the public key")?;
            path.display().to_string()
        };
        let values = [
            ("PORT", port.to_string()),
            ("ADMIN_PORT", admin.to_string()),
            ("ALGORITHM", format!("{algorithm:?}")),
            ("KEY", key),
        ];
        let file = self.write(&format!("{name}.cfg"), HAPROXY, &values)?;
        let spec = ServiceSpec::new("haproxy", program, self.bench.log(&name))
            .arg("-f")
            .arg(file)
            .ready_at(([127, 0, 0, 1], port).into(), "/health");
        self.start(spec, port, None)
    }

    pub(super) fn nginx(&self) -> anyhow::Result<Proxy> {
        let program = tools::require("nginx", "nginx-light")?;
        let port = port::free()?;
        let access_log = self.bench.log("nginx-access");
        let values = [
            ("PORT", port.to_string()),
            ("LOG", access_log.display().to_string()),
        ];
        let file = self.write("nginx.conf", NGINX, &values)?;
        let spec = ServiceSpec::new("nginx", program, self.bench.log("nginx"))
            .arg("-p")
            .arg(self.bench.work())
            // Its first words go to a log of the system otherwise.
            .args(["-e", "stderr", "-c"])
            .arg(file)
            .ready_at(([127, 0, 0, 1], port).into(), "/plain/ready");
        self.start(spec, port, Some(access_log))
    }

    pub(super) fn caddy(&self) -> anyhow::Result<Proxy> {
        let program = tools::require("caddy", "caddy")?;
        let port = port::free()?;
        let file = self.write("Caddyfile", CADDY, &[("PORT", port.to_string())])?;
        let spec = ServiceSpec::new("caddy", program, self.bench.log("caddy"))
            .args(["run", "--adapter", "caddyfile", "--config"])
            .arg(file)
            .env("GOMAXPROCS", "1")
            .env("HOME", self.bench.work())
            .env("XDG_DATA_HOME", self.bench.work())
            .env("XDG_CONFIG_HOME", self.bench.work())
            .ready_at(([127, 0, 0, 1], port).into(), "/plain/ready");
        self.start(spec, port, None)
    }

    fn start(&self, spec: ServiceSpec, port: u16, log: Option<PathBuf>) -> anyhow::Result<Proxy> {
        let access_log = log.unwrap_or_else(|| spec.log.clone());
        let service = self.bench.start(&self.bench.pinned(spec))?;
        Ok(Proxy {
            service,
            port,
            access_log,
        })
    }

    fn write(
        &self,
        name: &str,
        template: &str,
        values: &[(&str, String)],
    ) -> anyhow::Result<PathBuf> {
        let work = self.bench.work();
        let path = work.join(name);
        fs::write(&path, fill(template, work, self.upstream, values))
            .with_context(|| format!("write {}", path.display()))?;
        Ok(path)
    }
}

fn fill(template: &str, work: &Path, upstream: u16, values: &[(&str, String)]) -> String {
    let common = template
        .replace("@WORK@", &work.display().to_string())
        .replace("@UPSTREAM_PORT@", &upstream.to_string());
    values.iter().fold(common, |text, (name, value)| {
        text.replace(&format!("@{name}@"), value)
    })
}

/// `args` for a specification.
trait Arguments {
    fn args<const N: usize>(self, words: [&str; N]) -> Self;
}

impl Arguments for ServiceSpec {
    fn args<const N: usize>(self, words: [&str; N]) -> Self {
        words.into_iter().fold(self, ServiceSpec::arg)
    }
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
        let values = names.map(|name| (name, "1".to_owned()));
        for template in [GATEWAY, HAPROXY, NGINX, CADDY] {
            let text = fill(template, Path::new("/w"), 2, &values);
            assert!(!text.contains('@'), "{text}");
        }
    }
}
