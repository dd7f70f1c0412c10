//! From the head of a request to its route, and to what is forwarded.

use std::sync::Arc;

use http::{HeaderValue, Method, header};

use super::{
    pattern::PathPattern,
    route::Route,
    select::Unroutable,
    table::{RequestKey, RouteTable},
};
use crate::request::{
    Headers, RequestTarget, host::Authority, is_visible, path::PathError, preflight_method,
    reconcile,
};

/// What selects the route, whichever parser read it.
#[derive(Clone, Copy)]
pub(crate) struct SentHead<'r> {
    pub(crate) method: &'r Method,
    /// As sent: for HTTP/1 in any form, for HTTP/2 the `:path`.
    pub(crate) target: &'r [u8],
    /// Of HTTP/2.
    pub(crate) authority: Option<&'r str>,
    pub(crate) headers: &'r dyn Headers,
    /// The connection of the client has TLS here.
    pub(crate) has_tls: bool,
}

/// The route, which of its patterns matched, and the one spelling of what was matched.
#[derive(Clone, Debug)]
pub(crate) struct MatchedRoute {
    pub(crate) route: Arc<Route>,
    pub(crate) pattern: Arc<PathPattern>,
    /// Path and query in the one spelling. `None`: those of the request are.
    pub(crate) target: Option<String>,
    /// The `Host` to forward. `None`: that of the request is in the one spelling.
    pub(crate) host: Option<HeaderValue>,
    rewritten: Option<Box<RewrittenTarget>>,
}

/// What the `rewrite` of the route makes of a request.
#[derive(Clone, Debug)]
struct RewrittenTarget {
    /// Path and query.
    target: String,
    prefix: Option<HeaderValue>,
}

impl MatchedRoute {
    /// The path that was matched, of which `sent` is the one that was sent.
    pub(crate) fn path<'m>(&'m self, sent: &'m str) -> &'m str {
        let target = self
            .target
            .as_deref()
            .map(|target| RequestTarget::split(target).path);
        target.unwrap_or(sent)
    }

    /// The host that was matched, with its port. `authority`: of HTTP/2.
    pub(crate) fn host<'m>(
        &'m self,
        authority: Option<&'m str>,
        headers: &'m dyn Headers,
    ) -> Option<&'m [u8]> {
        let respelled = self.host.as_ref().map(HeaderValue::as_bytes);
        let sent = headers.first(&header::HOST);
        respelled.or(sent).or(authority.map(str::as_bytes))
    }

    /// Path and query for the upstream. `None`: as sent.
    pub(crate) fn forwarded(&self) -> Option<&str> {
        let rewritten = self.rewritten.as_deref();
        let rewritten = rewritten.map(|rewritten| &*rewritten.target);
        rewritten.or(self.target.as_deref())
    }

    /// Path and query that were asked for, of which `sent` are those that were sent.
    pub(crate) fn asked<'m>(&'m self, sent: &'m [u8]) -> &'m [u8] {
        self.target.as_deref().map_or(sent, str::as_bytes)
    }

    /// What the upstream does not see of the path.
    pub(crate) fn removed_prefix(&self) -> Option<&HeaderValue> {
        self.rewritten.as_deref()?.prefix.as_ref()
    }
}

/// The parts of a request that select its route, each in its one spelling.
pub(crate) struct ReadHead<'r> {
    pub(crate) target: RequestTarget<'r>,
    authority: Option<Authority<'r>>,
    /// The `Host` header.
    sent_host: Option<&'r str>,
}

impl<'r> ReadHead<'r> {
    /// # Errors
    /// When the target is not text, or the host is none, or not that of the target.
    pub(crate) fn of(head: SentHead<'r>) -> Result<Self, Unroutable> {
        let target = std::str::from_utf8(head.target)
            .map_err(|_| Unroutable::Refused(PathError::InvalidByte))?;
        let target = RequestTarget::split(target);
        let sent_host = head.headers.first(&header::HOST);
        let sent_host = sent_host
            .map(|value| visible(value).ok_or(Unroutable::InvalidHost))
            .transpose()?;
        let authority = reconcile(target.authority.or(head.authority), sent_host);
        Ok(Self {
            target,
            authority: authority.ok_or(Unroutable::InvalidHost)?,
            sent_host,
        })
    }

    /// The host and its port, of the target or the header.
    pub(crate) fn host_text(&self) -> Option<String> {
        self.authority.as_ref().map(Authority::to_text)
    }

    pub(crate) fn key<'k>(&'k self, head: SentHead<'k>) -> RequestKey<'k> {
        RequestKey {
            host: self
                .authority
                .as_ref()
                .map_or("", |authority| &authority.host),
            query: self.target.query,
            method: head.method,
            has_tls: head.has_tls,
            headers: head.headers,
        }
    }
}

impl RouteTable {
    /// The route of a request, by the one spelling of its path and host.
    ///
    /// # Errors
    /// [`Unroutable`].
    pub(crate) fn route(&self, head: SentHead<'_>) -> Result<MatchedRoute, Unroutable> {
        let read = ReadHead::of(head)?;
        let target = &read.target;
        // A preflight is about the route of the request that it announces.
        let announced = preflight_method(head.method, head.headers).and_then(|method| {
            let key = RequestKey {
                method: &method,
                ..read.key(head)
            };
            self.announced(&key, target.path)
        });
        let selected = match announced {
            Some(selected) => selected,
            None => self.select(&read.key(head), target.path)?,
        };
        let route = Arc::clone(selected.route);
        let rewritten = route.rewrite.as_ref();
        let rewritten = rewritten
            .map(|rewrite| rewrite.apply(selected.pattern, &selected.path))
            .transpose()
            .map_err(Unroutable::Refused)?;
        let rewritten = rewritten.map(|to| {
            Box::new(RewrittenTarget {
                target: format!("{}{}", to.path, target.query),
                prefix: to.prefix.and_then(|text| HeaderValue::try_from(text).ok()),
            })
        });
        // An authority in the target would be forwarded, and override the Host header.
        let in_target = target.authority.or(head.authority);
        let is_as_sent = in_target.is_none() && selected.path == target.path;
        let spelled = (!is_as_sent).then(|| format!("{}{}", selected.path, target.query));
        let pattern = Arc::clone(selected.pattern);
        let respelled = read.authority.filter(|authority| {
            in_target.is_some()
                || read
                    .sent_host
                    .is_none_or(|sent| !authority.is_spelled(sent))
        });
        Ok(MatchedRoute {
            route,
            pattern,
            target: spelled,
            host: respelled.and_then(|host| HeaderValue::try_from(host.to_text()).ok()),
            rewritten,
        })
    }
}

/// A header value as text, if it is nothing else.
fn visible(value: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(value).ok();
    text.filter(|_| is_visible(value))
}
