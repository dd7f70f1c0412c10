//! `[routes.*]`: patterns, references and overrides of the defaults.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use super::{
    access, actions,
    checker::{Checker, DAY_SECONDS},
    compression, conditions, edits, forward_auth,
    guards::GuardTables,
    lifecycle, logins, lookups, mirror,
    references::References,
    reserved::ReservedHeaders,
    sites, split, validation,
    values::{check_list, indices, parse_method, resolve},
};
use crate::{
    config::model,
    routing::{
        HostPattern, ObjectMatch, PathPattern, RequestDecompression, Route, RouteAction, Split,
    },
};

/// Bodies pass through, so this only keeps sums of sizes within their type: one tebibyte.
const MAX_BODY_BYTES: u64 = 1 << 40;
const MAX_PING_SECONDS: u64 = 3600;

/// The valid ones among the routes that are enabled.
pub(super) fn check(
    model: &model::Model,
    guards: &GuardTables<'_>,
    (access, reserved): (&access::Known<'_>, &ReservedHeaders),
    checker: &mut Checker,
) -> Vec<Route> {
    let references = References {
        upstreams: indices(&model.upstreams),
        is_general: model
            .upstreams
            .values()
            .map(|upstream| upstream.tls || upstream.http2)
            .collect(),
        speaks_http1: model
            .upstreams
            .values()
            .map(|upstream| upstream.tls || !upstream.http2)
            .collect(),
        has_http2: model.upstreams.values().map(|it| it.http2).collect(),
        is_documented: model
            .upstreams
            .values()
            .map(|upstream| upstream.openapi.is_some() || upstream.document.is_some())
            .collect(),
        limits: indices(&model.limits),
        lookups: indices(&model.lookups),
        caches: indices(&model.caches),
        sites: indices(&model.sites),
        defaults: &model.defaults,
        direct_path: model.server.direct_path,
        guards,
        access,
        reserved,
    };
    model
        .routes
        .iter()
        .filter(|(_, route)| route.enabled)
        .filter_map(|(name, route)| {
            if route.object.is_none() {
                checker.name(&format!("routes.{name}"), name);
            }
            check_route(name, route, &references, checker)
        })
        .collect()
}

fn check_route(
    name: &str,
    route: &model::Route,
    references: &References<'_>,
    checker: &mut Checker,
) -> Option<Route> {
    let key = format!("routes.{name}");
    let action = actions::check(&key, route, references, checker);
    let (split, is_general) = check_upstreams(&key, route, action, references, checker);
    let access = access::check(&key, route, references.access, checker);
    let forward_auth = forward_auth::check(&key, route, checker);
    let limits = check_limits(&key, route, references, checker);
    let compression = compression::check(&key, route, checker);
    let paths = check_paths(&key, route, checker);
    let hosts = check_list(&key, "hosts", &route.hosts, HostPattern::parse, checker);
    let methods = check_list(&key, "methods", &route.methods, parse_method, checker);
    let known_paths = paths.as_deref().unwrap_or_default();
    let redirect = actions::check_redirect(&key, route, known_paths, checker);
    let redirect_status = actions::check_redirect_status(&key, route, checker);
    let respond = actions::check_response(&key, route, checker);
    let lookup = lookups::check_route(&key, route, known_paths, &references.lookups, checker);
    let mirror = mirror::check(&key, route, references, checker);
    let rewrite = actions::check_rewrite(&key, route, known_paths, checker);
    let lifecycle = lifecycle::check(&key, route, checker);
    let headers = conditions::check_headers(&key, route, references.reserved, checker);
    let query = conditions::check_query(&key, route, checker);
    let (request_headers, response_headers) = edits::check(&key, route, known_paths, checker);
    let guards = references.guards.of_route(&key, route, checker);
    let bounds = check_bounds(&key, route, references.defaults, checker);
    Some(Route {
        index: 0,
        name: name.into(),
        priority: route.priority,
        object: object_match(route),
        hosts: hosts?,
        paths: paths?,
        methods: methods?,
        headers: headers?,
        query: query?,
        rewrite: rewrite?,
        direct: references.direct_path && !is_general && is_direct(route, action),
        action: action?,
        split: split?,
        lookup: lookup?,
        mirror: mirror?,
        redirect: redirect?,
        redirect_parts: route.object.as_ref().and_then(|it| it.redirect.clone()),
        redirect_status: redirect_status?,
        respond: respond?,
        site: sites::check_route(&key, route, references, checker),
        lifecycle: lifecycle?,
        forward_auth: forward_auth?.map(Arc::new),
        auth: route.auth,
        access,
        logins: logins::check_route(&key, route, references.access.model, checker)?,
        limits: limits?,
        on_store_error: route.on_store_error,
        compression: compression.map(Arc::new),
        request_decompression: route.request_decompression,
        grpc_web: route.grpc_web,
        validate: route.validate,
        cache: check_cache(&key, route, references, checker),
        request_headers: request_headers?,
        response_headers: response_headers?,
        guards: guards?,
        upgrade: route.upgrade,
        ping: check_ping(&key, route, &bounds, checker),
        stream: route.stream,
        raw_path: route.raw_path,
        body_limit_bytes: bounds.body_limit_bytes,
        body_timeout: Duration::from_secs(bounds.body_timeout_seconds),
        response_timeout: response_timeout(route, &bounds),
        stream_timeout: unless_zero(bounds.stream_timeout_seconds),
        retry_on: route.retry_on,
        request_timeout: request_timeout(route, &bounds),
    })
}

fn object_match(route: &model::Route) -> Option<ObjectMatch> {
    let object = route.object.as_ref()?;
    Some(ObjectMatch {
        rank: object.rank,
        has_tls: object.has_tls,
    })
}

fn response_timeout(route: &model::Route, bounds: &model::RouteDefaults) -> Option<Duration> {
    let object = route.object.as_ref();
    let own = object.and_then(|object| object.response_timeout);
    own.unwrap_or(unless_zero(bounds.response_timeout_seconds))
}

fn request_timeout(route: &model::Route, bounds: &model::RouteDefaults) -> Option<Duration> {
    let object = route.object.as_ref();
    let own = object.and_then(|object| object.request_timeout);
    own.unwrap_or(unless_zero(bounds.request_timeout_seconds))
}

/// Several upstreams (as [`split::check`]), and what those of the route have to be able to do. True: they
/// need the general path.
fn check_upstreams(
    key: &str,
    route: &model::Route,
    action: Option<RouteAction>,
    references: &References<'_>,
    checker: &mut Checker,
) -> (Option<Option<Split>>, bool) {
    let checked = split::check(key, route, references, checker);
    let split = checked.as_ref().and_then(Option::as_ref);
    let is_general = actions::is_general(action, split, references);
    actions::check_upgrade(key, route, action, split, references, checker);
    actions::check_grpc_web(key, route, (action, split), references, checker);
    validation::check_route(key, route, references, checker);
    (checked, is_general)
}

fn check_ping(
    key: &str,
    route: &model::Route,
    bounds: &model::RouteDefaults,
    checker: &mut Checker,
) -> Option<Duration> {
    let key = format!("{key}.ping_seconds");
    let (ping, silence) = (route.ping_seconds, bounds.stream_timeout_seconds);
    if ping > MAX_PING_SECONDS {
        checker.error(key, format!("must be 0 to {MAX_PING_SECONDS}"));
    } else if ping > 0 && !route.upgrade {
        checker.error(key, "is for routes with `upgrade`");
    } else if ping > 0 && silence > 0 && ping >= silence {
        let rule = format!("must be less than stream_timeout_seconds, which is {silence}");
        checker.error(key, rule);
    }
    unless_zero(ping)
}

/// A copy needs the whole body, which the direct path does not keep; it passes bodies as they are.
fn is_direct(route: &model::Route, action: Option<RouteAction>) -> bool {
    let is_forwarded = matches!(action, Some(RouteAction::Proxy(_) | RouteAction::Choose));
    let passes_bodies =
        !route.compress.is_on() && route.request_decompression == RequestDecompression::Pass;
    // A site compresses its files itself.
    let is_own = matches!(action, Some(RouteAction::Site | RouteAction::Verify));
    is_own || (is_forwarded && passes_bodies && route.mirror.is_none())
}

fn check_paths(key: &str, route: &model::Route, checker: &mut Checker) -> Option<Vec<PathPattern>> {
    if route.paths.is_empty() {
        checker.error(format!("{key}.paths"), "must have at least one path");
    }
    check_list(key, "paths", &route.paths, PathPattern::parse, checker)
}

/// The route's own bounds, else the defaults.
fn check_bounds(
    key: &str,
    route: &model::Route,
    defaults: &model::RouteDefaults,
    checker: &mut Checker,
) -> model::RouteDefaults {
    let bounds = model::RouteDefaults {
        body_limit_bytes: route.body_limit_bytes.unwrap_or(defaults.body_limit_bytes),
        body_timeout_seconds: route
            .body_timeout_seconds
            .unwrap_or(defaults.body_timeout_seconds),
        response_timeout_seconds: route
            .response_timeout_seconds
            .unwrap_or(defaults.response_timeout_seconds),
        stream_timeout_seconds: route
            .stream_timeout_seconds
            .unwrap_or(defaults.stream_timeout_seconds),
        request_timeout_seconds: route
            .request_timeout_seconds
            .unwrap_or(defaults.request_timeout_seconds),
        ..defaults.clone()
    };
    check_timeouts(key, &bounds, checker);
    bounds
}

pub(super) fn check_timeouts(table: &str, timeouts: &model::RouteDefaults, checker: &mut Checker) {
    checker.ranges(
        table,
        &[
            (
                "body_limit_bytes",
                timeouts.body_limit_bytes,
                0,
                MAX_BODY_BYTES,
            ),
            (
                "body_timeout_seconds",
                timeouts.body_timeout_seconds,
                1,
                DAY_SECONDS,
            ),
            (
                "response_timeout_seconds",
                timeouts.response_timeout_seconds,
                0,
                DAY_SECONDS,
            ),
            (
                "stream_timeout_seconds",
                timeouts.stream_timeout_seconds,
                0,
                DAY_SECONDS,
            ),
            (
                "request_timeout_seconds",
                timeouts.request_timeout_seconds,
                0,
                DAY_SECONDS,
            ),
        ],
    );
}

fn unless_zero(seconds: u64) -> Option<Duration> {
    (seconds > 0).then(|| Duration::from_secs(seconds))
}

/// Bounds the state that a request has for its limits.
const MAX_LIMITS: usize = 4;

fn check_limits(
    key: &str,
    route: &model::Route,
    references: &References<'_>,
    checker: &mut Checker,
) -> Option<Vec<usize>> {
    if route.limit.iter().count() > MAX_LIMITS {
        checker.error(
            format!("{key}.limit"),
            format!("must have at most {MAX_LIMITS} names"),
        );
    }
    let mut seen = BTreeSet::new();
    if let Some(twice) = route.limit.iter().find(|name| !seen.insert(*name)) {
        checker.error(
            format!("{key}.limit"),
            format!("must not have `{twice}` twice"),
        );
    }
    let names = route.limit.iter();
    let limits: Vec<_> = names
        .map(|name| resolve(key, "limit", name, &references.limits, checker))
        .collect();
    limits.into_iter().collect()
}

/// The cache of a route to an upstream.
fn check_cache(
    key: &str,
    route: &model::Route,
    references: &References<'_>,
    checker: &mut Checker,
) -> Option<usize> {
    let name = route.cache.as_deref()?;
    if route.upstream.is_none() {
        checker.error(format!("{key}.cache"), "is only possible with `upstream`");
    }
    resolve(key, "cache", name, &references.caches, checker)
}

#[cfg(test)]
mod tests {
    use crate::config::load::Sources;

    #[test]
    fn a_route_has_each_limit_once() {
        let check = |names: &str| {
            let text = format!(
                "[upstreams.u]\naddresses = [\"u:1\"]\n\
                 [limits.a]\nrequests = 1\nwindow_seconds = 1\n\
                 [limits.b]\nrequests = 1\nwindow_seconds = 1\n\
                 [routes.r]\npaths = [\"/r\"]\nupstream = \"u\"\nlimit = [{names}]\n"
            );
            Sources::of_test(&text).map_err(|errors| errors.to_string())
        };
        assert!(check("\"a\", \"b\"").is_ok());
        let error = check("\"a\", \"b\", \"a\"").unwrap_err();
        assert!(error.contains("must not have `a` twice"), "{error}");
    }
}
