//! Refuses what says of itself that it is too large, or that it wants what the route
//! does not give.

use http::header;

use super::{Exchange, Flow, Policy};
use crate::error;

/// Bodies without a length are counted while they pass; see `edge::body`.
#[derive(Debug)]
pub(crate) struct BodyLimit;

impl Policy for BodyLimit {
    async fn on_request(&self, exchange: &mut Exchange<'_>) -> Flow {
        if exchange.upgrade && !exchange.route.upgrade {
            return Flow::Break(Box::new(error::upgrade_refused()));
        }
        let limit = exchange.route.body_limit_bytes;
        let announced = exchange
            .head
            .headers
            .get(header::CONTENT_LENGTH)
            .and_then(|value| value.to_str().ok()?.trim().parse::<u64>().ok());
        if announced.is_some_and(|length| length > limit) {
            return Flow::Break(Box::new(error::body_too_large(limit)));
        }
        Flow::Continue(())
    }
}
