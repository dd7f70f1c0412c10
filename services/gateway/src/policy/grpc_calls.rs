//! Which requests are gRPC-web.

use http::{HeaderValue, header};

use super::{
    context::PolicyContext,
    flow::Edit,
    grpc_web::{GrpcWeb, grpc_of},
};
use crate::request::RequestFacts;

static TRAILERS_ACCEPTED: HeaderValue = HeaderValue::from_static("trailers");

/// Whether a request is gRPC-web, and what the upstream gets.
pub(super) fn on_request(facts: &RequestFacts<'_>, context: &mut PolicyContext) {
    let kind = facts.headers.first(&header::CONTENT_TYPE);
    let Some((is_text, grpc)) = kind.and_then(grpc_of) else {
        return;
    };
    context.edits.extend([
        Edit::Set(header::CONTENT_TYPE, grpc),
        Edit::Set(header::TE, TRAILERS_ACCEPTED.clone()),
    ]);
    context.grpc_web = Some(Box::new(GrpcWeb::new(is_text)));
}
