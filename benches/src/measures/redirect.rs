//! The redirect with its durable click beside a bare handler that returns the same response.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use jsonwebtoken::Algorithm;
use quartet_devstack::stack::{Ports, Stack};
use quartet_devstack::{Service, ServiceSpec, port, workspace};
use serde_json::json;

use super::CONNECTIONS;
use crate::backend::Backend;
use crate::bench::{Bench, Cores};
use crate::load::{Load, Request, Requests, Response, count};
use crate::paced;
use crate::report::{Section, Table};
use crate::rounds::{Results, Round, Row, alternate, median, warm_up};

const LINKS: usize = 100;
const TARGET: &str = "https://example.com/a/page/that/was/shared";
/// How long the clicks of one round may take to be written.
const FLUSH_TIMEOUT: Duration = Duration::from_mins(2);
const POLL: Duration = Duration::from_millis(100);
/// What differs from one response to the next, or is added by the server itself.
const NOT_COPIED: [&str; 4] = ["date", "connection", "content-length", "transfer-encoding"];

const OWN: &str = "quartet-links, synced each 0.1 s";
const AFTERWARDS: &str = "quartet-links, clicks stored afterwards";
const GROUP: &str = "quartet-links, synced before the response";
const BARE: &str = "bare axum";

/// The clicks that must be in the database.
struct Clicks<'a> {
    bench: &'a Bench,
    backend: &'a Backend,
    followed: Cell<u64>,
    /// How many clicks per second were stored in each round.
    rates: RefCell<Vec<f64>>,
}

pub(super) fn run(bench: &Bench, backend: &Backend) -> anyhow::Result<Section> {
    let service = backend.trusting(backend.stack.service("links")?);
    let port = backend.stack.ports.links;
    let links = (bench.start(Cores::Server, &service)?, port);
    let slugs = create_links(backend, "bench")?;
    let group = start_group(bench, backend)?;
    let bare = start_bare(bench, links.1, &slugs[0])?;
    let clicks = Clicks {
        bench,
        backend,
        followed: Cell::new(1),
        rates: RefCell::default(),
    };
    let requests: Requests = slugs.iter().map(|slug| follow(slug)).collect();
    let load = Load::Cycle(requests.clone(), CONNECTIONS);
    let run = |server: &(Service, u16), seconds| {
        let (service, port) = server;
        load.run(bench, *port, service.pid(), seconds)
    };
    let afterwards = |seconds| clicks.afterwards(seconds, || run(&links, seconds));
    let rows = [
        Row::new(OWN, |seconds| clicks.meanwhile(|| run(&links, seconds))),
        Row::new(AFTERWARDS, afterwards),
        Row::new(GROUP, |seconds| clicks.meanwhile(|| run(&group, seconds))),
        Row::new(BARE, |seconds| run(&bare, seconds)),
    ];
    warm_up(&rows)?;
    clicks.rates.take();
    let pace = bench.plan.slow_pace();
    let results = alternate(bench, pace, &rows)?;

    let rate = results.medians(OWN).per_second / 2.0;
    let paced = |port, seconds| paced::run(bench, port, &requests, rate, seconds);
    let rows = [
        Row::new(OWN, |seconds| clicks.stored(paced(links.1, seconds)?)),
        Row::new(BARE, |seconds| paced(bare.1, seconds)),
    ];
    let latencies = alternate(bench, pace, &rows)?;

    let mut notes = vec![clicks.verify()?];
    notes.extend(cpu_notes(&results));
    let stored = median(clicks.rates.take());
    notes.push(format!(
        "Clicks are stored in Postgres during and after a round: {stored:.0} per second from the first request to the \
         last row."
    ));
    notes.push(latency_note(rate, &latencies));
    Ok(Section {
        text: format!(
            include_str!("redirect.md"),
            pace, CONNECTIONS, LINKS, backend.version
        ),
        table: Table::of_results(&results, "server", "bare", BARE),
        notes,
    })
}

/// What processor times say that rates do not.
fn cpu_notes(results: &Results) -> Vec<String> {
    let cpu = |name| results.medians(name).cpu_micros;
    let own = results.0.iter().filter(|(name, _)| *name != BARE);
    let ratio = own.map(|(name, _)| {
        let ratio = cpu(BARE) / cpu(name);
        format!("CPU time of bare axum to that of {name}: {ratio:.2}")
    });
    let not_busy = results.not_busy().map(|name| {
        format!("{name} did not use its whole core: the disk or the load was the bottleneck.")
    });
    ratio.chain(not_busy).collect()
}

fn latency_note(rate: f64, latencies: &Results) -> String {
    let micros = |name| {
        let medians = latencies.medians(name);
        (medians.p50_ms * 1e3, medians.p99_ms * 1e3)
    };
    let ((p50, p99), (bare_p50, bare_p99)) = (micros(OWN), micros(BARE));
    format!(
        "At {rate:.0} requests per second in an open loop, half of what quartet-links reached: p50 {p50:.0} us and p99 \
         {p99:.0} us, bare {bare_p50:.0} us and {bare_p99:.0} us; p99 to bare: {:.2}",
        p99 / bare_p99
    )
}

