//! What a connection costs that is only open.

use anyhow::Context as _;
use jsonwebtoken::Algorithm::HS256;
use rustix::process::{Resource, getrlimit};

use super::PLAIN;
use super::peers::{Proxy, Setup};
use crate::bench::Bench;
use crate::load::{Connection, Request, count, runtime};
use crate::report::{Section, Table, verdict};
use crate::usage::Usage;

/// Of each kind, if this process may open as many.
const CONNECTIONS: u64 = 10_000;
/// Files of this process that are not connections.
const OTHER_FILES: u64 = 200;
/// The goal for that many `WebSockets`.
const GOAL_MB: f64 = 150.0;

pub(super) fn run(bench: &Bench) -> anyhow::Result<Section> {
    let setup = Setup::new(bench)?;
    let files = getrlimit(Resource::Nofile).current;
    // Both ends of a WebSocket are here.
    let most = files.map_or(CONNECTIONS, |files| files.saturating_sub(OTHER_FILES) / 2);
    let wanted = if bench.plan.quick { 1000 } else { CONNECTIONS };
    let number = wanted.min(most);
    let mut table = Table::new("connections | number | resident MB | before | KiB each");
    let (kept, client) = (Request::get(PLAIN, None), runtime()?);
    let mut measure = |name: &str, proxy: Proxy, request: &Request| {
        let resident = || anyhow::Ok(Usage::of_group(proxy.service.pid())?.resident_mb);
        let open = |request| client.block_on(Connection::used(proxy.port, request));
        open(&kept)?;
        let before = resident()?;
        let mut connections = Vec::new();
        for _ in 0..number {
            bench.require_running()?;
            connections.push(open(request).context("open a connection")?);
        }
        let after = resident()?;
        let each = (after - before).max(0.0) * 1e6 / 1024.0 / count(number);
        let row = table.row(name, 1, &[after, before, each]);
        row.insert(1, number.to_string());
        anyhow::Ok(after)
    };
    measure("kept alive, direct path", setup.gateway(HS256)?, &kept)?;
    let general = setup.gateway_with(HS256, false, 1)?;
    measure("kept alive, general path", general, &kept)?;
    if let Ok(nginx) = setup.nginx() {
        measure("kept alive, nginx", nginx, &kept)?;
    }
    let socket = Request::websocket("/ws/idle");
    let sockets = measure("WebSockets", setup.gateway(HS256)?, &socket)?;
    let verdict = if number < CONNECTIONS {
        "was not tried".to_owned()
    } else {
        format!("is {}", verdict(sockets, GOAL_MB))
    };
    Ok(Section {
        text: include_str!("idle.md").to_owned(),
        table,
        notes: vec![format!(
            "The goal of {GOAL_MB:.0} MB with {CONNECTIONS} WebSockets {verdict}."
        )],
    })
}
