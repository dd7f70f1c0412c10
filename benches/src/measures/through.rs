//! Redirects and the own user through the gateway, beside the gateway with an upstream that does nothing.

use jsonwebtoken::Algorithm::EdDSA;

use super::peers::Setup;
use super::redirect::{create_links, follow};
use super::{CONNECTIONS, GUARDED, USERS};
use crate::backend::{Backend, User};
use crate::bench::{Bench, Cores};
use crate::load::{Load, Request};
use crate::report::{Section, Table};
use crate::rounds::{Row, alternate, warm_up};

const REFERENCE: &str = "guarded, tiny upstream";

pub(super) fn run(bench: &Bench, backend: &Backend) -> anyhow::Result<Section> {
    let setup = Setup::new(bench)?;
    let guarded = setup.gateway(EdDSA)?;
    let things = setup.load(EdDSA, GUARDED)?;

    let stack = &backend.stack;
    let _core = bench.start(Cores::Others, &stack.service("core")?)?;
    let _links = bench.start(Cores::Others, &backend.trusting(stack.service("links")?))?;
    let gateway = bench.start(Cores::Server, &stack.gateway()?)?;
    let slugs = create_links(backend, "through")?;
    let redirects = Load::Cycle(slugs.iter().map(|slug| follow(slug)).collect(), CONNECTIONS);
    let own_user = |user: &User| {
        let token = user.token(stack.ports.core, "access_token")?;
        Ok(Request::get("/v1/core/users/me", Some(&token)))
    };
    let users = User::sign_up_all(stack.ports.core, "through", USERS)?;
    let users: anyhow::Result<_> = users.iter().map(own_user).collect();
    let users = Load::Cycle(users?, CONNECTIONS);

    let own = |name, load| {
        let (port, pid): (u16, u32) = (stack.ports.gateway, gateway.pid());
        let load: &Load = load;
        Row::new(name, move |seconds| load.run(bench, port, pid, seconds))
    };
    let rows = [
        Row::new(REFERENCE, |seconds| guarded.run(bench, &things, seconds)),
        own("GET /s/{slug}", &redirects),
        own("GET /v1/core/users/me", &users),
    ];
    warm_up(&rows)?;
    let pace = bench.plan.pace();
    let results = alternate(bench, pace, &rows)?;
    Ok(Section {
        text: format!(include_str!("through.md"), pace, CONNECTIONS, backend.version),
        table: Table::of_results(&results, "request", "guarded", REFERENCE),
        notes: vec![
            "A row whose core is not busy was limited by the services or the load on the other cores: compare CPU time."
                .to_owned(),
        ],
    })
}
