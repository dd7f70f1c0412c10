//! Finds the upstream by a segment of the path: the last thing that is done for a request, so that
//! nothing is asked for one that is refused.

use std::sync::Arc;

use quartet_common::problem::Problem;

use super::context::{Flow, PolicyContext, Verdict};
use crate::{
    error,
    request::RequestFacts,
    upstream::{AddressLookup, LookupError, Upstream},
};

#[derive(Debug)]
pub(super) struct Lookup {
    lookup: Arc<AddressLookup>,
    segment: String,
}

impl Lookup {
    pub(super) fn new(lookup: Arc<AddressLookup>, segment: &str) -> Self {
        Self {
            lookup,
            segment: segment.to_owned(),
        }
    }

    pub(super) fn on_request<'f>(
        &'f self,
        facts: &RequestFacts<'f>,
        context: &'f mut PolicyContext,
    ) -> Verdict<'f> {
        let key = facts.capture(&self.segment).unwrap_or_default();
        if let Some(known) = self.lookup.known(key) {
            return Verdict::Now(conclude(known, context));
        }
        Verdict::Later(Box::pin(async move {
            conclude(self.lookup.find(key).await, context)
        }))
    }
}

fn conclude(found: Result<Arc<Upstream>, LookupError>, context: &mut PolicyContext) -> Flow {
    let problem: Problem = match found {
        Ok(upstream) => {
            context.upstream = Some(upstream);
            return Flow::Continue;
        }
        Err(LookupError::Unknown) => error::destination_not_found(),
        Err(cause @ LookupError::Refused(_)) => error::destination_refused().source(cause),
        Err(cause @ LookupError::Failed(_)) => error::destination_unavailable().source(cause),
    };
    Flow::Reply(problem.into())
}
