//! The series of requests, found without a lock.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use http::Method;
use quartet_telemetry::metrics::{Metrics, RequestSeries};

/// Statuses and methods whose series are resolved once.
const STATUSES: [u16; 16] = [
    200, 201, 202, 204, 206, 301, 302, 304, 400, 401, 403, 404, 409, 429, 502, 503,
];
const METHODS: [Method; 6] = [
    Method::GET,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
    Method::HEAD,
];

/// The series of requests to one path pattern. Each is looked up when it is first used, and then
/// found without a lock.
#[derive(Debug)]
pub(crate) struct PatternSeries {
    metrics: Metrics,
    pattern: Arc<str>,
    by_method: [OnceLock<Box<StatusSeries>>; METHODS.len()],
}

type StatusSeries = [OnceLock<RequestSeries>; STATUSES.len()];

impl PatternSeries {
    pub(crate) fn new(metrics: &Metrics, pattern: &Arc<str>) -> Self {
        Self {
            metrics: metrics.clone(),
            pattern: Arc::clone(pattern),
            by_method: Default::default(),
        }
    }

    /// As [`Metrics::request_finished`].
    pub(crate) fn finished(&self, method: &Method, status: u16, took: Duration) {
        let pattern = || Arc::clone(&self.pattern);
        let known = METHODS.iter().position(|known| known == method);
        let usual = STATUSES.iter().position(|usual| *usual == status);
        let (Some(known), Some(usual)) = (known, usual) else {
            return self
                .metrics
                .request_finished(method, pattern(), status, took);
        };
        let by_status = self.by_method[known].get_or_init(Box::default);
        by_status[usual]
            .get_or_init(|| self.metrics.series(method, pattern(), status))
            .finished(took);
    }
}
