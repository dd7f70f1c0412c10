//! Static files of the gateway beside nginx.

use std::fs;

use anyhow::{Context as _, ensure};

use super::CONNECTIONS;
use super::beside::{Pair, beside_nginx};
use super::peers::{Proxy, Setup};
use crate::bench::Bench;
use crate::load::{Load, Request};
use crate::report::{Section, Table};
use crate::rounds::Row;

/// A script as bundlers split them, and a download. Both programs have them under this path.
const SMALL: (&str, usize) = ("small.js", 4 * 1024);
const LARGE: (&str, usize) = ("large.bin", 10_000_000);
const PATH: &str = "/files/";
/// Downloads at a time.
const DOWNLOADS: usize = 8;

const OWN_SMALL: &str = "quartet-gateway, 4 KiB";
const NGINX_SMALL: &str = "nginx, 4 KiB";
const OWN_LARGE: &str = "quartet-gateway, 10 MB";
const NGINX_LARGE: &str = "nginx, 10 MB";

pub(super) fn run(bench: &Bench) -> anyhow::Result<Section> {
    let setup = Setup::new(bench)?;
    let directory = bench.work.join("site");
    fs::create_dir_all(&directory).context("create the directory of the site")?;
    for (name, length) in [SMALL, LARGE] {
        fs::write(directory.join(name), vec![b'x'; length]).context("write a file of the site")?;
    }
    let pairs = [
        (OWN_SMALL, NGINX_SMALL, SMALL),
        (OWN_LARGE, NGINX_LARGE, LARGE),
    ];
    let pairs = pairs.map(|(own, nginx, work)| Pair { own, nginx, work });
    let (results, notes) = beside_nginx(&setup, &pairs, row)?;
    let pace = bench.plan.pace();
    Ok(Section {
        text: format!(include_str!("sites.md"), pace, CONNECTIONS, DOWNLOADS),
        table: Table::of_results(&results, "server", NGINX_SMALL, NGINX_SMALL),
        notes,
    })
}

/// A server, after a check that it has the whole file.
fn row<'a>(
    setup: &Setup<'a>,
    name: &'static str,
    proxy: Proxy,
    (file, length): (&str, usize),
) -> anyhow::Result<Row<'a>> {
    let request = Request::get(&format!("{PATH}{file}"), None);
    let head = request.head(proxy.port)?;
    let wanted = format!("content-length: {length}");
    ensure!(
        head.lines().any(|line| line.eq_ignore_ascii_case(&wanted)),
        "{name} does not say {wanted}: {head}"
    );
    let connections = if length == LARGE.1 {
        DOWNLOADS
    } else {
        CONNECTIONS
    };
    let load = Load::Cycle(vec![request].into(), connections);
    let bench = setup.bench;
    Ok(Row::new(name, move |seconds| {
        proxy.run(bench, &load, seconds)
    }))
}
