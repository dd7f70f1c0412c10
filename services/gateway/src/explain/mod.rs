//! Which route handles a request, and why: what the router, the policies and the headers for the
//! upstream say, in words. Nothing is sent, counted or verified.

mod text;

use std::net::{IpAddr, Ipv4Addr};

use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use quartet_common::problem::Problem;
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    policy::{
        PolicyContext,
        headers::{FORWARDED_PREFIX, Origin, apply_edits, forwarded_headers, untrusted_headers},
    },
    request::{RequestFacts, WebSocket, path},
    routing::{
        Candidate, ExpectedValue, HeaderCondition, MatchedRoute, Mismatch, QueryCondition,
        ReadHead, Route, RouteAction, SentHead,
    },
    snapshot::Snapshot,
};

/// The request to explain.
#[derive(Clone, Debug)]
pub struct ExplainedRequest {
    method: Method,
    /// A path or a URL.
    url: String,
    headers: HeaderMap,
    client_ip: IpAddr,
}

/// Everything that is decided about a request before it is forwarded.
#[derive(Debug, Serialize)]
pub(crate) struct Explanation {
    request: Value,
    /// The route that handles it.
    #[serde(skip_serializing_if = "Option::is_none")]
    route: Option<ExplainedRoute>,
    /// Why no route does.
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<Value>,
    /// The other routes, best first.
    others: Vec<OtherRoute>,
}

#[derive(Debug, Serialize)]
struct ExplainedRoute {
    name: String,
    /// What matched, criterion by criterion.
    matched: Vec<(&'static str, String)>,
    policies: Vec<(String, Value)>,
    destination: Value,
    /// Of a route with an upstream.
    #[serde(skip_serializing_if = "Option::is_none")]
    forwarded: Option<ForwardedRequest>,
}

#[derive(Debug, Serialize)]
struct ForwardedRequest {
    target: String,
    headers: Vec<(String, String)>,
    removed: Vec<String>,
}

#[derive(Debug, Serialize)]
struct OtherRoute {
    name: String,
    path: String,
    host: String,
    matches: bool,
    reason: String,
}

impl ExplainedRequest {
    /// `headers` are written as `Name: value`.
    ///
    /// # Errors
    /// What of it is no request.
    pub fn parse<'h>(
        method: &str,
        url: &str,
        headers: impl IntoIterator<Item = &'h str>,
        client_ip: Option<IpAddr>,
    ) -> Result<Self, String> {
        let is_lower = method.bytes().any(|byte| byte.is_ascii_lowercase());
        let parsed = Method::from_bytes(method.as_bytes()).ok();
        let method = parsed.filter(|_| !is_lower);
        let method = method.ok_or("the method must be one in upper case, such as GET")?;
        let is_url = url.starts_with("http://") || url.starts_with("https://");
        if !(url.starts_with('/') || is_url) {
            return Err("the URL must be a path, or start with http:// or https://".to_owned());
        }
        let mut sent = HeaderMap::new();
        for text in headers {
            let (name, value) = text
                .split_once(':')
                .ok_or_else(|| format!("the header `{text}` must be `Name: value`"))?;
            let name = HeaderName::try_from(name.trim());
            let value = HeaderValue::try_from(value.trim());
            let (Ok(name), Ok(value)) = (name, value) else {
                return Err(format!("the header `{text}` is not valid"));
            };
            sent.append(name, value);
        }
        Ok(Self {
            method,
            url: url.split('#').next().unwrap_or_default().to_owned(),
            headers: sent,
            client_ip: client_ip.unwrap_or(Ipv4Addr::LOCALHOST.into()),
        })
    }

    fn head(&self) -> SentHead<'_> {
        SentHead {
            method: &self.method,
            target: self.url.as_bytes(),
            authority: None,
            headers: &self.headers,
            has_tls: self.url.starts_with("https://"),
        }
    }
}

