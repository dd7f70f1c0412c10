//! The gateway beside its peers.

use std::fs::File;
use std::path::Path;

use anyhow::{Context as _, ensure};
use jsonwebtoken::Algorithm::{self, ES256, EdDSA, HS256};

use super::peers::{Proxy, Setup};
use super::{CONNECTIONS, GUARDED, PLAIN, USERS, VALIDATED};
use crate::bench::Bench;
use crate::load::Request;
use crate::report::{Section, Table};
use crate::rounds::{Results, Row, alternate, warm_up};

/// The shortest line that describes a request.
const LINE_BYTES: u64 = 40;

const PRODUCT: &str = "quartet";
const OWN: &str = "quartet-gateway, HS256";
const OWN_PLAIN: &str = "quartet-gateway, plain";
const GENERAL: &str = "quartet-gateway, HS256, general path";
const OWN_VALIDATED: &str = "quartet-gateway, HS256, validated";
const TWO_CORES: &str = "quartet-gateway, HS256, two cores";
const EMPTY: &str = "empty pingora";
const NGINX: &str = "nginx, plain";
/// The rows whose rates are compared in the notes.
const PAIRS: [(&str, &str); 9] = [
    (OWN, NGINX),
    (GENERAL, EMPTY),
    (TWO_CORES, OWN),
    (OWN_VALIDATED, OWN),
    (OWN, "HAProxy, HS256"),
    ("quartet-gateway, EdDSA", "HAProxy, ES256"),
    ("quartet-gateway, EdDSA", OWN_PLAIN),
    (OWN_PLAIN, NGINX),
    (OWN_PLAIN, "Caddy, plain"),
];

pub(super) fn run(bench: &Bench) -> anyhow::Result<Section> {
    let (rows, skipped) = start_all(&Setup::new(bench)?)?;
    warm_up(&rows)?;
    let pace = bench.plan.pace();
    let results = alternate(bench, pace, &rows)?;
    let mut notes = notes(bench, &results);
    let skip = |name: &str| format!("Skipped, because it could not be started: {name}");
    notes.extend(skipped.into_iter().map(skip));
    Ok(Section {
        text: format!(include_str!("gateway.md"), pace, CONNECTIONS, USERS),
        table: Table::of_results(&results, "proxy", "nginx", NGINX),
        notes,
    })
}

fn notes(bench: &Bench, results: &Results) -> Vec<String> {
    let ratio = |(a, b)| (a, b, results.ratio(a, b));
    let ratios = PAIRS.into_iter().map(ratio);
    let known = ratios.filter(|(_, _, ratio)| !ratio.is_nan());
    let mut notes: Vec<String> = known
        .map(|(a, b, ratio)| format!("Requests/s of {a} to {b}: {ratio:.2}"))
        .collect();
    notes.push("Every request of every round succeeded and was logged.".to_owned());
    let ratio = results.medians(OWN).cpu_micros / results.medians(NGINX).cpu_micros;
    if !ratio.is_nan() {
        notes.push(format!("CPU per request of {OWN} to {NGINX}: {ratio:.2}"));
    }
    if bench.core_count() < 4 {
        notes.push(format!(
            "{TWO_CORES} shares both cores with the load and the upstream: only its CPU time can be compared."
        ));
    }
    notes.extend(results.not_busy().map(|name| {
        format!("{name} did not use its whole core, the load was the bottleneck: compare CPU time.")
    }));
    notes
}

/// Everything that can be started, and the names of the rest.
fn start_all<'a>(setup: &Setup<'a>) -> anyhow::Result<(Vec<Row<'a>>, Vec<&'static str>)> {
    let (mut rows, mut skipped) = (Vec::new(), Vec::new());
    for (name, proxy, algorithm, guarded) in [
        ("quartet-gateway, EdDSA", setup.gateway(EdDSA), EdDSA, true),
        (OWN, setup.gateway(HS256), HS256, true),
        (OWN_VALIDATED, setup.gateway(HS256), HS256, true),
        (GENERAL, setup.gateway_with(HS256, false, 1), HS256, true),
        (TWO_CORES, setup.gateway_with(HS256, true, 2), HS256, true),
        (OWN_PLAIN, setup.gateway(EdDSA), EdDSA, false),
        (EMPTY, setup.empty_pingora(), HS256, false),
        ("HAProxy, HS256", setup.haproxy(HS256), HS256, true),
        ("HAProxy, ES256", setup.haproxy(ES256), ES256, true),
        (NGINX, setup.nginx(), EdDSA, false),
        ("Caddy, plain", setup.caddy(), EdDSA, false),
    ] {
        match proxy {
            Err(error) if !name.starts_with(PRODUCT) && name != EMPTY => {
                setup.bench.require_running()?;
                println!("  skipped: {name}: {error:#}");
                skipped.push(name);
            }
            proxy => rows.push(row(setup, name, proxy?, algorithm, guarded)?),
        }
    }
    Ok((rows, skipped))
}

/// A proxy with requests of all users in turn, after a check that it does what its row says: without
/// a token, or with a forged one, only plain proxies respond 200.
fn row<'a>(
    setup: &Setup<'a>,
    name: &'static str,
    proxy: Proxy,
    algorithm: Algorithm,
    guarded: bool,
) -> anyhow::Result<Row<'a>> {
    // The other proxies guard by their configuration.
    let path = match name {
        OWN_PLAIN => PLAIN,
        OWN_VALIDATED => VALIDATED,
        _ => GUARDED,
    };
    let token = setup.issuer.tokens(algorithm, 1)?.remove(0);
    let response = Request::get(path, Some(&token)).expect(proxy.port, 200)?;
    let body = &response.body;
    ensure!(body == "ok\n", "{name} responded `{body}`");
    let rejected = if guarded { 401 } else { 200 };
    Request::get(path, None).expect(proxy.port, rejected)?;
    Request::get(path, Some(&forge(&token))).expect(proxy.port, rejected)?;
    ensure!(
        !guarded || !name.starts_with(PRODUCT) || response.has_header("ratelimit"),
        "the gateway does not count requests"
    );
    let load = setup.load(algorithm, path)?;
    let bench = setup.bench;
    Ok(Row::new(name, move |seconds| {
        empty(&proxy.access_log)?;
        let round = proxy.run(bench, &load, seconds)?;
        let logged = empty(&proxy.access_log)?;
        ensure!(
            name == EMPTY || logged >= round.requests * LINE_BYTES,
            "{name} wrote only {logged} bytes of log for {} requests",
            round.requests
        );
        Ok(round)
    }))
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
    let file = File::options().write(true).open(log);
    let file = file.with_context(context)?;
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
