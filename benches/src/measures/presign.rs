//! Presigned uploads beside pgbench with the same statements.

use std::process::Command;

use anyhow::{Context as _, ensure};
use quartet_devstack::roles;
use serde_json::json;

use super::{CONNECTIONS, percent};
use crate::backend::{Backend, Person};
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
    let core = bench.start(&backend.service("core")?)?;
    let _store = bench.start(&backend.stack.store())?;
    let media = bench.start(&bench.pinned(backend.service("media")?))?;
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
    load.run(bench, port, media.pid(), 1)?;
    pgbench.run(1)?;
    let results = alternate(
        bench,
        pace.rounds,
        &[Subject::Presign, Subject::Pgbench],
        |subject| {
            backend.settle()?;
            match subject {
                Subject::Presign => load.run(bench, port, media.pid(), pace.seconds),
                Subject::Pgbench => pgbench.run(pace.seconds),
            }
        },
    )?;
    drop(core);

    Ok(Section {
        measure: Measure::Presign,
        title: "Presign",
        how: format!(
            "{} rounds of {} s. wrk with {CONNECTIONS} connections and tokens of {PEOPLE} users; media has a pool of \
             {CLIENTS} connections to Postgres. pgbench runs the same statements (benches/pgbench/presign.sql) as the \
             same role, prepared, over {CLIENTS} connections, on the core that media has otherwise. Postgres {} with \
             fsync on the other core.",
            pace.rounds, pace.seconds, backend.version
        ),
        table: table(&results[0], &results[1]),
        notes: vec![format!(
            "Presigned uploads to pgbench's transactions: {:.2}",
            results[0].ratio_to(&results[1])
        )],
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
    let core = backend.stack.ports.core;
    let body = json!({
        "file_name": "photo.png",
        "content_type": "image/png",
        "size_bytes": 123_456,
        "visibility": "private",
    });
    (0..PEOPLE)
        .map(|number| {
            let session = Person::sign_up(core, &format!("presign{number}"))?.log_in(core)?;
            Ok(wrk::Request {
                method: "POST",
                path: "/v1/media/presign".to_owned(),
                token: Some(session.access_token),
                body: Some(body.to_string()),
            })
        })
        .collect()
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
        let mut command = Command::new("taskset");
        command
            .args(["-c", &self.bench.cores.server.to_string(), "pgbench"])
            .args(["--no-vacuum", "--protocol=prepared", "--jobs=1"])
            .arg(format!("--client={CLIENTS}"))
            .arg(format!("--time={seconds}"))
            .arg(format!("--file={}", self.script))
            .arg(url.without_password())
            .env("PGPASSWORD", password);
        let output = tools::output(&mut command, &self.bench.cancel)?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(
            text.contains("number of failed transactions: 0 "),
            "pgbench said\n{text}"
        );
        let per_second = tps(&text).with_context(|| format!("pgbench said\n{text}"))?;
        Ok(Round {
            per_second,
            ..Round::default()
        })
    }
}

fn tps(text: &str) -> Option<f64> {
    let rest = text.lines().find_map(|line| line.strip_prefix("tps = "))?;
    rest.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::tps;

    #[test]
    fn reads_what_pgbench_prints() {
        let text = "latency average = 4.9 ms\ntps = 2039.571 (without initial connection time)\n";
        assert!(tps(text).is_some_and(|tps| (tps - 2039.571).abs() < 1e-6));
    }
}
