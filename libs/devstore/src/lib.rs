//! A small S3 server for development and tests.
//!
//! Implements the part of S3 that media uses, checks signatures (headers and presigned
//! URLs) and behaves like Cloudflare R2 where the two differ: no ACLs, no versions, no
//! uploads by form. Everything else, such as multipart uploads, is refused. Objects
//! survive restarts and crashes. Not meant for untrusted networks.
//!
//! The binary calls [`serve`], and so do tests, with a listener of their own.

mod access;
mod cors;
mod disk;
mod options;
mod s3;
mod server;

pub use options::{Options, Quirks};
pub use server::serve;
