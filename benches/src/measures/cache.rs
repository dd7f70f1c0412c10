//! Cache hits and compression of the gateway beside those of nginx.

use anyhow::ensure;
use jsonwebtoken::Algorithm::HS256;

use super::peers::{Proxy, Setup};
use super::{CACHED, CONNECTIONS, TEXT};
use crate::bench::Bench;
use crate::load::{Load, Request};
use crate::report::{Section, Table};
use crate::rounds::{Row, alternate, warm_up};

const OWN_HIT: &str = "quartet-gateway, cache hit";
const NGINX_HIT: &str = "nginx, cache hit";
const OWN_GZIP: &str = "quartet-gateway, gzip";
const NGINX_GZIP: &str = "nginx, gzip";

pub(super) fn run(bench: &Bench) -> anyhow::Result<Section> {
    let setup = Setup::new(bench)?;
    let mut rows = vec![
        row(&setup, OWN_HIT, setup.gateway(HS256)?, CACHED)?,
        row(&setup, OWN_GZIP, setup.gateway(HS256)?, TEXT)?,
    ];
    let mut skipped = Vec::new();
    for (name, path) in [(NGINX_HIT, CACHED), (NGINX_GZIP, TEXT)] {
        match setup.nginx() {
            Ok(proxy) => rows.push(row(&setup, name, proxy, path)?),
            Err(error) => {
                bench.require_running()?;
                println!("  skipped: {name}: {error:#}");
                skipped.push(name);
            }
        }
    }
    warm_up(&rows)?;
    let pace = bench.plan.pace();
    let results = alternate(bench, pace, &rows)?;
    let pairs = [(OWN_HIT, NGINX_HIT), (OWN_GZIP, NGINX_GZIP)];
    let ratios = pairs.map(|(a, b)| (a, b, results.ratio(a, b)));
    let known = ratios.into_iter().filter(|(_, _, ratio)| !ratio.is_nan());
    let mut notes: Vec<String> = known
        .map(|(a, b, ratio)| format!("Requests/s of {a} to {b}: {ratio:.2}"))
        .collect();
    let skip = |name: &str| format!("Skipped, because it could not be started: {name}");
    notes.extend(skipped.into_iter().map(skip));
    Ok(Section {
        text: format!(include_str!("cache.md"), pace, CONNECTIONS),
        table: Table::of_results(&results, "proxy", "nginx, cache hit", NGINX_HIT),
        notes,
    })
}

/// A proxy, after a check that it does what its row says.
fn row<'a>(
    setup: &Setup<'a>,
    name: &'static str,
    proxy: Proxy,
    path: &str,
) -> anyhow::Result<Row<'a>> {
    let compresses = path == TEXT;
    let request = if compresses {
        Request::get_gzip(path)
    } else {
        Request::get(path, None)
    };
    // The first one fills the cache.
    request.head(proxy.port)?;
    let head = request.head(proxy.port)?;
    let (field, value) = if compresses {
        ("content-encoding", "gzip")
    } else if name == NGINX_HIT {
        ("x-cache", "hit")
    } else {
        ("cache-status", "hit")
    };
    let mut lines = head.lines();
    ensure!(
        lines.any(|line| line.starts_with(field) && line.contains(value)),
        "{name} does not say {field}: {value}: {head}"
    );
    let load = Load::Cycle(vec![request].into(), CONNECTIONS);
    let bench = setup.bench;
    Ok(Row::new(name, move |seconds| {
        proxy.run(bench, &load, seconds)
    }))
}
