//! What policies answer, and what they change of requests and responses.

use std::pin::Pin;

use http::{HeaderName, HeaderValue, StatusCode};

use crate::reply::GatewayResponse;

/// Continue, or answer without asking an upstream.
#[derive(Debug)]
pub(crate) enum Flow {
    Continue,
    Reply(Box<GatewayResponse>),
    /// Close the connection without a response.
    Abort,
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
    /// Beside the values that the header has.
    Add(HeaderName, HeaderValue),
    /// Unless the header has a value.
    SetMissing(HeaderName, HeaderValue),
}

impl Edit {
    pub(super) fn name(&self) -> &HeaderName {
        match self {
            Self::Set(name, _)
            | Self::Remove(name)
            | Self::Add(name, _)
            | Self::SetMissing(name, _) => name,
        }
    }
}

/// The head of a final response, of an upstream or of the gateway itself.
pub(crate) trait ResponseHead {
    fn status(&self) -> StatusCode;

    /// In place of all values that the header has.
    fn set(&mut self, name: HeaderName, value: HeaderValue);

    fn append(&mut self, name: HeaderName, value: HeaderValue);

    /// Unless the head has the header.
    fn set_missing(&mut self, name: &HeaderName, value: &HeaderValue);

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
