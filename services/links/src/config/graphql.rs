//! What GraphQL operations may cost and hold.

use quartet_common::config::{ConfigError, all, at_least, within};
use serde::Deserialize;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GraphQl {
    pub introspection: bool,
    pub max_document_bytes: usize,
    pub max_tokens: usize,
    pub max_depth: u64,
    pub max_nodes: u64,
    pub max_event_nodes: u64,
    pub max_aliases: u64,
    pub max_root_fields: u64,
    pub max_directives: usize,
    pub max_fragments: usize,
    pub max_errors: usize,
    pub max_cost: usize,
    pub cost_per_second: u32,
    pub cost_burst: u32,
    pub max_response_bytes: usize,
    pub max_users: usize,
    pub max_operations_per_user: usize,
    pub max_connections_per_user: usize,
    pub max_subscriptions_per_user: usize,
    pub max_sockets_per_user: usize,
    pub max_queued_bytes_per_socket: u32,
    pub max_queued_bytes_per_user: u32,
    pub max_feed_bytes: usize,
    pub allowed_origins: Vec<String>,
    pub init_timeout_seconds: u64,
    pub keep_alive_seconds: u64,
    pub max_subscriptions_per_socket: usize,
}

impl GraphQl {
    /// The defaults.
    #[cfg(test)]
    pub(crate) fn for_tests() -> Self {
        let defaults: toml::Table = include_str!("../../default.toml").parse().unwrap();
        defaults["graphql"].clone().try_into().unwrap()
    }

    /// What one document may contain. Every limit also bounds the work of reading it.
    fn check_documents(&self) -> Result<(), ConfigError> {
        let count = |key, count| within(key, count, 1..=100_000);
        let bytes = 1024..=1 << 20;
        all([
            // Fields are resolved recursively: a deeper document could overflow the stack.
            within("graphql.max_depth", self.max_depth, 1..=32),
            within("graphql.max_document_bytes", self.max_document_bytes, bytes),
            count("graphql.max_tokens", self.max_tokens as u64),
            count("graphql.max_nodes", self.max_nodes),
            count("graphql.max_aliases", self.max_aliases),
            count("graphql.max_root_fields", self.max_root_fields),
            count("graphql.max_directives", self.max_directives as u64),
            count("graphql.max_fragments", self.max_fragments as u64),
            within("graphql.max_event_nodes", self.max_event_nodes, 1..=1000),
            within("graphql.max_errors", self.max_errors, 1..=1000),
        ])
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        all([
            self.check_documents(),
            self.check_cost(),
            self.check_users(),
            within(
                "graphql.init_timeout_seconds",
                self.init_timeout_seconds,
                1..=300,
            ),
            within(
                "graphql.keep_alive_seconds",
                self.keep_alive_seconds,
                1..=300,
            ),
        ])
    }

    fn check_cost(&self) -> Result<(), ConfigError> {
        all([
            within("graphql.max_cost", self.max_cost, 100..=1_000_000),
            within(
                "graphql.cost_per_second",
                self.cost_per_second,
                1..=1_000_000,
            ),
            within("graphql.cost_burst", self.cost_burst, 1..=100_000_000),
            // An operation that is allowed must not wait for more than the bucket holds.
            at_least(
                "graphql.cost_burst",
                self.cost_burst as usize,
                self.max_cost,
            ),
        ])
    }

    /// What users may hold at a time.
    fn check_users(&self) -> Result<(), ConfigError> {
        let count = |key, count| within(key, count, 1..=10_000);
        let bytes = 4096..=16 << 20;
        let queued = |key, bytes| within(key, bytes, 4096..=256 << 20);
        let feeds = 64 << 10..=4 << 30;
        all([
            within("graphql.max_response_bytes", self.max_response_bytes, bytes),
            within("graphql.max_users", self.max_users, 1..=1_000_000),
            count(
                "graphql.max_operations_per_user",
                self.max_operations_per_user,
            ),
            count(
                "graphql.max_connections_per_user",
                self.max_connections_per_user,
            ),
            count(
                "graphql.max_subscriptions_per_user",
                self.max_subscriptions_per_user,
            ),
            count("graphql.max_sockets_per_user", self.max_sockets_per_user),
            count(
                "graphql.max_subscriptions_per_socket",
                self.max_subscriptions_per_socket,
            ),
            queued(
                "graphql.max_queued_bytes_per_socket",
                self.max_queued_bytes_per_socket,
            ),
            queued(
                "graphql.max_queued_bytes_per_user",
                self.max_queued_bytes_per_user,
            ),
            within("graphql.max_feed_bytes", self.max_feed_bytes, feeds),
        ])
    }
}
