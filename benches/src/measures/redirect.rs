//! The redirect with its durable click beside a bare handler that gives the same answer.

use std::cell::Cell;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use jsonwebtoken::Algorithm;
use quartet_devstack::stack::{Ports, Stack};
use quartet_devstack::{Service, port};
use serde_json::json;

use super::{BUSY, CONNECTIONS, percent};
use crate::backend::Backend;
use crate::bench::Bench;
use crate::helpers;
use crate::http::{Request, Response};
use crate::plan::Measure;
use crate::report::{Section, Table};
use crate::rounds::{Round, Rounds, alternate, median};
use crate::wrk::{self, Load, count};

const LINKS: usize = 100;
const TARGET: &str = "https://example.com/a/page/that/somebody/shared";
/// How long the clicks of one round may take to be written.
const DRAIN_TIMEOUT: Duration = Duration::from_mins(2);
const POLL: Duration = Duration::from_millis(100);
/// What differs from one answer to the next, or is made by the server itself.
const NOT_COPIED: [&str; 4] = ["date", "connection", "content-length", "transfer-encoding"];

/// One row of the table.
struct Subject {
    name: &'static str,
    service: Service,
    port: u16,
    counts_clicks: bool,
}

/// The clicks that must be in the database.
struct Clicks<'a> {
    bench: &'a Bench,
    backend: &'a Backend,
    answered: Cell<u64>,
    /// Requests that were in flight when a load ended: counted, but nobody saw the answer.
    cut_off: Cell<u64>,
}

pub(super) fn run(bench: &Bench, backend: &Backend) -> anyhow::Result<Section> {
    let pinned = bench.pinned(backend.trusting(backend.stack.service("links")?));
    let links = Subject {
        name: "quartet-links, synced each 0.1 s",
        service: bench.start(&pinned)?,
        port: backend.stack.ports.links,
        counts_clicks: true,
    };
    let slugs = make_links(backend)?;
    let group = start_group(bench, backend)?;
    let clicks = Clicks {
        bench,
        backend,
        answered: Cell::new(0),
        cut_off: Cell::new(0),
    };
    let (answer, bare) = start_bare(bench, links.port, &slugs[0])?;
    clicks.answered.set(1);
    check_same(&answer, bare.port, &slugs[0])?;
    let subjects = [links, group, bare];

    let requests: Vec<wrk::Request> = slugs.iter().map(|slug| follow(slug)).collect();
    let load = Load::cycle(bench, "redirect", CONNECTIONS, &requests)?;
    for subject in &subjects {
        measure(bench, &clicks, &load, subject, 1)?;
    }
    let pace = bench.plan.slow_pace();
    let drained = Cell::new(Vec::new());
    let results = alternate(bench, pace.rounds, &subjects, |subject| {
        let (round, rate) = measure(bench, &clicks, &load, subject, pace.seconds)?;
        let mut rates = drained.take();
        rates.extend(rate);
        drained.set(rates);
        Ok(round)
    })?;
    let durable = clicks.verify(&load, &subjects, pace.rounds + 1)?;
    Ok(section(
        bench,
        backend,
        &subjects,
        &results,
        median(drained.take()),
        durable,
    ))
}

fn make_links(backend: &Backend) -> anyhow::Result<Vec<String>> {
    let tokens = backend.issuer.tokens(Algorithm::EdDSA, 1)?;
    (0..LINKS)
        .map(|number| {
            let slug = format!("bench{number:03}");
            let body = json!({
                "query": "mutation($input: CreateLinkInput!) { createLink(input: $input) { slug } }",
                "variables": { "input": { "url": TARGET, "slug": slug } },
            });
            let answer = Request {
                port: backend.stack.ports.links,
                method: "POST",
                path: "/v1/links/graphql",
                token: Some(&tokens[0]),
                body: Some(&body),
            }
            .expect(200)?;
            let made = answer.json()?["data"]["createLink"]["slug"] == slug.as_str();
            ensure!(made, "the link could not be made: {}", answer.body);
            Ok(slug)
        })
        .collect()
}

/// A second replica that forces each group of clicks onto the disk before it answers.
fn start_group(bench: &Bench, backend: &Backend) -> anyhow::Result<Subject> {
    let links = port::free()?;
    let stack = Stack {
        root: backend.stack.root.join("group"),
        ports: Ports {
            links,
            ..backend.stack.ports
        },
        ..backend.stack.clone()
    };
    let spec = stack.service("links")?.env("QUARTET_CLICKS_FSYNC", "group");
    Ok(Subject {
        name: "quartet-links, synced before the answer",
        service: bench.start(&bench.pinned(backend.trusting(spec)))?,
        port: links,
        counts_clicks: true,
    })
}

/// Follows one link, and starts the handler that gives the same answer.
fn start_bare(bench: &Bench, links: u16, slug: &str) -> anyhow::Result<(Response, Subject)> {
    let answer = get(links, slug).expect(302)?;
    let headers: Vec<String> = copied(&answer)
        .map(|(name, value)| format!("{name}: {value}"))
        .collect();
    let file = bench.work().join("redirect.headers");
    std::fs::write(&file, headers.join("\n")).context("write the headers")?;
    let port = port::free()?;
    let spec = helpers::server(bench, helpers::REDIRECT, port, file)?
        .ready_at(([127, 0, 0, 1], port).into(), "/ready");
    let service = bench.start(&bench.pinned(spec))?;
    Ok((
        answer,
        Subject {
            name: "bare axum",
            service,
            port,
            counts_clicks: false,
        },
    ))
}

