//! What the steps of a login leave for those after them.

use std::sync::Arc;

use http::HeaderValue;

use crate::session::Login;

/// What a request has to do with a login.
#[derive(Debug)]
pub(crate) enum LoginContext {
    /// There is a session. With its access token, if that has to be verified.
    Session(Option<HeaderValue>),
    /// There is none, and the route needs one.
    Challenge(Arc<Login>),
    /// The request is refused.
    Refused,
}
