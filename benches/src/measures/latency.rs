//! How much later a response arrives for having passed the gateway, while it is half busy.

use jsonwebtoken::Algorithm::HS256;

use super::GUARDED;
use super::peers::Setup;
use crate::bench::Bench;
use crate::paced;
use crate::report::{Section, Table, verdict};
use crate::rounds::{Row, alternate};

/// The goal for what the gateway adds.
const GOAL_MICROS: f64 = 300.0;

const ALONE: &str = "upstream alone";
const OWN: &str = "quartet-gateway, HS256";

pub(super) fn run(bench: &Bench) -> anyhow::Result<Section> {
    let setup = Setup::new(bench)?;
    let direct = setup.gateway(HS256)?;
    let general = setup.gateway_with(HS256, false, 1)?;
    let nginx = setup.nginx().ok();
    let requests = setup.requests(HS256, GUARDED)?;
    let pace = bench.plan.pace();
    let highest = direct.run(bench, &setup.load(HS256, GUARDED)?, pace.seconds)?;
    let rate = highest.per_second / 2.0;
    let row = |name, port| {
        let requests = &requests;
        Row::new(name, move |seconds| {
            paced::run(bench, port, requests, rate, seconds)
        })
    };
    let mut rows = vec![
        row(ALONE, setup.upstream),
        row(OWN, direct.port),
        row("quartet-gateway, HS256, general path", general.port),
    ];
    rows.extend(nginx.as_ref().map(|nginx| row("nginx, plain", nginx.port)));
    let results = alternate(bench, pace, &rows)?;
    let us = |name| {
        let medians = results.medians(name);
        (medians.p50_ms * 1e3, medians.p99_ms * 1e3)
    };
    let (_, alone) = us(ALONE);
    let mut table = Table::new("server | p50 us | p99 us | added to p99, us");
    for (name, _) in &results.0 {
        let (p50, p99) = us(name);
        table.row(name, 0, &[p50, p99, p99 - alone]);
    }
    let added = us(OWN).1 - alone;
    let verdict = verdict(added, GOAL_MICROS);
    Ok(Section {
        text: format!(include_str!("latency.md"), pace, rate, OWN),
        table,
        notes: vec![format!(
            "Added to the p99 by {OWN}: {added:.0} us; the goal of {GOAL_MICROS:.0} us is {verdict}."
        )],
    })
}
