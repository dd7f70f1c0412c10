//! The server over a real socket, by the SDK and by plain HTTP.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod access;
mod binary;
mod cors;
mod durability;
mod integrity;
mod listing;
mod objects;
mod presigned;
mod support;
