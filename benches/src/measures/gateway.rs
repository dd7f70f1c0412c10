//! The gateway beside its peers.

use anyhow::ensure;
use jsonwebtoken::Algorithm;
use quartet_devstack::port;

use super::peers::{Proxy, Setting};
use super::{BUSY, CONNECTIONS, percent};
use crate::bench::Bench;
use crate::helpers;
use crate::http::Request;
use crate::plan::Measure;
use crate::report::{Section, Table};
use crate::rounds::{Rounds, alternate};
use crate::tokens::Issuer;
use crate::wrk::{self, Load, empty_log};

/// Each with a token of its own.
const USERS: usize = 64;
/// The shortest line that says anything about a request.
const LINE_BYTES: u64 = 40;

/// One row of the table.
struct Subject {
    name: &'static str,
    /// Whether it checks tokens and counts requests.
    guarded: bool,
    proxy: Proxy,
    load: Load,
    path: &'static str,
    token: String,
}

pub(super) fn run(bench: &Bench) -> anyhow::Result<Section> {
    let issuer = Issuer::new()?;
    let upstream_port = port::free()?;
    let _upstream = helpers::start_upstream(bench, &issuer, upstream_port)?;
    let setting = Setting {
        bench,
        issuer: &issuer,
        upstream: upstream_port,
    };
    let (subjects, left_out) = start_all(&setting)?;
    for subject in &subjects {
        subject.check()?;
        subject
            .load
            .run(bench, subject.proxy.port, subject.proxy.service.pid(), 1)?;
        empty_log(&subject.proxy.access_log)?;
    }
    let pace = bench.plan.pace();
    let results = alternate(bench, pace.rounds, &subjects, |subject| {
        let server = subject.proxy.service.pid();
        let round = subject
            .load
            .run(bench, subject.proxy.port, server, pace.seconds)?;
        let logged = empty_log(&subject.proxy.access_log)?;
        ensure!(
            logged >= round.requests * LINE_BYTES,
            "{} wrote only {logged} bytes of log for {} requests",
            subject.name,
            round.requests
        );
        Ok(round)
    })?;
    Ok(section(bench, &subjects, &results, left_out))
}

/// Everything that can be had; of the others, why not.
fn start_all(setting: &Setting<'_>) -> anyhow::Result<(Vec<Subject>, Vec<String>)> {
    use Algorithm::{ES256, EdDSA, HS256};
    let guarded = |algorithm| load(setting, algorithm, "/guarded/thing");
    let mut subjects = vec![
        subject(
            "quartet-gateway, EdDSA",
            true,
            setting.gateway(EdDSA)?,
            guarded(EdDSA)?,
        ),
        subject(
            "quartet-gateway, HS256",
            true,
            setting.gateway(HS256)?,
            guarded(HS256)?,
        ),
        subject(
            "quartet-gateway, plain",
            false,
            setting.gateway(EdDSA)?,
            load(setting, EdDSA, "/plain/thing")?,
        ),
    ];
    let mut left_out = Vec::new();
    let peers = [
        (
            "HAProxy, HS256",
            true,
            setting.haproxy(HS256),
            guarded(HS256)?,
        ),
        (
            "HAProxy, ES256",
            true,
            setting.haproxy(ES256),
            guarded(ES256)?,
        ),
        ("nginx, plain", false, setting.nginx(), guarded(EdDSA)?),
        ("Caddy, plain", false, setting.caddy(), guarded(EdDSA)?),
    ];
    for (name, checks, proxy, load) in peers {
        match proxy {
            Ok(proxy) => subjects.push(subject(name, checks, proxy, load)),
            Err(error) => {
                setting.bench.go_on()?;
                println!("  left out: {name}: {error:#}");
                left_out.push(name.to_owned());
            }
        }
    }
    Ok((subjects, left_out))
}

/// Requests of all users in turn; with the path and one of their tokens.
fn load(
    setting: &Setting<'_>,
    algorithm: Algorithm,
    path: &'static str,
) -> anyhow::Result<(Load, &'static str, String)> {
    let tokens = setting.issuer.tokens(algorithm, USERS)?;
    let requests: Vec<wrk::Request> = tokens
        .iter()
        .map(|token| wrk::Request {
            method: "GET",
            path: path.to_owned(),
            token: Some(token.clone()),
            body: None,
        })
        .collect();
    let name = format!("{algorithm:?}{}", path.replace('/', "-"));
    Ok((
        Load::cycle(setting.bench, &name, CONNECTIONS, &requests)?,
        path,
        tokens[0].clone(),
    ))
}

