//! Filters of a rule, as settings of a route.

use std::collections::BTreeMap;

use http::StatusCode;

use super::{
    backends::{self, Upstreams},
    conditions::{Refusal, unsupported},
    context::Context,
};
use crate::{
    config::model::{AddedHeader, HeaderEdit, Mirror, Names},
    kubernetes::objects::{
        Filter, HeaderModifier, MatchKind, Mirrored, Modified, PathMatch, Redirected,
    },
    routing::{PathPattern, RedirectParts, RedirectPath},
};

type Edits = BTreeMap<String, HeaderEdit>;

/// What the filters of a rule say, for one of its matches.
#[derive(Debug, Default)]
pub(super) struct Filters {
    pub(super) request_headers: Edits,
    pub(super) response_headers: Edits,
    pub(super) redirect: Option<RedirectParts>,
    /// The path that backends get.
    pub(super) rewrite: Option<String>,
    /// The `Host` that backends get.
    pub(super) host: Option<String>,
    pub(super) mirror: Option<Mirror>,
    /// Why the mirror leads nowhere, so that there is none.
    pub(super) unresolved: Option<Refusal>,
}

/// # Errors
/// What the gateway cannot do.
pub(super) fn read(
    filters: &[Filter],
    path: &PathMatch,
    namespace: &str,
    context: &Context<'_>,
    upstreams: &mut Upstreams,
) -> Result<Filters, Refusal> {
    let mut read = Filters::default();
    let mut seen = Vec::new();
    for filter in filters {
        let kind = filter.kind.as_str();
        if seen.contains(&kind) {
            return Err(unsupported(format!(
                "only one filter {kind} of a rule is supported"
            )));
        }
        seen.push(kind);
        let missing = || unsupported(format!("the filter {kind} has no settings"));
        match kind {
            "RequestHeaderModifier" => {
                let settings = filter.request_header_modifier.as_ref();
                read.request_headers = edits(settings.ok_or_else(missing)?)?;
            }
            "ResponseHeaderModifier" => {
                let settings = filter.response_header_modifier.as_ref();
                read.response_headers = edits(settings.ok_or_else(missing)?)?;
            }
            "RequestRedirect" => {
                let settings = filter.request_redirect.as_ref().ok_or_else(missing)?;
                read.redirect = Some(redirect(settings, path, context)?);
            }
            "URLRewrite" => {
                let settings = filter.url_rewrite.as_ref().ok_or_else(missing)?;
                read.host.clone_from(&settings.hostname);
                let rewrite = settings.path.as_ref();
                read.rewrite = rewrite.map(|to| rewritten(to, path)).transpose()?;
            }
            "RequestMirror" => {
                let settings = filter.request_mirror.as_ref().ok_or_else(missing)?;
                let percent = percent(settings)?;
                let reference = &settings.backend_ref;
                match backends::resolve(reference, namespace, None, context, upstreams) {
                    Ok(backend) => read.mirror = Some(mirror(backend.upstream, percent)),
                    Err(refusal) => read.unresolved = Some(refusal),
                }
            }
            other => return Err(unsupported(format!("the filter {other} is not supported"))),
        }
    }
    if read.redirect.is_some() && (read.rewrite.is_some() || read.host.is_some()) {
        let message = "RequestRedirect and URLRewrite exclude each other".to_owned();
        return Err(("IncompatibleFilters", message));
    }
    Ok(read)
}

fn edits(modifier: &HeaderModifier) -> Result<Edits, Refusal> {
    let mut edits = Edits::new();
    let twice = |name: &str| unsupported(format!("the header {name} has more than one change"));
    let mut insert = |name: &str, edit: HeaderEdit| {
        let known = edits.insert(name.to_ascii_lowercase(), edit);
        known.map_or(Ok(()), |_| Err(twice(name)))
    };
    for header in &modifier.set {
        if header.value.is_empty() {
            let message = format!("the value of the header {} must not be empty", header.name);
            return Err(unsupported(message));
        }
        insert(&header.name, HeaderEdit::Set(header.value.clone()))?;
    }
    for name in &modifier.remove {
        insert(name, HeaderEdit::Set(String::new()))?;
    }
    let mut added: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for header in &modifier.add {
        let values = added.entry(header.name.to_ascii_lowercase()).or_default();
        values.push(header.value.clone());
    }
    for (name, values) in added {
        let add = Names::Several(values);
        insert(&name, HeaderEdit::Add(AddedHeader { add }))?;
    }
    Ok(edits)
}

