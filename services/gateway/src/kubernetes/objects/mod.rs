//! The objects of a cluster as far as they are read, from the JSON of the API server.
//!
//! What they specify for the gateway is read strictly: a field that is not known here would change what is
//! meant, so an object that has one is refused rather than half understood.

mod gateway;
mod route;
mod service;
mod store;

use std::collections::BTreeMap;

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

pub(super) use gateway::{
    ClassSpec, GatewaySpec, Listener, NamespaceRule, ObjectReference, RoutesFrom, TlsMode,
};
pub(super) use route::{
    BackendRef, Filter, HeaderMatch, HeaderModifier, HttpRouteSpec, MatchKind, Mirrored, Modified,
    ParentRef, PathMatch, Redirected, RouteMatch, Rule,
};
pub(super) use service::EndpointSlice;
pub(crate) use store::{Kind, Objects};

/// Namespace and name. Objects of the whole cluster have an empty namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ObjectName {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl ObjectName {
    pub(crate) fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }
}

impl std::fmt::Display for ObjectName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.namespace.is_empty() {
            return f.write_str(&self.name);
        }
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Metadata {
    pub(super) name: String,
    #[serde(default)]
    pub(super) namespace: String,
    #[serde(default)]
    pub(super) generation: i64,
    #[serde(default)]
    pub(super) resource_version: String,
    /// RFC 3339 in UTC, so that texts are in the order of the times.
    #[serde(default)]
    pub(super) creation_timestamp: String,
    #[serde(default)]
    pub(super) labels: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) annotations: BTreeMap<String, String>,
}

/// An object, of which the specification may be one that is not understood.
#[derive(Clone, Debug)]
pub(super) struct Object<T> {
    pub(super) metadata: Metadata,
    pub(super) spec: Result<T, String>,
    /// The specification, if it is not understood.
    pub(super) unread: Value,
    pub(super) status: Value,
}

impl<T> Object<T> {
    pub(super) fn name(&self) -> ObjectName {
        ObjectName::new(&self.metadata.namespace, &self.metadata.name)
    }

    /// What is older than what; of equal age, the first name.
    pub(super) fn age(&self) -> (&str, &str, &str) {
        let metadata = &self.metadata;
        (
            &metadata.creation_timestamp,
            &metadata.namespace,
            &metadata.name,
        )
    }
}

impl<T: DeserializeOwned> Object<T> {
    /// # Errors
    /// When there is no name, so that nothing can be said about it.
    fn read(mut object: Value, is_flat: bool) -> Result<Self, String> {
        let metadata = object["metadata"].take();
        let metadata = Metadata::deserialize(metadata).map_err(|error| error.to_string())?;
        let status = object["status"].take();
        let spec = if is_flat {
            object
        } else {
            object["spec"].take()
        };
        let read = serde_path_to_error::deserialize(&spec)
            .map_err(|error| format!("{}: {}", error.path(), error.inner()));
        Ok(Self {
            metadata,
            unread: if read.is_err() { spec } else { Value::Null },
            spec: read,
            status,
        })
    }
}
