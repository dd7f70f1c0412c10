//! The tests of `it` once more, with requests on the direct path. What they prove must not depend
//! on the path.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

#[path = "../it/acme.rs"]
mod acme;
#[path = "../it/acme_orders.rs"]
mod acme_orders;
#[path = "../it/acme_tls.rs"]
mod acme_tls;
#[path = "../it/admin.rs"]
mod admin;
#[path = "../it/api_keys.rs"]
mod api_keys;
#[path = "../it/auth.rs"]
mod auth;
#[path = "../it/balancing.rs"]
mod balancing;
#[path = "../it/bounds.rs"]
mod bounds;
#[path = "../it/browser.rs"]
mod browser;
#[path = "../it/caching.rs"]
mod caching;
#[path = "../it/caching_hostile.rs"]
mod caching_hostile;
#[path = "../it/caching_routes.rs"]
mod caching_routes;
#[path = "../it/client_certificates.rs"]
mod client_certificates;
#[path = "../it/client_ip.rs"]
mod client_ip;
#[path = "../it/compression.rs"]
mod compression;
#[path = "../it/conduct.rs"]
mod conduct;
#[path = "../it/conformance/mod.rs"]
mod conformance;
#[path = "../it/connections.rs"]
mod connections;
#[path = "../it/cors.rs"]
mod cors;
#[path = "../it/deep_health.rs"]
mod deep_health;
#[path = "../it/documents.rs"]
mod documents;
#[path = "../it/explain.rs"]
mod explain;
#[path = "../it/forward_auth.rs"]
mod forward_auth;
#[path = "../it/guards.rs"]
mod guards;
#[path = "../it/hostile.rs"]
mod hostile;
#[path = "../it/http2.rs"]
mod http2;
#[path = "../it/https_redirects.rs"]
mod https_redirects;
#[path = "../it/interfaces.rs"]
mod interfaces;
#[path = "../it/issuers.rs"]
mod issuers;
#[cfg(feature = "kubernetes")]
#[path = "../it/kubernetes/mod.rs"]
mod kubernetes;
#[path = "../it/lifecycle.rs"]
mod lifecycle;
#[path = "../it/limits.rs"]
mod limits;
#[path = "../it/login_combined.rs"]
mod login_combined;
#[path = "../it/login_core.rs"]
mod login_core;
#[path = "../it/login_faults.rs"]
mod login_faults;
#[path = "../it/login_hostile.rs"]
mod login_hostile;
#[path = "../it/login_logout.rs"]
mod login_logout;
#[path = "../it/login_paths.rs"]
mod login_paths;
#[path = "../it/login_sessions.rs"]
mod login_sessions;
#[path = "../it/login_uses.rs"]
mod login_uses;
#[path = "../it/lookups.rs"]
mod lookups;
#[path = "../it/matching.rs"]
mod matching;
#[path = "../it/migrations.rs"]
mod migrations;
#[path = "../it/mirrors.rs"]
mod mirrors;
#[path = "../it/public_tls.rs"]
mod public_tls;
#[path = "../it/public_tls_files.rs"]
mod public_tls_files;
#[path = "../it/reloads.rs"]
mod reloads;
#[path = "../it/replicas.rs"]
mod replicas;
#[path = "../it/resilience.rs"]
mod resilience;
#[path = "../it/revocations.rs"]
mod revocations;
#[path = "../it/routing.rs"]
mod routing;
#[path = "../it/sites.rs"]
mod sites;
#[path = "../it/sites_hostile.rs"]
mod sites_hostile;
#[path = "../it/sites_served.rs"]
mod sites_served;
#[path = "../it/spelling.rs"]
mod spelling;
#[path = "../it/splits.rs"]
mod splits;
#[path = "../it/status.rs"]
mod status;
#[path = "../it/streams.rs"]
mod streams;
#[path = "../it/support/mod.rs"]
mod support;
#[path = "../it/tls.rs"]
mod tls;
#[path = "../it/upstream_responses.rs"]
mod upstream_responses;
#[path = "../it/validation.rs"]
mod validation;
#[path = "../it/validation_bodies.rs"]
mod validation_bodies;
#[path = "../it/validation_documents.rs"]
mod validation_documents;
#[path = "../it/waits.rs"]
mod waits;

/// They start no gateway, or one for each path, or use what the direct path does not know.
const ONCE: [&str; 13] = [
    "acme_pebble",
    "acme_replicas",
    "admin_access",
    "admin_reload",
    "examples",
    "grpc",
    "hops",
    "layers",
    "limit_topologies",
    "login_operators",
    "login_redis",
    "paths",
    "shared_limits",
];

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
