//! The redirect with its durable click beside a bare handler that returns the same response.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use jsonwebtoken::Algorithm;
use quartet_devstack::stack::{Ports, Stack};
use quartet_devstack::{Service, ServiceSpec, port, workspace};
use serde_json::json;

use super::{BUSY, CONNECTIONS};
use crate::backend::Backend;
use crate::bench::{Bench, Cores};
use crate::load::{Load, Request, Response, count};
use crate::paced::{self, Latency};
use crate::plan::Measure;
use crate::report::{Section, Table};
use crate::rounds::{Round, Rounds, alternate, median};

const LINKS: usize = 100;
const TARGET: &str = "https://example.com/a/page/that/was/shared";
/// How long the clicks of one round may take to be written.
const FLUSH_TIMEOUT: Duration = Duration::from_mins(2);
const POLL: Duration = Duration::from_millis(100);
/// What differs from one response to the next, or is added by the server itself.
const NOT_COPIED: [&str; 4] = ["date", "connection", "content-length", "transfer-encoding"];

/// One row of the table.
struct Subject<'a> {
    name: &'static str,
    service: &'a Service,
    port: u16,
    /// `None`: this server logs no clicks.
    storing: Option<Storing>,
}

/// When the clicks of a round go from the log into Postgres.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Storing {
    /// The same process stores them, on the same core.
    Meanwhile,
    /// The table is locked during the round.
    Afterwards,
}

/// The clicks that must be in the database.
struct Clicks<'a> {
    bench: &'a Bench,
    backend: &'a Backend,
    followed: Cell<u64>,
    /// How many clicks per second were stored in each round.
    rates: RefCell<Vec<f64>>,
}

pub(super) fn run(bench: &Bench, backend: &Backend) -> anyhow::Result<Section> {
    let links = start_links(bench, backend, backend.stack.service("links")?)?;
    let port = backend.stack.ports.links;
    let slugs = create_links(backend, "bench")?;
    let (synced, synced_port) = start_synced(bench, backend)?;
    let clicks = Clicks {
        bench,
        backend,
        followed: Cell::new(1),
        rates: RefCell::default(),
    };
    let (bare, bare_port) = start_bare(bench, port, &slugs[0])?;
    let subject = |name, service, port, storing| Subject {
        name,
        service,
        port,
        storing,
    };
    let name = "quartet-links, synced each 0.1 s";
    let alone = "quartet-links, clicks stored afterwards";
    let group = "quartet-links, synced before the response";
    let subjects = [
        subject(name, &links, port, Some(Storing::Meanwhile)),
        subject(alone, &links, port, Some(Storing::Afterwards)),
        subject(group, &synced, synced_port, Some(Storing::Meanwhile)),
        subject("bare axum", &bare, bare_port, None),
    ];
    let load = Load::Cycle(slugs.iter().map(|slug| follow(slug)).collect(), CONNECTIONS);
    for subject in &subjects {
        clicks.measure(&load, subject, 1)?;
    }
    clicks.rates.take();
    let pace = bench.plan.slow_pace();
    let results = alternate(bench, pace.rounds, &subjects, |subject| {
        clicks.measure(&load, subject, pace.seconds)
    })?;

    let rate = results[0].median(|round| round.per_second) / 2.0;
    let requests: Vec<Request> = slugs.iter().map(|slug| follow(slug)).collect();
    let paced = [&subjects[0], &subjects[subjects.len() - 1]];
    let latencies = clicks.latencies(&requests, &paced, rate)?;

    let mut notes = vec![clicks.verify()?];
    let table = tabulate(&subjects, &results, &mut notes);
    notes.push(format!(
        "Clicks are stored in Postgres during and after a round: {:.0} per second from the first request to the last \
         row.",
        median(clicks.rates.take())
    ));
    notes.push(latency_note(rate, latencies));
    Ok(Section {
        measure: Measure::Redirect,
        title: "Redirect",
        how: format!(
            "{} rounds of {} s, {CONNECTIONS} connections, {LINKS} links in turn. All rows of quartet-links append each \
             click to a log before they respond, so that it survives a killed process. The same process stores it in \
             Postgres: in the first and third row during the round, in the second, whose table is locked until then, \
             after it. The third also syncs it to the disk first, so that it survives a power failure. Bare \
             is an axum handler in a runtime with the same configuration and allocator, with the same status and headers and nothing else. Postgres {} with fsync.",
            pace.rounds, pace.seconds, backend.version
        ),
        table,
        notes,
    })
}

