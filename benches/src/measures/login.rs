//! Password logins beside bare argon2id on one core, and refreshes.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use argon2::{Algorithm, Argon2, Block, Params, Version};

use crate::backend::{Backend, User};
use crate::bench::{Bench, Cores};
use crate::load::{Load, count};
use crate::report::{Section, Table, verdict};
use crate::rounds::{Round, Row, alternate};
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
    let users = User::sign_up_all(port, "login", USERS)?;
    let hash = backend.query("SELECT hash FROM core.passwords LIMIT 1")?;
    let params = parameters(&hash).context("the parameters of a stored hash")?;
    let logins = Load::Cycle(users.iter().map(User::login).collect(), LOGINS);
    let refreshes = || {
        let sessions = users.iter().cycle().take(REFRESHES);
        let tokens = sessions.map(|user| user.token(port, "refresh_token"));
        let tokens = tokens.collect::<anyhow::Result<_>>()?;
        anyhow::Ok(Load::Refresh("/v1/core/sessions/refresh", tokens))
    };
    let run = |load: &Load, seconds| load.run(bench, port, core.pid(), seconds);
    let alone = |seconds| bench.on(Cores::Server, || hash_for(&params, seconds))?;
    let rows = [
        Row::new("logins", |seconds| run(&logins, seconds)),
        Row::new("refreshes", |seconds| run(&refreshes()?, seconds)),
        Row::new("argon2id alone", alone),
    ];
    let pace = bench.plan.slow_pace();
    let results = alternate(bench, pace, &rows)?;

    let remembered = Usage::of_group(core.pid())?.resident_mb;
    let bound = PERMITS * f64::from(params.m_cost()) * 1024.0 / 1e6 + BESIDE_HASHES_MB;
    let sessions = backend.query("SELECT count(*) FROM core.sessions")?;
    let ratio = results.ratio("logins", "argon2id alone");
    let mut table = Table::of_results(&results, "what", "argon2id", "argon2id alone");
    // A refresh hashes no password.
    table.blank(2, 2);
    Ok(Section {
        text: format!(
            include_str!("login.md"),
            pace,
            USERS,
            LOGINS,
            params.m_cost(),
            params.t_cost(),
            params.p_cost(),
            REFRESHES,
            backend.version
        ),
        table,
        notes: vec![
            format!("Logins to the bound that argon2id sets: {ratio:.2}"),
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

/// One hash after the other on this thread.
fn hash_for(params: &Params, seconds: u32) -> anyhow::Result<Round> {
    // Allocated once: a bound pays for no memory.
    let mut memory = vec![Block::default(); params.block_count()];
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params.clone());
    let (mut hash, mut hashes) = ([0_u8; 32], 0_u64);
    let (begin, duration) = (Instant::now(), Duration::from_secs(seconds.into()));
    while begin.elapsed() < duration {
        let salt = u128::from(hashes).to_le_bytes();
        let password = b"tangerine violin moss";
        argon2.hash_password_into_with_memory(password, &salt, &mut hash, &mut memory)?;
        hashes += 1;
    }
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