fn redirect(
    settings: &Redirected,
    path: &PathMatch,
    context: &Context<'_>,
) -> Result<RedirectParts, Refusal> {
    let is_secure = match settings.scheme.as_deref() {
        None => None,
        Some("http") => Some(false),
        Some("https") => Some(true),
        Some(other) => return Err(unsupported(format!("the scheme {other} is not supported"))),
    };
    let host = settings.hostname.clone().filter(|host| !host.is_empty());
    let is_name = |host: &String| {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-.".contains(&byte);
        host.bytes().all(is_allowed)
    };
    if host.as_ref().is_some_and(|host| !is_name(host)) {
        return Err(unsupported("requestRedirect.hostname must be a host name"));
    }
    let status = settings.status_code.unwrap_or(302);
    let status = Some(status).filter(|it| [301, 302, 303, 307, 308].contains(it));
    let status = status.and_then(|status| StatusCode::from_u16(status).ok());
    let status =
        status.ok_or_else(|| unsupported("statusCode must be 301, 302, 303, 307 or 308"))?;
    let path = match settings.path.as_ref().map(|to| modified(to, path)) {
        None => RedirectPath::Kept,
        Some(Ok((text, true))) => RedirectPath::Prefix(text),
        Some(Ok((text, false))) => RedirectPath::Full(text),
        Some(Err(refusal)) => return Err(refusal),
    };
    Ok(RedirectParts {
        is_secure,
        host,
        port: settings.port,
        own_ports: context.own_ports,
        path,
        status,
    })
}

/// As the setting of a route.
fn rewritten(to: &Modified, path: &PathMatch) -> Result<String, Refusal> {
    let (text, is_prefix) = modified(to, path)?;
    if is_prefix {
        return Ok(format!("{}/*", text.trim_end_matches('/')));
    }
    Ok(text)
}

/// The other path, and whether it is in place of a prefix.
fn modified(to: &Modified, path: &PathMatch) -> Result<(String, bool), Refusal> {
    let missing = || unsupported(format!("the path of type {} has no value", to.kind));
    let (text, is_prefix) = match to.kind.as_str() {
        "ReplaceFullPath" => (to.replace_full_path.as_ref(), false),
        "ReplacePrefixMatch" => (to.replace_prefix_match.as_ref(), true),
        other => {
            return Err(unsupported(format!(
                "the path of type {other} is not supported"
            )));
        }
    };
    if is_prefix && path.kind != MatchKind::PathPrefix {
        return Err(unsupported(
            "ReplacePrefixMatch needs a match with PathPrefix",
        ));
    }
    let text = text.ok_or_else(missing)?;
    let text = if text.is_empty() { "/" } else { text };
    check_plain(text)?;
    Ok((text.to_owned(), is_prefix))
}

/// In the patterns of the gateway, these characters are wildcards.
pub(super) fn check_plain(path: &str) -> Result<(), Refusal> {
    if path.contains(['{', '}', '*']) {
        let message = format!("the path {path} must not have braces or asterisks");
        return Err(unsupported(message));
    }
    let trimmed = path.trim_end_matches('/');
    let pattern = if trimmed.is_empty() { "/" } else { trimmed };
    let parsed = PathPattern::parse(pattern);
    parsed
        .map(drop)
        .map_err(|rule| unsupported(format!("the path {path} {rule}")))
}

/// Of the requests that are mirrored. Without a share, all of them.
fn percent(settings: &Mirrored) -> Result<u32, Refusal> {
    let refused = || unsupported("the share of a RequestMirror must be a whole number of percent");
    let percent = match (settings.percent, settings.fraction) {
        (Some(_), Some(_)) => return Err(refused()),
        (Some(percent), None) => percent,
        (None, Some(fraction)) => {
            let share = fraction.numerator.checked_mul(100).ok_or_else(refused)?;
            let rest = share.checked_rem(fraction.denominator);
            if rest != Some(0) {
                return Err(refused());
            }
            share / fraction.denominator
        }
        (None, None) => 100,
    };
    (percent <= 100).then_some(percent).ok_or_else(refused)
}

fn mirror(upstream: String, percent: u32) -> Mirror {
    let mirror = serde_json::json!({ "upstream": upstream, "percent": percent });
    serde_json::from_value(mirror).expect("all other settings have defaults")
}