impl Explanation {
    pub(crate) fn of(request: &ExplainedRequest, snapshot: &Snapshot) -> Self {
        let head = request.head();
        let (route, refused) = match snapshot.route(head) {
            Ok(matched) => (Some(matched), None),
            Err(problem) => (None, Some(problem)),
        };
        let read = ReadHead::of(head).ok();
        let candidates = read.as_ref().map_or_else(Vec::new, |read| {
            let path = readable(read.target.path);
            snapshot.config.routes.candidates(&read.key(head), &path)
        });
        let key = read.as_ref().map(|read| read.key(head));
        Self {
            request: json!({
                "method": request.method.as_str(),
                "host": key.as_ref().map(|key| key.host),
                "path": read.as_ref().map(|read| readable(read.target.path)),
                "query": key.as_ref().map(|key| key.query.trim_start_matches('?')),
                "client_ip": request.client_ip,
            }),
            others: others(&candidates, route.as_ref()),
            route: route.map(|matched| {
                let winner = winner(&candidates, &matched);
                explain_route(request, &matched, winner, snapshot)
            }),
            refused: refused.as_ref().map(describe_problem),
        }
    }
}

fn describe_problem(problem: &Problem) -> Value {
    let body = serde_json::to_value(problem.to_body("", "")).unwrap_or_default();
    json!({
        "status": problem.kind.status.as_u16(),
        "code": problem.kind.code,
        "detail": body.get("detail"),
        "errors": body.get("errors"),
    })
}

/// The one spelling of a path, or what comes closest to it.
fn readable(sent: &str) -> String {
    let spelled = path::path(sent).ok().map(std::borrow::Cow::into_owned);
    let literal = || path::readings(sent).ok().map(|[_, _, literal, _]| literal);
    spelled.or_else(literal).unwrap_or_else(|| sent.to_owned())
}

fn winner<'c, 't>(
    candidates: &'c [Candidate<'t>],
    matched: &MatchedRoute,
) -> Option<&'c Candidate<'t>> {
    let is_it = |candidate: &&Candidate<'_>| candidate.pattern.rank == matched.pattern.rank;
    candidates.iter().find(is_it)
}

fn others(candidates: &[Candidate<'_>], matched: Option<&MatchedRoute>) -> Vec<OtherRoute> {
    let winner = matched.and_then(|matched| winner(candidates, matched));
    let is_other = |candidate: &&Candidate<'_>| {
        winner.is_none_or(|winner| winner.pattern.rank != candidate.pattern.rank)
    };
    let others = candidates.iter().filter(is_other).map(|candidate| {
        let reason = match (candidate.mismatch, winner) {
            (Some(mismatch), _) => describe_mismatch(mismatch, candidate.route),
            (None, Some(winner)) => {
                let (won, lost) = (winner.precedence(), candidate.precedence());
                let (name, advantage) = (&winner.route.name, won.advantage_over(&lost));
                format!("matches, but `{name}` has {advantage}")
            }
            // A path that is refused, whatever matches it.
            (None, None) => "would match, but the request is refused".to_owned(),
        };
        OtherRoute {
            name: candidate.route.name.to_string(),
            path: candidate.pattern.text.to_string(),
            host: host_text(candidate),
            matches: candidate.mismatch.is_none(),
            reason,
        }
    });
    others.collect()
}

fn host_text(candidate: &Candidate<'_>) -> String {
    let host = candidate.host.map(ToString::to_string);
    host.unwrap_or_else(|| "any".to_owned())
}

fn describe_mismatch(mismatch: Mismatch<'_>, route: &Route) -> String {
    match mismatch {
        Mismatch::Path => "the path differs".to_owned(),
        Mismatch::Host => "the host differs".to_owned(),
        Mismatch::Tls => "it is for connections with TLS only, or without it only".to_owned(),
        Mismatch::Method => format!("the method is none of {}", methods(route)),
        Mismatch::Header(condition) => {
            format!("the header is not as demanded: {}", header_text(condition))
        }
        Mismatch::Parameter(condition) => {
            format!("the query is not as demanded: {}", query_text(condition))
        }
    }
}

fn methods(route: &Route) -> String {
    let names: Vec<&str> = route.methods.iter().map(Method::as_str).collect();
    names.join(", ")
}

fn header_text(condition: &HeaderCondition) -> String {
    let value = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    wanted_text(condition.name.as_str(), &condition.wanted, value)
}

fn query_text(condition: &QueryCondition) -> String {
    wanted_text(&condition.name, &condition.wanted, Clone::clone)
}

fn wanted_text<V>(name: &str, wanted: &ExpectedValue<V>, value: impl Fn(&V) -> String) -> String {
    match wanted {
        ExpectedValue::Value(wanted) => format!("`{name}` is `{}`", value(wanted)),
        ExpectedValue::Present => format!("`{name}` is present"),
        ExpectedValue::Absent => format!("`{name}` is absent"),
    }
}

