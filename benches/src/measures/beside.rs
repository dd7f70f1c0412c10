//! What the gateway does, beside nginx that does the same.

use jsonwebtoken::Algorithm::HS256;

use super::peers::{Proxy, Setup};
use crate::rounds::{Results, Row, alternate, warm_up};

/// Rows of both for each kind of work, and what they have in common.
pub(super) struct Pair<W> {
    pub(super) own: &'static str,
    pub(super) nginx: &'static str,
    pub(super) work: W,
}

/// The results of all pairs, and notes with their ratios. Without nginx, those of the gateway alone.
pub(super) fn beside_nginx<'a, W: Copy>(
    setup: &Setup<'a>,
    pairs: &[Pair<W>],
    row: impl Fn(&Setup<'a>, &'static str, Proxy, W) -> anyhow::Result<Row<'a>>,
) -> anyhow::Result<(Results, Vec<String>)> {
    let bench = setup.bench;
    let mut rows = Vec::new();
    for pair in pairs {
        rows.push(row(setup, pair.own, setup.gateway(HS256)?, pair.work)?);
    }
    let mut skipped = Vec::new();
    for pair in pairs {
        match setup.nginx() {
            Ok(proxy) => rows.push(row(setup, pair.nginx, proxy, pair.work)?),
            Err(error) => {
                bench.require_running()?;
                println!("  skipped: {}: {error:#}", pair.nginx);
                skipped.push(pair.nginx);
            }
        }
    }
    warm_up(&rows)?;
    let results = alternate(bench, bench.plan.pace(), &rows)?;
    let ratios = pairs
        .iter()
        .map(|pair| (pair, results.ratio(pair.own, pair.nginx)));
    let known = ratios.filter(|(_, ratio)| !ratio.is_nan());
    let mut notes: Vec<String> = known
        .map(|(Pair { own, nginx, .. }, ratio)| {
            format!("Requests/s of {own} to {nginx}: {ratio:.2}")
        })
        .collect();
    let skip = |name: &str| format!("Skipped, because it could not be started: {name}");
    notes.extend(skipped.into_iter().map(skip));
    Ok((results, notes))
}
