//! The rules of an `HTTPRoute`, as routes of the gateway: one for each match.

use std::{borrow::Cow, cmp::Reverse, collections::BTreeMap, time::Duration};

use super::{
    access::Access,
    backends::{self, Upstreams},
    conditions::{Refusal, unsupported},
    context::Context,
    durations, filters,
    filters::Filters,
    hosts::Hosts,
};
use crate::{
    config::{
        model::{self, Condition, RouteObject, SplitPart},
        overlay::RefusedEntries,
    },
    kubernetes::objects::{
        BackendRef, HeaderMatch, MatchKind, ObjectName, PathMatch, RouteMatch, Rule,
    },
};

/// Of the shares of a split.
const MAX_WEIGHT: u32 = 1_000;

/// A route of the gateway.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) order: Order,
    pub(super) route: model::Route,
}

/// Which of two routes for one host and path handles a request: the lower one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Order {
    has_method: Reverse<bool>,
    headers: Reverse<usize>,
    parameters: Reverse<usize>,
    created: String,
    object: ObjectName,
    rule: usize,
    at: usize,
}

/// Where a route attaches: the hosts without TLS, and those with it. The outer `None`: there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Attachment {
    pub(super) plain: Option<Hosts>,
    pub(super) secure: Option<Hosts>,
}

/// What is known of the object.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owner<'o> {
    pub(super) name: &'o ObjectName,
    pub(super) created: &'o str,
    pub(super) access: &'o Access,
    pub(super) attachment: &'o Attachment,
}

/// The routes of a rule. A reference that leads nowhere is noted in `unresolved`; its share is refused.
///
/// # Errors
/// What the gateway cannot do.
pub(super) fn translate(
    (number, rule): (usize, &Rule),
    owner: Owner<'_>,
    context: &Context<'_>,
    upstreams: &mut Upstreams,
    unresolved: &mut Option<Refusal>,
) -> Result<Vec<Entry>, Refusal> {
    let mut entries = Vec::new();
    for (at, matched) in matches(rule).iter().enumerate() {
        let filters = &rule.filters;
        let namespace = &owner.name.namespace;
        let mut read = filters::read(filters, &matched.path, namespace, context, upstreams)?;
        note(unresolved, read.unresolved.take());
        let mut route = base(matched, owner)?;
        let destination = destination(rule, &read, owner, context, upstreams, unresolved)?;
        apply(&mut route, read, destination, rule)?;
        let order = Order::of(&route, owner, (number, at));
        let name = format!("{}{number}/{at}", prefix(owner.name));
        entries.extend(at_listeners(&name, &route, &order, owner.attachment));
    }
    Ok(entries)
}

/// A rule without a match has one that every request meets.
fn matches(rule: &Rule) -> Cow<'_, [RouteMatch]> {
    if rule.matches.is_empty() {
        Cow::Owned(vec![RouteMatch::default()])
    } else {
        Cow::Borrowed(&rule.matches)
    }
}

/// What the requests of an object that is refused get: an error, for they must not reach a route that is open to
/// more. Matches that cannot be read are left out.
pub(super) fn blocked(
    rules: &[Rule],
    owner: Owner<'_>,
    refused: &RefusedEntries,
) -> impl Iterator<Item = Entry> {
    let mut entries = Vec::new();
    for (number, rule) in rules.iter().enumerate() {
        for (at, matched) in matches(rule).iter().enumerate() {
            let Ok(mut route) = base(matched, owner) else {
                continue;
            };
            route.split = Some(Vec::new());
            route.object = Some(RouteObject {
                refused_weight: 1,
                ..RouteObject::default()
            });
            let order = Order::of(&route, owner, (number, at));
            let name = format!("{}{number}/{at}/blocked", prefix(owner.name));
            entries.extend(at_listeners(&name, &route, &order, owner.attachment));
        }
    }
    let is_valid = |entry: &Entry| !refused.contains_key(&entry.name);
    entries.into_iter().filter(is_valid)
}

