//! What is decided about a request before it goes on, and what is added to the answer.
//!
//! Policies know nothing of the proxy under them: they see the request's head and the
//! route, and either let it continue or respond.

pub(crate) mod auth;
pub(crate) mod body_limit;
pub(crate) mod headers;
pub(crate) mod rate_limit;

use std::{net::IpAddr, ops::ControlFlow, sync::Arc};

use http::{HeaderName, HeaderValue, request::Parts};
use quartet_auth::jwt::{Claims, JwtVerifier};
use quartet_common::problem::Problem;

use crate::{config::Limit, routing::Route};
use rate_limit::{LocalCounter, RateLimit, Verdict};

/// Go on, or answer with this.
pub(crate) type Flow = ControlFlow<Box<Problem>>;

/// A request as the policies see it.
pub(crate) struct Exchange<'r> {
    pub(crate) head: &'r Parts,
    pub(crate) route: &'r Route,
    pub(crate) client: IpAddr,
    /// The request asks for another protocol, such as WebSocket.
    pub(crate) upgrade: bool,
    pub(crate) notes: &'r mut Notes,
}

/// What the policies remember of a request until it is answered.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    /// Whose verified token came with the request.
    pub(crate) caller: Option<Arc<Claims>>,
    /// Index of the limit that counted, and what it said.
    pub(crate) quota: Option<(usize, Verdict)>,
}

/// The head of an answer, from an upstream or our own.
pub(crate) trait ResponseHead {
    fn set(&mut self, name: HeaderName, value: HeaderValue);
}

/// One concern of every request.
pub(crate) trait Policy: Send + Sync {
    fn on_request(&self, exchange: &mut Exchange<'_>) -> impl Future<Output = Flow> + Send;

    fn on_response(&self, _notes: &Notes, _response: &mut dyn ResponseHead) {}
}

/// All policies in the order in which they apply.
#[derive(Debug)]
pub(crate) struct Policies {
    body_limit: body_limit::BodyLimit,
    auth: auth::Auth,
    rate_limit: RateLimit<LocalCounter>,
}

impl Policies {
    pub(crate) fn new(
        verifier: Option<JwtVerifier>,
        counter: Arc<LocalCounter>,
        limits: &[Limit],
    ) -> Self {
        Self {
            body_limit: body_limit::BodyLimit,
            auth: auth::Auth::new(verifier),
            rate_limit: RateLimit::new(counter, limits),
        }
    }

    /// Guessing tokens is limited too: a refused token counts for the client's address.
    pub(crate) async fn on_request(&self, exchange: &mut Exchange<'_>) -> Flow {
        self.body_limit.on_request(exchange).await?;
        let admitted = self.auth.on_request(exchange).await;
        self.rate_limit.on_request(exchange).await?;
        admitted
    }

    pub(crate) fn on_response(&self, notes: &Notes, response: &mut dyn ResponseHead) {
        self.body_limit.on_response(notes, response);
        self.auth.on_response(notes, response);
        self.rate_limit.on_response(notes, response);
    }
}
