//! Presigned uploads beside pgbench with the same statements.

use std::collections::BTreeMap;
use std::process::Command;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, ensure};
use jsonwebtoken::Algorithm;
use quartet_devstack::roles;
use serde_json::json;

use super::{CONNECTIONS, percent};
use crate::backend::Backend;
use crate::bench::Bench;
use crate::plan::Measure;
use crate::report::{Section, Table};
use crate::rounds::{Round, Rounds, alternate};
use crate::tools;
use crate::wrk::{self, Load};

/// The statements of one presign, as services/media/src/store has them.
const STATEMENTS: &str = include_str!("../../pgbench/presign.sql");
const PEOPLE: usize = 16;
/// As many as the pool of one replica has.
const CLIENTS: usize = 10;

#[derive(Clone, Copy)]
enum Subject {
    Presign,
    Pgbench,
}

pub(super) fn run(bench: &Bench, backend: &Backend) -> anyhow::Result<Section> {
    tools::require("pgbench", "postgresql-contrib")?;
    let _store = bench.start(&backend.stack.store())?;
    let media = bench.start(&bench.pinned(backend.trusting(backend.stack.service("media")?)))?;
    let port = backend.stack.ports.media;
    let load = Load::cycle(bench, "presign", CONNECTIONS, &requests(backend)?)?;
    let script = bench.work().join("presign.sql");
    std::fs::write(&script, STATEMENTS).context("write the pgbench script")?;
    let pgbench = Pgbench {
        bench,
        backend,
        script: script.display().to_string(),
    };

    let pace = bench.plan.slow_pace();
    let written = rows_of_each(backend, || load.run(bench, port, media.pid(), 1))?;
    let compared = rows_of_each(backend, || pgbench.run(1))?;
    ensure!(
        written == compared,
        "media writes {written:?} rows for each presign, benches/pgbench/presign.sql {compared:?}: \
         read the statements anew from services/media/src/store"
    );
    let results = alternate(
        bench,
        pace.rounds,
        &[Subject::Presign, Subject::Pgbench],
        |subject| {
            // Both begin with an empty table and an empty cache of it.
            backend.query("TRUNCATE media.assets")?;
            backend.settle()?;
            match subject {
                Subject::Presign => load.run(bench, port, media.pid(), pace.seconds),
                Subject::Pgbench => pgbench.run(pace.seconds),
            }
        },
    )?;
    Ok(Section {
        measure: Measure::Presign,
        title: "Presign",
        how: format!(
            "{} rounds of {} s, each with an empty table. wrk with {CONNECTIONS} connections and tokens of {PEOPLE} \
             users; media has a pool of {CLIENTS} connections to Postgres. pgbench runs the same statements \
             (benches/pgbench/presign.sql) as the same role, prepared, over {CLIENTS} connections, on the core that \
             media has otherwise. Postgres {} with fsync off that core.",
            pace.rounds, pace.seconds, backend.version
        ),
        table: table(&results[0], &results[1]),
        notes: vec![
            format!(
                "Presigned uploads to pgbench's transactions: {:.2}",
                results[0].ratio_to(&results[1])
            ),
            format!("Both write the same rows: {}.", in_words(&written)),
        ],
    })
}

fn table(presign: &Rounds, pgbench: &Rounds) -> Table {
    let mut table = Table::new(&[
        "what",
        "per second",
        "to pgbench",
        "p50 ms",
        "p99 ms",
        "CPU us each",
        "core busy",
        "resident MB",
    ]);
    table.row(vec![
        "POST /v1/media/presign".to_owned(),
        presign.per_second(),
        format!("{:.2}", presign.ratio_to(pgbench)),
        format!("{:.1}", presign.median(|round| round.p50_ms)),
        format!("{:.1}", presign.median(|round| round.p99_ms)),
        format!("{:.0}", presign.median(|round| round.cpu_micros)),
        percent(presign.median(|round| round.busy)),
        format!("{:.1}", presign.median(|round| round.resident_mb)),
    ]);
    let mut row = vec![
        "pgbench".to_owned(),
        pgbench.per_second(),
        "1.00".to_owned(),
    ];
    row.resize(8, "-".to_owned());
    table.row(row);
    table
}

