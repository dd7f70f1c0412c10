//! Password logins beside bare argon2id on one core, and refreshes.

use std::process::Command;

use anyhow::Context as _;
use argon2::Params;
use quartet_devstack::workspace;

use crate::backend::{Backend, User};
use crate::bench::{Bench, Cores};
use crate::load::{Load, count};
use crate::report::{Section, Table, verdict};
use crate::rounds::{Round, Row, alternate};
use crate::tools;
use crate::usage::Usage;

/// Enough to keep one core busy; more would only wait.
const LOGINS: usize = 4;
const REFRESHES: usize = 16;
const USERS: usize = 16;
/// The goal for the resident memory of core, without the memory of its hashes: 30 MiB.
const BESIDE_HASHES_MB: f64 = 31.457_28;
/// Core allows as many hashes at a time as it has cores.
const PERMITS: f64 = 1.0;

pub(super) fn run(bench: &Bench, backend: &Backend) -> anyhow::Result<Section> {
    let core = bench.start(Cores::Server, &backend.stack.service("core")?)?;
    let port = backend.stack.ports.core;
    let users = (0..USERS)
        .map(|number| User::sign_up(port, &format!("login{number}")))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let hash = backend.query("SELECT hash FROM core.passwords LIMIT 1")?;
    let params = parameters(&hash).context("the parameters of a stored hash")?;
    let logins = Load::Cycle(users.iter().map(User::login).collect(), LOGINS);
    let refreshes = || {
        let sessions = users.iter().cycle().take(REFRESHES);
        let tokens = sessions.map(|user| user.token(port, "refresh_token"));
        let tokens = tokens.collect::<anyhow::Result<_>>()?;
        anyhow::Ok(Load::Refresh("/v1/core/sessions/refresh", tokens))
    };
    let rows = [
        Row::new("logins", |seconds| {
            logins.run(bench, port, core.pid(), seconds)
        }),
        Row::new("refreshes", |seconds| {
            refreshes()?.run(bench, port, core.pid(), seconds)
        }),
        Row::new("argon2id alone", |seconds| {
            hash_for(bench, &params, seconds)
        }),
    ];
    let pace = bench.plan.slow_pace();
    let results = alternate(bench, pace, &rows)?;

    let remembered = count(Usage::of_group(core.pid())?.resident_bytes) / 1e6;
    let bound = PERMITS * f64::from(params.m_cost()) * 1024.0 / 1e6 + BESIDE_HASHES_MB;
    let sessions = backend.query("SELECT count(*) FROM core.sessions")?;
    let ratio = results.ratio("logins", "argon2id alone");
    let mut table = Table::of_rounds("what", "argon2id");
    for ((name, rounds), ratio) in results.0.iter().zip([ratio, None, Some(1.0)]) {
        table.rounds(name, rounds, ratio);
    }
    Ok(Section {
        title: "Login and refresh",
        how: format!(
            "{} rounds of {} s. Logins of {USERS} users over {LOGINS} connections, each with its session and its \
             tokens. Alone: the same argon2id ({} KiB, {} passes, {} lane), one hash after the other on the same core, \
             with memory allocated once. Refreshes: {REFRESHES} sessions at the same time, each token used once. \
             Postgres {} with fsync on the other cores.",
            pace.rounds,
            pace.seconds,
            params.m_cost(),
            params.t_cost(),
            params.p_cost(),
            backend.version
        ),
        table,
        notes: vec![
            format!(
                "Logins to the bound that argon2id sets: {:.2}",
                ratio.unwrap_or(f64::NAN)
            ),
            format!(
                "Resident after {sessions} logins: {remembered:.1} MB; the goal of {bound:.1} MB, {PERMITS:.0} permit \
                 and 30 MiB, is {}.",
                verdict(remembered, bound)
            ),
        ],
    })
}

/// Reads `$argon2id$v=19$m=19456,t=2,p=1$...`.
fn parameters(hash: &str) -> anyhow::Result<Params> {
    let costs = hash.strip_prefix("$argon2id$v=19$");
    let costs = costs.and_then(|rest| rest.split('$').next());
    let costs = costs.context("not an argon2id hash")?;
    let cost = |name: &str| -> anyhow::Result<u32> {
        let cost = costs.split(',').find_map(|cost| cost.strip_prefix(name));
        Ok(cost.context("a cost is missing")?.parse()?)
    };
    Ok(Params::new(cost("m=")?, cost("t=")?, cost("p=")?, None)?)
}

/// Hashes for some seconds on the core of the server, in a process of its own.
fn hash_for(bench: &Bench, params: &Params, seconds: u32) -> anyhow::Result<Round> {
    let costs = [params.m_cost(), params.t_cost(), params.p_cost(), seconds];
    let mut command = Command::new(workspace::binary("quartet-bench-bare")?);
    command.arg("argon2id");
    command.args(costs.map(|cost| cost.to_string()));
    let output = tools::output(bench, Cores::Server, &mut command)?;
    let hashes: u64 = output.trim().parse()?;
    Ok(Round::of_rate(hashes, count(hashes) / f64::from(seconds)))
}

#[cfg(test)]
mod tests {
    use super::parameters;

    #[test]
    fn the_parameters_of_a_stored_hash_are_read() {
        let params = parameters("$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA").unwrap();
        let costs = (params.m_cost(), params.t_cost(), params.p_cost());
        assert_eq!(costs, (19456, 2, 1));
        assert!(parameters("$2b$12$abc").is_err());
    }
}
