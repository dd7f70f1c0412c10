//! From the objects of a cluster to what the configuration files can say too, and to the
//! statuses of the objects.
//!
//! It is a function of the objects and the settings alone, so every replica of the gateway comes to the same
//! result, and none has to lead.

mod access;
mod attach;
mod backends;
mod conditions;
mod context;
mod durations;
mod filters;
mod gateways;
mod grants;
mod hosts;
mod listeners;
mod rules;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use serde_json::Value;

use super::objects::{ClassSpec, Kind, Object, Objects};
use crate::config::{
    model,
    overlay::{Overlay, RefusedEntries},
};
use attach::Routes;
use conditions::Condition;
use context::Context;
pub(crate) use context::Statuses;
use gateways::ServedGateway;

#[derive(Debug, Default)]
pub(crate) struct Translation {
    pub(crate) overlay: Overlay,
    /// Of those objects that this gateway is the controller of.
    pub(crate) statuses: Statuses,
}

/// `now`: RFC 3339, for conditions that change.
pub(crate) fn translate(
    objects: &Objects,
    model: &model::Model,
    refused: &RefusedEntries,
    now: &str,
) -> Translation {
    let settings = &model.kubernetes;
    let http = u16::try_from(settings.http_port).unwrap_or_default();
    let context = Context {
        objects,
        settings,
        model,
        refused,
        own_ports: [http, model.tls.port()],
        now,
    };
    let mut translation = Translation::default();
    let classes = classes(&context, &mut translation.statuses);
    let mut gateways = gateways::read(&classes, &context, &mut translation.overlay.certificates);
    let routes = Routes::translate(&mut gateways, &context);
    translation.statuses.extend(routes.statuses);
    translation.overlay.routes = routes.entries;
    translation.overlay.upstreams = routes.upstreams;
    let statuses = gateways.iter().map(ServedGateway::identify);
    let statuses = statuses.zip(gateways.iter().map(|it| it.status(&context)));
    translation.statuses.extend(statuses);
    translation
}

/// The names of the classes whose Gateways are served.
fn classes(context: &Context<'_>, statuses: &mut Statuses) -> BTreeSet<String> {
    let mut served = BTreeSet::new();
    for class in context.objects.classes.values() {
        let Ok(spec) = &class.spec else { continue };
        let only = context.settings.gateway_class.as_ref();
        let is_own = spec.controller_name == context.settings.controller_name
            && only.is_none_or(|only| *only == class.metadata.name);
        if !is_own {
            continue;
        }
        let condition = class_condition(spec);
        if spec.parameters_ref.is_none() {
            served.insert(class.metadata.name.clone());
        }
        let status = class_status(class, &condition, context);
        statuses.insert((Kind::GatewayClass, class.name()), status);
    }
    served
}

fn class_condition(spec: &ClassSpec) -> Condition {
    let refusal = spec.parameters_ref.is_some().then(|| {
        let message = "parametersRef is not supported".to_owned();
        ("InvalidParameters", message)
    });
    Condition::of("Accepted", "Accepted", refusal.as_ref())
}

fn class_status(class: &Object<ClassSpec>, condition: &Condition, context: &Context<'_>) -> Value {
    let observed = context.observed(class.metadata.generation);
    let known = &class.status["conditions"];
    let mut status = class.status.clone();
    if !status.is_object() {
        status = serde_json::json!({});
    }
    status["conditions"] = conditions::write(std::slice::from_ref(condition), known, observed);
    status
}
