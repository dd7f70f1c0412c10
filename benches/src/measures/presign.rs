//! Presigned uploads beside pgbench with the same statements.

use std::collections::BTreeMap;
use std::process::Command;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, ensure};
use jsonwebtoken::Algorithm;
use quartet_devstack::{roles, workspace};
use serde_json::json;

use super::CONNECTIONS;
use crate::backend::Backend;
use crate::bench::{Bench, Cores};
use crate::load::{Load, Request, Requests};
use crate::report::{Section, Table};
use crate::rounds::{Round, Row, alternate};
use crate::tools;

/// The statements of one presign, as services/media/src/store has them.
const STATEMENTS: &str = "benches/pgbench/presign.sql";
const PRESIGN: &str = "POST /v1/media/presign";
const USERS: usize = 16;
/// The size of the connection pool of one replica.
const CLIENTS: usize = 10;

pub(super) fn run(bench: &Bench, backend: &Backend) -> anyhow::Result<Section> {
    tools::require("pgbench", "postgresql-contrib")?;
    let _store = bench.start(Cores::Others, &backend.stack.store()?)?;
    let spec = backend.trusting(backend.stack.service("media")?);
    let media = bench.start(Cores::Server, &spec)?;
    let load = Load::Cycle(requests(backend)?, CONNECTIONS);
    let presign = |seconds| load.run(bench, backend.stack.ports.media, media.pid(), seconds);
    let pgbench = |seconds| pgbench(bench, backend, seconds);
    let written = rows_of_each(backend, || presign(1))?;
    let compared = rows_of_each(backend, || pgbench(1))?;
    ensure!(
        written == compared,
        "media writes {written:?} rows for each presign, {STATEMENTS} {compared:?}: update it from \
         services/media/src/store"
    );
    // Both begin with an empty table that is not cached.
    let empty = || {
        backend.query("TRUNCATE media.assets CASCADE")?;
        backend.settle()
    };
    let rows = [
        Row::new(PRESIGN, |seconds| empty().and_then(|()| presign(seconds))),
        Row::new("pgbench", |seconds| empty().and_then(|()| pgbench(seconds))),
    ];
    let pace = bench.plan.slow_pace();
    let results = alternate(bench, pace, &rows)?;
    let ratio = results.ratio(PRESIGN, "pgbench");
    let each = written.iter();
    let each = each.map(|(table, rows)| format!("{rows} in {table}"));
    let each: Vec<String> = each.collect();
    Ok(Section {
        text: format!(
            include_str!("presign.md"),
            pace, CONNECTIONS, USERS, CLIENTS, STATEMENTS, backend.version
        ),
        table: Table::of_results(&results, "what", "pgbench", "pgbench"),
        notes: vec![
            format!("Presigned uploads to the transactions of pgbench: {ratio:.2}"),
            format!("Both write the same rows: {}.", each.join(", ")),
        ],
    })
}

fn requests(backend: &Backend) -> anyhow::Result<Requests> {
    let body = json!({
        "file_name": "photo.png",
        "content_type": "image/png",
        "size_bytes": 123_456,
        "visibility": "private",
    });
    let tokens = backend.issuer.tokens(Algorithm::EdDSA, USERS)?;
    let request = |token: &String| Request::post("/v1/media/presign", Some(token), &body);
    Ok(tokens.iter().map(request).collect())
}

/// How many rows one request adds to each table of media.
fn rows_of_each(
    backend: &Backend,
    run: impl FnOnce() -> anyhow::Result<Round>,
) -> anyhow::Result<BTreeMap<String, u64>> {
    let before = rows(backend)?;
    let round = run()?;
    let each = rows(backend)?.into_iter().map(|(table, rows)| {
        let added = rows.saturating_sub(before.get(&table).copied().unwrap_or_default());
        (table, added / round.requests.max(1))
    });
    Ok(each.filter(|&(_, each)| each > 0).collect())
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

fn pgbench(bench: &Bench, backend: &Backend, seconds: u32) -> anyhow::Result<Round> {
    let stack = &backend.stack;
    let url = roles::url(&stack.database, "media", &stack.passwords)?;
    // The command line is visible to all users: the password has to go another way.
    let password = url.password().context("the role has no password")?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let mut command = Command::new("pgbench");
    command
        .args(["--no-vacuum", "--protocol=prepared", "--jobs=1"])
        .arg("--define=step=0")
        .arg(format!("--client={CLIENTS}"))
        .arg(format!("--time={seconds}"))
        .arg(format!("--define=start={}", now.as_millis()))
        .arg("--file")
        .arg(workspace::root().join(STATEMENTS))
        .arg(url.without_password())
        .env("PGPASSWORD", password);
    let text = tools::output(bench, Cores::Server, &mut command)?;
    let context = || format!("pgbench printed\n{text}");
    let is_complete = text.contains("number of failed transactions: 0 ");
    let requests = number_after(&text, "number of transactions actually processed: ");
    let per_second = number_after(&text, "tps = ").filter(|_| is_complete);
    let figures = requests.zip(per_second).with_context(context)?;
    Ok(Round::of_rate(figures.0, figures.1))
}

fn number_after<T: FromStr>(text: &str, words: &str) -> Option<T> {
    let rest = text.lines().find_map(|line| line.strip_prefix(words))?;
    rest.split([' ', '/']).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::number_after;

    #[test]
    fn the_figures_of_pgbench_are_read() {
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
