//! The HTTP side of the axum services: connections, layers, extractors, probes.
//!
//! A request passes [`serve`] (connections, limits, drain), [`layers`] (request id, access log,
//! metrics, timeouts, problem bodies) and [`extract`] (typed input). Nothing here needs a database
//! or names a route; [`front`] is for the one route that is too hot for the layers; [`health`] lets others add what must respond before a replica is ready.

pub mod drain;
mod etags;
pub mod extract;
pub mod front;
pub mod health;
pub mod layers;
mod members;
pub mod serve;
pub mod tls;
