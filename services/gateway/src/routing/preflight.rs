//! The route of a preflight (Fetch, 4.8): that of the request which it announces.
//!
//! A preflight has the URL and the method of that request, and the names of headers that a page has added
//! to it, but none of their values. So of a route with conditions on headers it may be open whether the
//! request will match. Then the preflight gets the answer of that one of the routes in question which
//! allows least: permission for one must not be permission for another. Routes without `cors` do not
//! count, as pages cannot read their responses either way.

use std::borrow::Cow;

use http::{Method, header};

use super::{
    guards::{AllowedHeaders, Cors},
    route::Route,
    select::SelectedRoute,
    table::{RequestKey, RouteTable},
};
use crate::request::path;

impl RouteTable {
    /// The route whose `cors` answers a preflight. `key` is that of the request which it announces, with
    /// the headers of the preflight. `None`: it is a request like any other.
    pub(super) fn announced<'t, 'r>(
        &'t self,
        key: &RequestKey<'_>,
        raw_path: &'r str,
    ) -> Option<SelectedRoute<'t, 'r>> {
        let has_cors = |route: &Route| route.guards.cors.is_some();
        let Ok(path) = path::path(raw_path) else {
            // Only routes for raw paths can match, by what the preflight has itself.
            let selected = self.select(key, raw_path).ok()?;
            return has_cors(selected.route).then_some(selected);
        };
        let possible = self.possible(key, &path).into_iter();
        let (route, pattern) = possible
            .filter(|(route, _)| has_cors(route))
            .min_by_key(|(route, _)| allowance(route, key))?;
        Some(SelectedRoute {
            route,
            pattern,
            path: Cow::Owned(path.into_owned()),
        })
    }
}

/// How much the route allows: whether it grants what is asked for, and with credentials.
fn allowance(route: &Route, key: &RequestKey<'_>) -> (bool, bool) {
    let cors = route.guards.cors.as_deref();
    let grants = cors.is_some_and(|cors| grants(cors, key));
    (grants, cors.is_some_and(|cors| cors.credentials))
}

fn grants(cors: &Cors, key: &RequestKey<'_>) -> bool {
    let origin = key.headers.first(&header::ORIGIN).unwrap_or_default();
    let origin = std::str::from_utf8(origin).unwrap_or_default();
    let is_allowed = |method: &Method| {
        let methods = cors.methods.as_deref().unwrap_or_default();
        // These need no permission (Fetch, 2.2.1).
        let is_free = [Method::GET, Method::HEAD, Method::POST].contains(method);
        is_free || methods.is_empty() || methods.contains(method)
    };
    let mut asked = key.headers.all(header::ACCESS_CONTROL_REQUEST_HEADERS);
    let are_listed = match &cors.request_headers {
        AllowedHeaders::Any => true,
        AllowedHeaders::Listed(names) => asked.all(|value| {
            let mut asked = value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
            asked.all(|asked| {
                let mut names = names.iter();
                names.any(|name| name.as_str().as_bytes().eq_ignore_ascii_case(asked))
            })
        }),
    };
    (cors.allows_any_origin() || cors.allows(origin)) && is_allowed(key.method) && are_listed
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;
    use crate::{config::load::Sources, request::header_map};

    fn preflight(headers: &'static str) -> HeaderMap {
        header_map(&[
            ("origin", "https://a.example"),
            ("access-control-request-headers", headers),
        ])
    }

    fn table() -> RouteTable {
        let cors = |name: &str, origin: &str, more: &str| {
            format!("[cors.{name}]\norigins = [\"{origin}\"]\n{more}\n")
        };
        let route = |name: &str, more: &str| {
            format!("[routes.{name}]\npaths = [\"/a\"]\nupstream = \"u\"\n{more}\n")
        };
        let text = [
            "shipped_routes = false\n[upstreams.u]\naddresses = [\"u:1\"]\n".to_owned(),
            cors("ours", "https://a.example", "request_headers = [\"*\"]"),
            cors("theirs", "https://b.example", ""),
            route("plain", "cors = \"ours\""),
            route("beta", "headers = { x-beta = \"1\" }\ncors = \"theirs\""),
            route("app", "headers = { x-app = true }\ncors = \"ours\""),
            route("bare", "headers = { x-bare = \"1\" }"),
            route("closed", "headers = { x-closed = true }"),
        ];
        Sources::of_test(&text.concat()).unwrap().routes
    }

    #[test]
    fn a_preflight_gets_the_answer_of_the_route_that_allows_least() {
        let table = table();
        for (announced, expected) in [
            ("", Some("plain")),
            ("x-other", Some("plain")),
            ("x-app", Some("app")),
            // Whatever the value of the other one is.
            ("x-app,x-beta", Some("app")),
            // The request may be for either, and only one of them allows it.
            ("x-beta", Some("beta")),
            // Without `cors`, a route has no say, unless the request is for it alone.
            ("x-bare", Some("plain")),
            ("x-closed", None),
        ] {
            let headers = preflight(announced);
            let key = RequestKey {
                has_tls: false,
                host: "",
                query: "",
                method: &Method::PUT,
                headers: &headers,
            };
            let found = table.announced(&key, "/a");
            let name = found.as_ref().map(|found| &*found.route.name);
            assert_eq!(name, expected, "{announced}");
        }
    }
}
