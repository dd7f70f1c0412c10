//! Which logins a route needs.

use std::collections::BTreeMap;

use crate::{
    config::{
        model::{self, LoginKind},
        validate::{
            checker::Checker,
            values::{indices, resolve},
        },
    },
    routing::{Auth, GatewayPage, HostPattern, RouteLogin},
};

/// Which logins a route needs.
pub(in crate::config::validate) fn check_route(
    key: &str,
    route: &model::Route,
    model: &model::Model,
    checker: &mut Checker,
) -> Option<Vec<RouteLogin>> {
    let known: BTreeMap<&str, usize> = indices(&model.logins);
    let is_page = route.serve == Some(GatewayPage::Login);
    let logins = match route.login.as_deref() {
        Some("") => Vec::new(),
        Some(name) => {
            let index = resolve(key, "login", name, &known, checker)?;
            vec![RouteLogin {
                index,
                hosts: Vec::new(),
            }]
        }
        None if route.serve.is_some() => Vec::new(),
        None => {
            let logins = by_host(model);
            if !logins.is_empty() && is_open_elsewhere(route) {
                let rule = "must be set, or `hosts`: a login has `hosts`, and requests for other hosts would need none";
                checker.error(format!("{key}.login"), rule);
            }
            logins
        }
    };
    if is_page && logins.is_empty() {
        checker.error(format!("{key}.login"), "must be set with serve = \"login\"");
    }
    if route.login.as_deref().is_some_and(|name| !name.is_empty())
        && route.serve.is_some_and(|page| page != GatewayPage::Login)
    {
        checker.error(format!("{key}.login"), "is not possible with `serve`");
    }
    if !is_page {
        for login in &logins {
            check_rules(key, route, model, login.index, checker);
        }
    }
    Some(logins)
}

/// Whether who sends another `Host` reaches the same without a session.
fn is_open_elsewhere(route: &model::Route) -> bool {
    let has_content = route.redirect.is_none() && route.respond.is_none();
    route.auth != Auth::Required && route.hosts.is_empty() && has_content
}

fn by_host(model: &model::Model) -> Vec<RouteLogin> {
    let logins = model.logins.values().enumerate();
    let logins = logins.filter_map(|(index, login)| {
        let hosts: Vec<_> = login
            .hosts
            .iter()
            .filter_map(|host| HostPattern::parse(host).ok())
            .collect();
        (!hosts.is_empty()).then_some(RouteLogin { index, hosts })
    });
    logins.collect()
}

/// What a route requires of tokens would not be asked of a session without one.
fn check_rules(
    key: &str,
    route: &model::Route,
    model: &model::Model,
    index: usize,
    checker: &mut Checker,
) {
    let Some(login) = model.logins.values().nth(index) else {
        return;
    };
    if login.kind == LoginKind::Core {
        if route.auth == Auth::Public {
            let rule =
                "must not be \"public\" with a login of kind = \"core\", whose tokens are verified";
            checker.error(format!("{key}.auth"), rule);
        }
        return;
    }
    let has_rules = !route.required_scopes.is_empty()
        || !route.required_roles.is_empty()
        || !route.required_claims.is_empty();
    if has_rules && !login.verify_access_token {
        let rule = "is not possible: what the route requires of tokens would not be asked of sessions; use \
                    allowed_groups, or verify_access_token, of the login";
        checker.error(format!("{key}.login"), rule);
    }
}
