//! All objects that are known, by kind and name.

use std::collections::BTreeMap;

use serde::{Deserialize as _, de::DeserializeOwned};
use serde_json::Value;

use super::{
    ClassSpec, GatewaySpec, HttpRouteSpec, Metadata, Object, ObjectName,
    service::{EndpointSlice, GrantSpec, NamespaceObject, Secret, ServiceSpec},
};

/// What is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    GatewayClass,
    Gateway,
    HttpRoute,
    ReferenceGrant,
    Service,
    EndpointSlice,
    Secret,
    Namespace,
}

impl Kind {
    pub(crate) const ALL: [Self; 8] = [
        Self::GatewayClass,
        Self::Gateway,
        Self::HttpRoute,
        Self::ReferenceGrant,
        Self::Service,
        Self::EndpointSlice,
        Self::Secret,
        Self::Namespace,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::GatewayClass => "GatewayClass",
            Self::Gateway => "Gateway",
            Self::HttpRoute => "HTTPRoute",
            Self::ReferenceGrant => "ReferenceGrant",
            Self::Service => "Service",
            Self::EndpointSlice => "EndpointSlice",
            Self::Secret => "Secret",
            Self::Namespace => "Namespace",
        }
    }

    /// Group, versions of which the first that there is counts, and the name in URLs.
    pub(crate) fn resource(self) -> (&'static str, &'static [&'static str], &'static str) {
        const GATEWAY: &str = "gateway.networking.k8s.io";
        match self {
            Self::GatewayClass => (GATEWAY, &["v1"], "gatewayclasses"),
            Self::Gateway => (GATEWAY, &["v1"], "gateways"),
            Self::HttpRoute => (GATEWAY, &["v1"], "httproutes"),
            Self::ReferenceGrant => (GATEWAY, &["v1beta1", "v1"], "referencegrants"),
            Self::Service => ("", &["v1"], "services"),
            Self::EndpointSlice => ("discovery.k8s.io", &["v1"], "endpointslices"),
            Self::Secret => ("", &["v1"], "secrets"),
            Self::Namespace => ("", &["v1"], "namespaces"),
        }
    }

    pub(crate) fn is_namespaced(self) -> bool {
        !matches!(self, Self::GatewayClass | Self::Namespace)
    }

    /// A change of it concerns the addresses of replicas alone.
    pub(crate) fn is_endpoints(self) -> bool {
        self == Self::EndpointSlice
    }
}

type Table<T> = BTreeMap<ObjectName, Object<T>>;

#[derive(Debug, Default)]
pub(crate) struct Objects {
    pub(in crate::kubernetes) classes: Table<ClassSpec>,
    pub(in crate::kubernetes) gateways: Table<GatewaySpec>,
    pub(in crate::kubernetes) routes: Table<HttpRouteSpec>,
    pub(in crate::kubernetes) grants: Table<GrantSpec>,
    pub(in crate::kubernetes) services: Table<ServiceSpec>,
    pub(in crate::kubernetes) slices: Table<EndpointSlice>,
    pub(in crate::kubernetes) secrets: Table<Secret>,
    pub(in crate::kubernetes) namespaces: Table<NamespaceObject>,
}

impl Objects {
    /// Adds an object, or replaces the one of its name.
    ///
    /// # Errors
    /// When it has no name, or there are as many as there may be.
    pub(crate) fn insert(&mut self, kind: Kind, object: Value, most: usize) -> Result<(), String> {
        match kind {
            Kind::GatewayClass => insert(&mut self.classes, object, false, most),
            Kind::Gateway => insert(&mut self.gateways, object, false, most),
            Kind::HttpRoute => insert(&mut self.routes, object, false, most),
            Kind::ReferenceGrant => insert(&mut self.grants, object, false, most),
            Kind::Service => insert(&mut self.services, object, false, most),
            Kind::EndpointSlice => insert(&mut self.slices, object, true, most),
            Kind::Secret => insert(&mut self.secrets, object, true, most),
            Kind::Namespace => insert(&mut self.namespaces, object, true, most),
        }
    }

