//! The Gateways that are served, and their status.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{
    conditions::{self, Condition, Refusal},
    context::Context,
    listeners::{self, ListenerState},
};
use crate::{
    config::model,
    kubernetes::objects::{GatewaySpec, Kind, Object, ObjectName},
};

#[derive(Debug)]
pub(super) struct ServedGateway<'o> {
    pub(super) object: &'o Object<GatewaySpec>,
    /// Why none of its listeners is served.
    pub(super) refused: Option<Refusal>,
    pub(super) listeners: Vec<ListenerState>,
}

/// Those of the classes, the oldest first.
pub(super) fn read<'o>(
    classes: &BTreeSet<String>,
    context: &Context<'o>,
    certificates: &mut BTreeMap<String, model::Certificate>,
) -> Vec<ServedGateway<'o>> {
    let mut served = Vec::new();
    for object in context.objects.gateways.values() {
        let Ok(spec) = &object.spec else {
            served.extend(unreadable(object, classes));
            continue;
        };
        let only = &context.settings.gateways;
        let is_named = only.is_empty() || only.contains(&object.name().to_string());
        if !classes.contains(&spec.gateway_class_name) || !is_named {
            continue;
        }
        let refused = check(spec, context).err();
        let mut own = BTreeMap::new();
        let listeners = listeners::read(object, spec, context, &mut own);
        if refused.is_none() {
            let is_served = |name: &String| {
                let mut listeners = listeners.iter().filter(|it| it.is_accepted());
                listeners.any(|it| {
                    let start = format!("kubernetes/{}/{}/", object.name(), it.name);
                    name.starts_with(&start)
                })
            };
            own.retain(|name, _| is_served(name));
            certificates.extend(own);
        }
        served.push(ServedGateway {
            object,
            refused,
            listeners,
        });
    }
    served.sort_by(|one, other| one.object.age().cmp(&other.object.age()));
    served
}

/// One of the classes whose specification is not understood.
fn unreadable<'o>(
    object: &'o Object<GatewaySpec>,
    classes: &BTreeSet<String>,
) -> Option<ServedGateway<'o>> {
    let error = object.spec.as_ref().err()?;
    let class = object.unread["gatewayClassName"].as_str()?;
    classes.contains(class).then(|| ServedGateway {
        object,
        refused: Some(("Invalid", error.clone())),
        listeners: Vec::new(),
    })
}

/// # Errors
/// What of the whole Gateway is not possible.
fn check(spec: &GatewaySpec, context: &Context<'_>) -> Result<(), Refusal> {
    let infrastructure = spec.infrastructure.as_ref();
    if infrastructure.is_some_and(|it| it.parameters_ref.is_some()) {
        let message = "infrastructure.parametersRef is not supported".to_owned();
        return Err(("InvalidParameters", message));
    }
    let own = &context.settings.addresses;
    let mut asked = spec.addresses.iter().filter_map(|it| it.value.as_ref());
    if let Some(address) = asked.find(|address| !own.contains(address)) {
        let message = format!("{address} is not one of kubernetes.addresses");
        return Err(("UnsupportedAddress", message));
    }
    Ok(())
}

impl ServedGateway<'_> {
    pub(super) fn identify(&self) -> (Kind, ObjectName) {
        (Kind::Gateway, self.object.name())
    }

    /// The status of the object.
    pub(super) fn status(&self, context: &Context<'_>) -> Value {
        let observed = context.observed(self.object.metadata.generation);
        let known = &self.object.status;
        let addresses = context.settings.addresses.iter().map(|address| {
            let is_ip = address.parse::<std::net::IpAddr>().is_ok();
            let kind = if is_ip { "IPAddress" } else { "Hostname" };
            json!({ "type": kind, "value": address })
        });
        let listeners = self.listeners.iter().map(|listener| {
            let all = known["listeners"].as_array().into_iter().flatten();
            let mut all = all.filter(|known| known["name"] == *listener.name);
            let known = all
                .next()
                .map_or(&Value::Null, |known| &known["conditions"]);
            let kinds: Vec<Value> = supported_kinds(listener);
            json!({
                "name": listener.name,
                "supportedKinds": kinds,
                "attachedRoutes": listener.attached,
                "conditions": conditions::write(&self.of_listener(listener), known, observed),
            })
        });
        let mut status = known.clone();
        if !status.is_object() {
            status = json!({});
        }
        status["addresses"] = addresses.collect();
        status["listeners"] = listeners.collect();
        status["conditions"] = conditions::write(&self.own(), &known["conditions"], observed);
        status
    }

    fn own(&self) -> Vec<Condition> {
        let is_any = |is: fn(&ListenerState) -> bool| self.listeners.iter().any(is);
        let invalid = || {
            let message = "some listeners are not valid; their conditions say why".to_owned();
            ("ListenersNotValid", message)
        };
        let accepted = match &self.refused {
            Some(refusal) => Condition::failed("Accepted", refusal.clone()),
            None if !is_any(ListenerState::is_accepted) => Condition::failed("Accepted", invalid()),
            None if !self.listeners.iter().all(ListenerState::is_accepted) => {
                Condition::warned("Accepted", invalid())
            }
            None => Condition::fulfilled("Accepted", "Accepted"),
        };
        let is_programmed = self.refused.is_none() && is_any(ListenerState::is_programmed);
        let refusal = || {
            let message = "no listener is served; their conditions say why".to_owned();
            self.refused
                .clone()
                .map_or(("Invalid", message), |(_, why)| ("Invalid", why))
        };
        let programmed = if is_programmed {
            Condition::fulfilled("Programmed", "Programmed")
        } else {
            Condition::failed("Programmed", refusal())
        };
        vec![accepted, programmed]
    }

    fn of_listener(&self, listener: &ListenerState) -> Vec<Condition> {
        let of_gateway = self
            .refused
            .as_ref()
            .map(|(_, message)| ("Pending", message.clone()));
        let refused = of_gateway.or_else(|| listener.refused.clone());
        let refused = refused.or_else(|| listener.conflict.clone());
        let resolved = listener.unresolved.as_ref();
        let programmed = match (&refused, listener.is_programmed()) {
            (None, true) => Condition::fulfilled("Programmed", "Programmed"),
            (refused, _) => {
                let why = refused.as_ref().or(resolved);
                let message = why.map_or_else(String::new, |(_, message)| message.clone());
                Condition::failed("Programmed", ("Invalid", message))
            }
        };
        let conflicted = match &listener.conflict {
            Some(conflict) => Condition::warned("Conflicted", conflict.clone()),
            None => Condition::failed("Conflicted", ("NoConflicts", String::new())),
        };
        vec![
            Condition::of("Accepted", "Accepted", refused.as_ref()),
            Condition::of("ResolvedRefs", "ResolvedRefs", resolved),
            programmed,
            conflicted,
        ]
    }
}

fn supported_kinds(listener: &ListenerState) -> Vec<Value> {
    if !listener.accepts_routes {
        return Vec::new();
    }
    vec![json!({ "group": "gateway.networking.k8s.io", "kind": "HTTPRoute" })]
}
