//! Which settings a reload puts in force.

use quartet_common::config::Settings;

/// Tables and settings that are read from the snapshot. Every other setting needs a restart, so a
/// new one is named in the log until it is listed here.
const RELOADED: [&str; 46] = [
    "shipped_routes",
    "admin",
    "tls",
    "certificates",
    "client_authorities",
    "server.http2",
    "server.max_http2_streams",
    "server.max_connections",
    "server.max_connections_per_client",
    "server.header_timeout_seconds",
    "server.keepalive_timeout_seconds",
    "server.header_limit_bytes",
    "server.header_limit_count",
    "server.write_timeout_seconds",
    "server.page_timeout_seconds",
    "server.allow_underscore_headers",
    "server.direct_path",
    "server.refused_log_lines_per_second",
    "server.drain_delay_seconds",
    "server.trusted_proxies",
    "discovery.nameserver",
    "discovery.timeout_ms",
    "documents",
    "jwt",
    "issuers",
    "revocations",
    "api_keys",
    "telemetry.log",
    "defaults",
    "upstreams",
    "limits",
    "logins",
    "lookups",
    "sites",
    "server.client_header",
    "server.send_forwarded",
    "server.fault_injection",
    "security_headers",
    "maintenance",
    "health",
    "cors",
    "rate_limit_store",
    "caches",
    "validation",
    "acme",
    "kubernetes",
];
const ROUTES: &str = "routes";

/// Settings that differ from those the process was started with, and take effect after a restart.
pub(crate) fn restart_required(started: &Settings, now: &Settings) -> Vec<String> {
    let mut keys = started.changed_keys(now);
    keys.retain(|key| !is_reloaded(key));
    keys
}

fn is_reloaded(key: &str) -> bool {
    let mut known = RELOADED.iter().chain([&ROUTES]);
    known.any(|known| {
        key.strip_prefix(known)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use quartet_common::config::{Environment, Layers, Schema};

    use super::*;
    use crate::config::DEFAULTS;

    /// Read once, when the process starts.
    const AT_START: [&str; 13] = [
        "discovery.interval_ms",
        "server.admin_listen",
        "server.listen",
        "server.max_rate_limit_keys",
        "server.probe_listen",
        "server.shutdown_grace_seconds",
        "server.tcp_keepalive_seconds",
        "server.tcp_user_timeout_seconds",
        "server.threads",
        "server.upstream_pool_size",
        "telemetry.otlp_endpoint",
        "telemetry.otlp_protocol",
        "telemetry.trace_sample_ratio",
    ];

    fn settings(file: &str) -> Settings {
        let schema = Schema {
            defaults: &[DEFAULTS],
            open_tables: &[
                "issuers",
                "upstreams",
                "limits",
                "logins",
                "lookups",
                "caches",
                "sites",
                "certificates",
                "client_authorities",
                "cors",
                "routes",
            ],
            shipped: None,
        };
        let file = (std::path::Path::new("test.toml"), file);
        let layers = Layers::merge(schema, Some(file), &Environment::new());
        layers.unwrap().settings()
    }

    /// Each setting of the model is changed on its own: it is either in force or named.
    #[test]
    fn every_changed_setting_is_in_force_or_named() {
        let before = settings("");
        let mut named = BTreeSet::new();
        for key in before.keys() {
            // No setting is a list of tables, so this differs from every default.
            let after = settings(&format!("{key} = [\"changed\", \"twice\"]\n"));
            assert_eq!(before.changed_keys(&after), [key.as_str()], "{key}");
            named.extend(restart_required(&before, &after));
        }
        assert_eq!(named, AT_START.map(str::to_owned).into());
        assert!(!is_reloaded("routes_new") && is_reloaded("routes.x.auth"));
    }
}
