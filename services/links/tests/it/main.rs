//! The service through its public API, with a database per test.
#![allow(clippy::unwrap_used, reason = "tests may panic")]
#![expect(clippy::too_many_lines, reason = "tables of cases are long")]

mod budget;
mod clicks;
mod documents;
mod domains;
mod erasure;
mod fairness;
mod graphql_http;
mod idempotency;
mod invalid_input;
mod layers;
mod lists;
mod logs;
mod mutations;
mod nesting;
mod outages;
mod plans;
mod pooler;
mod redirects;
mod releases;
mod replicas;
mod restarts;
mod row_security;
mod standby;
mod streams;
mod subscriptions;
mod support;
mod survival;
mod ticks;
mod variables;
mod websocket;