fn requests(backend: &Backend) -> anyhow::Result<Vec<wrk::Request>> {
    let body = json!({
        "file_name": "photo.png",
        "content_type": "image/png",
        "size_bytes": 123_456,
        "visibility": "private",
    });
    let tokens = backend.issuer.tokens(Algorithm::EdDSA, PEOPLE)?;
    let requests = tokens.into_iter().map(|token| wrk::Request {
        method: "POST",
        path: "/v1/media/presign".to_owned(),
        token: Some(token),
        body: Some(body.to_string()),
    });
    Ok(requests.collect())
}

/// How many rows one request adds to each table of media.
fn rows_of_each(
    backend: &Backend,
    run: impl FnOnce() -> anyhow::Result<Round>,
) -> anyhow::Result<BTreeMap<String, u64>> {
    let before = rows(backend)?;
    let round = run()?;
    let added = rows(backend)?.into_iter().map(|(table, rows)| {
        let added = rows.saturating_sub(before.get(&table).copied().unwrap_or_default());
        // Rounded: wrk hangs up on a few requests that are carried out all the same.
        let each = (added + round.requests / 2) / round.requests.max(1);
        (table, each)
    });
    Ok(added.filter(|&(_, each)| each > 0).collect())
}

fn rows(backend: &Backend) -> anyhow::Result<BTreeMap<String, u64>> {
    let counts = backend.query(
        "SELECT string_agg(format('SELECT %L, count(*) FROM media.%I', tablename, tablename), ' UNION ALL ') \
         FROM pg_tables WHERE schemaname = 'media'",
    )?;
    let lines = backend.query(&counts)?;
    lines
        .lines()
        .map(|line| {
            let (table, rows) = line.split_once('|').context("a table and its rows")?;
            Ok((table.to_owned(), rows.parse()?))
        })
        .collect()
}

fn in_words(rows: &BTreeMap<String, u64>) -> String {
    let tables: Vec<String> = rows
        .iter()
        .map(|(table, rows)| format!("{rows} in {table}"))
        .collect();
    tables.join(", ")
}

struct Pgbench<'a> {
    bench: &'a Bench,
    backend: &'a Backend,
    script: String,
}

impl Pgbench<'_> {
    fn run(&self, seconds: u32) -> anyhow::Result<Round> {
        let stack = &self.backend.stack;
        let url = roles::url(&stack.database, "media", &stack.passwords)?;
        // Not on the command line, where everybody could read it.
        let secret = url.reveal();
        let password = secret
            .split_once("://")
            .and_then(|(_, rest)| rest.split_once(':')?.1.split_once('@'))
            .map(|(password, _)| password)
            .context("the role has a password")?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let mut command = Command::new("taskset");
        command
            .args(["-c", &self.bench.cores.server.to_string(), "pgbench"])
            .args(["--no-vacuum", "--protocol=prepared", "--jobs=1"])
            .arg(format!("--client={CLIENTS}"))
            .arg(format!("--time={seconds}"))
            .arg(format!("--file={}", self.script))
            .arg("--define=step=0")
            .arg(format!("--define=start={}", now.as_millis()))
            .arg(url.without_password())
            .env("PGPASSWORD", password);
        let output = tools::output(&mut command, &self.bench.cancel)?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(
            text.contains("number of failed transactions: 0 "),
            "pgbench said\n{text}"
        );
        let said = || format!("pgbench said\n{text}");
        let per_second = number_after(&text, "tps = ").with_context(said)?;
        let processed = "number of transactions actually processed: ";
        Ok(Round {
            per_second,
            requests: number_after(&text, processed).with_context(said)?,
            ..Round::default()
        })
    }
}

fn number_after<T: FromStr>(text: &str, words: &str) -> Option<T> {
    let rest = text.lines().find_map(|line| line.strip_prefix(words))?;
    rest.split([' ', '/']).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::number_after;

    #[test]
    fn reads_what_pgbench_prints() {
        let text = "number of transactions actually processed: 2040\n\
                    tps = 2039.5 (without initial connection time)\n";
        assert_eq!(number_after(text, "tps = "), Some(2039.5));
        assert_eq!(
            number_after(text, "number of transactions actually processed: "),
            Some(2040)
        );
        assert_eq!(number_after::<u64>(text, "latency = "), None);
    }
}