fn check_same(wanted: &Response, bare: u16, slug: &str) -> anyhow::Result<()> {
    let got = get(bare, slug).expect(302)?;
    let sorted = |response: &Response| {
        let mut headers: Vec<_> = copied(response).cloned().collect();
        headers.sort();
        headers
    };
    ensure!(
        sorted(wanted) == sorted(&got),
        "the bare handler answers {got:?} and not {wanted:?}"
    );
    Ok(())
}

fn copied(response: &Response) -> impl Iterator<Item = &(String, String)> {
    response
        .headers
        .iter()
        .filter(|(name, _)| !NOT_COPIED.contains(&name.as_str()))
}

fn get(port: u16, slug: &str) -> GetLink {
    GetLink {
        port,
        path: format!("/s/{slug}"),
    }
}

/// A request that owns its path.
struct GetLink {
    port: u16,
    path: String,
}

impl GetLink {
    fn expect(&self, status: u16) -> anyhow::Result<Response> {
        Request {
            port: self.port,
            method: "GET",
            path: &self.path,
            token: None,
            body: None,
        }
        .expect(status)
    }
}

fn follow(slug: &str) -> wrk::Request {
    wrk::Request {
        method: "GET",
        path: format!("/s/{slug}"),
        token: None,
        body: None,
    }
}

/// One round; afterwards all its clicks are in the database, so that writing them does
/// not disturb the next one. Tells how many clicks per second went there, if that took long.
fn measure(
    bench: &Bench,
    clicks: &Clicks<'_>,
    load: &Load,
    subject: &Subject,
    seconds: u32,
) -> anyhow::Result<(Round, Option<f64>)> {
    let begin = Instant::now();
    let round = load.run(bench, subject.port, subject.service.pid(), seconds)?;
    if !subject.counts_clicks {
        return Ok((round, None));
    }
    clicks.answered.set(clicks.answered.get() + round.requests);
    clicks.drain()?;
    Ok((
        round,
        Some(count(round.requests) / begin.elapsed().as_secs_f64()),
    ))
}

impl Clicks<'_> {
    fn stored(&self) -> anyhow::Result<u64> {
        let sum = "SELECT coalesce(sum(people + bots), 0)::bigint FROM links.click_totals";
        Ok(self.backend.query(sum)?.parse()?)
    }

    /// Waits until every answered request is counted and the count stands still.
    fn drain(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + DRAIN_TIMEOUT;
        let mut last = None;
        loop {
            let stored = self.stored()?;
            if stored >= self.answered.get() && last == Some(stored) {
                self.cut_off.set(stored - self.answered.get());
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "{} requests were answered, but only {stored} clicks were counted within {} s",
                self.answered.get(),
                DRAIN_TIMEOUT.as_secs()
            );
            last = Some(stored);
            self.bench.pause(POLL)?;
        }
    }

    /// Counts the rows themselves and compares with the answers.
    fn verify(&self, load: &Load, subjects: &[Subject], loads: usize) -> anyhow::Result<String> {
        self.drain()?;
        let rows: u64 = self
            .backend
            .query("SELECT count(*) FROM links.clicks")?
            .parse()?;
        let (answered, totals) = (self.answered.get(), self.stored()?);
        let counting = subjects
            .iter()
            .filter(|subject| subject.counts_clicks)
            .count();
        // wrk hangs up on one request per connection at most.
        let most = u64::try_from(load.connections() * loads * counting)?;
        ensure!(
            rows == totals,
            "{rows} clicks are stored, but the totals say {totals}"
        );
        ensure!(
            (answered..=answered + most).contains(&rows),
            "{answered} requests were answered, but {rows} clicks are stored"
        );
        Ok(format!(
            "Durability: {answered} requests were answered and {rows} clicks are stored; the other {} were in flight \
             when wrk hung up ({most} at most). Rows and totals agree.",
            rows - answered
        ))
    }
}

fn section(
    bench: &Bench,
    backend: &Backend,
    subjects: &[Subject],
    results: &[Rounds],
    stored_per_second: f64,
    durable: String,
) -> Section {
    let mut table = Table::new(&[
        "server",
        "requests/s",
        "to bare",
        "p50 ms",
        "p99 ms",
        "CPU us/request",
        "core busy",
        "resident MB",
    ]);
    let bare = &results[subjects.len() - 1];
    let mut notes = vec![durable];
    for (subject, rounds) in subjects.iter().zip(results) {
        table.row(vec![
            subject.name.to_owned(),
            rounds.per_second(),
            format!("{:.2}", rounds.ratio_to(bare)),
            format!("{:.2}", rounds.median(|round| round.p50_ms)),
            format!("{:.2}", rounds.median(|round| round.p99_ms)),
            format!("{:.1}", rounds.median(|round| round.cpu_micros)),
            percent(rounds.median(|round| round.busy)),
            format!("{:.1}", rounds.median(|round| round.resident_mb)),
        ]);
        if rounds.median(|round| round.busy) < BUSY {
            notes.push(format!(
                "{} did not use up its core: it waited for the disk or the load.",
                subject.name
            ));
        }
    }
    notes.push(format!(
        "Clicks go to Postgres during and after a round: {stored_per_second:.0} per second from the first request to \
         the last row."
    ));
    let pace = bench.plan.slow_pace();
    Section {
        measure: Measure::Redirect,
        title: "Redirect",
        how: format!(
            "{} rounds of {} s, wrk with {CONNECTIONS} connections, {LINKS} links in turn. Both rows of quartet-links \
             append each click to a log before they answer, so that it survives a killed process; the second also \
             forces it onto the disk, so that it survives a power cut. Bare is an axum handler in a runtime made the \
             same way, with the same status and headers and nothing else. Postgres {} with fsync.",
            pace.rounds, pace.seconds, backend.version
        ),
        table,
        notes,
    }
}
