//! Which of several routes that match a request handles it, and why another one does not.

use std::{
    cmp::{Ordering, Reverse},
    sync::Arc,
};

use super::{
    condition::{HeaderCondition, QueryCondition},
    pattern::{HostPattern, PathPattern},
    route::Route,
};

/// What decides between two routes, in this order: the greater one wins.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Precedence {
    priority: i32,
    host: usize,
    segments: usize,
    wildcards: Reverse<usize>,
    exact: bool,
    /// 0 of the file.
    rank: Reverse<u32>,
    headers: usize,
    parameters: usize,
    methods: bool,
    name: Reverse<Arc<str>>,
}

/// One combination of a route's hosts and paths, compared with a request.
#[derive(Debug)]
pub(crate) struct Candidate<'t> {
    pub(crate) route: &'t Arc<Route>,
    /// `None`: any host.
    pub(crate) host: Option<&'t HostPattern>,
    pub(crate) pattern: &'t Arc<PathPattern>,
    /// `None`: it matches.
    pub(crate) mismatch: Option<Mismatch<'t>>,
}

/// What of a request does not match.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mismatch<'t> {
    Path,
    Host,
    Tls,
    Header(&'t HeaderCondition),
    Parameter(&'t QueryCondition),
    Method,
}

impl Precedence {
    pub(crate) fn of(route: &Route, host: Option<&HostPattern>, path: &PathPattern) -> Self {
        Self {
            priority: route.priority,
            host: host.map_or(0, HostPattern::specificity),
            segments: path.segments.len(),
            wildcards: Reverse(path.wildcards()),
            exact: !path.prefix,
            rank: Reverse(route.object.map_or(0, |object| object.rank)),
            headers: route.headers.len(),
            parameters: route.query.len(),
            methods: !route.methods.is_empty(),
            name: Reverse(Arc::clone(&route.name)),
        }
    }

    /// What distinguishes the winner from `other`.
    pub(crate) fn advantage_over(&self, other: &Self) -> &'static str {
        let order = [
            ("a higher priority", self.priority.cmp(&other.priority)),
            ("a more specific host", self.host.cmp(&other.host)),
            (
                "a path with more segments",
                self.segments.cmp(&other.segments),
            ),
            (
                "a path with fewer `{}`",
                self.wildcards.cmp(&other.wildcards),
            ),
            ("an exact path", self.exact.cmp(&other.exact)),
            ("the order of the objects", self.rank.cmp(&other.rank)),
            ("more headers", self.headers.cmp(&other.headers)),
            (
                "more parameters of the query",
                self.parameters.cmp(&other.parameters),
            ),
            ("methods", self.methods.cmp(&other.methods)),
        ];
        let mut decisive = order
            .into_iter()
            .filter(|(_, order)| *order != Ordering::Equal);
        decisive.next().map_or("the first name", |(what, _)| what)
    }
}

impl Candidate<'_> {
    pub(crate) fn precedence(&self) -> Precedence {
        Precedence::of(self.route, self.host, self.pattern)
    }
}
