//! The tests of `it` once more, with requests on the direct path. What they prove must not depend
//! on the path.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

#[path = "../it/admin.rs"]
mod admin;
#[path = "../it/auth.rs"]
mod auth;
#[path = "../it/conduct.rs"]
mod conduct;
#[path = "../it/conformance/mod.rs"]
mod conformance;
#[path = "../it/connections.rs"]
mod connections;
#[path = "../it/documents.rs"]
mod documents;
#[path = "../it/hostile.rs"]
mod hostile;
#[path = "../it/http2.rs"]
mod http2;
#[path = "../it/lifecycle.rs"]
mod lifecycle;
#[path = "../it/limits.rs"]
mod limits;
#[path = "../it/reloads.rs"]
mod reloads;
#[path = "../it/replicas.rs"]
mod replicas;
#[path = "../it/routing.rs"]
mod routing;
#[path = "../it/spelling.rs"]
mod spelling;
#[path = "../it/streams.rs"]
mod streams;
#[path = "../it/support/mod.rs"]
mod support;
#[path = "../it/tls.rs"]
mod tls;
#[path = "../it/upstream_responses.rs"]
mod upstream_responses;

/// They start no gateway, or one for each path.
const ONCE: [&str; 4] = ["examples", "hops", "layers", "paths"];

#[test]
fn every_test_runs_on_both_paths() {
    let here = include_str!("main.rs");
    let modules = |text: &'static str| {
        let lines = text.lines().filter_map(|line| line.strip_prefix("mod "));
        lines.map(|name| name.trim_end_matches(';'))
    };
    for name in modules(include_str!("../it/main.rs")) {
        let is_here = modules(here).any(|other| other == name);
        assert!(
            is_here != ONCE.contains(&name),
            "add {name} to tests/direct/main.rs"
        );
    }
}
