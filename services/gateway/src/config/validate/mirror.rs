//! `mirror` of a route.

use std::time::Duration;

use super::{checker::Checker, references::References, values::resolve};
use crate::{config::model, routing::MirrorRule};

/// The outer `None`: a violation was found.
pub(super) fn check(
    key: &str,
    route: &model::Route,
    references: &References<'_>,
    checker: &mut Checker,
) -> Option<Option<MirrorRule>> {
    let Some(mirror) = &route.mirror else {
        return Some(None);
    };
    let key = format!("{key}.mirror");
    let in_flight = mirror.max_in_flight as u64;
    checker.ranges(
        &key,
        &[
            ("percent", mirror.percent.into(), 0, 100),
            ("max_body_bytes", mirror.max_body_bytes as u64, 0, 1_048_576),
            ("timeout_ms", mirror.timeout_ms, 10, 60_000),
            ("max_in_flight", in_flight, 1, 1_000),
        ],
    );
    if !route.has_upstream() {
        checker.error(&*key, "needs an upstream");
    }
    let known = &references.upstreams;
    let upstream = resolve(&key, "upstream", &mirror.upstream, known, checker)?;
    if !references.speaks_http1[upstream] {
        checker.error(
            format!("{key}.upstream"),
            "is not possible with an upstream that has http2 without tls",
        );
    }
    let rule = MirrorRule {
        upstream,
        percent: mirror.percent,
        max_body_bytes: mirror.max_body_bytes,
        timeout: Duration::from_millis(mirror.timeout_ms),
        max_in_flight: mirror.max_in_flight,
    };
    Some((mirror.percent > 0).then_some(rule))
}
