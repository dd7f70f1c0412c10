//! The OpenAPI document of an upstream, compiled: which operation a request is for, and how it, and
//! its response, differ from what the document says.
//!
//! ```text
//! schema      both dialects as JSON Schema 2020-12, once for requests and once for responses
//! validators  the schemas of operations, compiled; nothing is fetched
//! compile     operations from the document
//! paths       the operation of a path
//! parameter   parameters in all styles     -> shape, text, percent
//! body        media types, JSON            -> json
//! violation   what differs, as field and rule
//! slot        the documents of one upstream that are in force
//! counts      what is counted of the differences
//! ```
//!
//! Everything is compiled before a document is in force; a request builds nothing but the values it
//! is made of. What is said of a request names fields and rules, never values.

mod body;
mod compile;
mod counts;
mod json;
mod parameter;
mod paths;
mod percent;
mod schema;
mod shape;
mod slot;
#[cfg(test)]
mod tests;
mod text;
mod validators;
mod violation;

use std::sync::Arc;

use http::Method;

pub(crate) use body::{BodyFault, BodyRule, ResponseRule};
pub(crate) use compile::CompileSettings;
pub(crate) use counts::{CheckCounts, CheckOutcome, Subject};
pub(crate) use parameter::SentParameters;
pub(crate) use slot::{DocumentSlot, DocumentSource, Update};
pub(crate) use violation::Violation;

use body::Statuses;
use parameter::Parameter;
use paths::PathIndex;

/// A compiled document.
#[derive(Debug)]
pub(crate) struct ApiDocument {
    paths: PathIndex,
    /// By the place that the index gives.
    items: Vec<PathItem>,
}

/// The operations of one path of the document.
#[derive(Debug, Default)]
struct PathItem {
    operations: Vec<(Method, Arc<Operation>)>,
}

/// One operation of a document.
#[derive(Debug)]
pub(crate) struct Operation {
    /// Its `operationId`, else method and path.
    pub(crate) name: Arc<str>,
    parameters: Vec<Parameter>,
    /// No value of the query is looked at.
    ignores_query: bool,
    body: Option<BodyRule>,
    responses: Vec<ResponseRule>,
    /// Why requests, or responses, cannot be checked: a schema cannot be compiled.
    broken: Option<Arc<str>>,
    broken_responses: bool,
}

/// Why there is no operation for a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unknown {
    Path,
    /// The methods that the path has.
    Method(Vec<Method>),
}

impl ApiDocument {
    /// `path`: as the upstream sees it. HEAD is GET where the document does not have it, and a slash at
    /// the end makes no other path where the document has none.
    ///
    /// # Errors
    /// When the document has no such operation.
    pub(crate) fn operation(
        &self,
        method: &Method,
        path: &str,
    ) -> Result<(&Arc<Operation>, usize), Unknown> {
        let found = self.paths.find(path);
        let (item, base) = found.ok_or(Unknown::Path)?;
        let item = &self.items[item];
        let of = |method: &Method| item.operations.iter().find(|(known, _)| known == method);
        let found = of(method).or_else(|| (*method == Method::HEAD).then(|| of(&Method::GET))?);
        match found {
            Some((_, operation)) => Ok((operation, base)),
            None => Err(Unknown::Method(
                item.operations
                    .iter()
                    .map(|(known, _)| known.clone())
                    .collect(),
            )),
        }
    }

    /// The number of operations, and of those among them that cannot be checked.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let operations = || self.items.iter().flat_map(|item| &item.operations);
        let broken = operations().filter(|(_, it)| it.broken.is_some() || it.broken_responses);
        (operations().count(), broken.count())
    }
}

impl Operation {
    /// Why its requests cannot be checked.
    pub(crate) fn broken(&self) -> Option<&str> {
        self.broken.as_deref()
    }

    /// What is wrong with the parameters; a prefix of `base` segments of the path is not the
    /// document's.
    pub(crate) fn check_parameters(
        &self,
        sent: &SentParameters<'_>,
        base: usize,
        refuses_unknown: bool,
    ) -> Vec<Violation> {
        let mut found = Vec::new();
        if self.parameters.is_empty() && (!refuses_unknown || sent.query.is_empty()) {
            return found;
        }
        let query = if self.ignores_query && !refuses_unknown {
            Vec::new()
        } else {
            parameter::split_query(sent.query)
        };
        for parameter in &self.parameters {
            if !parameter.check(sent, &query, base, &mut found) {
                break;
            }
        }
        if refuses_unknown {
            parameter::unknown(&self.parameters, &query, &mut found);
        }
        found.truncate(violation::MAX_VIOLATIONS);
        found
    }

    /// What the body of a request must be; `None`: anything.
    pub(crate) fn body(&self) -> Option<&BodyRule> {
        self.body.as_ref()
    }

    /// What a response with this status must be.
    ///
    /// # Errors
    /// When the document does not have it.
    pub(crate) fn response(&self, status: u16) -> Result<Option<&ResponseRule>, Violation> {
        if self.broken_responses {
            return Ok(None);
        }
        let of = |wanted| self.responses.iter().find(|rule| rule.statuses == wanted);
        let found = of(Statuses::One(status))
            .or_else(|| of(Statuses::Class(status / 100)))
            .or_else(|| of(Statuses::Default));
        found.map(Some).ok_or_else(Violation::unknown_status)
    }
}
