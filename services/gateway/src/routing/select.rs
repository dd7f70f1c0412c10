//! Selects the route of a request whose path may be spelled in any way.

use std::{borrow::Cow, sync::Arc};

use http::Method;

use super::{
    pattern::PathPattern,
    route::Route,
    table::{RequestKey, RouteMatch, RouteTable},
};
use crate::request::path::{self, PathError};

/// A route, and what matched it.
#[derive(Debug)]
pub(crate) struct SelectedRoute<'t, 'r> {
    pub(crate) route: &'t Arc<Route>,
    pub(crate) pattern: &'t Arc<PathPattern>,
    /// The path to forward.
    pub(crate) path: Cow<'r, str>,
}

/// Why a request has no route.
#[derive(Debug)]
pub(crate) enum Unroutable {
    /// The path might be read in several ways.
    Refused(PathError),
    /// There is not exactly one host.
    InvalidHost,
    MethodNotAllowed(Vec<Method>),
    NotFound,
}

impl RouteTable {
    /// `raw_path` is as it was sent, without its query.
    ///
    /// # Errors
    /// [`Unroutable`].
    pub(crate) fn select<'t, 'r>(
        &'t self,
        key: &RequestKey<'_>,
        raw_path: &'r str,
    ) -> Result<SelectedRoute<'t, 'r>, Unroutable> {
        match path::path(raw_path) {
            Ok(path) => {
                let (route, pattern) = found(self.find(key, &path))?;
                Ok(SelectedRoute {
                    route,
                    pattern,
                    path,
                })
            }
            Err(refused) if refused.may_be_raw() => {
                let find = |path: &str| found(self.find(key, path));
                select_raw(raw_path, refused, find)
            }
            Err(refused) => Err(Unroutable::Refused(refused)),
        }
    }
}

/// Every reading must lead to one route, and that route must accept raw paths. Captures are taken
/// from the path as sent, so it has no empty segment, which would shift them.
fn select_raw<'t, 'r>(
    raw_path: &'r str,
    refused: PathError,
    find: impl Fn(&str) -> Result<(&'t Arc<Route>, &'t Arc<PathPattern>), Unroutable>,
) -> Result<SelectedRoute<'t, 'r>, Unroutable> {
    if raw_path.contains("//") {
        return Err(Unroutable::Refused(refused));
    }
    let readings = path::readings(raw_path).map_err(Unroutable::Refused)?;
    let mut all = readings.iter().map(|reading| find(reading));
    let first = all.next().and_then(Result::ok);
    let (route, pattern) = first.ok_or(Unroutable::Refused(refused))?;
    let same = |found: Result<(&Arc<Route>, _), _>| {
        found.is_ok_and(|(other, _)| Arc::ptr_eq(route, other))
    };
    if !route.raw_path || !all.all(same) {
        return Err(Unroutable::Refused(refused));
    }
    Ok(SelectedRoute {
        route,
        pattern,
        path: Cow::Borrowed(raw_path),
    })
}

