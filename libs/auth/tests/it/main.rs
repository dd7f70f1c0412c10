//! The verifier, with keys served over a real socket.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod algorithms;
mod clocks;
mod fetching;
mod issuers;
mod jwt;
mod support;
