//! Redirects and the own user through the gateway, beside the gateway with an upstream that does nothing.

use anyhow::Context as _;
use jsonwebtoken::Algorithm::EdDSA;
use quartet_devstack::ServiceSpec;

use super::peers::{Setup, Variant};
use super::redirect::{create_links, follow};
use super::{CONNECTIONS, GUARDED, USERS};
use crate::backend::{Backend, User};
use crate::bench::{Bench, Cores};
use crate::load::{Load, Request};
use crate::plan::Measure;
use crate::report::{Section, Table};
use crate::rounds::alternate;
use crate::upstream;

/// With limits that are counted and never reached.
const LIMITS: [&str; 4] = ["CORE", "MEDIA", "LINKS", "REDIRECTS"];

pub(super) fn run(bench: &Bench, backend: &Backend) -> anyhow::Result<Section> {
    let setup = Setup {
        bench,
        upstream: upstream::start(&backend.issuer.jwks)?,
        issuer: &backend.issuer,
    };
    let guarded = setup.gateway(Variant::of(EdDSA))?;
    let tokens = backend.issuer.tokens(EdDSA, USERS)?;
    let things = tokens
        .iter()
        .map(|token| Request::get(GUARDED, Some(token)));

    let stack = &backend.stack;
    let _core = bench.start(Cores::Others, &stack.service("core")?)?;
    let _links = bench.start(Cores::Others, &backend.trusting(stack.service("links")?))?;
    let limited = |spec: ServiceSpec, limit: &&str| {
        spec.env(format!("QUARTET_LIMITS_{limit}_REQUESTS"), "10000000")
    };
    let gateway = LIMITS.iter().fold(stack.gateway(), limited);
    let gateway = bench.start(Cores::Server, &gateway)?;
    let slugs = create_links(backend, "through")?;
    let users = (0..USERS)
        .map(|number| {
            let user = User::sign_up(stack.ports.core, &format!("through{number}"))?;
            let token = user.access_token(stack.ports.core)?;
            Ok(Request::get("/v1/core/users/me", Some(&token)))
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    let redirects = slugs.iter().map(|slug| follow(slug)).collect();

    let own = (stack.ports.gateway, gateway.pid());
    let subjects = [
        (
            "guarded, tiny upstream",
            (guarded.port, guarded.service.pid()),
            Load::Cycle(things.collect(), CONNECTIONS),
        ),
        ("GET /s/{slug}", own, Load::Cycle(redirects, CONNECTIONS)),
        (
            "GET /v1/core/users/me",
            own,
            Load::Cycle(users, CONNECTIONS),
        ),
    ];
    for (name, (port, pid), load) in &subjects {
        load.run(bench, *port, *pid, 1).context(*name)?;
    }
    let pace = bench.plan.pace();
    let results = alternate(bench, pace.rounds, &subjects, |(_, (port, pid), load)| {
        load.run(bench, *port, *pid, pace.seconds)
    })?;
    let mut table = Table::of_rounds("request", "guarded");
    for ((name, ..), rounds) in subjects.iter().zip(&results) {
        table.rounds(name, rounds, Some(rounds.ratio_to(&results[0])));
    }
    Ok(Section {
        measure: Measure::Through,
        title: "Through the gateway",
        how: format!(
            "{} rounds of {} s, {CONNECTIONS} connections. The gateway has one core; links, core, Postgres {}, the tiny \
             upstream and the load share the others. CPU time is that of the gateway. Guarded verifies an EdDSA token, \
             as `users/me` does; all rows count a limit and write the access log.",
            pace.rounds, pace.seconds, backend.version
        ),
        table,
        notes: vec![
            "A row whose core is not busy was limited by the services or the load on the other cores: compare CPU time."
                .to_owned(),
        ],
    })
}
