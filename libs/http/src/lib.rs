//! The HTTP side of the axum services: connections, layers, extractors, probes.

mod drain;
pub mod extract;
pub mod health;
pub mod layers;
pub mod serve;
