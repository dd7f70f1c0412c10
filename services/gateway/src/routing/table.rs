//! Finds the best route for a request without looking at all of them, and without allocating.
//!
//! Every host and path of a route becomes one entry. Entries are sorted once, best first, so an
//! entry's index is its rank; a tree of path segments leads to the entries that can match, and
//! the lowest rank that also matches host, headers and method wins.

use std::{cmp::Reverse, collections::HashMap, sync::Arc};

use http::Method;

use super::{
    candidate::{Candidate, Mismatch, Precedence},
    forecast::Forecast,
    pattern::{HostPattern, PathPattern, Segment},
    route::Route,
};
use crate::request::Headers;

/// All routes, searchable by path.
#[derive(Debug)]
pub(crate) struct RouteTable {
    routes: Vec<Arc<Route>>,
    /// Every combination of a route's hosts and paths, best first.
    entries: Vec<RouteEntry>,
    root: Node,
}

#[derive(Debug)]
struct RouteEntry {
    route: usize,
    host: Option<HostPattern>,
    pattern: Arc<PathPattern>,
}

/// One path segment; its children are the segments that may follow.
#[derive(Debug, Default)]
struct Node {
    literals: HashMap<Box<str>, Node>,
    any: Option<Box<Node>>,
    /// Entries whose path ends here, best first.
    exact: Vec<usize>,
    /// Entries that match everything below, best first.
    prefix: Vec<usize>,
}

/// The result of a lookup.
#[derive(Debug)]
pub(crate) enum RouteMatch<'t> {
    Found {
        route: &'t Arc<Route>,
        pattern: &'t Arc<PathPattern>,
    },
    /// A route matches, but not with this method; these are allowed.
    MethodNotAllowed(Vec<Method>),
    NotFound,
}

/// The parts of a request that select the route, except for its path.
#[derive(Clone, Copy)]
pub(crate) struct RequestKey<'r> {
    /// In its one spelling.
    pub(crate) host: &'r str,
    /// With its question mark; may be empty.
    pub(crate) query: &'r str,
    pub(crate) method: &'r Method,
    /// The connection of the client has TLS here.
    pub(crate) has_tls: bool,
    pub(crate) headers: &'r dyn Headers,
}

/// The best entry found so far.
#[derive(Default)]
struct BestMatch {
    entry: Option<usize>,
    /// An entry matches except for the method.
    method_mismatch: bool,
}

impl RouteTable {
    pub(crate) fn new(routes: Vec<Route>) -> Self {
        let numbered = routes.into_iter().enumerate();
        let routes: Vec<Arc<Route>> = numbered
            .map(|(index, route)| Arc::new(Route { index, ..route }))
            .collect();
        let mut combinations: Vec<(usize, Option<&HostPattern>, &PathPattern)> = Vec::new();
        for (index, route) in routes.iter().enumerate() {
            for path in &route.paths {
                if route.hosts.is_empty() {
                    combinations.push((index, None, path));
                }
                combinations.extend(route.hosts.iter().map(|host| (index, Some(host), path)));
            }
        }
        combinations.sort_by_key(|&(index, host, path)| {
            Reverse(Precedence::of(&routes[index], host, path))
        });
        let mut root = Node::default();
        let mut entries = Vec::with_capacity(combinations.len());
        for (rank, (route, host, path)) in combinations.into_iter().enumerate() {
            root.insert(path, rank);
            entries.push(RouteEntry {
                route,
                host: host.cloned(),
                pattern: Arc::new(PathPattern {
                    rank,
                    ..path.clone()
                }),
            });
        }
        Self {
            routes,
            entries,
            root,
        }
    }

    /// All patterns by their rank; one that several hosts share is there for each.
    pub(crate) fn patterns(&self) -> impl Iterator<Item = &Arc<PathPattern>> {
        self.entries.iter().map(|entry| &entry.pattern)
    }

    /// All routes in configuration order.
    pub(crate) fn routes(&self) -> &[Arc<Route>] {
        &self.routes
    }

