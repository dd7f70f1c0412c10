//! The replicas behind a port of a Service, from its `EndpointSlice`s.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use super::objects::{Object, ObjectName, Objects};
use crate::{
    config::{Host, ServicePort},
    upstream::{FoundAddress, Upstream},
};

const SERVICE: &str = "kubernetes.io/service-name";
/// Of one port; more are ignored.
const MAX_ADDRESSES: usize = 1_000;

/// The addresses of Services, found once for all upstreams.
pub(super) struct Endpoints<'o> {
    objects: &'o Objects,
    /// By the Service.
    slices: BTreeMap<ObjectName, Vec<&'o super::objects::EndpointSlice>>,
}

impl<'o> Endpoints<'o> {
    pub(super) fn of(objects: &'o Objects) -> Self {
        let mut slices: BTreeMap<ObjectName, Vec<_>> = BTreeMap::new();
        for slice in objects.slices.values() {
            if let (Some(service), Ok(spec)) = (service_of(slice), &slice.spec) {
                slices.entry(service).or_default().push(spec);
            }
        }
        Self { objects, slices }
    }

    /// Sets the replicas of every upstream whose addresses are Services.
    pub(super) fn publish(&self, upstreams: &[Arc<Upstream>]) {
        for upstream in upstreams {
            let mut is_changed = false;
            for (index, target) in upstream.config.targets.iter().enumerate() {
                if let Host::Kubernetes(port) = &target.host {
                    upstream.record_lookup(index, Ok(self.find(port, target.weight)));
                    is_changed = true;
                }
            }
            if is_changed {
                upstream.publish();
            }
        }
    }

    /// Those that are ready, of both address families; a Service without any has none.
    fn find(&self, port: &ServicePort, weight: u32) -> Vec<FoundAddress> {
        let name = ObjectName::new(&port.namespace, &port.service);
        let service = self.objects.services.get(&name);
        let service = service.and_then(|service| service.spec.as_ref().ok());
        let mut ports = service.iter().flat_map(|service| &service.ports);
        let is_asked = |name: &str, number: u16| {
            name == port.port || port.port.parse::<u16>().is_ok_and(|asked| asked == number)
        };
        let Some(known) = ports.find(|known| is_asked(&known.name, known.port)) else {
            return Vec::new();
        };
        let slices = self.slices.get(&name).into_iter().flatten();
        let mut found: Vec<SocketAddr> = slices
            .flat_map(|slice| {
                // The number of the Service's port is another one than that of the endpoints.
                let ports = slice.ports.iter().flatten().filter(|own| {
                    own.name.as_deref().unwrap_or_default() == known.name && own.protocol == "TCP"
                });
                let ports: Vec<u16> = ports.filter_map(|own| own.port).collect();
                let endpoints = slice.endpoints.iter().flatten();
                let ready = endpoints.filter(|endpoint| {
                    endpoint.is_ready() && ["IPv4", "IPv6"].contains(&&*slice.address_type)
                });
                // All addresses of an endpoint are of one replica; the first is as good as the others.
                let addresses = ready.filter_map(|endpoint| endpoint.addresses.first());
                let ips = addresses.filter_map(|address| address.parse::<IpAddr>().ok());
                ips.flat_map(move |ip| {
                    let ports = ports.clone().into_iter();
                    ports.map(move |port| SocketAddr::new(ip, port))
                })
                .collect::<Vec<_>>()
            })
            .collect();
        found.sort_unstable();
        found.dedup();
        found.truncate(MAX_ADDRESSES);
        let found = found.into_iter();
        found.map(|it| FoundAddress::new(it, weight)).collect()
    }
}

fn service_of(slice: &Object<super::objects::EndpointSlice>) -> Option<ObjectName> {
    let service = slice.metadata.labels.get(SERVICE)?;
    Some(ObjectName::new(&slice.metadata.namespace, service))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::kubernetes::objects::Kind;

    fn slice(name: &str, family: &str, port: Value, endpoints: Value) -> Value {
        json!({
            "metadata": {
                "namespace": "n", "name": name, "labels": { SERVICE: "s" },
            },
            "addressType": family,
            "ports": [port],
            "endpoints": endpoints,
        })
    }

    fn find(objects: &Objects, port: &str) -> Vec<String> {
        let port = ServicePort {
            namespace: "n".to_owned(),
            service: "s".to_owned(),
            port: port.to_owned(),
        };
        let found = Endpoints::of(objects).find(&port, 1);
        found.iter().map(|it| it.address.to_string()).collect()
    }

    #[test]
    fn ready_endpoints_of_both_families_are_found_by_the_name_of_the_port() {
        let mut objects = Objects::default();
        let mut insert = |kind, object| objects.insert(kind, object, 10).unwrap();
        insert(
            Kind::Service,
            json!({
                "metadata": { "namespace": "n", "name": "s" },
                "spec": { "ports": [
                    { "name": "http", "port": 80, "targetPort": "web" },
                    { "name": "other", "port": 81 },
                ] },
            }),
        );
        let http = json!({ "name": "http", "port": 8080 });
        insert(
            Kind::EndpointSlice,
            slice(
                "a",
                "IPv4",
                http.clone(),
                json!([
                    { "addresses": ["10.0.0.1"], "conditions": { "ready": true } },
                    { "addresses": ["10.0.0.2"] },
                    { "addresses": ["10.0.0.3"], "conditions": { "ready": false } },
                    { "addresses": ["10.0.0.4"], "conditions": { "ready": true, "terminating": true } },
                    { "addresses": ["not an address"] },
                ]),
            ),
        );
        insert(
            Kind::EndpointSlice,
            slice(
                "b",
                "IPv6",
                http.clone(),
                json!([{ "addresses": ["fd00::1"] }]),
            ),
        );
        insert(
            Kind::EndpointSlice,
            slice("c", "FQDN", http, json!([{ "addresses": ["a.test"] }])),
        );
        let other = json!({ "name": "other", "port": 9 });
        insert(
            Kind::EndpointSlice,
            slice("d", "IPv4", other, json!([{ "addresses": ["10.0.0.9"] }])),
        );
        let expected = ["10.0.0.1:8080", "10.0.0.2:8080", "[fd00::1]:8080"];
        assert_eq!(find(&objects, "80"), expected);
        assert_eq!(find(&objects, "http"), expected);
        assert_eq!(find(&objects, "81"), ["10.0.0.9:9"]);
        assert_eq!(find(&objects, "82"), [""; 0]);
    }
}
