//! How much later a response arrives for having passed the gateway, while it is half busy.

use jsonwebtoken::Algorithm::HS256;

use super::peers::Setup;
use super::{GUARDED, load_of_users, of_users};
use crate::bench::Bench;
use crate::paced;
use crate::report::{Section, Table, verdict};
use crate::rounds::{Row, alternate};
use crate::tokens::Issuer;

/// The goal for what the gateway adds.
const GOAL_MICROS: f64 = 300.0;

const ALONE: &str = "upstream alone";
const OWN: &str = "quartet-gateway, HS256";

pub(super) fn run(bench: &Bench) -> anyhow::Result<Section> {
    let issuer = Issuer::new()?;
    let setup = Setup::new(bench, &issuer)?;
    let direct = setup.gateway(HS256)?;
    let general = setup.general_gateway(HS256)?;
    let nginx = setup.nginx().ok();
    let requests = of_users(&issuer, HS256, GUARDED)?;
    let pace = bench.plan.pace();
    let load = load_of_users(&issuer, HS256, GUARDED)?;
    let highest = direct.run(bench, &load, pace.seconds)?;
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
    let p99 = |name: &str| results.medians(name).map_or(f64::NAN, |it| it.p99_ms * 1e3);
    let mut table = Table::new(&["server", "p50 us", "p99 us", "added to p99, us"]);
    for (name, rounds) in &results.0 {
        table.row([
            (*name).to_owned(),
            format!("{:.0}", rounds.medians().p50_ms * 1e3),
            format!("{:.0}", p99(name)),
            format!("{:.0}", p99(name) - p99(ALONE)),
        ]);
    }
    let added = p99(OWN) - p99(ALONE);
    let verdict = verdict(added, GOAL_MICROS);
    Ok(Section {
        title: "Latency at half load",
        how: format!(
            "{} rounds of {} s, {rate:.0} requests per second in an open loop, half of what {OWN} \
             reached in a closed one; timed from when a request should have started. The load, with a thread for each \
             of its connections, and the upstream share the other cores.",
            pace.rounds, pace.seconds
        ),
        table,
        notes: vec![format!(
            "Added to the p99 by {OWN}: {added:.0} us; the goal of {GOAL_MICROS:.0} us is {verdict}."
        )],
    })
}