fn found(found: RouteMatch<'_>) -> Result<(&Arc<Route>, &Arc<PathPattern>), Unroutable> {
    match found {
        RouteMatch::Found { route, pattern } => Ok((route, pattern)),
        RouteMatch::MethodNotAllowed(methods) => Err(Unroutable::MethodNotAllowed(methods)),
        RouteMatch::NotFound => Err(Unroutable::NotFound),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use proptest::prelude::*;

    use super::*;
    use crate::{
        config::load::Sources,
        fuzz,
        request::{RequestTarget, path::generous},
    };

    fn table() -> RouteTable {
        let route = |name: &str, path: &str, more: &str| {
            format!("[routes.{name}]\npaths = [\"{path}\"]\nupstream = \"u\"\n{more}\n")
        };
        let text = [
            "shipped_routes = false\n[upstreams.u]\naddresses = [\"u:1\"]\n".to_owned(),
            route("all", "/*", "auth = \"public\"\nraw_path = true"),
            route("files", "/files/*", "auth = \"public\"\nraw_path = true"),
            route("secret", "/secret/*", ""),
            route("inner", "/files/secret/*", ""),
        ];
        Sources::of_test(&text.concat()).unwrap().routes
    }

    fn select(table: &RouteTable, raw: &str) -> Result<(String, String), String> {
        let key = RequestKey {
            has_tls: false,
            host: "",
            query: "",
            method: &Method::GET,
            headers: &HeaderMap::new(),
        };
        match table.select(&key, raw) {
            Ok(selected) => Ok((selected.route.name.to_string(), selected.path.into_owned())),
            Err(Unroutable::Refused(refused)) => Err(refused.code().to_owned()),
            Err(other) => Err(format!("{other:?}")),
        }
    }

    #[test]
    fn raw_paths_are_accepted_only_where_every_reading_leads_to_the_same_route() {
        let table = table();
        for (raw, expected) in [
            ("/files/a%2Fb", Ok("files")),
            ("/files/a;v=1", Ok("files")),
            ("/x;v=1/y%2fz", Ok("all")),
            ("/files%2Fa", Err("encoded_slash")),
            ("/files/secret%2Fx", Err("encoded_slash")),
            ("/files/secret;v=1/x", Err("semicolon")),
            ("/secret%2Fx", Err("encoded_slash")),
            ("/secret/a%2Fb", Err("encoded_slash")),
            ("/%2Fsecret/x", Err("encoded_slash")),
            ("/secret;a/x", Err("semicolon")),
            ("/files/..%2Fsecret/x", Err("dot_segment")),
            ("/files//a;v=1", Err("semicolon")),
            ("//files/a%2Fb", Err("encoded_slash")),
        ] {
            let selected = select(&table, raw);
            let selected = selected.as_ref().map(|(name, path)| {
                assert_eq!(path, raw, "forwarded as sent");
                name.as_str()
            });
            assert_eq!(selected.map_err(String::as_str), expected, "{raw}");
        }
        assert_eq!(
            select(&table, "//%73ecret//x"),
            Ok(("secret".to_owned(), "/secret/x".to_owned()))
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(8192))]

        /// No spelling reaches the upstream of a stricter route through a laxer one.
        #[test]
        fn no_spelling_leads_around_a_stricter_route(
            raw in "/(secret|files|x|%73ecret|[a./;\\\\]|%2[eEfF]|%5[cC]|\\.\\.|//|/){0,10}",
        ) {
            leads_nowhere_else(&raw)?;
        }
    }

    /// Whatever the spelling, a route that requires a token is chosen if, and only if, an upstream
    /// may read a path of that route.
    fn leads_nowhere_else(raw: &str) -> Result<(), TestCaseError> {
        let table = TABLE.with(Clone::clone);
        if let Ok((name, path)) = select(&table, raw) {
            if path.to_ascii_uppercase().contains("%3B") {
                // Decoding this before the delimiters is a misreading of RFC 3986, 2.2.
                return Ok(());
            }
            let read = generous(&path);
            let strict = match read.first().map(String::as_str) {
                Some("secret") => true,
                Some("files") => read.get(1).is_some_and(|second| second == "secret"),
                _ => false,
            };
            let is_strict = name == "secret" || name == "inner";
            prop_assert_eq!(strict, is_strict, "{} forwards {}", name, path);
            prop_assert_eq!(
                select(&table, &path),
                Ok((name, path.clone())),
                "chosen again"
            );
        }
        Ok(())
    }

    const DICTIONARY: [&str; 28] = [
        "/", "//", ".", "..", ";", "%", "%2e", "%2E", "%2f", "%2F", "%5c", "%3b", "%25", "%00",
        "%73", "\\", "|", "[", "?", "#", "@", "secret", "files", "x", "/secret", "/files", "/../",
        "/./",
    ];

    #[test]
    fn fuzz_paths() {
        fuzz::run("paths", &DICTIONARY, |input| {
            let text = String::from_utf8_lossy(input);
            leads_nowhere_else(RequestTarget::split(&text).path)
        });
    }

    thread_local! {
        static TABLE: Arc<RouteTable> = Arc::new(table());
    }
}
