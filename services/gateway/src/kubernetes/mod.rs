//! Objects of a Kubernetes cluster as a source of routes, certificates and addresses of replicas.
//!
//! ```text
//! watch --> cluster (objects) --> translate --> what a configuration file could say --> the snapshot in force
//!                       |             |
//!                       |             +-------> status of the objects, written by every replica alike
//!                       +-----------> endpoints --> replicas of upstreams, without another snapshot
//! ```
//!
//! docs/kubernetes.md says what of the Gateway API is supported.

mod cluster;
mod endpoints;
mod objects;
mod sources;
mod status;
mod translate;
mod watch;

pub(crate) use cluster::Cluster;
pub(crate) use status::StatusWriter;
pub(crate) use watch::{Connection, follow};
