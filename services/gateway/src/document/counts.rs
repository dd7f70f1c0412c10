//! What is counted of requests and responses that are compared with their documents.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
};

use super::Violation;

/// Of violations: operations and fields are those of documents, of which there may be many.
const MAX_SERIES: usize = 2_000;
const OTHER: &str = "other";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    Request,
    Response,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CheckOutcome {
    Valid,
    Invalid,
    /// There is no document, or the body is too large or encoded.
    Unchecked,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CheckLabels {
    subject: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ViolationLabels {
    subject: &'static str,
    operation: Arc<str>,
    field: Arc<str>,
    kind: &'static str,
}

/// Clones share the counters.
#[derive(Clone, Debug)]
pub(crate) struct CheckCounts {
    checks: Family<CheckLabels, Counter>,
    violations: Family<ViolationLabels, Counter>,
    /// By subject and outcome.
    known: [[Counter; 3]; 2],
    series: Arc<Mutex<HashSet<ViolationLabels>>>,
}

impl Subject {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Response => "response",
        }
    }
}

impl CheckCounts {
    /// `register`: takes name, description and metric.
    pub(crate) fn new() -> Self {
        let checks = Family::<CheckLabels, Counter>::default();
        let outcomes = ["valid", "invalid", "unchecked"];
        let known = [Subject::Request, Subject::Response].map(|subject| {
            let subject = subject.name();
            outcomes.map(|outcome| checks.get_or_create_owned(&CheckLabels { subject, outcome }))
        });
        Self {
            checks,
            violations: Family::default(),
            known,
            series: Arc::default(),
        }
    }

    pub(crate) fn register(&self, to: &quartet_telemetry::metrics::Metrics) {
        to.register(
            "gateway_validation_checks",
            "Requests and responses compared with the OpenAPI document, by outcome",
            self.checks.clone(),
        );
        to.register(
            "gateway_validation_violations",
            "Differences of requests and responses from the OpenAPI document",
            self.violations.clone(),
        );
    }

    pub(crate) fn checked(&self, subject: Subject, outcome: CheckOutcome) {
        self.known[subject as usize][outcome as usize].inc();
    }

    /// Counts each. `operation`: as the document calls it; `None`: it has none.
    pub(crate) fn violated(
        &self,
        subject: Subject,
        operation: Option<&Arc<str>>,
        violations: &[Violation],
    ) {
        self.checked(subject, CheckOutcome::Invalid);
        for violation in violations {
            let labels = ViolationLabels {
                subject: subject.name(),
                operation: operation.cloned().unwrap_or_else(|| "unknown".into()),
                field: Arc::clone(&violation.field),
                kind: violation.code,
            };
            let labels = self.bounded(labels);
            self.violations.get_or_create_owned(&labels).inc();
        }
    }

    /// The labels, or one series for all those that are too many.
    fn bounded(&self, labels: ViolationLabels) -> ViolationLabels {
        let mut series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        if series.contains(&labels) {
            return labels;
        }
        if series.len() < MAX_SERIES {
            series.insert(labels.clone());
            return labels;
        }
        ViolationLabels {
            operation: OTHER.into(),
            field: OTHER.into(),
            kind: OTHER,
            ..labels
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_series_is_bounded() {
        let counts = CheckCounts::new();
        for at in 0..MAX_SERIES + 100 {
            let field = format!("/f{at}");
            let violation = Violation::body(field.clone(), field, "missing", "is required");
            counts.violated(Subject::Request, None, &[violation]);
        }
        let other = ViolationLabels {
            subject: "request",
            operation: OTHER.into(),
            field: OTHER.into(),
            kind: OTHER,
        };
        assert_eq!(counts.violations.get_or_create_owned(&other).get(), 100);
        assert_eq!(counts.series.lock().unwrap().len(), MAX_SERIES);
    }
}