fn subject(
    name: &'static str,
    guarded: bool,
    proxy: Proxy,
    (load, path, token): (Load, &'static str, String),
) -> Subject {
    Subject {
        name,
        guarded,
        proxy,
        load,
        path,
        token,
    }
}

impl Subject {
    /// That it does what its row says: with the token it answers; without, or with a
    /// forged one, only a plain proxy does.
    fn check(&self) -> anyhow::Result<()> {
        let port = self.proxy.port;
        let ask = |token| Request {
            port,
            method: "GET",
            path: self.path,
            token,
            body: None,
        };
        let answer = ask(Some(&self.token)).expect(200)?;
        ensure!(
            answer.body == "ok\n",
            "{} answered `{}`",
            self.name,
            answer.body
        );
        let refused = if self.guarded { 401 } else { 200 };
        ask(None).expect(refused)?;
        let forged = forge(&self.token);
        ask(Some(&forged)).expect(refused)?;
        if self.guarded && self.name.starts_with("quartet") {
            ensure!(
                answer.header("ratelimit").is_some(),
                "the gateway does not count requests"
            );
        }
        Ok(())
    }
}

/// The token with another signature.
fn forge(token: &str) -> String {
    let (signed, signature) = token.rsplit_once('.').unwrap_or((token, ""));
    let turned: String = signature.chars().rev().collect();
    format!("{signed}.{turned}")
}

fn section(
    bench: &Bench,
    subjects: &[Subject],
    results: &[Rounds],
    left_out: Vec<String>,
) -> Section {
    let nginx = subjects
        .iter()
        .position(|subject| subject.name == "nginx, plain");
    let mut table = Table::new(&[
        "proxy",
        "requests/s",
        "to nginx",
        "p50 ms",
        "p99 ms",
        "CPU us/request",
        "core busy",
        "resident MB",
    ]);
    for (subject, rounds) in subjects.iter().zip(results) {
        let ratio = nginx.map_or_else(String::new, |nginx| {
            format!("{:.2}", rounds.ratio_to(&results[nginx]))
        });
        table.row(vec![
            subject.name.to_owned(),
            rounds.per_second(),
            ratio,
            format!("{:.2}", rounds.median(|round| round.p50_ms)),
            format!("{:.2}", rounds.median(|round| round.p99_ms)),
            format!("{:.1}", rounds.median(|round| round.cpu_micros)),
            percent(rounds.median(|round| round.busy)),
            format!("{:.1}", rounds.median(|round| round.resident_mb)),
        ]);
    }
    let pace = bench.plan.pace();
    Section {
        measure: Measure::Gateway,
        title: "Gateway",
        how: format!(
            "{} rounds of {} s, wrk with {CONNECTIONS} connections, tokens of {USERS} users in turn, a tiny upstream \
             that answers `ok`. EdDSA, HS256 and ES256 rows verify the token, count a limit per user that is never \
             reached, set identity headers and a request id, keep metrics and write an access log to a file. Plain \
             rows only pass requests on and write the log. benches/peers/ has the configurations and says where they \
             differ.",
            pace.rounds, pace.seconds
        ),
        table,
        notes: notes(subjects, results, left_out),
    }
}

fn notes(subjects: &[Subject], results: &[Rounds], left_out: Vec<String>) -> Vec<String> {
    let find = |name: &str| {
        subjects
            .iter()
            .position(|subject| subject.name == name)
            .map(|index| &results[index])
    };
    let pairs = [
        ("quartet-gateway, HS256", "HAProxy, HS256"),
        ("quartet-gateway, EdDSA", "HAProxy, ES256"),
        ("quartet-gateway, EdDSA", "quartet-gateway, plain"),
        ("quartet-gateway, plain", "nginx, plain"),
        ("quartet-gateway, plain", "Caddy, plain"),
    ];
    let mut notes: Vec<String> = pairs
        .into_iter()
        .filter_map(|(a, b)| {
            let ratio = find(a)?.ratio_to(find(b)?);
            Some(format!("Requests/s of {a} to {b}: {ratio:.2}"))
        })
        .collect();
    notes.push("Every request of every round was answered without an error and logged.".to_owned());
    for (subject, rounds) in subjects.iter().zip(results) {
        if rounds.median(|round| round.busy) < BUSY {
            notes.push(format!(
                "{} did not use up its core: the load did; compare CPU time.",
                subject.name
            ));
        }
    }
    notes.extend(
        left_out
            .into_iter()
            .map(|name| format!("Left out, because it could not be started: {name}")),
    );
    notes
}

#[cfg(test)]
mod tests {
    use super::forge;

    #[test]
    fn a_forged_token_differs_only_in_its_signature() {
        assert_eq!(forge("head.body.abc"), "head.body.cba");
    }
}
