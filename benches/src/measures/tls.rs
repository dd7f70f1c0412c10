//! TLS handshakes of the gateway beside nginx and `HAProxy`, and requests on connections with and without TLS.

use jsonwebtoken::Algorithm::HS256;

use super::peers::{Proxy, Setup};
use super::{CONNECTIONS, GUARDED, USERS};
use crate::bench::Bench;
use crate::load::{Load, Request};
use crate::report::{Section, Table, at_least};
use crate::rounds::{Results, Row, alternate, warm_up};
use crate::tls::Handshake::{self, Full, Resumed};

/// All three respond to it without an upstream.
const PATH: &str = "/tls";
/// Handshakes at a time.
const HANDSHAKES: usize = 16;
/// Of the better one of the others, and of requests without TLS.
const GOAL: f64 = 0.9;

const PLAIN: &str = "quartet-gateway, HS256";
const SECURE: &str = "quartet-gateway, HS256, TLS";
/// Names for full and for resumed handshakes.
const OWN: [&str; 2] = ["quartet-gateway, full", "quartet-gateway, resumed"];
const NGINX: [&str; 2] = ["nginx, full", "nginx, resumed"];
const HAPROXY: [&str; 2] = ["HAProxy, full", "HAProxy, resumed"];

pub(super) fn run(bench: &Bench) -> anyhow::Result<Section> {
    let setup = Setup::new(bench)?;
    let gateway = setup.gateway(HS256)?;
    let mut others = Vec::new();
    let mut notes = Vec::new();
    for (names, proxy) in [(NGINX, setup.nginx()), (HAPROXY, setup.haproxy(HS256))] {
        match proxy {
            Ok(proxy) => others.push((names, proxy)),
            Err(error) => {
                bench.require_running()?;
                println!("  skipped: {}: {error:#}", names[0]);
                notes.push(format!(
                    "Skipped, because it could not be started: {}",
                    names[0]
                ));
            }
        }
    }
    let requests = setup.requests(HS256, GUARDED)?;
    let plain = Load::Cycle(requests.clone(), CONNECTIONS);
    let secure = Load::Secure(requests, CONNECTIONS);
    let mut rows = Vec::new();
    for (number, handshake) in [Full, Resumed].into_iter().enumerate() {
        rows.push(row(bench, OWN[number], &gateway, handshake)?);
        for (names, proxy) in &others {
            rows.push(row(bench, names[number], proxy, handshake)?);
        }
    }
    rows.push(Row::new(PLAIN, |seconds| {
        gateway.run(bench, &plain, seconds)
    }));
    rows.push(Row::new(SECURE, |seconds| {
        gateway.run(bench, &secure, seconds)
    }));
    warm_up(&rows)?;
    let pace = bench.plan.pace();
    let results = alternate(bench, pace, &rows)?;
    notes.splice(0..0, compare(&results));
    let mut table = Table::of_results(&results, "server", "plain", PLAIN);
    // A handshake is no request on an open connection.
    for row in 1..=rows.len() - 2 {
        table.blank(row, 2);
    }
    Ok(Section {
        text: format!(include_str!("tls.md"), pace, HANDSHAKES, CONNECTIONS, USERS),
        table,
        notes,
    })
}

fn row<'a>(
    bench: &'a Bench,
    name: &'static str,
    proxy: &'a Proxy,
    handshake: Handshake,
) -> anyhow::Result<Row<'a>> {
    let request = Request::get(PATH, None);
    request.expect(proxy.port, 200)?;
    let load = Load::Handshakes(request, HANDSHAKES, handshake);
    Ok(Row::new(name, move |seconds| {
        proxy.run(bench, &load, seconds)
    }))
}

/// Handshakes by processor time, since the client does as much as the server.
fn compare(results: &Results) -> Vec<String> {
    let mut notes = Vec::new();
    for number in 0..2 {
        let micros = |names: [&str; 2]| results.medians(names[number]).cpu_micros;
        let best = micros(NGINX).min(micros(HAPROXY));
        let ratio = best / micros(OWN);
        if !ratio.is_nan() {
            notes.push(format!(
                "Handshakes per processor second of {} to the better of the others: {ratio:.2}; the goal of {GOAL} is {}.",
                OWN[number],
                at_least(ratio, GOAL)
            ));
        }
    }
    let ratio = results.ratio(SECURE, PLAIN);
    notes.push(format!(
        "Requests/s of {SECURE} to {PLAIN}: {ratio:.2}; the goal of {GOAL} is {}.",
        at_least(ratio, GOAL)
    ));
    notes
}
