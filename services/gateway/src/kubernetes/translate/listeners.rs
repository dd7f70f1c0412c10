//! The listeners of a Gateway: which of them the gateway can be, and their certificates.

use std::collections::BTreeMap;

use base64::{Engine as _, prelude::BASE64_STANDARD};

use super::{
    conditions::{Refusal, unsupported},
    context::Context,
    grants,
};
use crate::{
    config::model::{self, CertificateObject},
    kubernetes::objects::{
        GatewaySpec, Listener, NamespaceRule, Object, ObjectName, ObjectReference, RoutesFrom,
        TlsMode,
    },
    routing::HostPattern,
    tls,
};

const GATEWAY: &str = "gateway.networking.k8s.io";
/// Its value says where the certificates come from that a listener has no Secret for.
const CERTIFICATES: &str = "quartet.dev/certificates";
const MAX_SECRET_BYTES: usize = 1024 * 1024;

/// A listener, and what is wrong with it.
#[derive(Debug)]
pub(super) struct ListenerState {
    pub(super) name: String,
    pub(super) port: u16,
    pub(super) has_tls: bool,
    pub(super) hostname: Option<String>,
    pub(super) rule: NamespaceRule,
    /// Routes of the kind that there is may attach.
    pub(super) accepts_routes: bool,
    pub(super) refused: Option<Refusal>,
    pub(super) conflict: Option<Refusal>,
    pub(super) unresolved: Option<Refusal>,
    /// It has to have certificates, and has none.
    pub(super) lacks_certificates: bool,
    pub(super) attached: usize,
}

impl ListenerState {
    /// Whether routes can attach.
    pub(super) fn is_accepted(&self) -> bool {
        self.refused.is_none() && self.conflict.is_none()
    }

    pub(super) fn is_programmed(&self) -> bool {
        self.is_accepted() && !self.lacks_certificates
    }

    /// Whether routes of a namespace may attach.
    pub(super) fn allows(&self, gateway: &str, namespace: &str, context: &Context<'_>) -> bool {
        match self.rule.from {
            RoutesFrom::All => true,
            RoutesFrom::Same => gateway == namespace,
            RoutesFrom::None => false,
            RoutesFrom::Selector => {
                let name = ObjectName::new("", namespace);
                let known = context.objects.namespaces.get(&name);
                let selector = self.rule.selector.as_ref();
                selector
                    .zip(known)
                    .is_some_and(|(selector, known)| selector.matches(&known.metadata.labels))
            }
        }
    }
}

/// The listeners of a Gateway, with the certificates that handshakes use.
pub(super) fn read(
    gateway: &Object<GatewaySpec>,
    spec: &GatewaySpec,
    context: &Context<'_>,
    certificates: &mut BTreeMap<String, model::Certificate>,
) -> Vec<ListenerState> {
    let listeners = spec.listeners.iter();
    let mut states: Vec<ListenerState> = listeners
        .map(|listener| read_one(gateway, listener, context, certificates))
        .collect();
    find_conflicts(&mut states);
    states
}

fn read_one(
    gateway: &Object<GatewaySpec>,
    listener: &Listener,
    context: &Context<'_>,
    certificates: &mut BTreeMap<String, model::Certificate>,
) -> ListenerState {
    let (accepts_routes, mut unresolved) = check_kinds(listener);
    let refused = check(listener, context).err();
    let has_tls = listener.protocol == "HTTPS";
    let mut lacks_certificates = false;
    if has_tls && refused.is_none() {
        let (found, problem) = find_certificates(gateway, listener, context);
        lacks_certificates = found.is_empty() && !has_own_certificates(listener);
        certificates.extend(found);
        unresolved = unresolved.or(problem);
    }
    ListenerState {
        name: listener.name.clone(),
        port: listener.port,
        has_tls,
        hostname: listener.hostname.clone().filter(|name| !name.is_empty()),
        rule: listener.allowed_routes.namespaces.clone(),
        accepts_routes,
        refused,
        conflict: None,
        unresolved,
        lacks_certificates,
        attached: 0,
    }
}

/// Whether routes can attach at all, and what is wrong with the kinds that are allowed.
fn check_kinds(listener: &Listener) -> (bool, Option<Refusal>) {
    let kinds = &listener.allowed_routes.kinds;
    if !["HTTP", "HTTPS"].contains(&listener.protocol.as_str()) {
        return (false, None);
    }
    if kinds.is_empty() {
        return (true, None);
    }
    let mut known = kinds.iter().map(|kind| {
        let group = kind.group.as_deref().unwrap_or(GATEWAY);
        group == GATEWAY && kind.kind == "HTTPRoute"
    });
    let accepts = known.clone().any(|known| known);
    let refusal = || {
        let message = "the only kind of routes is HTTPRoute".to_owned();
        ("InvalidRouteKinds", message)
    };
    (accepts, (!known.all(|known| known)).then(refusal))
}

