//! `[routes.*]`: patterns, references and overrides of the defaults.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use http::{HeaderName, HeaderValue, Method};

use super::{
    checker::{Checker, DAY_SECONDS},
    edits,
};
use crate::{
    config::model,
    routing::{HostPattern, PathPattern, Route, RouteAction, Template},
};

/// Bodies pass through, so this only keeps sums of sizes within their type: one tebibyte.
const MAX_BODY_BYTES: u64 = 1 << 40;

/// What routes refer to.
struct References<'a> {
    upstreams: BTreeMap<&'a str, usize>,
    /// By their index.
    has_tls: Vec<bool>,
    limits: BTreeMap<&'a str, usize>,
    defaults: &'a model::RouteDefaults,
    direct_path: bool,
}

/// The valid ones among the routes that are enabled.
pub(super) fn check(model: &model::Model, checker: &mut Checker) -> Vec<Route> {
    let references = References {
        upstreams: indices(&model.upstreams),
        has_tls: model
            .upstreams
            .values()
            .map(|upstream| upstream.tls)
            .collect(),
        limits: indices(&model.limits),
        defaults: &model.defaults,
        direct_path: model.server.direct_path,
    };
    model
        .routes
        .iter()
        .filter(|(_, route)| route.enabled)
        .filter_map(|(name, route)| check_route(name, route, &references, checker))
        .collect()
}

fn check_route(
    name: &str,
    route: &model::Route,
    references: &References<'_>,
    checker: &mut Checker,
) -> Option<Route> {
    let key = format!("routes.{name}");
    checker.name(&key, name);
    let action = check_action(&key, route, references, checker);
    let has_tls = matches!(action, Some(RouteAction::Proxy(index)) if references.has_tls[index]);
    if has_tls && route.upgrade {
        checker.error(
            format!("{key}.upgrade"),
            "is not possible with an upstream that has tls",
        );
    }
    let limits = check_limits(&key, route, references, checker);
    let paths = check_list(&key, "paths", &route.paths, PathPattern::parse, checker);
    if route.paths.is_empty() {
        checker.error(format!("{key}.paths"), "must have at least one path");
    }
    let hosts = check_list(&key, "hosts", &route.hosts, HostPattern::parse, checker);
    let methods = check_list(&key, "methods", &route.methods, parse_method, checker);
    let redirect = route.redirect.as_deref().map(|text| {
        let paths = paths.as_deref().unwrap_or_default();
        check_redirect(&key, text, paths, checker)
    });
    let headers = check_headers(&key, &route.headers, checker);
    let (request_headers, response_headers) =
        edits::check(&key, route, paths.as_deref().unwrap_or_default(), checker);
    let bounds = bounds(route, references.defaults);
    check_timeouts(&key, &bounds, checker);
    Some(Route {
        index: 0,
        name: name.into(),
        priority: route.priority,
        hosts: hosts?,
        paths: paths?,
        methods: methods?,
        headers: headers?,
        direct: references.direct_path && !has_tls && matches!(action, Some(RouteAction::Proxy(_))),
        action: action?,
        redirect: match redirect {
            None => None,
            Some(template) => Some(template?),
        },
        auth: route.auth,
        limits: limits?,
        request_headers: request_headers?,
        response_headers: response_headers?,
        upgrade: route.upgrade,
        stream: route.stream,
        raw_path: route.raw_path,
        body_limit_bytes: bounds.body_limit_bytes,
        body_timeout: Duration::from_secs(bounds.body_timeout_seconds),
        response_timeout: unless_zero(bounds.response_timeout_seconds),
        stream_timeout: unless_zero(bounds.stream_timeout_seconds),
    })
}

/// The route's own bounds, else the defaults.
fn bounds(route: &model::Route, defaults: &model::RouteDefaults) -> model::RouteDefaults {
    model::RouteDefaults {
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
    }
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
        ],
    );
}

fn unless_zero(seconds: u64) -> Option<Duration> {
    (seconds > 0).then(|| Duration::from_secs(seconds))
}

