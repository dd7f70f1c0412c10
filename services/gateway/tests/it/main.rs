//! Runs the binary on loopback ports, in front of small upstreams.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod admin;
mod auth;
mod conduct;
mod conformance;
mod connections;
mod documents;
mod examples;
mod hops;
mod hostile;
mod http2;
mod layers;
mod lifecycle;
mod limits;
mod paths;
mod reloads;
mod replicas;
mod routing;
mod spelling;
mod streams;
mod support;
mod tls;
mod upstream_responses;
