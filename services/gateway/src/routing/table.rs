//! Finds the best route for a request without looking at all of them, and without allocating.
//!
//! Every host and path of a route becomes one entry. Entries are sorted once, best first, so an
//! entry's index is its rank; a tree of path segments leads to the entries that can match, and
//! the lowest rank that also matches host, headers and method wins.

use std::{cmp::Reverse, collections::HashMap, sync::Arc};

use http::Method;

use super::{
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
struct Query<'r> {
    host: &'r str,
    method: &'r Method,
    headers: &'r dyn Headers,
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
            let route = &routes[index];
            Reverse((
                route.priority,
                host.map_or(0, HostPattern::specificity),
                path.segments.len(),
                Reverse(path.wildcards()),
                !path.prefix,
                route.headers.len(),
                !route.methods.is_empty(),
                Reverse(route.name.clone()),
            ))
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

    /// `host` and `path` are in their one spelling; `path` has no query.
    pub(crate) fn find(
        &self,
        host: &str,
        path: &str,
        method: &Method,
        headers: &dyn Headers,
    ) -> RouteMatch<'_> {
        let query = Query {
            host,
            method,
            headers,
        };
        let mut best = BestMatch::default();
        let rest = path.strip_prefix('/').unwrap_or(path);
        self.search(&self.root, Some(rest), &query, &mut best);
        match best.entry {
            Some(entry) => {
                let entry = &self.entries[entry];
                RouteMatch::Found {
                    route: &self.routes[entry.route],
                    pattern: &entry.pattern,
                }
            }
            None if best.method_mismatch => {
                let mut methods = Vec::new();
                self.collect_methods(&self.root, Some(rest), &query, &mut methods);
                RouteMatch::MethodNotAllowed(methods)
            }
            None => RouteMatch::NotFound,
        }
    }

    /// `rest` is `None` at the end of the path.
    fn search(&self, node: &Node, rest: Option<&str>, query: &Query<'_>, best: &mut BestMatch) {
        self.consider(&node.prefix, query, best);
        let Some(rest) = rest else {
            self.consider(&node.exact, query, best);
            return;
        };
        let (segment, next) = split(rest);
        if let Some(child) = node.literals.get(segment) {
            self.search(child, next, query, best);
        }
        if let Some(child) = &node.any
            && !segment.is_empty()
        {
            self.search(child, next, query, best);
        }
    }

    fn consider(&self, entries: &[usize], query: &Query<'_>, best: &mut BestMatch) {
        for &rank in entries {
            if best.entry.is_some_and(|found| found < rank) {
                return;
            }
            let entry = &self.entries[rank];
            if !self.matches(entry, query) {
                continue;
            }
            if self.routes[entry.route].allows(query.method) {
                best.entry = Some(rank);
                return;
            }
            best.method_mismatch = true;
        }
    }

    /// Compares everything except the method.
    fn matches(&self, entry: &RouteEntry, query: &Query<'_>) -> bool {
        entry
            .host
            .as_ref()
            .is_none_or(|host| host.matches(query.host))
            && self.routes[entry.route]
                .headers
                .iter()
                .all(|(name, value)| {
                    let mut sent = query.headers.all(name.clone());
                    sent.any(|sent| sent == value.as_bytes())
                })
    }

    fn collect_methods(
        &self,
        node: &Node,
        rest: Option<&str>,
        query: &Query<'_>,
        methods: &mut Vec<Method>,
    ) {
        let here = if rest.is_none() { &node.exact[..] } else { &[] };
        for &rank in node.prefix.iter().chain(here) {
            if self.matches(&self.entries[rank], query) {
                for method in &self.routes[self.entries[rank].route].methods {
                    if !methods.contains(method) {
                        methods.push(method.clone());
                    }
                }
            }
        }
        let Some(rest) = rest else { return };
        let (segment, next) = split(rest);
        for child in node
            .literals
            .get(segment)
            .into_iter()
            .chain(node.any.as_deref())
        {
            self.collect_methods(child, next, query, methods);
        }
    }
}

impl Node {
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
        match table.find(host, path, &method, headers) {
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
