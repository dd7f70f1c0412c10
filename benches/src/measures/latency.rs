//! How much later a response arrives for having passed the gateway, while it is half busy.

use jsonwebtoken::Algorithm::HS256;

use super::peers::{Setup, Variant};
use super::{CONNECTIONS, GUARDED, USERS};
use crate::bench::Bench;
use crate::load::{Load, Request};
use crate::paced::{self, Latency};
use crate::plan::Measure;
use crate::report::{Section, Table};
use crate::tokens::Issuer;
use crate::upstream;

/// The goal for what the gateway adds.
const GOAL_MICROS: f64 = 300.0;

pub(super) fn run(bench: &Bench) -> anyhow::Result<Section> {
    let issuer = Issuer::new()?;
    let setup = Setup {
        bench,
        upstream: upstream::start(&issuer.jwks)?,
        issuer: &issuer,
    };
    let general = Variant {
        direct: false,
        ..Variant::of(HS256)
    };
    let direct = setup.gateway(Variant::of(HS256))?;
    let general = setup.gateway(general)?;
    let nginx = setup.nginx().ok();
    let tokens = issuer.tokens(HS256, USERS)?;
    let requests: Vec<Request> = tokens
        .iter()
        .map(|token| Request::get(GUARDED, Some(token)))
        .collect();
    let pace = bench.plan.pace();
    let load = Load::Cycle(requests.clone(), CONNECTIONS);
    let highest = load.run(bench, direct.port, direct.service.pid(), pace.seconds)?;
    let rate = highest.per_second / 2.0;
    let mut subjects = vec![
        ("upstream alone", setup.upstream),
        ("quartet-gateway, HS256", direct.port),
        ("quartet-gateway, HS256, general path", general.port),
    ];
    subjects.extend(nginx.as_ref().map(|nginx| ("nginx, plain", nginx.port)));
    let mut all = vec![Vec::new(); subjects.len()];
    for number in 0..pace.rounds {
        for step in 0..subjects.len() {
            let index = (number + step) % subjects.len();
            let port = subjects[index].1;
            all[index].push(paced::run(bench, port, &requests, rate, pace.seconds)?);
        }
    }
    let latencies: Vec<Latency> = all.iter().map(|rounds| Latency::medians(rounds)).collect();
    let alone = latencies[0].p99_micros;
    let mut table = Table::new(&["server", "p50 us", "p99 us", "added to p99, us"]);
    for ((name, _), latency) in subjects.iter().zip(&latencies) {
        let p99 = latency.p99_micros;
        table.row(vec![
            (*name).to_owned(),
            format!("{:.0}", latency.p50_micros),
            format!("{p99:.0}"),
            format!("{:.0}", p99 - alone),
        ]);
    }
    let added = latencies[1].p99_micros - alone;
    let verdict = if added < GOAL_MICROS {
        "reached"
    } else {
        "missed"
    };
    Ok(Section {
        measure: Measure::Latency,
        title: "Latency at half load",
        how: format!(
            "{} rounds of {} s, {rate:.0} requests per second in an open loop, half of what quartet-gateway, HS256 \
             reached in a closed one; timed from when a request should have started. The load, with a thread for each \
             of its connections, and the upstream share the other cores.",
            pace.rounds, pace.seconds
        ),
        table,
        notes: vec![format!(
            "Added to the p99 by quartet-gateway, HS256: {added:.0} us; the goal of {GOAL_MICROS:.0} us is {verdict}."
        )],
    })
}
