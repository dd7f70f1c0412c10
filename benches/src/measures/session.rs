//! Requests of browsers with a login's session, beside those with the token that the session has.

use anyhow::Context as _;
use jsonwebtoken::Algorithm::HS256;
use serde_json::json;

use super::peers::{Proxy, Setup};
use super::{CONNECTIONS, GUARDED, USERS};
use crate::bench::Bench;
use crate::load::{Load, Request, Requests};
use crate::report::{Section, Table, at_least};
use crate::rounds::{Row, alternate, warm_up};

const PATH: &str = "/session/thing";
/// Of requests with a token.
const GOAL: f64 = 0.9;

const TOKEN: &str = "token";
const SESSION: &str = "session";

pub(super) fn run(bench: &Bench) -> anyhow::Result<Section> {
    let setup = Setup::new(bench)?;
    let proxy = setup.gateway_with_login()?;
    let with_tokens = setup.load(HS256, GUARDED)?;
    let sessions = Load::Cycle(log_in(&setup, &proxy)?, CONNECTIONS);
    let rows = [
        Row::new(TOKEN, |seconds| proxy.run(bench, &with_tokens, seconds)),
        Row::new(SESSION, |seconds| proxy.run(bench, &sessions, seconds)),
    ];
    warm_up(&rows)?;
    let pace = bench.plan.pace();
    let results = alternate(bench, pace, &rows)?;
    let ratio = results.ratio(SESSION, TOKEN);
    Ok(Section {
        text: format!(include_str!("session.md"), pace, CONNECTIONS, USERS),
        table: Table::of_results(&results, "request with a", TOKEN, TOKEN),
        notes: vec![format!(
            "Requests/s with a session to those with a token: {ratio:.2}; the goal of {GOAL} is {}.",
            at_least(ratio, GOAL)
        )],
    })
}

/// Exchanges the token of each user; requests with the cookies, after a check that these are needed.
fn log_in(setup: &Setup<'_>, proxy: &Proxy) -> anyhow::Result<Requests> {
    Request::get(PATH, None).expect(proxy.port, 401)?;
    let tokens = setup.issuer.tokens(HS256, USERS)?;
    let requests = tokens.iter().map(|token| {
        let body = json!({ "access_token": token, "refresh_token": "qrt_ref_bench" });
        let response = Request::post_from_page("/auth/session", &body).expect(proxy.port, 201)?;
        let cookie = response.header("set-cookie").context("no cookie")?;
        let cookie = cookie.split(';').next().unwrap_or_default();
        let request = Request::get_with_cookie(PATH, cookie);
        request.expect(proxy.port, 200)?;
        Ok(request)
    });
    requests.collect()
}
