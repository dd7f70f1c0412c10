//! The names of all metrics, and what they mean.

use prometheus_client::metrics::{counter::Counter, family::Family};

use super::{GatewayMetrics, labels::OutcomeLabel};

impl GatewayMetrics {
    pub(super) fn register_limit_store(&self) {
        let to = &self.http;
        to.register(
            "gateway_rate_limit_store_up",
            "Whether the store of the rate limits is asked",
            self.store_up.clone(),
        );
        to.register(
            "gateway_rate_limit_store_calls",
            "Calls to the store of the rate limits by outcome",
            self.store_calls.clone(),
        );
        to.register(
            "gateway_rate_limit_store_duration_seconds",
            "Duration of calls to the store of the rate limits",
            self.store_duration.clone(),
        );
        to.register(
            "gateway_rate_limit_fallbacks",
            "Requests for which the store of a limit did not count",
            self.rate_limit_fallbacks.clone(),
        );
        to.register(
            "gateway_rate_limit_denied",
            "Requests refused without asking the store, because it had refused one before",
            self.rate_limit_denied.clone(),
        );
        to.register(
            "gateway_rate_limit_denied_keys",
            "Users and client IPs that the store has refused, until their quota is back",
            self.rate_limit_denied_keys.clone(),
        );
    }

    pub(super) fn register_feed(&self) {
        self.http.register(
            "gateway_revoked_sessions",
            "Sessions whose access tokens are refused",
            self.revoked_sessions.clone(),
        );
        self.http.register(
            "gateway_revocation_feed_failures",
            "Failed attempts to read the feed of revoked sessions",
            self.revocation_feed_failures.clone(),
        );
    }

    pub(super) fn register(&self, reloads: Family<OutcomeLabel, Counter>) {
        let to = &self.http;
        self.register_config(reloads);
        to.register(
            "gateway_upstream_connect_failures",
            "Failed attempts to reach a replica",
            self.connect_failures.clone(),
        );
        to.register(
            "gateway_upstream_broken_responses",
            "Responses that ended early, or that are not HTTP",
            self.broken_responses.clone(),
        );
        to.register(
            "gateway_upstream_retries",
            "Attempts after the first one, on another replica or a new connection",
            self.retries.clone(),
        );
        to.register(
            "gateway_rate_limited",
            "Requests refused by a rate limit",
            self.rate_limited.clone(),
        );
        self.register_caches();
        to.register(
            "gateway_upstream_replicas",
            "Known replicas of an upstream",
            self.replicas.clone(),
        );
        self.register_upstreams();
        to.register(
            "gateway_connections",
            "Open client connections",
            self.connections.clone(),
        );
        to.register(
            "gateway_connections_refused",
            "Client connections over a cap, in all or per client, or without their PROXY header",
            self.connections_refused.clone(),
        );
        to.register(
            "gateway_log_lines_skipped",
            "Refused requests and connections without a line in the log",
            self.log_lines_skipped.clone(),
        );
        to.register(
            "gateway_rate_limit_keys",
            "Users and client IPs with a rate limit window",
            self.rate_limit_keys.clone(),
        );
        to.register(
            "gateway_direct_requests",
            "Requests that took the direct path",
            self.direct_requests.clone(),
        );
        to.register(
            "gateway_upstream_idle_connections",
            "Idle connections to replicas, of the direct path",
            self.idle_connections.clone(),
        );
    }

    fn register_config(&self, reloads: Family<OutcomeLabel, Counter>) {
        let to = &self.http;
        to.register(
            "gateway_config_reloads",
            "Configuration reloads by outcome",
            reloads,
        );
        self.last_reload_applied.set(1);
        to.register(
            "gateway_config_last_reload_applied",
            "Whether the last reload was applied, 1, or refused, 0",
            self.last_reload_applied.clone(),
        );
        to.register(
            "gateway_config_info",
            "Always 1; the label is the hash of the configuration in force",
            self.config_info.clone(),
        );
    }

    pub(super) fn register_caches(&self) {
        let to = &self.http;
        to.register(
            "gateway_cache_requests",
            "Requests to routes with a response cache, by outcome",
            self.cache_requests.clone(),
        );
        to.register(
            "gateway_cache_bytes",
            "Memory of the responses in a cache",
            self.cache_bytes.clone(),
        );
        to.register(
            "gateway_cache_urls",
            "URLs with responses in a cache",
            self.cache_urls.clone(),
        );
    }

    pub(super) fn register_destinations(&self) {
        let to = &self.http;
        to.register(
            "gateway_lookups",
            "Lookups of destinations by outcome; without those that were known",
            self.lookups.clone(),
        );
        to.register(
            "gateway_api_key_exchanges",
            "Exchanges of API keys for access tokens by outcome; without those that were kept",
            self.api_key_exchanges.clone(),
        );
        to.register(
            "gateway_mirrored_requests",
            "Copies of requests for mirrors by outcome",
            self.mirrored.clone(),
        );
    }

    pub(super) fn register_upstreams(&self) {
        let to = &self.http;
        to.register(
            "gateway_upstream_replica_states",
            "Known replicas of an upstream by state",
            self.replica_states.clone(),
        );
        to.register(
            "gateway_upstream_queued",
            "Requests that wait for others to end",
            self.queued.clone(),
        );
        to.register(
            "gateway_upstream_circuit_open",
            "Whether the circuit breaker of an upstream refuses requests",
            self.circuit_open.clone(),
        );
        to.register(
            "gateway_upstream_refused",
            "Requests that were not sent to an upstream because of its limits or its circuit breaker",
            self.refused.clone(),
        );
        to.register(
            "gateway_upstream_health_checks",
            "Health checks of replicas by outcome",
            self.checks.clone(),
        );
    }
}
