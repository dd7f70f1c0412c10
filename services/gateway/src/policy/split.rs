//! Chooses among the upstreams of a route, by weight. Retries stay with the choice.
//!
//! A sticky cookie names an upstream by a hash, and counts only if that upstream has a weight in this
//! split: whatever a client makes of it, it reaches nothing that a new client could not. All replicas
//! of the gateway, and all routes with the same cookie, understand it alike.

use std::{fmt::Write as _, sync::Arc, time::Duration};

use aws_lc_rs::digest::{SHA256, digest};
use http::{HeaderValue, header};

use super::{
    context::{Flow, PolicyContext, ResponseHead},
    shares::Shares,
};
use crate::{
    error,
    request::RequestFacts,
    routing::{self, Sticky},
    upstream::{BalanceKey, Upstream},
};

/// Of the hash; a name that is guessed is that of another upstream of the split.
const ID_BYTES: usize = 8;

#[derive(Debug)]
pub(super) struct Split {
    /// Those with a weight.
    choices: Vec<Choice>,
    /// One for each choice, and what no choice is for.
    shares: Shares,
    sticky: Option<Sticky>,
}

#[derive(Debug)]
struct Choice {
    upstream: Arc<Upstream>,
    /// In the cookie.
    id: String,
    /// With and without TLS; of a sticky cookie.
    cookies: [Option<HeaderValue>; 2],
}

impl Split {
    /// `upstreams` are all upstreams of the configuration.
    pub(super) fn new(split: &routing::Split, upstreams: &[Arc<Upstream>]) -> Self {
        let parts = split.parts.iter().filter(|(_, weight)| *weight > 0);
        let known = parts.filter_map(|&(index, weight)| Some((upstreams.get(index)?, weight)));
        let (choices, weights): (Vec<Choice>, Vec<u32>) = known
            .map(|(upstream, weight)| (Choice::new(upstream, split.sticky.as_ref()), weight))
            .unzip();
        let refused = (split.refused_weight > 0).then_some(split.refused_weight);
        Self {
            choices,
            shares: Shares::new(weights.into_iter().chain(refused)),
            sticky: split.sticky.clone(),
        }
    }

    pub(super) fn on_request(&self, facts: &RequestFacts<'_>, context: &mut PolicyContext) -> Flow {
        let choice = match &self.sticky {
            None => self.shares.next(),
            Some(Sticky::ClientHash) => {
                let key = match &context.caller {
                    Some(caller) => BalanceKey::of(("split", &caller.sub)),
                    None => BalanceKey::of(("split", facts.client_ip)),
                };
                self.shares.of(key.number())
            }
            Some(Sticky::Cookie { name, .. }) => self.by_cookie(facts, name).unwrap_or_else(|| {
                let choice = self.shares.next();
                context.assigned = Some(choice);
                choice
            }),
        };
        let Some(choice) = self.choices.get(choice) else {
            return Flow::Reply(error::no_backend().into());
        };
        context.upstream = Some(Arc::clone(&choice.upstream));
        Flow::Continue
    }

    /// The choice that the client was given before.
    fn by_cookie(&self, facts: &RequestFacts<'_>, name: &str) -> Option<usize> {
        let mut headers = facts.headers.all(header::COOKIE);
        headers.find_map(|cookies| {
            cookies.split(|&byte| byte == b';').find_map(|cookie| {
                let cookie = cookie.trim_ascii().strip_prefix(name.as_bytes())?;
                let id = cookie.strip_prefix(b"=")?;
                let mut choices = self.choices.iter();
                choices.position(|choice| choice.id.as_bytes() == id)
            })
        })
    }

    /// Gives a client without a choice the cookie of this one.
    pub(super) fn on_response(&self, context: &PolicyContext, response: &mut dyn ResponseHead) {
        let choice = context.assigned.and_then(|choice| self.choices.get(choice));
        let cookie = choice.and_then(|it| it.cookies[usize::from(context.is_secure)].clone());
        if let Some(cookie) = cookie {
            response.append(header::SET_COOKIE, cookie);
        }
    }
}

impl Choice {
    fn new(upstream: &Arc<Upstream>, sticky: Option<&Sticky>) -> Self {
        let hash = digest(&SHA256, upstream.config.name.as_bytes());
        let mut id = String::new();
        for byte in &hash.as_ref()[..ID_BYTES] {
            // Writing to a string cannot fail.
            let _ = write!(id, "{byte:02x}");
        }
        let cookies = [false, true].map(|is_secure| match sticky {
            Some(Sticky::Cookie { name, ttl }) => cookie(name, &id, *ttl, is_secure),
            _ => None,
        });
        Self {
            upstream: Arc::clone(upstream),
            id,
            cookies,
        }
    }
}

fn cookie(name: &str, id: &str, ttl: Option<Duration>, is_secure: bool) -> Option<HeaderValue> {
    let mut text = format!("{name}={id}; Path=/; HttpOnly; SameSite=Lax");
    if let Some(ttl) = ttl {
        let _ = write!(text, "; Max-Age={}", ttl.as_secs());
    }
    if is_secure {
        text.push_str("; Secure");
    }
    HeaderValue::try_from(text).ok()
}
