//! Small servers and loops that run as processes of their own, so that they can be
//! pinned to a core and measured like everything else. Not for people.

mod hashing;
mod redirect;
mod upstream;

use std::path::PathBuf;

use anyhow::Context as _;
use quartet_devstack::{Service, ServiceSpec};

use crate::bench::Bench;
use crate::tokens::Issuer;

pub(crate) use hashing::HashParameters;

const UPSTREAM: &str = "helper-upstream";
pub(crate) const REDIRECT: &str = "helper-redirect";
pub(crate) const HASHING: &str = "helper-hashing";

/// Runs the helper that the first word names, if it names one.
pub(crate) fn run(words: &[String]) -> Option<anyhow::Result<()>> {
    let (name, rest) = words.split_first()?;
    match name.as_str() {
        UPSTREAM => Some(upstream::run(rest)),
        REDIRECT => Some(redirect::run(rest)),
        HASHING => Some(hashing::run(rest)),
        _ => None,
    }
}

/// This program.
pub(crate) fn program() -> anyhow::Result<PathBuf> {
    std::env::current_exe().context("find the running program")
}

/// A helper that listens on a port and has read a file.
pub(crate) fn server(
    bench: &Bench,
    name: &str,
    port: u16,
    file: PathBuf,
) -> anyhow::Result<ServiceSpec> {
    Ok(ServiceSpec::new(name, program()?, bench.log(name))
        .arg(name)
        .arg(port.to_string())
        .arg(file))
}

/// Starts the tiny upstream, which is also where the issuer's keys are.
pub(crate) fn start_upstream(bench: &Bench, issuer: &Issuer, port: u16) -> anyhow::Result<Service> {
    let jwks = bench.work().join("jwks.json");
    std::fs::write(&jwks, &issuer.jwks).context("write the public keys")?;
    let spec = server(bench, UPSTREAM, port, jwks)?;
    bench.start(&spec.ready_at(([127, 0, 0, 1], port).into(), "/ready"))
}

/// Port and content of the file that the words name.
fn port_and_file(words: &[String]) -> anyhow::Result<(u16, String)> {
    let [port, file] = words else {
        anyhow::bail!("a port and a file are needed")
    };
    let text = std::fs::read_to_string(file).with_context(|| format!("read {file}"))?;
    Ok((port.parse()?, text))
}
