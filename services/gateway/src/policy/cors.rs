//! Says to browsers which pages of other origins may use a route (Fetch, 3.2), and answers their
//! preflights.
//!
//! The first step of a chain: a browser sends no token with a preflight, and shows a page none of the
//! gateway's problems unless they say which origin may read them.

use std::sync::Arc;

use http::{HeaderName, HeaderValue, Method, header};

use super::context::{CorsContext, Flow, PolicyContext, ResponseHead};
use crate::{
    error,
    reply::{GatewayResponse, Reply},
    request::{RequestFacts, is_visible, preflight_method},
    routing::{AllowedHeaders, Cors, Route},
};

static REQUEST_PRIVATE_NETWORK: HeaderName =
    HeaderName::from_static("access-control-request-private-network");
static ALLOW_PRIVATE_NETWORK: HeaderName =
    HeaderName::from_static("access-control-allow-private-network");
static TRUE: HeaderValue = HeaderValue::from_static("true");
static ANY: HeaderValue = HeaderValue::from_static("*");

/// Of an upstream, these are replaced: what it says would contradict the gateway, or say it twice.
static REPLACED: [HeaderName; 7] = [
    header::ACCESS_CONTROL_ALLOW_ORIGIN,
    header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
    header::ACCESS_CONTROL_EXPOSE_HEADERS,
    header::ACCESS_CONTROL_ALLOW_METHODS,
    header::ACCESS_CONTROL_ALLOW_HEADERS,
    header::ACCESS_CONTROL_MAX_AGE,
    HeaderName::from_static("access-control-allow-private-network"),
];

#[derive(Debug)]
pub(super) struct CorsPolicy {
    rules: Arc<Cors>,
    /// `None`: the method that is asked for.
    methods: Option<HeaderValue>,
    /// `None`: those that are asked for.
    request_headers: Option<HeaderValue>,
    max_age: HeaderValue,
    any_origin: bool,
}

impl CorsPolicy {
    pub(super) fn new(rules: &Arc<Cors>, route: &Route) -> Self {
        Self {
            methods: methods(rules.methods.as_ref().unwrap_or(&route.methods)),
            request_headers: match &rules.request_headers {
                AllowedHeaders::Any => None,
                AllowedHeaders::Listed(names) => Some(list(names.iter().map(HeaderName::as_str))),
            },
            max_age: rules.max_age.as_secs().into(),
            any_origin: rules.allows_any_origin(),
            rules: Arc::clone(rules),
        }
    }

    pub(super) fn on_request(&self, facts: &RequestFacts<'_>, context: &mut PolicyContext) -> Flow {
        let origin = self.allowed_origin(facts);
        let is_allowed = origin.is_some();
        let asked = preflight_method(facts.method, facts.headers);
        context.cors = CorsContext {
            origin,
            is_preflight: asked.is_some(),
        };
        match asked {
            None => Flow::Continue,
            Some(_) if !is_allowed => Flow::Reply(error::origin_not_allowed().into()),
            Some(asked) => {
                let reply = self.preflight(&asked, facts);
                Flow::Reply(Box::new(GatewayResponse::Reply(reply)))
            }
        }
    }

    /// The value of `Access-Control-Allow-Origin`.
    fn allowed_origin(&self, facts: &RequestFacts<'_>) -> Option<HeaderValue> {
        let sent = facts.headers.first(&header::ORIGIN)?;
        // Two of them are of no browser.
        if facts.headers.nth(&header::ORIGIN, 1).is_some() {
            return None;
        }
        if self.any_origin {
            return Some(ANY.clone());
        }
        let text = std::str::from_utf8(sent).ok()?;
        self.rules
            .allows(text)
            .then(|| HeaderValue::from_bytes(sent).ok())
            .flatten()
    }

    fn preflight(&self, asked: &Method, facts: &RequestFacts<'_>) -> Reply {
        let asked = HeaderValue::from_str(asked.as_str()).ok();
        let methods = self.methods.clone().or(asked);
        let headers = self.request_headers.clone().or_else(|| {
            let asked = facts
                .headers
                .first(&header::ACCESS_CONTROL_REQUEST_HEADERS)?;
            HeaderValue::from_bytes(asked)
                .ok()
                .filter(|_| is_visible(asked))
        });
        let headers = headers.filter(|names| !names.is_empty());
        let asks_private = facts.headers.first(&REQUEST_PRIVATE_NETWORK) == Some(b"true");
        let private = (asks_private && self.rules.private_network).then(|| TRUE.clone());
        let fields = [
            (&header::ACCESS_CONTROL_ALLOW_METHODS, methods),
            (&header::ACCESS_CONTROL_ALLOW_HEADERS, headers),
            (&header::ACCESS_CONTROL_MAX_AGE, Some(self.max_age.clone())),
            (&ALLOW_PRIVATE_NETWORK, private),
        ];
        let fields = fields.into_iter();
        fields.fold(Reply::no_content(), |reply, (name, value)| match value {
            Some(value) => reply.header(name.clone(), value),
            None => reply,
        })
    }

    /// 1xx responses are not final, and 101 starts another protocol.
    pub(super) fn on_response(&self, context: &PolicyContext, response: &mut dyn ResponseHead) {
        if response.status().is_informational() {
            return;
        }
        let cors = &context.cors;
        if !cors.is_preflight {
            for name in &REPLACED {
                response.remove(name);
            }
        }
        if let Some(vary) = self.vary(cors.is_preflight) {
            response.append(header::VARY, HeaderValue::from_static(vary));
        }
        let Some(origin) = &cors.origin else { return };
        response.set(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        if self.rules.credentials {
            response.set(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, TRUE.clone());
        }
        if let Some(exposed) = self.rules.exposed_headers.as_ref()
            && !cors.is_preflight
        {
            response.set(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed.clone());
        }
    }

    /// Which headers of the request the response depends on. Also without an `Origin`: a cache would
    /// otherwise give that response to a page.
    fn vary(&self, is_preflight: bool) -> Option<&'static str> {
        match (self.any_origin, is_preflight) {
            (false, false) => Some("Origin"),
            (true, false) => None,
            (_, true) => {
                Some("Origin, Access-Control-Request-Method, Access-Control-Request-Headers")
            }
        }
    }
}

/// `None`: any.
fn methods(allowed: &[Method]) -> Option<HeaderValue> {
    if allowed.is_empty() {
        return None;
    }
    let head = Method::HEAD;
    let gets_head = allowed.contains(&Method::GET) && !allowed.contains(&head);
    let all = allowed.iter().chain(gets_head.then_some(&head));
    Some(list(all.map(Method::as_str)))
}

fn list<'n>(names: impl Iterator<Item = &'n str>) -> HeaderValue {
    let text = names.collect::<Vec<_>>().join(", ");
    HeaderValue::try_from(text).expect("methods and names are header values")
}
