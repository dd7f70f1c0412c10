//! What a route does with its requests: an upstream, a page, a redirect or a fixed response.

use http::{HeaderValue, StatusCode};

use super::{checker::Checker, references::References, values::resolve};
use crate::{
    config::model,
    routing::{
        Auth, FixedResponse, GatewayPage, PathPattern, Rewrite, RouteAction, Split, Template,
    },
};

/// Pages belong to an upstream; this is for a line or two.
const MAX_RESPONSE_BYTES: usize = 64 * 1024;
const REDIRECTS: [u16; 5] = [301, 302, 303, 307, 308];

/// Exactly one of the keys that say where the response comes from.
pub(super) fn check(
    key: &str,
    route: &model::Route,
    references: &References<'_>,
    checker: &mut Checker,
) -> Option<RouteAction> {
    let has_redirect = route.redirect.is_some() || redirects(route);
    let keys = [
        ("upstream", route.upstream.is_some()),
        ("split", route.split.is_some()),
        ("lookup", route.lookup.is_some()),
        ("serve", route.serve.is_some()),
        ("redirect", has_redirect),
        ("respond", route.respond.is_some()),
        ("site", route.site.is_some()),
    ];
    let mut set = keys.into_iter().filter(|(_, is_set)| *is_set);
    let Some((first, _)) = set.next() else {
        let names = keys.map(|(name, _)| format!("`{name}`")).join(", ");
        checker.error(key, format!("must have one of {names}"));
        return None;
    };
    if let Some((second, _)) = set.next() {
        checker.error(
            format!("{key}.{second}"),
            format!("cannot be combined with `{first}`"),
        );
        return None;
    }
    match (&route.upstream, route.serve) {
        (Some(name), _) => {
            resolve(key, "upstream", name, &references.upstreams, checker).map(RouteAction::Proxy)
        }
        (None, _) if route.split.is_some() || route.lookup.is_some() => Some(RouteAction::Choose),
        (None, Some(GatewayPage::AuthVerify)) => {
            if route.auth == Auth::Public {
                let message =
                    "is not possible with auth = \"public\": there is no caller to verify";
                checker.error(format!("{key}.serve"), message);
            }
            Some(RouteAction::Verify)
        }
        (None, Some(serve)) => Some(RouteAction::Serve(serve)),
        (None, None) if has_redirect => Some(RouteAction::Redirect),
        (None, None) if route.site.is_some() => Some(RouteAction::Site),
        (None, None) => Some(RouteAction::Respond),
    }
}

/// Whether it is from an object that redirects.
fn redirects(route: &model::Route) -> bool {
    let object = route.object.as_ref();
    object.is_some_and(|object| object.redirect.is_some())
}

/// Whether an upstream of the route needs the general path.
pub(super) fn is_general(
    action: Option<RouteAction>,
    split: Option<&Split>,
    references: &References<'_>,
) -> bool {
    let is_general = |index: usize| references.is_general[index];
    let of_split = split.is_some_and(|split| split.parts.iter().any(|part| is_general(part.0)));
    of_split || matches!(action, Some(RouteAction::Proxy(index)) if is_general(index))
}

/// `WebSockets` begin with HTTP/1.1.
pub(super) fn check_upgrade(
    key: &str,
    route: &model::Route,
    action: Option<RouteAction>,
    split: Option<&Split>,
    references: &References<'_>,
    checker: &mut Checker,
) {
    let speaks_http1 = |index: usize| references.speaks_http1[index];
    let of_split = split.is_none_or(|split| split.parts.iter().all(|part| speaks_http1(part.0)));
    let of_action = match action {
        Some(RouteAction::Proxy(index)) => speaks_http1(index),
        _ => true,
    };
    if route.upgrade && !(of_split && of_action) {
        let rule = "is not possible with an upstream that has http2 without tls";
        checker.error(format!("{key}.upgrade"), rule);
    }
}

