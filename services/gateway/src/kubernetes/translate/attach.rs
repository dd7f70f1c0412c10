//! Which listeners the routes attach to, and what becomes of them there.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    access::Access,
    backends::Upstreams,
    conditions::{self, Condition, Refusal, unsupported},
    context::{Context, Statuses},
    gateways::ServedGateway,
    hosts,
    rules::{self, Attachment, Entry, Owner},
};
use crate::{
    config::model,
    kubernetes::objects::{HttpRouteSpec, Kind, Object, ObjectName, ParentRef},
};

const GATEWAY: &str = "gateway.networking.k8s.io";
const TOO_MANY: &str = "TooManyRoutes";

/// All routes, as the configuration has them, and the statuses of their objects.
#[derive(Debug, Default)]
pub(super) struct Routes {
    pub(super) entries: BTreeMap<String, model::Route>,
    pub(super) upstreams: Upstreams,
    pub(super) statuses: Statuses,
    all: Vec<Entry>,
}

/// A reference of a route to a Gateway that is served.
struct Parent<'o> {
    reference: &'o ParentRef,
    /// Index of the Gateway, and of the listeners that the route attaches to.
    gateway: usize,
    listeners: Vec<usize>,
    refused: Option<Refusal>,
}

impl Routes {
    /// The oldest first, so that the youngest are left out when there are too many. Counts what attaches.
    pub(super) fn translate(gateways: &mut [ServedGateway<'_>], context: &Context<'_>) -> Self {
        let mut routes = Self::default();
        let mut objects: Vec<_> = context.objects.routes.values().collect();
        objects.sort_by(|one, other| one.age().cmp(&other.age()));
        for object in objects {
            routes.add(object, gateways, context);
        }
        routes.all.sort_by(|one, other| one.order.cmp(&other.order));
        for (rank, mut entry) in (1..).zip(std::mem::take(&mut routes.all)) {
            if let Some(object) = &mut entry.route.object {
                object.rank = rank;
            }
            routes.entries.insert(entry.name, entry.route);
        }
        let used = used_upstreams(&routes.entries);
        routes
            .upstreams
            .retain(|name, _| used.contains(name.as_str()));
        routes
    }

    fn add(
        &mut self,
        object: &Object<HttpRouteSpec>,
        gateways: &mut [ServedGateway<'_>],
        context: &Context<'_>,
    ) {
        let name = object.name();
        let spec = match &object.spec {
            Ok(spec) => spec,
            Err(error) => {
                self.refuse_unreadable(object, error, context);
                return;
            }
        };
        let mut parents: Vec<Parent<'_>> = spec
            .parent_refs
            .iter()
            .filter_map(|reference| find_parent(reference, &name, gateways))
            .map(|mut parent| {
                let gateway = &gateways[parent.gateway];
                attach(&mut parent, &name, spec, gateway, context);
                parent
            })
            .collect();
        let attachment = attachment(&parents, spec, gateways);
        let mut unresolved = None;
        let result = self.translate_rules(object, spec, &attachment, context, &mut unresolved);
        match result {
            Ok(entries) => {
                let attached = parents.iter().filter(|parent| parent.refused.is_none());
                for parent in attached {
                    for &at in &parent.listeners {
                        gateways[parent.gateway].listeners[at].attached += 1;
                    }
                }
                self.all.extend(entries);
            }
            Err(refusal) => {
                // Where there is no room for its routes, there is none for these.
                if refusal.0 != TOO_MANY {
                    self.block(object, spec, &attachment, context);
                }
                for parent in &mut parents {
                    parent.refused.get_or_insert_with(|| refusal.clone());
                }
            }
        }
        let status = status(object, &parents, unresolved.as_ref(), context);
        self.statuses
            .extend(status.map(|status| ((Kind::HttpRoute, name), status)));
    }

    fn translate_rules(
        &mut self,
        object: &Object<HttpRouteSpec>,
        spec: &HttpRouteSpec,
        attachment: &Attachment,
        context: &Context<'_>,
        unresolved: &mut Option<Refusal>,
    ) -> Result<Vec<Entry>, Refusal> {
        let name = object.name();
        let prefix = rules::prefix(&name);
        let mut refused = context.refused.range(prefix.clone()..);
        if let Some((_, message)) = refused.next().filter(|(name, _)| name.starts_with(&prefix)) {
            return Err(unsupported(message.clone()));
        }
        let access = Access::of(&object.metadata, context)?;
        let owner = Owner {
            name: &name,
            created: &object.metadata.creation_timestamp,
            access: &access,
            attachment,
        };
        let mut entries = Vec::new();
        for rule in spec.rules.iter().enumerate() {
            let of_rule = rules::translate(rule, owner, context, &mut self.upstreams, unresolved)?;
            entries.extend(of_rule);
        }
        let most = context.settings.max_routes;
        if self.all.len() + entries.len() > most {
            let message = format!("there are {most} routes already (kubernetes.max_routes)");
            return Err((TOO_MANY, message));
        }
        Ok(entries)
    }

    /// Refuses its requests, as far as there is room for more routes.
    fn block(
        &mut self,
        object: &Object<HttpRouteSpec>,
        spec: &HttpRouteSpec,
        attachment: &Attachment,
        context: &Context<'_>,
    ) {
        let owner = Owner {
            name: &object.name(),
            created: &object.metadata.creation_timestamp,
            access: &Access::of_settings(context),
            attachment,
        };
        let room = context.settings.max_routes.saturating_sub(self.all.len());
        let blocked = rules::blocked(&spec.rules, owner, context.refused);
        self.all.extend(blocked.take(room));
    }

    /// Its references cannot be read either, so only who had this route before is known.
    fn refuse_unreadable(
        &mut self,
        object: &Object<HttpRouteSpec>,
        error: &str,
        context: &Context<'_>,
    ) {
        let refusal = unsupported(error);
        let observed = context.observed(object.metadata.generation);
        let own = &context.settings.controller_name;
        let references = object.unread["parentRefs"].as_array().into_iter().flatten();
        let known = own_parents(&object.status, own).collect::<Vec<_>>();
        let parents = references
            .filter(|it| is_served(it, object, context))
            .map(|reference| {
                let known = known.iter().find(|known| known["parentRef"] == *reference);
                let known = known.map_or(&Value::Null, |known| &known["conditions"]);
                let conditions = [Condition::failed("Accepted", refusal.clone())];
                json!({
                    "parentRef": reference,
                    "controllerName": own,
                    "conditions": conditions::write(&conditions, known, observed),
                })
            });
        let parents: Vec<Value> = parents.collect();
        if parents.is_empty() && known.is_empty() {
            return;
        }
        let status = with_parents(&object.status, parents, own);
        self.statuses
            .insert((Kind::HttpRoute, object.name()), status);
    }
}

/// Whether a reference of an object that cannot be read is to a Gateway whose class is served.
fn is_served(reference: &Value, object: &Object<HttpRouteSpec>, context: &Context<'_>) -> bool {
    let text = |field: &str| reference[field].as_str();
    let namespace = text("namespace").unwrap_or(&object.metadata.namespace);
    let name = ObjectName::new(namespace, text("name").unwrap_or_default());
    let gateway = context.objects.gateways.get(&name);
    let gateway = gateway.and_then(|gateway| gateway.spec.as_ref().ok());
    let class = gateway.map(|spec| ObjectName::new("", &spec.gateway_class_name));
    let class = class.and_then(|class| context.objects.classes.get(&class));
    let class = class.and_then(|class| class.spec.as_ref().ok());
    class.is_some_and(|class| class.controller_name == context.settings.controller_name)
}

fn used_upstreams(entries: &BTreeMap<String, model::Route>) -> std::collections::BTreeSet<&str> {
    let used = entries.values().flat_map(|route| {
        let parts = route.split.iter().flatten();
        let parts = parts.map(|part| part.upstream.as_str());
        let mirror = route.mirror.iter().map(|mirror| mirror.upstream.as_str());
        parts.chain(mirror).chain(route.upstream.as_deref())
    });
    used.collect()
}

/// `None`: it is not to a Gateway that is served.
fn find_parent<'o>(
    reference: &'o ParentRef,
    route: &ObjectName,
    gateways: &[ServedGateway<'_>],
) -> Option<Parent<'o>> {
    let group = reference.group.as_deref().unwrap_or(GATEWAY);
    let kind = reference.kind.as_deref().unwrap_or("Gateway");
    if group != GATEWAY || kind != "Gateway" {
        return None;
    }
    let namespace = reference.namespace.as_deref().unwrap_or(&route.namespace);
    let name = ObjectName::new(namespace, &reference.name);
    let gateway = gateways.iter().position(|it| it.object.name() == name)?;
    Some(Parent {
        reference,
        gateway,
        listeners: Vec::new(),
        refused: None,
    })
}

/// Finds the listeners, or why there is none.
fn attach(
    parent: &mut Parent<'_>,
    route: &ObjectName,
    spec: &HttpRouteSpec,
    gateway: &ServedGateway<'_>,
    context: &Context<'_>,
) {
    let reference = parent.reference;
    let all = gateway.listeners.iter().enumerate();
    let named: Vec<_> = all
        .filter(|(_, listener)| {
            let section = reference.section_name.as_ref();
            section.is_none_or(|name| *name == listener.name)
                && reference.port.is_none_or(|port| port == listener.port)
        })
        .collect();
    if named.is_empty() {
        let message = "there is no listener of this name and port".to_owned();
        parent.refused = Some(("NoMatchingParent", message));
        return;
    }
    let gateway_namespace = &gateway.object.metadata.namespace;
    let allowed: Vec<_> = named
        .into_iter()
        .filter(|(_, listener)| {
            listener.accepts_routes
                && listener.is_accepted()
                && gateway.refused.is_none()
                && listener.allows(gateway_namespace, &route.namespace, context)
        })
        .collect();
    if allowed.is_empty() {
        let message = "no listener accepts HTTPRoutes of this namespace".to_owned();
        parent.refused = Some(("NotAllowedByListeners", message));
        return;
    }
    let matching = allowed.into_iter().filter(|(_, listener)| {
        hosts::common(listener.hostname.as_deref(), &spec.hostnames).is_some()
    });
    parent.listeners = matching.map(|(at, _)| at).collect();
    if parent.listeners.is_empty() {
        let message = "no listener has one of the hostnames".to_owned();
        parent.refused = Some(("NoMatchingListenerHostname", message));
    }
}

/// The hosts at all listeners together.
fn attachment(
    parents: &[Parent<'_>],
    spec: &HttpRouteSpec,
    gateways: &[ServedGateway<'_>],
) -> Attachment {
    let mut attachment = Attachment::default();
    for parent in parents {
        for &at in &parent.listeners {
            let listener = &gateways[parent.gateway].listeners[at];
            let Some(own) = hosts::common(listener.hostname.as_deref(), &spec.hostnames) else {
                continue;
            };
            let side = if listener.has_tls {
                &mut attachment.secure
            } else {
                &mut attachment.plain
            };
            *side = Some(match side.take() {
                None => own,
                Some(known) => hosts::union(known, own),
            });
        }
    }
    attachment
}

fn own_parents<'s>(status: &'s Value, controller: &str) -> impl Iterator<Item = &'s Value> {
    let parents = status["parents"].as_array().into_iter().flatten();
    parents.filter(move |parent| parent["controllerName"] == *controller)
}

/// `None`: there is nothing to say, and nothing was said.
fn status(
    object: &Object<HttpRouteSpec>,
    parents: &[Parent<'_>],
    unresolved: Option<&Refusal>,
    context: &Context<'_>,
) -> Option<Value> {
    let observed = context.observed(object.metadata.generation);
    let controller = &context.settings.controller_name;
    let known: Vec<&Value> = own_parents(&object.status, controller).collect();
    if parents.is_empty() && known.is_empty() {
        return None;
    }
    let own = parents.iter().map(|parent| {
        let reference = describe(parent.reference);
        let mut known = known.iter().filter(|known| known["parentRef"] == reference);
        let known = known
            .next()
            .map_or(&Value::Null, |known| &known["conditions"]);
        let conditions = [
            Condition::of("Accepted", "Accepted", parent.refused.as_ref()),
            Condition::of("ResolvedRefs", "ResolvedRefs", unresolved),
        ];
        json!({
            "parentRef": reference,
            "controllerName": controller,
            "conditions": conditions::write(&conditions, known, observed),
        })
    });
    let own = own.collect();
    Some(with_parents(&object.status, own, controller))
}

/// What other controllers have said stays.
fn with_parents(status: &Value, own: Vec<Value>, controller: &str) -> Value {
    let all = status["parents"].as_array().into_iter().flatten();
    let others = all.filter(|parent| parent["controllerName"] != *controller);
    let parents: Vec<Value> = others.cloned().chain(own).collect();
    json!({ "parents": parents })
}

/// As the object has it.
fn describe(reference: &ParentRef) -> Value {
    let mut described = json!({ "name": reference.name });
    for (name, value) in [
        ("group", &reference.group),
        ("kind", &reference.kind),
        ("namespace", &reference.namespace),
        ("sectionName", &reference.section_name),
    ] {
        if let Some(value) = value {
            described[name] = json!(value);
        }
    }
    if let Some(port) = reference.port {
        described["port"] = json!(port);
    }
    described
}
