//! What the steps of a login leave for those after them.

use std::sync::Arc;

use http::HeaderValue;

use crate::session::{Login, Session};

/// What a request has to do with a login.
#[derive(Debug)]
pub(crate) enum LoginContext {
    /// There is a session.
    Session(SessionOfRequest),
    /// There is none, and the route needs one.
    Challenge(Arc<Login>),
    /// The request is refused.
    Refused,
}

/// By which a request may go on.
#[derive(Debug)]
pub(crate) struct SessionOfRequest {
    pub(crate) login: Arc<Login>,
    pub(crate) session: Arc<Session>,
    /// The access token, if that has to be verified.
    pub(crate) token: Option<HeaderValue>,
}