    /// `path` is in its one spelling, without query.
    pub(crate) fn find(&self, key: &RequestKey<'_>, path: &str) -> RouteMatch<'_> {
        let mut best = BestMatch::default();
        self.root.walk(Some(segments(path)), &mut |entries| {
            self.consider(entries, key, &mut best);
        });
        match best.entry {
            Some(entry) => {
                let entry = &self.entries[entry];
                RouteMatch::Found {
                    route: &self.routes[entry.route],
                    pattern: &entry.pattern,
                }
            }
            None if best.method_mismatch => {
                RouteMatch::MethodNotAllowed(self.allowed_methods(key, path))
            }
            None => RouteMatch::NotFound,
        }
    }

    /// How every combination of hosts and paths compares with a request, best first. `None`: it
    /// matches.
    pub(crate) fn candidates(&self, key: &RequestKey<'_>, path: &str) -> Vec<Candidate<'_>> {
        let mut matching = Vec::new();
        self.root.walk(Some(segments(path)), &mut |entries| {
            matching.extend(entries);
        });
        let entries = self.entries.iter().enumerate();
        let candidates = entries.map(|(rank, entry)| {
            let route = &self.routes[entry.route];
            let mismatch = if matching.contains(&rank) {
                let method = || (!route.allows(key.method)).then_some(Mismatch::Method);
                self.mismatch(entry, key).or_else(method)
            } else {
                Some(Mismatch::Path)
            };
            Candidate {
                route,
                host: entry.host.as_ref(),
                pattern: &entry.pattern,
                mismatch,
            }
        });
        candidates.collect()
    }

    /// The routes that the request which a preflight announces may be for, best first.
    pub(super) fn possible(
        &self,
        key: &RequestKey<'_>,
        path: &str,
    ) -> Vec<(&Arc<Route>, &Arc<PathPattern>)> {
        let mut ranks = Vec::new();
        self.root.walk(Some(segments(path)), &mut |entries| {
            ranks.extend_from_slice(entries);
        });
        ranks.sort_unstable();
        let mut possible = Vec::new();
        for entry in ranks.into_iter().map(|rank| &self.entries[rank]) {
            let route = &self.routes[entry.route];
            let is_of_host = entry
                .host
                .as_ref()
                .is_none_or(|host| host.matches(key.host));
            let mut query = route.query.iter();
            let is_of_query = query.all(|condition| condition.matches(key.query));
            let is_for = is_of_host && route.is_for(key.has_tls);
            if !(is_for && is_of_query && route.allows(key.method)) {
                continue;
            }
            let headers = route.headers.iter();
            let forecasts = headers.map(|condition| condition.forecast(key.headers));
            match forecasts.min().unwrap_or(Forecast::Yes) {
                Forecast::No => {}
                Forecast::Maybe => possible.push((route, &entry.pattern)),
                Forecast::Yes => {
                    possible.push((route, &entry.pattern));
                    break;
                }
            }
        }
        possible
    }

    fn consider(&self, entries: &[usize], key: &RequestKey<'_>, best: &mut BestMatch) {
        for &rank in entries {
            if best.entry.is_some_and(|found| found < rank) {
                return;
            }
            let entry = &self.entries[rank];
            if self.mismatch(entry, key).is_some() {
                continue;
            }
            if self.routes[entry.route].allows(key.method) {
                best.entry = Some(rank);
                return;
            }
            best.method_mismatch |= self.routes[entry.route].names_methods();
        }
    }

    /// Compares everything except path and method.
    fn mismatch(&self, entry: &RouteEntry, key: &RequestKey<'_>) -> Option<Mismatch<'_>> {
        let host = entry.host.as_ref();
        if host.is_some_and(|host| !host.matches(key.host)) {
            return Some(Mismatch::Host);
        }
        let route = &self.routes[entry.route];
        if !route.is_for(key.has_tls) {
            return Some(Mismatch::Tls);
        }
        let mut headers = route.headers.iter();
        let mut query = route.query.iter();
        let header = headers.find(|condition| !condition.matches(key.headers));
        let header = header.map(Mismatch::Header);
        header.or_else(|| {
            let parameter = query.find(|condition| !condition.matches(key.query));
            parameter.map(Mismatch::Parameter)
        })
    }

    fn allowed_methods(&self, key: &RequestKey<'_>, path: &str) -> Vec<Method> {
        let mut methods = Vec::new();
        self.root.walk(Some(segments(path)), &mut |entries| {
            for entry in entries.iter().map(|&rank| &self.entries[rank]) {
                let route = &self.routes[entry.route];
                if !route.names_methods() || self.mismatch(entry, key).is_some() {
                    continue;
                }
                for method in &route.methods {
                    if !methods.contains(method) {
                        methods.push(method.clone());
                    }
                }
            }
        });
        methods
    }
}

impl Node {
    /// Shows `visit` the entries of every pattern that matches. `rest` is `None` at the end of the
    /// path.
    fn walk(&self, rest: Option<&str>, visit: &mut impl FnMut(&[usize])) {
        visit(&self.prefix);
        let Some(rest) = rest else {
            visit(&self.exact);
            return;
        };
        let (segment, next) = split(rest);
        if let Some(child) = self.literals.get(segment) {
            child.walk(next, visit);
        }
        if let Some(child) = &self.any
            && !segment.is_empty()
        {
            child.walk(next, visit);
        }
    }

    fn insert(&mut self, path: &PathPattern, rank: usize) {
        let mut node = self;
        for segment in &path.segments {
            node = match segment {
                Segment::Literal(text) => node.literals.entry(text.as_str().into()).or_default(),
                Segment::Any(_) => node.any.get_or_insert_default(),
            };
        }
        if path.prefix {
            node.prefix.push(rank);
        } else {
            node.exact.push(rank);
        }
    }
}

/// What follows the first slash.
fn segments(path: &str) -> &str {
    path.strip_prefix('/').unwrap_or(path)
}

fn split(rest: &str) -> (&str, Option<&str>) {
    match rest.split_once('/') {
        Some((segment, next)) => (segment, Some(next)),
        None => (rest, None),
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::*;
    use crate::config::load::Sources;

    fn table(text: &str) -> RouteTable {
        let text = format!("shipped_routes = false\n[upstreams.u]\naddresses = [\"u:1\"]\n{text}");
        Sources::of_test(&text).unwrap().routes
    }

    fn route(name: &str, rest: &str) -> String {
        format!("[routes.{name}]\nupstream = \"u\"\n{rest}\n")
    }

    fn found(table: &RouteTable, method: Method, host: &str, path: &str) -> String {
        found_with(table, method, host, path, &HeaderMap::new())
    }

    fn found_with(
        table: &RouteTable,
        method: Method,
        host: &str,
        path: &str,
        headers: &HeaderMap,
    ) -> String {
        let key = RequestKey {
            host,
            query: "",
            has_tls: false,
            method: &method,
            headers,
        };
        match table.find(&key, path) {
            RouteMatch::Found { route, .. } => route.name.to_string(),
            RouteMatch::MethodNotAllowed(methods) => methods
                .iter()
                .map(Method::as_str)
                .collect::<Vec<_>>()
                .join(","),
            RouteMatch::NotFound => "-".to_owned(),
        }
    }

    #[test]
    fn longest_path_wins_and_prefixes_match_whole_segments() {
        let table = table(
            &[
                route("all", "paths = [\"/*\"]"),
                route("api", "paths = [\"/v1/core/*\"]"),
                route("users", "paths = [\"/v1/core/users\"]"),
                route("user", "paths = [\"/v1/core/users/{id}\"]"),
                route("me", "paths = [\"/v1/core/users/me\"]"),
            ]
            .concat(),
        );
        let at = |path| found(&table, Method::GET, "h", path);
        assert_eq!(at("/"), "all");
        assert_eq!(at("/v1/corex"), "all");
        assert_eq!(at("/v1/core"), "api");
        assert_eq!(at("/v1/core/"), "api");
        assert_eq!(at("/v1/core/users"), "users");
        assert_eq!(at("/v1/core/users/"), "api");
        assert_eq!(at("/v1/core/users/7"), "user");
        assert_eq!(at("/v1/core/users/me"), "me");
        assert_eq!(at("/v1/core/users/me/x"), "api");
    }

    #[test]
    fn priority_host_path_headers_and_methods_rank_routes() {
        let table = table(
            &[
                route("any", "paths = [\"/a\"]"),
                route("wild", "paths = [\"/*\"]\nhosts = [\"*.example.org\"]"),
                route("exact", "paths = [\"/*\"]\nhosts = [\"www.example.org\"]"),
                route("post", "paths = [\"/a\"]\nmethods = [\"POST\"]"),
                route("header", "paths = [\"/a\"]\nheaders = { x-beta = \"1\" }"),
                route("first", "paths = [\"/urgent/*\"]\npriority = 1"),
            ]
            .concat(),
        );
        let at = |method, host, path| found(&table, method, host, path);
        assert_eq!(at(Method::GET, "other", "/a"), "any");
        assert_eq!(at(Method::POST, "other", "/a"), "post");
        assert_eq!(at(Method::GET, "www.example.org", "/a"), "exact");
        assert_eq!(at(Method::GET, "b.example.org", "/a"), "wild");
        assert_eq!(at(Method::GET, "www.example.org", "/urgent/x"), "first");
        let mut headers = HeaderMap::new();
        headers.insert("x-beta", HeaderValue::from_static("1"));
        assert_eq!(
            found_with(&table, Method::POST, "other", "/a", &headers),
            "header"
        );
    }

    #[test]
    fn method_mismatch_differs_from_path_mismatch() {
        let table = table(
            &[
                route("read", "paths = [\"/a\"]\nmethods = [\"GET\"]"),
                route("write", "paths = [\"/a\"]\nmethods = [\"PUT\", \"GET\"]"),
            ]
            .concat(),
        );
        assert_eq!(found(&table, Method::HEAD, "h", "/a"), "read");
        assert_eq!(found(&table, Method::PUT, "h", "/a"), "write");
        assert_eq!(found(&table, Method::DELETE, "h", "/a"), "GET,PUT");
        assert_eq!(found(&table, Method::DELETE, "h", "/b"), "-");
    }

    #[test]
    fn equal_routes_are_ranked_by_name() {
        let table = table(
            &[
                route("b", "paths = [\"/a\"]"),
                route("a", "paths = [\"/a\"]"),
            ]
            .concat(),
        );
        assert_eq!(found(&table, Method::GET, "h", "/a"), "a");
    }
}
