//! The verifier, with keys served over a real socket.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod fetching;
mod jwt;
mod support;
