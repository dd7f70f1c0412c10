//! Layers and serving, seen through a real socket.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod front;
mod layers;
mod serve;
mod stalled_log;
mod telemetry;
mod tls;
