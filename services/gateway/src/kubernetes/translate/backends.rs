//! What routes lead to: Services, each of whose ports is an upstream.

use std::collections::BTreeMap;

use serde_json::json;

use super::{conditions::Refusal, context::Context, grants};
use crate::{
    config::model,
    kubernetes::objects::{BackendRef, ObjectName},
};

/// Upstreams by their names.
pub(super) type Upstreams = BTreeMap<String, model::Upstream>;

/// A port of a Service.
#[derive(Clone, Debug)]
pub(super) struct Backend {
    pub(super) upstream: String,
    /// It is for `WebSockets`.
    pub(super) upgrades: bool,
}

/// The upstream that a reference leads to; `host` is the Host header that it gets in place of the client's.
///
/// # Errors
/// Why it leads nowhere.
pub(super) fn resolve(
    reference: &BackendRef,
    namespace: &str,
    host: Option<&str>,
    context: &Context<'_>,
    upstreams: &mut Upstreams,
) -> Result<Backend, Refusal> {
    let group = reference.group.as_deref().unwrap_or_default();
    let kind = reference.kind.as_deref().unwrap_or("Service");
    if !group.is_empty() || kind != "Service" {
        let message = format!("{kind} {} is not a Service", reference.name);
        return Err(("InvalidKind", message));
    }
    let target = reference.namespace.as_deref().unwrap_or(namespace);
    let target = ObjectName::new(target, &reference.name);
    if !grants::permits(
        context.objects,
        ("HTTPRoute", namespace),
        ("Service", &target),
    ) {
        let message = format!("no ReferenceGrant permits the Service {target}");
        return Err(("RefNotPermitted", message));
    }
    let not_found = |message: String| ("BackendNotFound", message);
    let service = context.objects.services.get(&target);
    let service = service.and_then(|service| service.spec.as_ref().ok());
    let service = service.ok_or_else(|| not_found(format!("there is no Service {target}")))?;
    if service.kind == "ExternalName" {
        let message = format!("the Service {target} is an ExternalName, which has no endpoints");
        return Err(not_found(message));
    }
    let port = reference.port;
    let port = port.ok_or_else(|| not_found(format!("the Service {target} needs a port")))?;
    let known = service.ports.iter().find(|known| known.port == port);
    let known = known.filter(|known| known.protocol == "TCP");
    let known = known
        .ok_or_else(|| not_found(format!("the Service {target} has no port {port} with TCP")))?;
    let protocol = known.app_protocol.as_deref().unwrap_or("http");
    let (is_http2, upgrades) = match protocol {
        "http" | "HTTP" | "kubernetes.io/http" => (false, false),
        "kubernetes.io/h2c" | "grpc" => (true, false),
        "kubernetes.io/ws" => (false, true),
        other => {
            let message = format!("the appProtocol {other} of the Service {target} is not served");
            return Err(("UnsupportedProtocol", message));
        }
    };
    let mut name = format!("kubernetes/{target}:{port}");
    if let Some(host) = host {
        name = format!("{name}@{host}");
    }
    if let Some(message) = context.refused.get(&name) {
        return Err(not_found(message.clone()));
    }
    upstreams.entry(name.clone()).or_insert_with(|| {
        let address = format!("{}.{}:{port}", target.name, target.namespace);
        upstream(&address, host, is_http2)
    });
    Ok(Backend {
        upstream: name,
        upgrades,
    })
}

fn upstream(address: &str, host: Option<&str>, is_http2: bool) -> model::Upstream {
    let upstream = json!({
        "addresses": [address],
        "discovery": "kubernetes",
        "http2": is_http2,
        "host": host.unwrap_or_default(),
    });
    let mut upstream: model::Upstream =
        serde_json::from_value(upstream).expect("all other settings have defaults");
    upstream.is_object = true;
    upstream
}