/// Links of one user, whose slugs begin with `prefix`.
pub(super) fn create_links(backend: &Backend, prefix: &str) -> anyhow::Result<Vec<String>> {
    let tokens = backend.issuer.tokens(Algorithm::EdDSA, 1)?;
    let create = |number: usize| {
        let slug = format!("{prefix}{number:03}");
        let body = json!({
            "query": "mutation($input: CreateLinkInput!) { createLink(input: $input) { slug } }",
            "variables": { "input": { "url": TARGET, "slug": slug } },
        });
        let request = Request::post("/v1/links/graphql", Some(&tokens[0]), &body);
        let response = request.expect(backend.stack.ports.links, 200)?;
        let is_created = response.json()?["data"]["createLink"]["slug"] == slug.as_str();
        ensure!(is_created, "no link was created: {}", response.body);
        Ok(slug)
    };
    (0..LINKS).map(create).collect()
}

/// A second replica that syncs each group of clicks to the disk before it responds.
fn start_group(bench: &Bench, backend: &Backend) -> anyhow::Result<(Service, u16)> {
    let port = port::free()?;
    let stack = Stack {
        root: backend.stack.root.join("group"),
        ports: Ports {
            links: port,
            ..backend.stack.ports
        },
        ..backend.stack.clone()
    };
    let spec = stack.service("links")?.env("QUARTET_CLICKS_FSYNC", "group");
    let spec = backend.trusting(spec);
    Ok((bench.start(Cores::Server, &spec)?, port))
}

/// Follows one link, and starts a handler that returns the same response.
fn start_bare(bench: &Bench, links: u16, slug: &str) -> anyhow::Result<(Service, u16)> {
    let response = follow(slug).expect(links, 302)?;
    let file = bench.work.join("redirect.headers");
    let headers = copied(&response);
    std::fs::write(&file, headers.join("\n")).context("write the headers")?;
    let port = port::free()?;
    let program = workspace::binary("quartet-bench-bare")?;
    let spec = ServiceSpec::new("bare", program, bench.log("bare"))
        .arg(port.to_string())
        .arg(file)
        .ready_at(([127, 0, 0, 1], port).into(), "/ready");
    let service = bench.start(Cores::Server, &spec)?;
    let bare = copied(&follow(slug).expect(port, 302)?);
    ensure!(
        bare == headers,
        "the bare handler returns {bare:?} and not {headers:?}"
    );
    Ok((service, port))
}

/// The headers that the bare handler returns too.
fn copied(response: &Response) -> Vec<String> {
    let headers = response.headers.iter();
    let mut copied: Vec<String> = headers
        .filter(|(name, _)| !NOT_COPIED.contains(&name.as_str()))
        .map(|(name, value)| format!("{name}: {value}"))
        .collect();
    copied.sort();
    copied
}

pub(super) fn follow(slug: &str) -> Request {
    Request::get(&format!("/s/{slug}"), None)
}

impl Clicks<'_> {
    /// A round in which the same process stores the clicks, on the same core.
    fn meanwhile(&self, run: impl FnOnce() -> anyhow::Result<Round>) -> anyhow::Result<Round> {
        let begin = Instant::now();
        let round = self.stored(run()?)?;
        let rate = count(round.requests) / begin.elapsed().as_secs_f64();
        self.rates.borrow_mut().push(rate);
        Ok(round)
    }

    /// A round of these seconds in which no clicks are stored, because the table is locked.
    fn afterwards(
        &self,
        seconds: u32,
        run: impl FnOnce() -> anyhow::Result<Round>,
    ) -> anyhow::Result<Round> {
        let hold = format!(
            "BEGIN; LOCK TABLE links.clicks IN EXCLUSIVE MODE; SELECT pg_sleep({seconds} + 0.5)"
        );
        let round = std::thread::scope(|scope| {
            let holding = scope.spawn(|| self.backend.query(&hold));
            let round = run();
            let held = holding.join();
            held.map_err(|_| anyhow::anyhow!("the thread of the lock panicked"))??;
            round
        });
        self.stored(round?)
    }

    /// Waits until the clicks of a round are stored, so that storing them does not disturb the next.
    fn stored(&self, round: Round) -> anyhow::Result<Round> {
        let followed = self.followed.get() + round.requests;
        self.followed.set(followed);
        let deadline = Instant::now() + FLUSH_TIMEOUT;
        loop {
            let stored = self.total()?;
            if stored >= followed {
                return Ok(round);
            }
            ensure!(
                Instant::now() < deadline,
                "{followed} links were followed, but only {stored} clicks were stored within {} s",
                FLUSH_TIMEOUT.as_secs()
            );
            self.bench.pause(POLL)?;
        }
    }

    fn total(&self) -> anyhow::Result<u64> {
        let sum = "SELECT coalesce(sum(people + bots), 0)::bigint FROM links.click_totals";
        Ok(self.backend.query(sum)?.parse()?)
    }

    /// Compares the rows and the totals with the responses: every click is stored exactly once.
    fn verify(&self) -> anyhow::Result<String> {
        let rows = self.backend.query("SELECT count(*) FROM links.clicks")?;
        let (rows, totals): (u64, u64) = (rows.parse()?, self.total()?);
        let followed = self.followed.get();
        ensure!(
            rows == followed && totals == followed,
            "{followed} links were followed, but {rows} clicks are stored, {totals} by the totals"
        );
        Ok(format!(
            "Durability: {followed} links were followed and as many clicks are stored; rows and totals agree."
        ))
    }
}
