//! Password logins beside bare argon2id on one core, and refreshes.

use std::cell::Cell;
use std::process::Command;

use anyhow::Context as _;

use super::percent;
use crate::backend::{Backend, Person};
use crate::bench::Bench;
use crate::helpers::{self, HashParameters};
use crate::plan::Measure;
use crate::report::{Section, Table};
use crate::rounds::{Round, Rounds, alternate};
use crate::tools;
use crate::wrk::{self, Load};

/// Enough to keep one core busy; more would only wait.
const LOGINS: usize = 4;
const REFRESHES: usize = 16;
const PEOPLE: usize = 16;
const LOGIN_PATH: &str = "/v1/core/sessions";
const REFRESH_PATH: &str = "/v1/core/sessions/refresh";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Subject {
    Logins,
    Hashes,
    Refreshes,
}

const SUBJECTS: [Subject; 3] = [Subject::Logins, Subject::Hashes, Subject::Refreshes];

pub(super) fn run(bench: &Bench, backend: &Backend) -> anyhow::Result<Section> {
    let core = bench.start(&bench.pinned(backend.stack.service("core")?))?;
    let port = backend.stack.ports.core;
    let people = (0..PEOPLE)
        .map(|number| Person::sign_up(port, &format!("login{number}")))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let phc = backend.query("SELECT password_hash FROM core.users LIMIT 1")?;
    let parameters: HashParameters = phc.parse()?;
    let requests: Vec<wrk::Request> = people.iter().map(log_in).collect();
    let logins = Load::cycle(bench, "login", LOGINS, &requests)?;
    let chain = Cell::new(0_usize);

    let pace = bench.plan.slow_pace();
    let results = alternate(bench, pace.rounds, &SUBJECTS, |subject| match subject {
        Subject::Logins => logins.run(bench, port, core.pid(), pace.seconds),
        Subject::Hashes => hashes(bench, parameters, pace.seconds),
        Subject::Refreshes => {
            // A chain ends with its round: wrk hangs up on the last refresh.
            chain.set(chain.get() + 1);
            let tokens = refresh_tokens(port, &people)?;
            let load = Load::refresh(
                bench,
                &format!("refresh{}", chain.get()),
                REFRESH_PATH,
                &tokens,
            )?;
            load.run(bench, port, core.pid(), pace.seconds)
        }
    })?;

    let [logins, hashes, refreshes] = &results[..] else {
        anyhow::bail!("three were measured")
    };
    let pace = bench.plan.slow_pace();
    Ok(Section {
        measure: Measure::Login,
        title: "Login and refresh",
        how: format!(
            "{} rounds of {} s. Logins of {PEOPLE} people over {LOGINS} connections, each with its session and its \
             tokens. Alone: the same argon2id ({} KiB, {} passes, {} lane) one after the other on the same core, its \
             memory taken once. Refreshes: {REFRESHES} sessions at the same time, each token used once. Postgres {} \
             with fsync off that core.",
            pace.rounds,
            pace.seconds,
            parameters.memory_kib,
            parameters.passes,
            parameters.lanes,
            backend.version
        ),
        table: table(logins, hashes, refreshes),
        notes: vec![format!(
            "Logins to the bound that argon2id sets: {:.2}",
            logins.ratio_to(hashes)
        )],
    })
}

fn table(logins: &Rounds, hashes: &Rounds, refreshes: &Rounds) -> Table {
    let mut table = Table::new(&[
        "what",
        "per second",
        "to argon2id",
        "p50 ms",
        "p99 ms",
        "CPU ms each",
        "core busy",
        "resident MB",
    ]);
    for (name, rounds) in [("logins", logins), ("refreshes", refreshes)] {
        let ratio = rounds.ratio_to(hashes);
        table.row(vec![
            name.to_owned(),
            rounds.per_second(),
            if name == "logins" {
                format!("{ratio:.2}")
            } else {
                "-".to_owned()
            },
            format!("{:.1}", rounds.median(|round| round.p50_ms)),
            format!("{:.1}", rounds.median(|round| round.p99_ms)),
            format!("{:.2}", rounds.median(|round| round.cpu_micros) / 1e3),
            percent(rounds.median(|round| round.busy)),
            format!("{:.1}", rounds.median(|round| round.resident_mb)),
        ]);
    }
    let mut bound = vec![
        "argon2id alone".to_owned(),
        hashes.per_second(),
        "1.00".to_owned(),
    ];
    bound.resize(8, "-".to_owned());
    table.row(bound);
    table
}

fn log_in(person: &Person) -> wrk::Request {
    let body = Some(person.credentials().to_string());
    wrk::Request {
        method: "POST",
        path: LOGIN_PATH.to_owned(),
        token: None,
        body,
    }
}

fn refresh_tokens(port: u16, people: &[Person]) -> anyhow::Result<Vec<String>> {
    let sessions = people.iter().cycle().take(REFRESHES);
    sessions.map(|person| person.log_in(port)).collect()
}

fn hashes(bench: &Bench, parameters: HashParameters, seconds: u32) -> anyhow::Result<Round> {
    let HashParameters {
        memory_kib,
        passes,
        lanes,
    } = parameters;
    let mut command = Command::new("taskset");
    command
        .args(["-c", &bench.cores.server.to_string()])
        .arg(helpers::program()?)
        .args([
            helpers::HASHING,
            &format!("$argon2id$v=19$m={memory_kib},t={passes},p={lanes}$"),
        ])
        .arg(seconds.to_string());
    let output = tools::output(&mut command, &bench.cancel)?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let per_second = text
        .trim()
        .parse()
        .with_context(|| format!("`{text}` is no number"))?;
    Ok(Round {
        per_second,
        ..Round::default()
    })
}