fn check_action(
    key: &str,
    route: &model::Route,
    references: &References<'_>,
    checker: &mut Checker,
) -> Option<RouteAction> {
    match (&route.upstream, route.serve, &route.redirect) {
        (Some(name), None, None) => {
            resolve(key, "upstream", name, &references.upstreams, checker).map(RouteAction::Proxy)
        }
        (None, Some(serve), None) => Some(RouteAction::Serve(serve)),
        (None, None, Some(_)) => Some(RouteAction::Redirect),
        (None, None, None) => {
            checker.error(key, "must have `upstream`, `serve` or `redirect`");
            None
        }
        (_, Some(_), _) => {
            checker.error(
                format!("{key}.serve"),
                "cannot be combined with another action",
            );
            None
        }
        (Some(_), None, Some(_)) => {
            checker.error(
                format!("{key}.redirect"),
                "cannot be combined with `upstream`",
            );
            None
        }
    }
}

/// A URL, or a path of the same origin. The client does not choose its host.
fn check_redirect(
    key: &str,
    text: &str,
    paths: &[PathPattern],
    checker: &mut Checker,
) -> Option<Template> {
    let is_path = text.starts_with('/') && !text.starts_with("//");
    let rest = text
        .strip_prefix("https://")
        .or(text.strip_prefix("http://"));
    let host = rest.and_then(|rest| rest.split(['/', '?', '#']).next());
    let template = match host {
        // Browsers read it as a slash.
        _ if text.contains('\\') => Err("must not contain a backslash".to_owned()),
        Some(host) if host.is_empty() || host.contains('{') => {
            Err("must name its host without a segment of the path".to_owned())
        }
        None if !is_path => Err("must be a URL or a path that starts with /".to_owned()),
        _ => Template::parse(text, paths),
    };
    checker.ok(&format!("{key}.redirect"), template)
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

/// The index of a name; `field` is also the noun of the message.
fn resolve(
    key: &str,
    field: &str,
    name: &str,
    known: &BTreeMap<&str, usize>,
    checker: &mut Checker,
) -> Option<usize> {
    let index = known.get(name).copied();
    let index = index.ok_or_else(|| format!("there is no {field} `{name}`"));
    checker.ok(&format!("{key}.{field}"), index)
}

fn check_list<T>(
    key: &str,
    field: &str,
    texts: &[String],
    parse: impl Fn(&str) -> Result<T, String>,
    checker: &mut Checker,
) -> Option<Vec<T>> {
    let parsed: Vec<Option<T>> = texts
        .iter()
        .enumerate()
        .map(|(at, text)| checker.ok(&format!("{key}.{field}[{at}]"), parse(text)))
        .collect();
    parsed.into_iter().collect()
}

fn parse_method(text: &str) -> Result<Method, String> {
    if text.is_empty() || text.bytes().any(|byte| byte.is_ascii_lowercase()) {
        return Err("must be a method in upper case, such as GET".to_owned());
    }
    Method::from_bytes(text.as_bytes()).map_err(|_| "is not a valid method".to_owned())
}

fn check_headers(
    key: &str,
    headers: &BTreeMap<String, String>,
    checker: &mut Checker,
) -> Option<Vec<(HeaderName, HeaderValue)>> {
    let parse = |name: &str, value: &str| {
        let name =
            HeaderName::try_from(name).map_err(|_| "is not a valid header name".to_owned())?;
        let value =
            HeaderValue::try_from(value).map_err(|_| "is not a valid header value".to_owned())?;
        Ok((name, value))
    };
    let parsed: Vec<Option<_>> = headers
        .iter()
        .map(|(name, value)| checker.ok(&format!("{key}.headers.{name}"), parse(name, value)))
        .collect();
    parsed.into_iter().collect()
}

/// Names of a table with their positions.
fn indices<T>(table: &BTreeMap<String, T>) -> BTreeMap<&str, usize> {
    table
        .keys()
        .enumerate()
        .map(|(index, name)| (name.as_str(), index))
        .collect()
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
