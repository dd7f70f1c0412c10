//! All policies in the order in which they apply.

use std::sync::Arc;

use quartet_auth::jwt::JwtVerifier;

use super::{
    auth::AccessTokens,
    body_limit::BodyLimit,
    context::{Flow, Policy as _, PolicyContext, RequestView, ResponseHead},
    rate_limit::{LocalCounter, RateLimit},
};
use crate::{config::Limit, metrics::GatewayMetrics};

/// The policies of every route.
#[derive(Debug)]
pub(crate) struct Chain {
    body_limit: BodyLimit,
    auth: AccessTokens,
    rate_limit: RateLimit<LocalCounter>,
}

impl Chain {
    pub(crate) fn new(
        verifier: Option<JwtVerifier>,
        counter: Arc<LocalCounter>,
        limits: &[Limit],
        metrics: &GatewayMetrics,
    ) -> Self {
        Self {
            body_limit: BodyLimit,
            auth: AccessTokens::new(verifier),
            rate_limit: RateLimit::new(counter, limits, metrics),
        }
    }

    /// A request with an invalid token still counts, against its client IP: otherwise guessing
    /// tokens would be free.
    pub(crate) async fn on_request(&self, request: &mut RequestView<'_>) -> Flow {
        self.body_limit.on_request(request).await?;
        let authorized = self.auth.on_request(request).await;
        self.rate_limit.on_request(request).await?;
        authorized
    }

    pub(crate) fn on_response(&self, context: &PolicyContext, response: &mut dyn ResponseHead) {
        self.body_limit.on_response(context, response);
        self.auth.on_response(context, response);
        self.rate_limit.on_response(context, response);
    }
}
