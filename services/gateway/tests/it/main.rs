//! Runs the binary on loopback ports, in front of small upstreams.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod admin;
mod auth;
mod documents;
mod hostile;
mod layers;
mod lifecycle;
mod limits;
mod paths;
mod reloads;
mod replicas;
mod routing;
mod streams;
mod support;
