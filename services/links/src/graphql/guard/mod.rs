//! Limits on a document, checked before anything walks it.
//!
//! async-graphql compares its own limits after it has walked the document with every fragment
//! written out. Fragments that use each other twice double that walk: 22 of them, in 800 bytes,
//! take seconds, and no timeout interrupts a computation. So the guard first proves in time
//! proportional to the document's length that its expansion is small:
//!
//! ```text
//! bytes --> tokens and nesting of brackets (lexer: the parser is recursive)
//!       --> parse --> number of fragments
//!       --> fields, depth, aliases, root fields, directives (cost: each fragment counted once)
//!       --> async-graphql: validation and `graphql.max_cost`
//! ```
//!
//! # The cost model
//!
//! `graphql.max_cost` bounds the sum over all operations of the document, fragments written out:
//! a field costs 1 and the cost of its subfields; `links` costs its page size times that of its
//! subfields; `totalCount` costs 100; `clicks.series` costs 100 and once the cost of its subfields.
//! More than that is an error of validation (`GRAPHQL_VALIDATION_FAILED`), found before anything runs.
//!
//! Not charged: the number of points of a series (up to 1000 values per requested subfield), the
//! size of strings, the conditions of a `where` filter (bounded on their own) and their cost in
//! Postgres, variables, and what a subscription sends after its first response. Nor does the cost
//! limit the number of operations: over HTTP that is the rate limit of the gateway; a WebSocket
//! counts there as one request.

mod cost;
mod lexer;

use async_graphql::parser::{
    parse_query,
    types::{DocumentOperations, ExecutableDocument, OperationDefinition, OperationType},
};

use quartet_common::problem::Kind;

use self::{
    cost::{Cost, CostError, Costs},
    lexer::LexerError,
};
use crate::{config::GraphQl as Limits, problems::graphql as problems};

/// A document within the limits.
#[derive(Debug)]
pub(super) struct CheckedDocument {
    pub(super) document: ExecutableDocument,
    /// The kind of the chosen operation.
    pub(super) kind: OperationType,
}

/// Why a document is rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DocumentError {
    pub(super) kind: &'static Kind,
    pub(super) message: String,
    /// The parameter of the request: `query` or `operationName`.
    pub(super) field: &'static str,
    /// Line and column, from 1.
    pub(super) at: Option<(usize, usize)>,
}

impl DocumentError {
    fn new(kind: &'static Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            field: "query",
            at: None,
        }
    }
}

impl From<CostError> for DocumentError {
    fn from(error: CostError) -> Self {
        match error {
            CostError::FragmentCycle(name) => {
                let message = format!("the fragment {name} must not use itself");
                Self::new(&problems::FRAGMENT_CYCLE, message)
            }
            CostError::TooDeep => {
                let message = "the fragments of the document are nested too deeply";
                Self::new(&problems::TOO_DEEP, message)
            }
        }
    }
}

/// Parses a document, chooses its operation and checks all limits but `max_cost`.
pub(super) fn check(
    text: &str,
    operation_name: Option<&str>,
    limits: &Limits,
) -> Result<CheckedDocument, DocumentError> {
    let document = parse(text, limits)?;
    let operation = choose(&document.operations, operation_name)?;
    let kind = operation.ty;
    measure(&document, limits)?;
    Ok(CheckedDocument { document, kind })
}

fn parse(text: &str, limits: &Limits) -> Result<ExecutableDocument, DocumentError> {
    let bytes = text.len() as u64;
    let max_bytes = limits.max_document_bytes as u64;
    within(&problems::DOCUMENT_TOO_LARGE, "bytes", bytes, max_bytes)?;
    lexer::scan(text, limits.max_tokens).map_err(|error| match error {
        LexerError::TooManyTokens => {
            let message = format!(
                "the document must have at most {} tokens",
                limits.max_tokens
            );
            DocumentError::new(&problems::TOO_MANY_TOKENS, message)
        }
        LexerError::TooDeep => {
            let message = "the brackets of the document are nested too deeply";
            DocumentError::new(&problems::TOO_DEEP, message)
        }
    })?;
    parse_query(text).map_err(|error| {
        let at = error.positions().next().map(|at| (at.line, at.column));
        let message = format!("syntax error in the document: {error}");
        DocumentError {
            at,
            ..DocumentError::new(&problems::GRAPHQL_PARSE_FAILED, message)
        }
    })
}