impl Order {
    fn of(route: &model::Route, owner: Owner<'_>, (rule, at): (usize, usize)) -> Self {
        Self {
            has_method: Reverse(!route.methods.is_empty()),
            headers: Reverse(route.headers.len()),
            parameters: Reverse(route.query.len()),
            created: owner.created.to_owned(),
            object: owner.name.clone(),
            rule,
            at,
        }
    }
}

/// What the names of all routes of an object begin with.
pub(super) fn prefix(object: &ObjectName) -> String {
    format!("kubernetes/{object}/")
}

/// The first refusal is the one that people read.
pub(super) fn note(unresolved: &mut Option<Refusal>, refusal: Option<Refusal>) {
    if unresolved.is_none() {
        *unresolved = refusal;
    }
}

/// The same route at listeners with TLS and without, as far as it attaches there.
fn at_listeners(
    name: &str,
    route: &model::Route,
    order: &Order,
    attachment: &Attachment,
) -> Vec<Entry> {
    let entry = |end: &str, has_tls: Option<bool>, hosts: &Hosts| {
        let mut route = route.clone();
        route.hosts = hosts.clone().unwrap_or_default();
        if let Some(object) = &mut route.object {
            object.has_tls = has_tls;
        }
        Entry {
            name: format!("{name}{end}"),
            order: order.clone(),
            route,
        }
    };
    match (&attachment.plain, &attachment.secure) {
        (Some(plain), Some(secure)) if plain == secure => vec![entry("", None, plain)],
        (plain, secure) => {
            let plain = plain.iter().map(|hosts| entry("/http", Some(false), hosts));
            let secure = secure
                .iter()
                .map(|hosts| entry("/https", Some(true), hosts));
            plain.chain(secure).collect()
        }
    }
}

/// What a match says, without a destination.
fn base(matched: &RouteMatch, owner: Owner<'_>) -> Result<model::Route, Refusal> {
    let route = serde_json::json!({ "paths": [pattern(&matched.path)?] });
    let mut route: model::Route =
        serde_json::from_value(route).expect("all other settings have defaults");
    route.methods = matched.method.iter().cloned().collect();
    route.headers = conditions(&matched.headers, "header", str::to_ascii_lowercase)?;
    route.query = conditions(&matched.query_params, "query parameter", str::to_owned)?;
    // Those of the configuration files come first.
    route.priority = i32::MIN;
    owner.access.apply(&mut route);
    Ok(route)
}

fn pattern(path: &PathMatch) -> Result<String, Refusal> {
    if path.kind == MatchKind::Other {
        let message = "a path can be matched by Exact and PathPrefix only";
        return Err(unsupported(message));
    }
    filters::check_plain(&path.value)?;
    if path.kind == MatchKind::Exact {
        return Ok(path.value.clone());
    }
    Ok(format!("{}/*", path.value.trim_end_matches('/')))
}

/// Of several with one name, the first counts.
fn conditions(
    matches: &[HeaderMatch],
    noun: &str,
    spelled: impl Fn(&str) -> String,
) -> Result<BTreeMap<String, Condition>, Refusal> {
    let mut conditions = BTreeMap::new();
    for matched in matches {
        if matched.kind != MatchKind::Exact {
            return Err(unsupported(format!(
                "a {noun} can be matched by Exact only"
            )));
        }
        let value = Condition::Value(matched.value.clone());
        conditions.entry(spelled(&matched.name)).or_insert(value);
    }
    Ok(conditions)
}

/// Where a rule leads.
#[derive(Debug, Default)]
struct Destination {
    parts: Vec<SplitPart>,
    refused_weight: u32,
    /// All of its Services are for `WebSockets`.
    upgrades: bool,
}

