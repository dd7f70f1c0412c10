//! The gateway beside its peers.

use std::fs::File;
use std::path::Path;

use anyhow::{Context as _, ensure};
use jsonwebtoken::Algorithm::{self, ES256, EdDSA, HS256};

use super::peers::{Proxy, Setup, Variant};
use super::{BUSY, CONNECTIONS, GUARDED, PLAIN, USERS};
use crate::bench::Bench;
use crate::load::{Load, Request};
use crate::plan::Measure;
use crate::report::{Section, Table};
use crate::rounds::{Round, Rounds, alternate};
use crate::tokens::Issuer;
use crate::upstream;

/// The shortest line that describes a request.
const LINE_BYTES: u64 = 40;

const EMPTY: &str = "empty pingora";
const TWO_CORES: &str = "quartet-gateway, HS256, two cores";
/// The rows whose rates are compared in the notes.
const PAIRS: [(&str, &str); 8] = [
    ("quartet-gateway, HS256", "nginx, plain"),
    ("quartet-gateway, HS256, general path", EMPTY),
    (TWO_CORES, "quartet-gateway, HS256"),
    ("quartet-gateway, HS256", "HAProxy, HS256"),
    ("quartet-gateway, EdDSA", "HAProxy, ES256"),
    ("quartet-gateway, EdDSA", "quartet-gateway, plain"),
    ("quartet-gateway, plain", "nginx, plain"),
    ("quartet-gateway, plain", "Caddy, plain"),
];

/// One row of the table.
struct Subject {
    name: &'static str,
    proxy: Proxy,
    load: Load,
    path: &'static str,
    token: String,
    /// Whether it verifies tokens.
    guarded: bool,
}

pub(super) fn run(bench: &Bench) -> anyhow::Result<Section> {
    let issuer = Issuer::new()?;
    let setup = Setup {
        bench,
        upstream: upstream::start(&issuer.jwks)?,
        issuer: &issuer,
    };
    let (subjects, skipped) = start_all(&setup)?;
    for subject in &subjects {
        subject.check()?;
        subject.run(bench, 1)?;
    }
    let pace = bench.plan.pace();
    let results = alternate(bench, pace.rounds, &subjects, |subject| {
        subject.run(bench, pace.seconds)
    })?;
    let find = |name: &str| {
        let index = subjects.iter().position(|subject| subject.name == name)?;
        Some(&results[index])
    };
    let nginx = find("nginx, plain");
    let mut table = Table::of_rounds("proxy", "nginx");
    for (subject, rounds) in subjects.iter().zip(&results) {
        table.rounds(
            subject.name,
            rounds,
            nginx.map(|nginx| rounds.ratio_to(nginx)),
        );
    }
    let ratio = |(a, b): (&str, &str)| {
        let ratio = find(a)?.ratio_to(find(b)?);
        Some(format!("Requests/s of {a} to {b}: {ratio:.2}"))
    };
    let mut notes: Vec<String> = PAIRS.into_iter().filter_map(ratio).collect();
    notes.push("Every request of every round succeeded and was logged.".to_owned());
    notes.extend(cpu_notes(bench, find));
    let is_idle = |rounds: &Rounds| rounds.median(|round| round.busy) < BUSY;
    for (subject, _) in subjects
        .iter()
        .zip(&results)
        .filter(|(_, rounds)| is_idle(rounds))
    {
        let name = subject.name;
        notes.push(format!(
            "{name} did not use its whole core, the load was the bottleneck: compare CPU time."
        ));
    }
    let skip = |name: &str| format!("Skipped, because it could not be started: {name}");
    notes.extend(skipped.into_iter().map(skip));
    Ok(Section {
        measure: Measure::Gateway,
        title: "Gateway",
        how: format!(
            "{} rounds of {} s, {CONNECTIONS} connections, tokens of {USERS} users in turn, a tiny upstream that \
             responds `ok`. EdDSA, HS256 and ES256 rows verify the token, count a limit per user that is never \
             reached, set identity headers and a request id, keep metrics and write an access log to a file. Plain \
             rows only proxy requests and write the log; the empty pingora writes none. benches/peers/ has the configurations and describes their \
             differences.",
            pace.rounds, pace.seconds
        ),
        table,
        notes,
    })
}

/// What processor times say that rates do not.
fn cpu_notes<'r>(bench: &Bench, find: impl Fn(&str) -> Option<&'r Rounds>) -> Vec<String> {
    let cpu = |name| Some(find(name)?.median(|round| round.cpu_micros));
    let own = cpu("quartet-gateway, HS256").zip(cpu("nginx, plain"));
    let ratio = own.map(|(own, nginx)| {
        let ratio = own / nginx;
        format!("CPU per request of quartet-gateway, HS256 to nginx, plain: {ratio:.2}")
    });
    let shared = (bench.core_count() < 4).then(|| {
        format!(
            "{TWO_CORES} shares both cores with the load and the upstream: only its CPU time can be compared."
        )
    });
    ratio.into_iter().chain(shared).collect()
}

