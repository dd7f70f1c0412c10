//! What policies share: their answer, and what they remember of a request.

use std::{pin::Pin, sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue, StatusCode};
use quartet_auth::jwt::Claims;

use crate::{reply::GatewayResponse, request::is_visible};

static USER_ID: HeaderName = HeaderName::from_static("x-user-id");
static SESSION_ID: HeaderName = HeaderName::from_static("x-session-id");

/// Continue, or answer without asking an upstream.
#[derive(Debug)]
pub(crate) enum Flow {
    Continue,
    Reply(Box<GatewayResponse>),
}

/// The flow at once, or once something outside was asked.
pub(super) enum Verdict<'f> {
    Now(Flow),
    Later(Pin<Box<dyn Future<Output = Flow> + Send + 'f>>),
}

/// A change to the request that the upstream receives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Edit {
    /// In place of all values that the header has.
    Set(HeaderName, HeaderValue),
    Remove(HeaderName),
}

impl Edit {
    pub(crate) fn name(&self) -> &HeaderName {
        match self {
            Self::Set(name, _) | Self::Remove(name) => name,
        }
    }
}

/// What policies remember of a request until its response.
#[derive(Debug, Default)]
pub(crate) struct PolicyContext {
    /// The claims of the verified access token. Headers name it to the upstream.
    pub(crate) caller: Option<Arc<Claims>>,
    /// Applied in this order, after what is untrusted was removed and the caller named.
    pub(crate) edits: Vec<Edit>,
    /// An answer that later policies do not prevent but may replace.
    pub(super) deferred: Option<Box<GatewayResponse>>,
    /// Received of the request body by this attempt.
    pub(super) body_bytes: u64,
    /// By the place of a limit among those of its route.
    pub(super) quotas: [Option<Quota>; MAX_LIMITS],
}

impl PolicyContext {
    /// Headers that name the caller to the upstream.
    pub(crate) fn identity(&self) -> impl Iterator<Item = (&'static HeaderName, &str)> {
        let caller = self.caller.as_deref();
        let user = caller.map(|claims| (&USER_ID, claims.sub.as_str()));
        let session = caller.and_then(|claims| Some((&SESSION_ID, claims.sid.as_deref()?)));
        user.into_iter()
            .chain(session)
            .filter(|(_, text)| is_visible(text.as_bytes()))
    }

    /// The body is sent, and counted, again.
    pub(crate) fn restart_body(&mut self) {
        self.body_bytes = 0;
    }
}

/// Of one route.
pub(super) const MAX_LIMITS: usize = 4;

/// The state of a limit that counted the request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quota {
    pub(super) remaining: u32,
    /// Until at least one more request is allowed.
    pub(super) reset: Duration,
}

/// The head of a final response, of an upstream or of the gateway itself.
pub(crate) trait ResponseHead {
    fn status(&self) -> StatusCode;

    /// In place of all values that the header has.
    fn set(&mut self, name: HeaderName, value: HeaderValue);

    fn append(&mut self, name: HeaderName, value: HeaderValue);

    /// As `set`, with a value that need not outlive the call. Nothing, if it is not a header value.
    fn set_bytes(&mut self, name: &HeaderName, value: &[u8]) {
        if let Ok(value) = HeaderValue::from_bytes(value) {
            self.set(name.clone(), value);
        }
    }

    /// As `append`, with a value that need not outlive the call.
    fn append_bytes(&mut self, name: &HeaderName, value: &[u8]) {
        if let Ok(value) = HeaderValue::from_bytes(value) {
            self.append(name.clone(), value);
        }
    }

    fn remove(&mut self, name: &HeaderName);
}
