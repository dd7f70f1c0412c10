//! Rate limits that are counted in a Redis, beside those in memory.

use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::ensure;
use jsonwebtoken::Algorithm::HS256;
use quartet_devstack::{Service, ServiceSpec, port};

use super::peers::Setup;
use super::{CONNECTIONS, GUARDED, USERS};
use crate::bench::{Bench, Cores};
use crate::load::Request;
use crate::report::{Section, Table, at_least};
use crate::rounds::{Row, alternate, warm_up};
use crate::tools;

/// For Redis to listen, and for the gateway to count in it.
const START_TIMEOUT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(20);
/// Of requests in memory, that the other rows should reach.
const GOAL: f64 = 0.7;

const LOCAL: &str = "in memory";
const STORE: &str = "in Redis";
const GENERAL: &str = "in Redis, general path";

pub(super) fn run(bench: &Bench) -> anyhow::Result<Section> {
    let setup = Setup::new(bench)?;
    let (_redis, url) = start_redis(bench)?;
    let load = setup.load(HS256, GUARDED)?;
    let token = setup.issuer.tokens(HS256, 1)?.remove(0);
    let mut rows = Vec::new();
    for (name, direct, store) in [
        (LOCAL, true, ""),
        (STORE, true, url.as_str()),
        (GENERAL, false, url.as_str()),
    ] {
        let proxy = setup.gateway_counting(direct, store)?;
        let response = Request::get(GUARDED, Some(&token)).expect(proxy.port, 200)?;
        ensure!(response.has_header("ratelimit"), "requests are not counted");
        let load = &load;
        rows.push(Row::new(name, move |seconds| {
            proxy.run(bench, load, seconds)
        }));
    }
    warm_up(&rows)?;
    let pace = bench.plan.pace();
    let results = alternate(bench, pace, &rows)?;
    let ratio = results.ratio(STORE, LOCAL);
    let verdict = at_least(ratio, GOAL);
    Ok(Section {
        text: format!(include_str!("limits.md"), pace, CONNECTIONS, USERS),
        table: Table::of_results(&results, "limits", LOCAL, LOCAL),
        notes: vec![format!(
            "Requests/s {STORE} to {LOCAL}: {ratio:.2}; the goal of {GOAL} is {verdict}."
        )],
    })
}

/// Without data on the disk.
fn start_redis(bench: &Bench) -> anyhow::Result<(Service, String)> {
    let program = tools::require("redis-server", "redis-server")?;
    let port = port::free()?;
    let mut spec = ServiceSpec::new("redis", program, bench.log("redis"));
    for word in [
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        "--port",
        &port.to_string(),
    ] {
        spec = spec.arg(word);
    }
    let service = bench.start(Cores::Others, &spec)?;
    let deadline = Instant::now() + START_TIMEOUT;
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
        ensure!(Instant::now() < deadline, "Redis does not listen");
        bench.pause(POLL)?;
    }
    Ok((service, format!("redis://127.0.0.1:{port}")))
}