fn destination(
    rule: &Rule,
    filters: &Filters,
    owner: Owner<'_>,
    context: &Context<'_>,
    upstreams: &mut Upstreams,
    unresolved: &mut Option<Refusal>,
) -> Result<Destination, Refusal> {
    let references = &rule.backend_refs;
    if filters.redirect.is_some() {
        return if references.is_empty() {
            Ok(Destination::default())
        } else {
            Err(unsupported(
                "RequestRedirect and backendRefs exclude each other",
            ))
        };
    }
    if references
        .iter()
        .any(|reference| !reference.filters.is_empty())
    {
        return Err(unsupported("filters of backendRefs are not supported"));
    }
    let weights = weights(references)?;
    let mut destination = Destination {
        upgrades: !references.is_empty(),
        ..Destination::default()
    };
    for (reference, weight) in references.iter().zip(weights) {
        let namespace = &owner.name.namespace;
        let host = filters.host.as_deref();
        match backends::resolve(reference, namespace, host, context, upstreams) {
            Ok(backend) => {
                destination.upgrades &= backend.upgrades;
                destination.add(backend.upstream, weight);
            }
            Err(refusal) => {
                destination.refused_weight += weight;
                note(unresolved, Some(refusal));
            }
        }
    }
    if destination.parts.iter().all(|part| part.weight == 0) {
        // Nothing may get a request.
        destination.parts.clear();
        destination.refused_weight = 1;
    }
    Ok(destination)
}

impl Destination {
    fn add(&mut self, upstream: String, weight: u32) {
        let mut parts = self.parts.iter_mut();
        match parts.find(|part| part.upstream == upstream) {
            Some(part) => part.weight += u64::from(weight),
            None => self.parts.push(SplitPart {
                upstream,
                weight: weight.into(),
            }),
        }
    }
}

/// In the smallest numbers with the same proportions.
fn weights(references: &[BackendRef]) -> Result<Vec<u32>, Refusal> {
    let weights: Vec<u32> = references
        .iter()
        .map(|reference| reference.weight.unwrap_or(1))
        .collect();
    let common = weights.iter().copied().fold(0, divisor).max(1);
    let weights: Vec<u32> = weights.iter().map(|weight| weight / common).collect();
    if weights.iter().any(|weight| *weight > MAX_WEIGHT) {
        let message = format!("weights must be proportions of numbers up to {MAX_WEIGHT}");
        return Err(unsupported(message));
    }
    Ok(weights)
}

fn divisor(one: u32, other: u32) -> u32 {
    if other == 0 {
        one
    } else {
        divisor(other, one % other)
    }
}

fn apply(
    route: &mut model::Route,
    filters: Filters,
    destination: Destination,
    rule: &Rule,
) -> Result<(), Refusal> {
    let timeouts = rule.timeouts.clone().unwrap_or_default();
    let mut object = RouteObject {
        request_timeout: timeout(timeouts.request.as_deref())?,
        response_timeout: timeout(timeouts.backend_request.as_deref())?,
        ..RouteObject::default()
    };
    route.request_headers = filters.request_headers;
    route.response_headers = filters.response_headers;
    if filters.redirect.is_some() {
        object.redirect = filters.redirect;
        route.object = Some(object);
        return Ok(());
    }
    object.refused_weight = destination.refused_weight;
    let is_single = destination.parts.len() == 1 && destination.refused_weight == 0;
    route.upgrade = destination.upgrades;
    let mut parts = destination.parts;
    if is_single {
        route.upstream = parts.pop().map(|part| part.upstream);
    } else {
        route.split = Some(parts);
    }
    route.rewrite = filters.rewrite;
    route.mirror = filters.mirror;
    route.object = Some(object);
    Ok(())
}

/// The outer `None`: it is not set; the inner one: there is no limit.
fn timeout(text: Option<&str>) -> Result<Option<Option<Duration>>, Refusal> {
    let Some(text) = text else { return Ok(None) };
    let parsed = durations::parse(text);
    let duration = parsed.ok_or_else(|| unsupported(format!("{text} is not a duration")))?;
    Ok(Some((!duration.is_zero()).then_some(duration)))
}
