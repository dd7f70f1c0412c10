//! Transports: GraphQL over HTTP (the draft of the GraphQL Foundation), server-sent events
//! (graphql-sse, distinct connections mode) and WebSocket (graphql-transport-ws).
//!
//! Every request takes the same way: `request` reads its parameters, `execution` checks the
//! document and runs it, `response` holds the result; `http`, `sse` and `websocket` differ in how
//! they read the one and write the other.

mod execution;
mod http;
mod negotiation;
mod openapi;
mod request;
mod response;
mod sse;
mod state;
mod websocket;

pub(crate) use http::routes;
pub(crate) use state::GraphQlState;
