//! What requests have to do with caches, as both paths ask for it: the head of each response, the parts
//! of its body, its end.

use http::{HeaderName, HeaderValue, Method};

use super::{
    cache::edit_refresh,
    context::PolicyContext,
    fetch::{CacheAccess, ReceivedResponse, SentRequest},
    flow::ResponseHead,
};
use crate::{reply::GatewayResponse, request::Headers};

static CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

impl PolicyContext {
    /// The response of the upstream is to be shown to a cache.
    pub(crate) fn has_cache(&self) -> bool {
        self.cache.is_some()
    }

    /// What the log says of the cache.
    pub(crate) fn cache_outcome(&self) -> Option<&'static str> {
        match &self.cache {
            Some(CacheAccess::Fetch(fetch)) => Some(fetch.status.outcome.name()),
            _ => None,
        }
    }

    /// The final head of an attempt. `Some`: the answer in its place.
    pub(crate) fn cache_head(
        &mut self,
        response: ReceivedResponse<'_>,
    ) -> Option<Box<GatewayResponse>> {
        let seen = SentRequest::new(response.request, &self.edits);
        match self.cache.as_mut()? {
            CacheAccess::Fetch(fetch) => {
                let reply = fetch.head(response, &seen)?;
                Some(Box::new(GatewayResponse::Reply(reply)))
            }
            CacheAccess::Invalidation(invalidation) => {
                invalidation.on_head(response.status, response.headers);
                None
            }
        }
    }

    /// A part of the body, without its framing.
    pub(crate) fn cache_body(&mut self, part: &[u8]) {
        if let Some(CacheAccess::Fetch(fetch)) = &mut self.cache {
            fetch.body(part);
        }
    }

    /// The body is complete.
    pub(crate) fn cache_end(&mut self) {
        if let Some(CacheAccess::Fetch(fetch)) = &mut self.cache {
            fetch.end();
        }
    }

    /// What is answered in place of a failure to get a response.
    pub(crate) fn cache_instead(
        &mut self,
        method: &Method,
        request: &dyn Headers,
    ) -> Option<Box<GatewayResponse>> {
        let Some(CacheAccess::Fetch(fetch)) = &mut self.cache else {
            return None;
        };
        let reply = fetch.stale_reply(method, request)?;
        Some(Box::new(GatewayResponse::Reply(reply)))
    }

    /// What revalidates the stale response that was sent. The policies have run for the request.
    pub(crate) fn cache_refresh(&mut self) -> Option<Self> {
        let Some(CacheAccess::Fetch(fetch)) = &mut self.cache else {
            return None;
        };
        let fetch = fetch.take_refresh()?;
        let mut edits = self.edits.clone();
        edit_refresh(&fetch, &mut edits);
        Some(Self {
            caller: self.caller.clone(),
            is_secure: self.is_secure,
            tls: self.tls.clone(),
            edits,
            cache: Some(CacheAccess::Fetch(Box::new(fetch))),
            ..Self::default()
        })
    }

    /// A request with a body is not the one that its URL stands for.
    pub(super) fn cache_cancel(&mut self) {
        if let Some(CacheAccess::Fetch(fetch)) = &mut self.cache {
            fetch.bypass();
            fetch.storing = None;
            fetch.fill = None;
        }
    }

    /// Adds `Cache-Status`, and removes tags, which are for the gateway.
    pub(super) fn cache_response(&self, response: &mut dyn ResponseHead) {
        let Some(CacheAccess::Fetch(fetch)) = &self.cache else {
            return;
        };
        let settings = &fetch.cache.settings;
        fetch.metrics.count(fetch.status.outcome);
        if !settings.forward_tags {
            for name in &settings.tag_headers {
                response.remove(name);
            }
        }
        if settings.status_header
            && let Ok(value) = HeaderValue::try_from(fetch.status.text())
        {
            response.append(CACHE_STATUS.clone(), value);
        }
    }
}
