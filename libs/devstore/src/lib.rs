//! A small S3 server for development and tests.
//!
//! It speaks the part of S3 that an application uses, checks signatures (headers and
//! presigned URLs) and behaves like Cloudflare R2 where the two differ: equal part
//! sizes, no ACLs, no versions. Objects survive restarts and crashes. It is not meant
//! to be reached from a network that you do not trust.
//!
//! The binary is one caller; tests call [`serve`] with a listener of their own.

mod access;
mod cors;
mod disk;
mod options;
mod s3;
mod server;

pub use options::Options;
pub use server::serve;