    pub(crate) fn remove(&mut self, kind: Kind, name: &ObjectName) {
        match kind {
            Kind::GatewayClass => drop(self.classes.remove(name)),
            Kind::Gateway => drop(self.gateways.remove(name)),
            Kind::HttpRoute => drop(self.routes.remove(name)),
            Kind::ReferenceGrant => drop(self.grants.remove(name)),
            Kind::Service => drop(self.services.remove(name)),
            Kind::EndpointSlice => drop(self.slices.remove(name)),
            Kind::Secret => drop(self.secrets.remove(name)),
            Kind::Namespace => drop(self.namespaces.remove(name)),
        }
    }

    /// Forgets those of a kind that `is_kept` does not name.
    pub(crate) fn retain(&mut self, kind: Kind, is_kept: &dyn Fn(&ObjectName) -> bool) {
        match kind {
            Kind::GatewayClass => self.classes.retain(|name, _| is_kept(name)),
            Kind::Gateway => self.gateways.retain(|name, _| is_kept(name)),
            Kind::HttpRoute => self.routes.retain(|name, _| is_kept(name)),
            Kind::ReferenceGrant => self.grants.retain(|name, _| is_kept(name)),
            Kind::Service => self.services.retain(|name, _| is_kept(name)),
            Kind::EndpointSlice => self.slices.retain(|name, _| is_kept(name)),
            Kind::Secret => self.secrets.retain(|name, _| is_kept(name)),
            Kind::Namespace => self.namespaces.retain(|name, _| is_kept(name)),
        }
    }

    /// Whether an object of those whose status is written differs from the one that is known in its status alone.
    pub(in crate::kubernetes) fn is_known(&self, kind: Kind, object: &Value) -> bool {
        fn of<T>(object: &Object<T>) -> &Metadata {
            &object.metadata
        }
        let Ok(metadata) = Metadata::deserialize(&object["metadata"]) else {
            return false;
        };
        let name = ObjectName::new(&metadata.namespace, &metadata.name);
        let known = match kind {
            Kind::GatewayClass => self.classes.get(&name).map(of),
            Kind::Gateway => self.gateways.get(&name).map(of),
            Kind::HttpRoute => self.routes.get(&name).map(of),
            _ => None,
        };
        known.is_some_and(|known| {
            known.generation > 0
                && known.generation == metadata.generation
                && known.creation_timestamp == metadata.creation_timestamp
                && known.labels == metadata.labels
                && known.annotations == metadata.annotations
        })
    }

    /// The version of an object, and its status, of those that have one that is written.
    pub(in crate::kubernetes) fn status(
        &self,
        kind: Kind,
        name: &ObjectName,
    ) -> Option<(&str, &Value)> {
        fn of<T>(object: &Object<T>) -> (&str, &Value) {
            (&object.metadata.resource_version, &object.status)
        }
        match kind {
            Kind::GatewayClass => self.classes.get(name).map(of),
            Kind::Gateway => self.gateways.get(name).map(of),
            Kind::HttpRoute => self.routes.get(name).map(of),
            _ => None,
        }
    }

    pub(crate) fn count(&self, kind: Kind) -> usize {
        match kind {
            Kind::GatewayClass => self.classes.len(),
            Kind::Gateway => self.gateways.len(),
            Kind::HttpRoute => self.routes.len(),
            Kind::ReferenceGrant => self.grants.len(),
            Kind::Service => self.services.len(),
            Kind::EndpointSlice => self.slices.len(),
            Kind::Secret => self.secrets.len(),
            Kind::Namespace => self.namespaces.len(),
        }
    }
}

fn insert<T: DeserializeOwned>(
    table: &mut Table<T>,
    object: Value,
    is_flat: bool,
    most: usize,
) -> Result<(), String> {
    let object = Object::read(object, is_flat)?;
    let name = object.name();
    if table.len() >= most && !table.contains_key(&name) {
        return Err(format!("there are {most} objects of this kind already"));
    }
    table.insert(name, object);
    Ok(())
}
