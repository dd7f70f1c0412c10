//! Checks every rule that types cannot express, and resolves names to indices.
//!
//! All violations are reported, not just the first one.

mod access;
mod acme;
mod actions;
mod admin;
mod api_keys;
mod caches;
mod checker;
mod compression;
mod conditions;
mod edits;
mod encryption;
mod forward_auth;
mod guards;
mod health;
mod issuers;
mod kubernetes;
mod lifecycle;
mod limits;
mod logins;
mod lookups;
mod mirror;
mod redis;
mod references;
mod reserved;
mod resilience;
mod revocations;
mod routes;
mod server;
mod sites;
mod split;
mod tls;
mod upstreams;
mod validation;
mod values;

use quartet_common::{
    config::{ConfigError, Settings},
    net::TrustedProxies,
};
use quartet_telemetry::check_filter;

use super::{Config, model, shown};
use crate::routing::RouteTable;
pub(super) use checker::Violations;
use checker::{Checker, DAY_SECONDS};
pub(crate) use lookups::parse_address;
pub(super) use lookups::upstream_of;

/// # Errors
/// Every violation.
pub(super) fn validate(mut model: model::Model, settings: Settings) -> Result<Config, Violations> {
    let mut checker = Checker::default();
    logins::add_routes(&mut model);
    check_shared(&model, &mut checker);
    server::check(&model.server, &mut checker);
    let admin = admin::check(&model, &mut checker);
    let acme = acme::check(&model.acme, &mut checker);
    check_background(&model, &mut checker);
    validation::check(&model.validation, &mut checker);
    health::check(&model, &mut checker);
    kubernetes::check(&model, &mut checker);
    routes::check_timeouts("defaults", &model.defaults, &mut checker);
    let upstreams = model
        .upstreams
        .iter()
        .filter_map(|(name, upstream)| upstreams::check(name, upstream, &mut checker))
        .collect();
    let reserved = reserved::ReservedHeaders::of(&model);
    let limits = model
        .limits
        .iter()
        .filter_map(|(name, limit)| limits::check(name, limit, &reserved, &mut checker))
        .collect();
    let logins = logins::check(&model, &mut checker);
    let lookups = lookups::check(&model, &mut checker);
    let caches = model.caches.iter();
    let caches = caches
        .filter_map(|(name, cache)| caches::check(name, cache, &mut checker))
        .collect();
    let sites = model.sites.iter();
    let sites = sites
        .filter_map(|(name, site)| sites::check(name, site, &mut checker))
        .collect();
    let guards = guards::GuardTables::check(&model, &mut checker);
    let security_headers = guards.security_headers.clone();
    let limit_store = limits::check_store(&model.rate_limit_store, &mut checker);
    let kept = issuers::KeptClaims::gather(&model, &mut checker);
    let issuers = issuers::check(&model, &kept, &mut checker);
    revocations::check(&model.revocations, &mut checker);
    api_keys::check(&model, &mut checker);
    let known = access::Known {
        issuers: issuers::names(&model),
        kept: &kept,
        model: &model,
    };
    let routes = routes::check(&model, &guards, (&known, &reserved), &mut checker);
    let tls = tls::check(&model, &reserved, &mut checker);
    checker.finish()?;
    let tls = tls.ok_or_else(Violations::new)?;
    Ok(Config {
        trusted_proxies: TrustedProxies::new(model.server.trusted_proxies.clone()),
        hash: shown::hash(&settings, &model.server),
        admin,
        acme,
        tls,
        model,
        settings,
        issuers,
        upstreams,
        limits,
        logins,
        lookups,
        security_headers,
        limit_store,
        caches,
        sites,
        routes: RouteTable::new(routes),
    })
}

/// The sections that all binaries have.
fn check_shared(model: &model::Model, checker: &mut Checker) {
    let results = [model.telemetry.check(), check_filter(&model.telemetry.log)];
    let errors = results.into_iter().filter_map(Result::err);
    for error in errors.flat_map(ConfigError::each) {
        issuers::report(error, checker);
    }
}

fn check_background(model: &model::Model, checker: &mut Checker) {
    let (discovery, documents) = (&model.discovery, &model.documents);
    checker.ranges(
        "discovery",
        &[
            (
                "interval_ms",
                discovery.interval_ms,
                50,
                DAY_SECONDS * 1_000,
            ),
            ("timeout_ms", discovery.timeout_ms, 10, 60_000),
        ],
    );
    checker.ranges(
        "documents",
        &[
            ("refresh_seconds", documents.refresh_seconds, 0, DAY_SECONDS),
            ("timeout_ms", documents.timeout_ms, 10, 60_000),
        ],
    );
}