/// Everything that can be started, and the names of the rest.
fn start_all(setup: &Setup<'_>) -> anyhow::Result<(Vec<Subject>, Vec<&'static str>)> {
    let general = Variant {
        direct: false,
        ..Variant::of(HS256)
    };
    let two_cores = Variant {
        threads: 2,
        ..Variant::of(HS256)
    };
    let mut subjects = Vec::new();
    for (name, variant, guarded) in [
        ("quartet-gateway, EdDSA", Variant::of(EdDSA), true),
        ("quartet-gateway, HS256", Variant::of(HS256), true),
        ("quartet-gateway, HS256, general path", general, true),
        (TWO_CORES, two_cores, true),
        ("quartet-gateway, plain", Variant::of(EdDSA), false),
    ] {
        let proxy = setup.gateway(variant)?;
        subjects.push(subject(setup, name, proxy, variant.algorithm, guarded)?);
    }
    let empty = setup.empty_pingora()?;
    subjects.push(subject(setup, EMPTY, empty, HS256, false)?);
    let mut skipped = Vec::new();
    for (name, proxy, algorithm, guarded) in [
        ("HAProxy, HS256", setup.haproxy(HS256), HS256, true),
        ("HAProxy, ES256", setup.haproxy(ES256), ES256, true),
        ("nginx, plain", setup.nginx(), EdDSA, false),
        ("Caddy, plain", setup.caddy(), EdDSA, false),
    ] {
        match proxy {
            Ok(proxy) => subjects.push(subject(setup, name, proxy, algorithm, guarded)?),
            Err(error) => {
                setup.bench.require_running()?;
                println!("  skipped: {name}: {error:#}");
                skipped.push(name);
            }
        }
    }
    Ok((subjects, skipped))
}

/// A proxy with requests of all users in turn.
fn subject(
    setup: &Setup<'_>,
    name: &'static str,
    proxy: Proxy,
    algorithm: Algorithm,
    guarded: bool,
) -> anyhow::Result<Subject> {
    // The other proxies guard by their configuration.
    let is_plain = !guarded && name.starts_with("quartet");
    let path = if is_plain { PLAIN } else { GUARDED };
    let tokens = setup.issuer.tokens(algorithm, USERS)?;
    let requests = tokens.iter().map(|token| Request::get(path, Some(token)));
    Ok(Subject {
        name,
        proxy,
        load: Load::Cycle(requests.collect(), CONNECTIONS),
        path,
        token: tokens[0].clone(),
        guarded,
    })
}

impl Subject {
    /// Checks that it does what its row says: without a token, or with a forged one, only plain proxies
    /// respond 200.
    fn check(&self) -> anyhow::Result<()> {
        let port = self.proxy.port;
        let response = Request::get(self.path, Some(&self.token)).expect(port, 200)?;
        let body = &response.body;
        ensure!(body == "ok\n", "{} responded `{body}`", self.name);
        let rejected = if self.guarded { 401 } else { 200 };
        Request::get(self.path, None).expect(port, rejected)?;
        Request::get(self.path, Some(&forge(&self.token))).expect(port, rejected)?;
        ensure!(
            !self.guarded || !self.name.starts_with("quartet") || response.has_header("ratelimit"),
            "the gateway does not count requests"
        );
        Ok(())
    }

    fn run(&self, bench: &Bench, seconds: u32) -> anyhow::Result<Round> {
        let Proxy {
            service,
            port,
            access_log,
        } = &self.proxy;
        empty(access_log)?;
        let round = self.load.run(bench, *port, service.pid(), seconds)?;
        let logged = empty(access_log)?;
        ensure!(
            self.name == EMPTY || logged >= round.requests * LINE_BYTES,
            "{} wrote only {logged} bytes of log for {} requests",
            self.name,
            round.requests
        );
        Ok(round)
    }
}

/// The token with another signature.
fn forge(token: &str) -> String {
    let (signed, signature) = token.rsplit_once('.').unwrap_or((token, ""));
    let reversed: String = signature.chars().rev().collect();
    format!("{signed}.{reversed}")
}

/// Empties a log between rounds, so that old lines are never written to the disk; returns its length.
fn empty(log: &Path) -> anyhow::Result<u64> {
    let context = || format!("empty {}", log.display());
    let file = File::options()
        .write(true)
        .open(log)
        .with_context(context)?;
    let bytes = file.metadata().with_context(context)?.len();
    file.set_len(0).with_context(context)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::forge;

    #[test]
    fn a_forged_token_differs_only_in_its_signature() {
        assert_eq!(forge("head.body.abc"), "head.body.cba");
    }
}