/// The rows, and what they mean.
fn tabulate(subjects: &[Subject<'_>], results: &[Rounds], notes: &mut Vec<String>) -> Table {
    let mut table = Table::of_rounds("server", "bare");
    for (subject, rounds) in subjects.iter().zip(results) {
        let ratio = rounds.ratio_to(&results[subjects.len() - 1]);
        table.rounds(subject.name, rounds, Some(ratio));
        let name = subject.name;
        let cpu = |rounds: &Rounds| rounds.median(|round| round.cpu_micros);
        if subject.storing.is_some() {
            notes.push(format!(
                "CPU time of bare axum to that of {name}: {:.2}",
                cpu(&results[subjects.len() - 1]) / cpu(rounds)
            ));
        }
        if rounds.median(|round| round.busy) < BUSY {
            notes.push(format!(
                "{name} did not use its whole core: the disk or the load was the bottleneck."
            ));
        }
    }
    table
}

fn latency_note(rate: f64, [links, bare]: [Latency; 2]) -> String {
    format!(
        "At {rate:.0} requests per second in an open loop, half of what quartet-links reached: p50 {:.0} us and p99 \
         {:.0} us, bare {:.0} us and {:.0} us; p99 to bare: {:.2}",
        links.p50_micros,
        links.p99_micros,
        bare.p50_micros,
        bare.p99_micros,
        links.p99_micros / bare.p99_micros
    )
}

fn start_links(bench: &Bench, backend: &Backend, spec: ServiceSpec) -> anyhow::Result<Service> {
    bench.start(Cores::Server, &backend.trusting(spec))
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
fn start_synced(bench: &Bench, backend: &Backend) -> anyhow::Result<(Service, u16)> {
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
    Ok((start_links(bench, backend, spec)?, port))
}

/// Follows one link, and starts a handler that returns the same response.
fn start_bare(bench: &Bench, links: u16, slug: &str) -> anyhow::Result<(Service, u16)> {
    let response = follow(slug).expect(links, 302)?;
    let file = bench.work().join("redirect.headers");
    let headers: Vec<String> = copied(&response);
    std::fs::write(&file, headers.join("\n")).context("write the headers")?;
    let port = port::free()?;
    let program = workspace::binary("quartet-bench-bare")?;
    let spec = ServiceSpec::new("bare", program, bench.log("bare"))
        .arg("redirect")
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
    /// One round; afterwards all its clicks are stored, so that storing them does not disturb the next.
    fn measure(&self, load: &Load, subject: &Subject<'_>, seconds: u32) -> anyhow::Result<Round> {
        let begin = Instant::now();
        let run = || load.run(self.bench, subject.port, subject.service.pid(), seconds);
        let round = match subject.storing {
            Some(Storing::Afterwards) => self.with_locked_table(seconds, run)?,
            _ => run()?,
        };
        if let Some(storing) = subject.storing {
            self.followed.set(self.followed.get() + round.requests);
            self.wait_until_stored()?;
            if storing == Storing::Meanwhile {
                let rate = count(round.requests) / begin.elapsed().as_secs_f64();
                self.rates.borrow_mut().push(rate);
            }
        }
        Ok(round)
    }

    /// Keeps clicks from being stored for these seconds, and a little longer.
    fn with_locked_table<T>(
        &self,
        seconds: u32,
        run: impl FnOnce() -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let hold = format!(
            "BEGIN; LOCK TABLE links.clicks IN EXCLUSIVE MODE; SELECT pg_sleep({seconds} + 0.5)"
        );
        std::thread::scope(|scope| {
            let holding = scope.spawn(|| self.backend.query(&hold));
            let result = run();
            let held = holding.join();
            held.map_err(|_| anyhow::anyhow!("the thread of the lock panicked"))??;
            result
        })
    }

    /// Of the rounds of each subject, in an open loop.
    fn latencies(
        &self,
        requests: &[Request],
        subjects: &[&Subject<'_>; 2],
        rate: f64,
    ) -> anyhow::Result<[Latency; 2]> {
        let pace = self.bench.plan.slow_pace();
        let mut all = [const { Vec::new() }; 2];
        for number in 0..pace.rounds {
            for step in 0..subjects.len() {
                let index = (number + step) % subjects.len();
                let subject = subjects[index];
                let seconds = pace.seconds;
                let latency = paced::run(self.bench, subject.port, requests, rate, seconds)?;
                all[index].push(latency);
                if subject.storing.is_some() {
                    self.followed.set(self.followed.get() + latency.requests);
                    self.wait_until_stored()?;
                }
            }
        }
        Ok(all.map(|rounds| Latency::medians(&rounds)))
    }

    fn stored(&self) -> anyhow::Result<u64> {
        let sum = "SELECT coalesce(sum(people + bots), 0)::bigint FROM links.click_totals";
        Ok(self.backend.query(sum)?.parse()?)
    }

    fn wait_until_stored(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + FLUSH_TIMEOUT;
        loop {
            let (followed, stored) = (self.followed.get(), self.stored()?);
            if stored >= followed {
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "{followed} links were followed, but only {stored} clicks were stored within {} s",
                FLUSH_TIMEOUT.as_secs()
            );
            self.bench.pause(POLL)?;
        }
    }

    /// Compares the rows and the totals with the responses: every click is stored exactly once.
    fn verify(&self) -> anyhow::Result<String> {
        let rows = self.backend.query("SELECT count(*) FROM links.clicks")?;
        let (rows, totals): (u64, u64) = (rows.parse()?, self.stored()?);
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