fn choose<'a>(
    operations: &'a DocumentOperations,
    name: Option<&str>,
) -> Result<&'a OperationDefinition, DocumentError> {
    let not_found = |message: &str| DocumentError {
        field: "operationName",
        ..DocumentError::new(&problems::OPERATION_NOT_FOUND, message)
    };
    let mut all = operations
        .iter()
        .map(|(found, operation)| (found, &operation.node));
    match name {
        Some(name) => all
            .find(|(found, _)| found.is_some_and(|found| found.as_str() == name))
            .map(|(_, operation)| operation)
            .ok_or_else(|| not_found("operationName must name an operation of the document")),
        None => match (all.next(), all.next()) {
            (Some((_, operation)), None) => Ok(operation),
            (None, _) => Err(not_found("the document has no operation")),
            _ => Err(not_found(
                "operationName is required: the document has several operations",
            )),
        },
    }
}

/// Compares the document with the limits. Returns the number of selections that it visited.
fn measure(document: &ExecutableDocument, limits: &Limits) -> Result<u64, DocumentError> {
    let fragments = document.fragments.len() as u64;
    let max_fragments = limits.max_fragments as u64;
    within(
        &problems::TOO_MANY_FRAGMENTS,
        "fragments",
        fragments,
        max_fragments,
    )?;
    let mut costs = Costs::new(document);
    let mut sum = Cost::default();
    for (_, operation) in document.operations.iter() {
        let operation = &operation.node;
        let cost = costs.operation(operation)?;
        let (roots, max_roots) = (cost.roots, limits.max_root_fields);
        within(
            &problems::TOO_MANY_ROOT_FIELDS,
            "root fields",
            roots,
            max_roots,
        )?;
        if operation.ty == OperationType::Subscription && cost.roots != 1 {
            let message = "a subscription must have exactly one root field";
            return Err(DocumentError::new(
                &problems::GRAPHQL_VALIDATION_FAILED,
                message,
            ));
        }
        sum.nodes = sum.nodes.saturating_add(cost.nodes);
        sum.depth = sum.depth.max(cost.depth);
        sum.aliases = sum.aliases.saturating_add(cost.aliases);
    }
    costs.unused_fragments()?;
    let directives = costs.directives as u64;
    let max_directives = limits.max_directives as u64;
    within(
        &problems::TOO_DEEP,
        "levels of fields",
        sum.depth,
        limits.max_depth,
    )?;
    within(
        &problems::TOO_COMPLEX,
        "fields and spreads",
        sum.nodes,
        limits.max_nodes,
    )?;
    within(
        &problems::TOO_MANY_ALIASES,
        "aliases",
        sum.aliases,
        limits.max_aliases,
    )?;
    within(
        &problems::TOO_MANY_DIRECTIVES,
        "directives",
        directives,
        max_directives,
    )?;
    Ok(costs.visited)
}