/// The upstream of a call with gRPC-web speaks gRPC, so it needs HTTP/2, and the general path.
pub(super) fn check_grpc_web(
    key: &str,
    route: &model::Route,
    (action, split): (Option<RouteAction>, Option<&Split>),
    references: &References<'_>,
    checker: &mut Checker,
) {
    let has_http2 = |index: usize| references.has_http2[index];
    let of_split = split.is_some_and(|split| split.parts.iter().all(|part| has_http2(part.0)));
    let is_grpc = of_split || matches!(action, Some(RouteAction::Proxy(index)) if has_http2(index));
    if route.grpc_web && !is_grpc {
        let rule = "needs `upstream` or `split`, and http2 = true in each upstream";
        checker.error(format!("{key}.grpc_web"), rule);
    }
}

/// The outer `None`: a violation was found.
pub(super) fn check_redirect(
    key: &str,
    route: &model::Route,
    paths: &[PathPattern],
    checker: &mut Checker,
) -> Option<Option<Template>> {
    let redirect = route.redirect.as_deref();
    let template = redirect.map(|text| parse_redirect(text, paths)).transpose();
    checker.ok(&format!("{key}.redirect"), template)
}

/// A URL, or a path of the same origin. The client does not choose its host.
fn parse_redirect(text: &str, paths: &[PathPattern]) -> Result<Template, String> {
    let is_path = text.starts_with('/') && !text.starts_with("//");
    let rest = text
        .strip_prefix("https://")
        .or(text.strip_prefix("http://"));
    let host = rest.and_then(|rest| rest.split(['/', '?', '#']).next());
    match host {
        // Browsers read it as a slash.
        _ if text.contains('\\') => Err("must not contain a backslash".to_owned()),
        Some(host) if host.is_empty() || host.contains('{') => {
            Err("must name its host without a segment of the path".to_owned())
        }
        None if !is_path => Err("must be a URL or a path that starts with /".to_owned()),
        _ => Template::parse_url(text, paths),
    }
}

/// The outer `None`: a violation was found.
pub(super) fn check_redirect_status(
    key: &str,
    route: &model::Route,
    checker: &mut Checker,
) -> Option<Option<StatusCode>> {
    let status = route.redirect_status.map(|status| {
        if !REDIRECTS.contains(&status) {
            return Err("must be 301, 302, 303, 307 or 308".to_owned());
        }
        if route.redirect.is_none() {
            return Err("needs `redirect`".to_owned());
        }
        StatusCode::from_u16(status).map_err(|error| error.to_string())
    });
    checker.ok(&format!("{key}.redirect_status"), status.transpose())
}

/// The outer `None`: a violation was found.
pub(super) fn check_response(
    key: &str,
    route: &model::Route,
    checker: &mut Checker,
) -> Option<Option<FixedResponse>> {
    let Some(response) = &route.respond else {
        return Some(None);
    };
    let key = format!("{key}.respond");
    let status = StatusCode::from_u16(response.status).ok();
    let status = status.filter(|status| (200..600).contains(&status.as_u16()));
    let status = status.ok_or_else(|| "must be between 200 and 599".to_owned());
    let status = checker.ok(&format!("{key}.status"), status)?;
    let body = &response.body;
    if body.len() > MAX_RESPONSE_BYTES {
        let message = format!("must have at most {MAX_RESPONSE_BYTES} bytes");
        checker.error(format!("{key}.body"), message);
    }
    // RFC 9110, 15.3.5, 15.3.6 and 15.4.5.
    if !body.is_empty() && [204, 205, 304].contains(&response.status) {
        let message = format!("must be empty with status {}", response.status);
        checker.error(format!("{key}.body"), message);
    }
    let content_type = HeaderValue::try_from(response.content_type.as_str())
        .ok()
        .filter(|value| !value.is_empty())
        .ok_or_else(|| "is not a valid header value".to_owned());
    Some(Some(FixedResponse {
        status,
        content_type: checker.ok(&format!("{key}.content_type"), content_type)?,
        body: body.clone().into(),
    }))
}

/// The outer `None`: a violation was found.
pub(super) fn check_rewrite(
    key: &str,
    route: &model::Route,
    paths: &[PathPattern],
    checker: &mut Checker,
) -> Option<Option<Rewrite>> {
    let rewrite = route.rewrite.as_deref().map(|text| {
        if !route.has_upstream() {
            return Err("needs an upstream".to_owned());
        }
        Rewrite::parse(text, paths, route.raw_path)
    });
    checker.ok(&format!("{key}.rewrite"), rewrite.transpose())
}
