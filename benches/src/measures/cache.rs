//! Cache hits and compression of the gateway beside those of nginx.

use anyhow::ensure;

use super::beside::{Pair, beside_nginx};
use super::peers::{Proxy, Setup};
use super::{CACHED, CONNECTIONS, TEXT};
use crate::bench::Bench;
use crate::load::{Load, Request};
use crate::report::{Section, Table};
use crate::rounds::Row;

const OWN_HIT: &str = "quartet-gateway, cache hit";
const NGINX_HIT: &str = "nginx, cache hit";
const OWN_GZIP: &str = "quartet-gateway, gzip";
const NGINX_GZIP: &str = "nginx, gzip";

pub(super) fn run(bench: &Bench) -> anyhow::Result<Section> {
    let setup = Setup::new(bench)?;
    let pairs = [(OWN_HIT, NGINX_HIT, CACHED), (OWN_GZIP, NGINX_GZIP, TEXT)];
    let pairs = pairs.map(|(own, nginx, work)| Pair { own, nginx, work });
    let (results, notes) = beside_nginx(&setup, &pairs, row)?;
    Ok(Section {
        text: format!(include_str!("cache.md"), bench.plan.pace(), CONNECTIONS),
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