/// Fragments count as often as they are used.
fn within(kind: &'static Kind, what: &str, found: u64, limit: u64) -> Result<(), DocumentError> {
    if found <= limit {
        return Ok(());
    }
    let message = format!("the document has {found} {what}; the limit is {limit}");
    Err(DocumentError::new(kind, message))
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    fn limits() -> Limits {
        Limits {
            introspection: true,
            max_document_bytes: 65_536,
            max_tokens: 4000,
            max_depth: 16,
            max_nodes: 1500,
            max_aliases: 30,
            max_root_fields: 20,
            max_directives: 50,
            max_fragments: 50,
            max_errors: 20,
            max_cost: 20_000,
            init_timeout_seconds: 10,
            keep_alive_seconds: 15,
            max_subscriptions_per_socket: 50,
        }
    }

    fn code(text: &str) -> &'static str {
        check(text, None, &limits()).unwrap_err().kind.code
    }

    fn doubling(fragments: usize) -> String {
        let mut text = String::from("{ ...f0 }");
        for n in 0..fragments {
            let _ = write!(text, " fragment f{n} on Query {{ ...f{0} ...f{0} }}", n + 1);
        }
        let _ = write!(text, " fragment f{fragments} on Query {{ __typename }}");
        text
    }

    #[test]
    fn each_selection_is_visited_once_even_if_fragments_double() {
        for fragments in [5, 22, 49] {
            let text = doubling(fragments);
            let mut generous = limits();
            (generous.max_nodes, generous.max_root_fields) = (u64::MAX, u64::MAX);
            let document = parse_query(&text).unwrap();
            let visited = measure(&document, &generous).unwrap();
            assert_eq!(visited, 2 + 2 * fragments as u64, "{fragments} fragments");
        }
        assert_eq!(code(&doubling(22)), "too_many_root_fields");
        assert_eq!(code(&doubling(60)), "too_many_fragments");
    }

    #[test]
    fn sums_saturate_and_are_rejected() {
        let mut wide = limits();
        (wide.max_fragments, wide.max_root_fields) = (200, u64::MAX);
        let error = check(&doubling(150), None, &wide).unwrap_err();
        assert_eq!(error.kind.code, "too_complex", "2^150 saturates");
    }

    #[test]
    fn each_limit_has_its_own_code() {
        let deep = format!("{}a{}", "{a".repeat(17), "}".repeat(17));
        let aliases = (0..31)
            .map(|n| format!("a{n}: x"))
            .collect::<Vec<_>>()
            .join(" ");
        let roots = (0..21)
            .map(|n| format!("f{n}"))
            .collect::<Vec<_>>()
            .join(" ");
        let directives = "@x ".repeat(51);
        let nodes = format!("{{ a {{ {} }} }}", "b ".repeat(1600));
        let cases = [
            (deep.as_str(), "too_deep"),
            (&format!("{{ a {{ {aliases} }} }}"), "too_many_aliases"),
            (&format!("{{ {roots} }}"), "too_many_root_fields"),
            (&format!("{{ a {directives} }}"), "too_many_directives"),
            (
                &format!("fragment f on Q {directives} {{ a }} {{ b }}"),
                "too_many_directives",
            ),
            (&nodes, "too_complex"),
            (&"a".repeat(70_000), "document_too_large"),
            (&"a ".repeat(5000), "too_many_tokens"),
            (
                &format!("{{ a(b: {}{}) }}", "[".repeat(50), "]".repeat(50)),
                "too_deep",
            ),
            (
                "{ ...a } fragment a on Q { ...b } fragment b on Q { ...a }",
                "fragment_cycle",
            ),
            ("{ a } fragment a on Q { ...a }", "fragment_cycle"),
            ("{ a", "graphql_parse_failed"),
            ("", "graphql_parse_failed"),
            ("subscription { a b }", "graphql_validation_failed"),
            ("query A { a } query B { b }", "operation_not_found"),
        ];
        for (text, expected) in cases {
            assert_eq!(code(text), expected, "{text:.60}");
        }
    }

    #[test]
    fn the_operation_is_chosen_by_name() {
        let text = "query A { a } mutation B { b }";
        let kind = |name| check(text, name, &limits()).map(|checked| checked.kind);
        assert_eq!(kind(Some("A")).unwrap(), OperationType::Query);
        assert_eq!(kind(Some("B")).unwrap(), OperationType::Mutation);
        assert_eq!(kind(Some("C")).unwrap_err().field, "operationName");
        assert_eq!(
            check("{ a }", Some("A"), &limits()).unwrap_err().kind.code,
            "operation_not_found"
        );
    }
}
