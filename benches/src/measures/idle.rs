//! What a connection costs that is only open.

use std::net::TcpStream;

use anyhow::Context as _;
use jsonwebtoken::Algorithm::HS256;
use rustix::process::{Resource, getrlimit};

use super::PLAIN;
use super::peers::{Proxy, Setup};
use crate::bench::Bench;
use crate::load::{Request, count};
use crate::report::{Section, Table, verdict};
use crate::tokens::Issuer;
use crate::usage::Usage;

/// Of each kind, if this process may open as many.
const CONNECTIONS: u64 = 10_000;
/// Files of this process that are not connections.
const OTHER_FILES: u64 = 200;
/// The goal for that many `WebSockets`.
const GOAL_MB: f64 = 150.0;

pub(super) fn run(bench: &Bench) -> anyhow::Result<Section> {
    let issuer = Issuer::new()?;
    let setup = Setup::new(bench, &issuer)?;
    let files = getrlimit(Resource::Nofile).current;
    // Both ends of a WebSocket are here.
    let most = files.map_or(CONNECTIONS, |files| files.saturating_sub(OTHER_FILES) / 2);
    let wanted = if bench.plan.quick { 1000 } else { CONNECTIONS };
    let number = wanted.min(most);
    let mut table = Table::new(&["connections", "number", "resident MB", "before", "KiB each"]);
    let kept = Request::get(PLAIN, None);
    let mut measure = |name: &str, proxy: Proxy, request: &Request| {
        let resident = || anyhow::Ok(Usage::of_group(proxy.service.pid())?.resident_bytes);
        kept.open(proxy.port)?;
        let before = resident()?;
        let mut open: Vec<TcpStream> = Vec::new();
        for _ in 0..number {
            bench.require_running()?;
            open.push(request.open(proxy.port).context("open a connection")?);
        }
        let after = resident()?;
        let each = count(after.saturating_sub(before)) / 1024.0 / count(number);
        table.row([
            name.to_owned(),
            number.to_string(),
            format!("{:.1}", count(after) / 1e6),
            format!("{:.1}", count(before) / 1e6),
            format!("{each:.1}"),
        ]);
        anyhow::Ok(count(after) / 1e6)
    };
    measure("kept alive, direct path", setup.gateway(HS256)?, &kept)?;
    measure(
        "kept alive, general path",
        setup.general_gateway(HS256)?,
        &kept,
    )?;
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
        title: "Idle connections",
        how: "Resident memory before and after opening connections, each of which has served one request and is \
              silent since, or is a WebSocket on which nothing was sent. A gateway of its own for each row."
            .to_owned(),
        table,
        notes: vec![format!(
            "The goal of {GOAL_MB:.0} MB with {CONNECTIONS} WebSockets {verdict}."
        )],
    })
}
