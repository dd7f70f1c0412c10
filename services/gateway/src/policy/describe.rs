//! The policies of a route in words, for `explain`.

use http::HeaderValue;
use serde_json::{Value, json};

use super::chain::{Chain, Step};
use crate::{
    config::Config,
    routing::{AfterSunset, Auth, HeaderEdit, RedirectPath, Route, Sticky},
};

/// A policy of a chain, as its route sets it.
#[derive(Debug)]
pub(crate) struct PolicyDescription {
    pub(crate) name: String,
    /// An object.
    pub(crate) settings: Value,
}

impl Chain {
    /// The policies that a request passes, in order. `route` is that of the chain.
    pub(crate) fn describe(&self, route: &Route, config: &Config) -> Vec<PolicyDescription> {
        let steps = self.steps().iter();
        steps
            .filter(|step| !matches!(step, Step::Refusal | Step::Challenge | Step::SessionUse))
            .map(|step| PolicyDescription {
                name: name(step),
                settings: settings(step, route, config),
            })
            .collect()
    }
}

/// That of its type, as settings are written: `rate_limits`.
fn name(step: &Step) -> String {
    let debug = format!("{step:?}");
    let variant = debug.split(|c: char| !c.is_alphanumeric()).next();
    let mut name = String::new();
    for (at, letter) in variant.unwrap_or_default().chars().enumerate() {
        if letter.is_ascii_uppercase() && at > 0 {
            name.push('_');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name
}

/// Without values that may be secret.
fn settings(step: &Step, route: &Route, config: &Config) -> Value {
    match step {
        Step::Announcement(_) => {
            let lifecycle = route.lifecycle.as_ref();
            let date = |date: chrono::DateTime<chrono::Utc>| date.format("%Y-%m-%d").to_string();
            json!({
                "deprecated_on": lifecycle.and_then(|it| it.deprecated_on).map(date),
                "sunset_on": lifecycle.and_then(|it| it.sunset_on).map(date),
                "gone": lifecycle.is_some_and(|it| it.after_sunset == AfterSunset::Gone),
            })
        }
        Step::Cors(_) | Step::NetworkAccess(_) => guards(step, route, config),
        Step::HttpsRedirect(_) => json!({ "https_port": route.guards.https_port }),
        Step::ClaimNames(_)
        | Step::ClientCertificates(_)
        | Step::GrpcWeb
        | Step::Refusal
        | Step::Challenge
        | Step::LoginCookies(_)
        | Step::SessionUse
        | Step::Maintenance(_)
        | Step::Fault(_)
        | Step::SecurityHeaders(_)
        | Step::Verify
        | Step::Invalidation(_) => json!({}),
        Step::ExternalAuth(_) => json!({
            "url": route.forward_auth.as_ref().map(|it| &it.url),
        }),
        Step::Decompression(_) => json!({ "request_decompression": route.request_decompression }),
        Step::Cache(_) => json!({
            "cache": route.cache.map(|index| &*config.caches[index].name),
        }),
        Step::Upgrade(_) => json!({ "upgrade": route.upgrade }),
        Step::BodyLimit(_) => json!({ "body_limit_bytes": route.body_limit_bytes }),
        Step::Login(_) => logins(route, config),
        Step::AccessToken(_) => access(route, config),
        Step::RateLimits(_) => {
            let limits = route.limits.iter().map(|&index| &config.limits[index]);
            let limits = limits.map(|limit| {
                json!({
                    "name": &*limit.name,
                    "requests": limit.requests,
                    "window_seconds": limit.window.as_secs(),
                })
            });
            json!({ "limit": limits.collect::<Vec<_>>() })
        }
        Step::HeaderEdits(_) => edits(route),
        Step::Split(_) => {
            let parts = route.split.iter().flat_map(|split| &split.parts);
            let parts = parts.map(|&(index, weight)| {
                json!({ "upstream": &*config.upstreams[index].name, "weight": weight })
            });
            json!({
                "split": parts.collect::<Vec<_>>(),
                "sticky": route.split.as_ref().and_then(|it| it.sticky.as_ref()).map(sticky),
            })
        }
        Step::Lookup(_) => lookup(route, config),
        Step::Mirroring(_) => {
            let rule = route.mirror.as_ref();
            json!({
                "upstream": rule.map(|rule| &*config.upstreams[rule.upstream].name),
                "percent": rule.map(|rule| rule.percent),
            })
        }
        Step::Validation(_) => json!({ "validate": route.validate }),
        Step::Redirect(_) | Step::RedirectParts(_) | Step::Respond(_) | Step::SiteFiles(_) => {
            answer(step, route, config)
        }
    }
}

/// What a route without an upstream answers.
fn answer(step: &Step, route: &Route, config: &Config) -> Value {
    match step {
        Step::Redirect(_) => redirect(route),
        Step::RedirectParts(_) => redirect_parts(route),
        Step::Respond(_) => json!({
            "status": route.respond.as_ref().map(|response| response.status.as_u16()),
        }),
        Step::SiteFiles(_) => json!({
            "site": route.site.map(|index| &*config.sites[index].name),
            "directory": route.site.map(|index| &config.sites[index].directory),
        }),
        _ => json!({}),
    }
}

/// What is missing is the request's.
fn redirect_parts(route: &Route) -> Value {
    let Some(parts) = &route.redirect_parts else {
        return json!({});
    };
    json!({
        "scheme": parts.is_secure.map(|is_secure| if is_secure { "https" } else { "http" }),
        "host": parts.host,
        "port": parts.port,
        "path": match &parts.path {
            RedirectPath::Kept => None,
            RedirectPath::Full(path) | RedirectPath::Prefix(path) => Some(path),
        },
        "redirect_status": parts.status.as_u16(),
    })
}

fn redirect(route: &Route) -> Value {
    json!({
        "redirect": route.redirect.as_ref().map(ToString::to_string),
        "redirect_status": route.redirect_status.map(|status| status.as_u16()),
    })
}

fn access(route: &Route, config: &Config) -> Value {
    let auth = match route.auth {
        Auth::Public => "public",
        Auth::Optional => "optional",
        Auth::Required => "required",
    };
    let access = &route.access;
    let issuers = access
        .issuers
        .iter()
        .map(|&index| &*config.issuers[index].name);
    let claims = access.claims.iter().map(|claim| &*claim.name);
    json!({
        "auth": auth,
        "issuers": issuers.collect::<Vec<_>>(),
        "required_scopes": access.scopes,
        "required_roles": access.roles,
        "required_claims": claims.collect::<Vec<_>>(),
    })
}

fn logins(route: &Route, config: &Config) -> Value {
    let logins = route.logins.iter();
    let logins = logins.map(|login| &*config.logins[login.index].name);
    json!({ "login": logins.collect::<Vec<_>>() })
}

fn lookup(route: &Route, config: &Config) -> Value {
    let lookup = route.lookup.as_ref();
    let name = lookup.map(|(index, _)| &*config.lookups[*index].name);
    json!({ "lookup": name, "segment": lookup.map(|(_, segment)| segment) })
}

fn sticky(sticky: &Sticky) -> Value {
    match sticky {
        Sticky::ClientHash => json!("client_hash"),
        Sticky::Cookie { name, ttl } => json!({
            "cookie": name,
            "ttl_seconds": ttl.map(|ttl| ttl.as_secs()),
        }),
    }
}

fn edits(route: &Route) -> Value {
    let request = route
        .request_headers
        .iter()
        .map(|edit| edit_text(edit, ToString::to_string));
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let response = route
        .response_headers
        .iter()
        .map(|edit| edit_text(edit, text));
    json!({
        "request_headers": request.collect::<Vec<_>>(),
        "response_headers": response.collect::<Vec<_>>(),
    })
}

fn edit_text<V>(edit: &HeaderEdit<V>, text: impl Fn(&V) -> String) -> String {
    match edit {
        HeaderEdit::Set(name, value) => format!("{name}: {}", text(value)),
        HeaderEdit::Remove(name) => format!("{name} is removed"),
        HeaderEdit::Add(name, value) => format!("{name}: {} is added", text(value)),
        HeaderEdit::SetMissing(name, value) => format!("{name}: {} if missing", text(value)),
    }
}

fn guards(step: &Step, route: &Route, config: &Config) -> Value {
    let (defaults, own) = (
        &config.model.defaults,
        config.model.routes.get(&*route.name),
    );
    if matches!(step, Step::Cors(_)) {
        let cors = own.and_then(|own| own.cors.as_ref());
        return json!({ "cors": cors.unwrap_or(&defaults.cors) });
    }
    let allowed = own.and_then(|own| own.allowed_networks.as_ref());
    let denied = own.and_then(|own| own.denied_networks.as_ref());
    json!({
        "allowed_networks": allowed.unwrap_or(&defaults.allowed_networks),
        "denied_networks": denied.unwrap_or(&defaults.denied_networks),
    })
}