/// # Errors
/// Why the gateway cannot be this listener.
fn check(listener: &Listener, context: &Context<'_>) -> Result<(), Refusal> {
    let port = match listener.protocol.as_str() {
        "HTTP" => context.own_ports[0],
        "HTTPS" => context.own_ports[1],
        other => {
            let message = format!("the protocol {other} is not served: only HTTP and HTTPS are");
            return Err(("UnsupportedProtocol", message));
        }
    };
    if listener.port != port {
        let message = format!("clients reach this protocol at port {port} only");
        return Err(("PortUnavailable", message));
    }
    if let Some(field) = listener.others.keys().next() {
        return Err(unsupported(format!("the field {field} is not supported")));
    }
    let hostname = listener.hostname.as_deref().filter(|name| !name.is_empty());
    if let Some(Err(rule)) = hostname.map(HostPattern::parse) {
        return Err(unsupported(format!("hostname {rule}")));
    }
    let Some(tls) = &listener.tls else {
        return if listener.protocol == "HTTPS" {
            Err(unsupported("a listener with HTTPS needs tls"))
        } else {
            Ok(())
        };
    };
    if tls.mode != TlsMode::Terminate {
        return Err(unsupported("tls.mode must be Terminate"));
    }
    if let Some(field) = tls.others.keys().next() {
        return Err(unsupported(format!(
            "the field tls.{field} is not supported"
        )));
    }
    let is_known = |(name, value): (&String, &String)| name == CERTIFICATES && value == "gateway";
    if !tls.options.iter().all(is_known) {
        let message = format!("the only option of tls is {CERTIFICATES}: gateway");
        return Err(unsupported(message));
    }
    Ok(())
}

/// Handshakes use what the gateway has otherwise, such as certificates by ACME.
fn has_own_certificates(listener: &Listener) -> bool {
    let tls = listener.tls.as_ref();
    tls.is_some_and(|tls| tls.options.contains_key(CERTIFICATES))
}

/// Those that can be used, and what is wrong with one that cannot.
fn find_certificates(
    gateway: &Object<GatewaySpec>,
    listener: &Listener,
    context: &Context<'_>,
) -> (Vec<(String, model::Certificate)>, Option<Refusal>) {
    let references = listener.tls.iter().flat_map(|tls| &tls.certificate_refs);
    let (mut found, mut problem) = (Vec::new(), None);
    for (at, reference) in references.enumerate() {
        let own = &gateway.metadata;
        let name = format!(
            "kubernetes/{}/{}/{}/{at}",
            own.namespace, own.name, listener.name
        );
        let result = match context.refused.get(&name) {
            Some(message) => Err(invalid(message)),
            None => find_certificate(&own.namespace, listener, reference, context),
        };
        match result {
            Ok(certificate) => found.push((name, certificate)),
            Err(refusal) => problem = problem.or(Some(refusal)),
        }
    }
    if found.is_empty() && problem.is_none() && !has_own_certificates(listener) {
        problem = Some(invalid("there is no certificateRef"));
    }
    (found, problem)
}

fn invalid(message: impl Into<String>) -> Refusal {
    ("InvalidCertificateRef", message.into())
}

fn find_certificate(
    namespace: &str,
    listener: &Listener,
    reference: &ObjectReference,
    context: &Context<'_>,
) -> Result<model::Certificate, Refusal> {
    let group = reference.group.as_deref().unwrap_or_default();
    let kind = reference.kind.as_deref().unwrap_or("Secret");
    if !group.is_empty() || kind != "Secret" {
        return Err(invalid("a certificateRef must be a Secret"));
    }
    let target = reference.namespace.as_deref().unwrap_or(namespace);
    let target = ObjectName::new(target, &reference.name);
    if !grants::permits(context.objects, ("Gateway", namespace), ("Secret", &target)) {
        let message = format!("no ReferenceGrant permits the Secret {target}");
        return Err(("RefNotPermitted", message));
    }
    let secret = context.objects.secrets.get(&target);
    let secret = secret.and_then(|secret| secret.spec.as_ref().ok());
    let missing = || {
        invalid(format!(
            "there is no Secret {target} of type kubernetes.io/tls"
        ))
    };
    let secret = secret
        .filter(|secret| secret.kind == "kubernetes.io/tls")
        .ok_or_else(missing)?;
    let part = |name: &str| {
        let text = secret.data.get(name);
        let text = text.filter(|text| text.len() <= MAX_SECRET_BYTES);
        let bytes = text.and_then(|text| BASE64_STANDARD.decode(text).ok());
        bytes.ok_or_else(|| invalid(format!("the Secret {target} has no valid {name}")))
    };
    let object = CertificateObject {
        certificate: part("tls.crt")?.into(),
        key: part("tls.key")?.into(),
    };
    let hosts: Vec<String> = listener.hostname.iter().cloned().collect();
    let hosts: Vec<String> = hosts.into_iter().filter(|host| !host.is_empty()).collect();
    tls::check_object(&object, &hosts)
        .map_err(|error| invalid(format!("the Secret {target}: {error}")))?;
    Ok(model::Certificate {
        enabled: true,
        certificate_path: "tls.crt".into(),
        key_path: "tls.key".into(),
        hosts,
        object: Some(object),
    })
}

/// Two listeners for one port and host, or one port with two protocols, are both refused: which of them is
/// meant cannot be known.
fn find_conflicts(states: &mut [ListenerState]) {
    let known: Vec<(usize, u16, bool, Option<String>)> = states
        .iter()
        .enumerate()
        .filter(|(_, it)| it.refused.is_none())
        .map(|(at, it)| (at, it.port, it.has_tls, it.hostname.clone()))
        .collect();
    for (at, state) in states.iter_mut().enumerate() {
        if state.refused.is_some() {
            continue;
        }
        let others = known.iter().filter(|(other, ..)| *other != at);
        for (_, port, has_tls, hostname) in others {
            if *port != state.port {
                continue;
            }
            if *has_tls != state.has_tls {
                let message = "another listener has this port with another protocol".to_owned();
                state.conflict = Some(("ProtocolConflict", message));
            } else if *hostname == state.hostname {
                let message = "another listener has this port and hostname".to_owned();
                state.conflict = state
                    .conflict
                    .take()
                    .or(Some(("HostnameConflict", message)));
            }
        }
    }
}