fn explain_route(
    request: &ExplainedRequest,
    matched: &MatchedRoute,
    winner: Option<&Candidate<'_>>,
    snapshot: &Snapshot,
) -> ExplainedRoute {
    let route = &matched.route;
    let config = &snapshot.config;
    let policies = snapshot.chain(route).describe(route, config);
    let has_upstream = !matches!(
        route.action,
        RouteAction::Serve(_)
            | RouteAction::Redirect
            | RouteAction::Respond
            | RouteAction::Site
            | RouteAction::Verify
    );
    ExplainedRoute {
        name: route.name.to_string(),
        matched: criteria(matched, winner),
        policies: policies
            .into_iter()
            .map(|policy| (policy.name, policy.settings))
            .collect(),
        destination: snapshot.describe_destination(route),
        forwarded: has_upstream.then(|| forwarded(request, matched, snapshot)),
    }
}

fn criteria(matched: &MatchedRoute, winner: Option<&Candidate<'_>>) -> Vec<(&'static str, String)> {
    let route = &matched.route;
    let mut criteria = vec![
        ("priority", route.priority.to_string()),
        ("host", winner.map_or_else(String::new, host_text)),
        ("path", matched.pattern.text.to_string()),
    ];
    let methods = match methods(route) {
        none if none.is_empty() => "any".to_owned(),
        methods => methods,
    };
    criteria.push(("methods", methods));
    let headers = route.headers.iter().map(|it| ("header", header_text(it)));
    let query = route.query.iter().map(|it| ("query", query_text(it)));
    criteria.extend(headers.chain(query));
    criteria
}

/// The request as the upstream receives it: by the functions that write it.
fn forwarded(
    request: &ExplainedRequest,
    matched: &MatchedRoute,
    snapshot: &Snapshot,
) -> ForwardedRequest {
    let sent = &request.headers;
    let mut headers = sent.clone();
    let removed = untrusted_headers(sent);
    for name in &removed {
        headers.remove(name);
    }
    let read = ReadHead::of(request.head()).ok();
    let host = read.as_ref().and_then(ReadHead::host_text);
    let client = request.client_ip.to_string();
    let is_secure = request.url.starts_with("https://");
    let origin = Origin {
        client: &client,
        is_secure,
        host: host.as_deref().map(str::as_bytes),
        sends_forwarded: snapshot.config.model.server.send_forwarded,
    };
    for (name, value) in forwarded_headers(origin) {
        if let Some(value) = value.and_then(|value| HeaderValue::from_bytes(&value).ok()) {
            headers.insert(name, value);
        }
    }
    let sent_path = read.as_ref().map_or("", |read| read.target.path);
    let facts = RequestFacts {
        method: &request.method,
        path: matched.path(sent_path),
        target: request.url.as_bytes(),
        asked: request.url.as_bytes(),
        sent_target: request.url.as_bytes(),
        host: host.as_deref().map(str::as_bytes),
        client_ip: request.client_ip,
        is_secure,
        is_of_trusted_proxy: false,
        tls: None,
        reported_host: None,
        websocket: WebSocket::No,
        authority: None,
        headers: sent,
        captures: &*matched.pattern,
    };
    let mut context = PolicyContext::default();
    snapshot.chain(&matched.route).edit(&facts, &mut context);
    apply_edits(&context.edits, &mut headers);
    if let Some(prefix) = matched.removed_prefix() {
        headers.insert(FORWARDED_PREFIX.clone(), prefix.clone());
    }
    let configured = snapshot.fixed_host(&matched.route);
    let host = configured.or_else(|| HeaderValue::try_from(host.unwrap_or_default()).ok());
    if let Some(host) = host {
        headers.insert(header::HOST, host);
    }
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let target = matched.forwarded().map(str::to_owned);
    ForwardedRequest {
        target: target.unwrap_or_else(|| request.url.clone()),
        headers: headers
            .iter()
            .map(|(name, value)| (name.to_string(), shown(name, text(value))))
            .collect(),
        removed: removed.iter().map(ToString::to_string).collect(),
    }
}

/// A credential is not repeated.
fn shown(name: &HeaderName, value: String) -> String {
    if [header::AUTHORIZATION, header::COOKIE].contains(name) {
        return "(as sent)".to_owned();
    }
    value
}
