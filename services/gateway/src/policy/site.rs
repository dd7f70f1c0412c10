//! Answers the requests of a route from the files of a site.

use std::sync::Arc;

use bytes::Bytes;
use quartet_common::problem::Problem;

use super::{
    compression::{Encoder, is_listed},
    context::{Flow, Verdict},
};
use crate::{
    reply::{GatewayResponse, Reply},
    request::{RequestFacts, RequestTarget},
    routing::{Auth, CompressionSettings, Route},
    site::{Asked, Compressor, Site},
};

#[derive(Debug)]
pub(super) struct SiteFiles {
    site: Arc<Site>,
    compression: Option<Arc<CompressionSettings>>,
    /// What some clients may have is not for caches that others share.
    is_private: bool,
}

impl SiteFiles {
    pub(super) fn new(site: Arc<Site>, route: &Route) -> Self {
        Self {
            site,
            compression: route.compression.clone(),
            is_private: route.auth != Auth::Public
                || route.forward_auth.is_some()
                || !route.logins.is_empty(),
        }
    }

    pub(super) fn on_request<'f>(&'f self, facts: &'f RequestFacts<'_>) -> Verdict<'f> {
        let asked = self.asked(facts);
        match self.site.answer_now(&asked) {
            Some(answer) => Verdict::Now(flow(answer)),
            None => Verdict::Later(Box::pin(
                async move { flow(self.site.answer(&asked).await) },
            )),
        }
    }

    fn asked<'f>(&'f self, facts: &'f RequestFacts<'_>) -> Asked<'f> {
        let target = std::str::from_utf8(facts.target).map(RequestTarget::split);
        let compressor = self.compression.as_deref().map(|settings| Compressor {
            settings,
            lists: is_listed,
            encode: |coding, level, contents| -> std::io::Result<Bytes> {
                Encoder::new(coding, level)?.finish(contents)
            },
        });
        Asked {
            method: facts.method,
            path: facts.path,
            rest: facts.captures.rest(facts.path),
            query: target.map_or("", |target| target.query),
            headers: facts.headers,
            is_private: self.is_private,
            compressor,
        }
    }
}

fn flow(answer: Result<Reply, Problem>) -> Flow {
    match answer {
        Ok(reply) => Flow::Reply(Box::new(GatewayResponse::Reply(reply))),
        Err(problem) => Flow::Reply(problem.into()),
    }
}
