//! Looks at a document before it is executed, in time proportional to its length.
//!
//! async-graphql compares its limits after it has walked the document with every
//! fragment written out. A few hundred bytes can make that walk take seconds, so it is
//! only let at documents that are known to be small when written out.

mod cost;
mod lexer;

use async_graphql::parser::{
    parse_query,
    types::{DocumentOperations, ExecutableDocument, OperationDefinition, OperationType},
};

use self::{
    cost::{Cost, Costs, Fault},
    lexer::Excess,
};
use quartet_common::problem::Kind;

use crate::{config::GraphQl as Limits, error::kinds::graphql as kinds};

/// A document that may be executed.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) document: ExecutableDocument,
    pub(crate) kind: OperationType,
}

/// Why a document is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Refusal {
    pub(crate) kind: &'static Kind,
    pub(crate) message: String,
    /// The parameter of the request that is at fault.
    pub(crate) field: &'static str,
    /// Line and column, from 1.
    pub(crate) at: Option<(usize, usize)>,
}

impl Refusal {
    fn new(kind: &'static Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            field: "query",
            at: None,
        }
    }

    fn above(kind: &'static Kind, what: &str, found: u64, limit: u64) -> Self {
        Self::new(
            kind,
            format!("the document has {found} {what}, and {limit} are allowed"),
        )
    }
}

/// Parses a document and chooses its operation, when it keeps to the limits.
pub(crate) fn check(
    text: &str,
    operation_name: Option<&str>,
    limits: &Limits,
) -> Result<Checked, Refusal> {
    let document = parse(text, limits)?;
    let operation = choose(&document.operations, operation_name)?;
    let kind = operation.ty;
    measure(&document, limits)?;
    Ok(Checked { document, kind })
}

fn parse(text: &str, limits: &Limits) -> Result<ExecutableDocument, Refusal> {
    if text.len() > limits.max_document_bytes {
        let message = format!(
            "the document must have at most {} bytes",
            limits.max_document_bytes
        );
        return Err(Refusal::new(&kinds::DOCUMENT_TOO_LARGE, message));
    }
    lexer::scan(text, limits.max_tokens).map_err(|excess| match excess {
        Excess::Tokens => Refusal::new(
            &kinds::TOO_MANY_TOKENS,
            format!(
                "the document must have at most {} tokens",
                limits.max_tokens
            ),
        ),
        Excess::Nesting => Refusal::new(&kinds::TOO_DEEP, "the document nests brackets too deeply"),
    })?;
    parse_query(text).map_err(|error| {
        let at = error.positions().next().map(|at| (at.line, at.column));
        let message = format!("the document cannot be parsed: {error}");
        Refusal {
            at,
            ..Refusal::new(&kinds::GRAPHQL_PARSE_FAILED, message)
        }
    })
}

fn choose<'a>(
    operations: &'a DocumentOperations,
    name: Option<&str>,
) -> Result<&'a OperationDefinition, Refusal> {
    let wrong = |message: String| Refusal {
        field: "operationName",
        ..Refusal::new(&kinds::OPERATION_NOT_FOUND, message)
    };
    match (operations, name) {
        (DocumentOperations::Single(operation), None) => Ok(&operation.node),
        (DocumentOperations::Multiple(all), None) if all.len() == 1 => {
            let operation = all.values().next().map(|operation| &operation.node);
            operation.ok_or_else(|| wrong("the document has no operation".into()))
        }
        (DocumentOperations::Multiple(_), None) => Err(wrong(
            "operationName must name one of the document's operations".into(),
        )),
        (operations, Some(name)) => operations
            .iter()
            .find(|(found, _)| found.is_some_and(|found| found.as_str() == name))
            .map(|(_, operation)| &operation.node)
            .ok_or_else(|| wrong("operationName names no operation of the document".into())),
    }
}

/// Compares the document with the limits; gives the number of steps that it took.
fn measure(document: &ExecutableDocument, limits: &Limits) -> Result<u64, Refusal> {
    if document.fragments.len() > limits.max_fragments {
        let (found, limit) = (document.fragments.len() as u64, limits.max_fragments as u64);
        return Err(Refusal::above(
            &kinds::TOO_MANY_FRAGMENTS,
            "fragments",
            found,
            limit,
        ));
    }
    let mut costs = Costs::new(document);
    let mut sum = Cost::default();
    let refuse = |fault| match fault {
        Fault::Cycle(name) => Refusal::new(
            &kinds::FRAGMENT_CYCLE,
            format!("fragment {name} must not use itself"),
        ),
        Fault::Levels => Refusal::new(&kinds::TOO_DEEP, "the document's fragments nest too deeply"),
    };
    for (_, operation) in document.operations.iter() {
        let cost = costs.operation(&operation.node).map_err(refuse)?;
        if cost.roots > limits.max_root_fields {
            let limit = limits.max_root_fields;
            return Err(Refusal::above(
                &kinds::TOO_MANY_ROOT_FIELDS,
                "fields at the top",
                cost.roots,
                limit,
            ));
        }
        if operation.node.ty == OperationType::Subscription && cost.roots != 1 {
            let message = "a subscription must have exactly one field at the top";
            return Err(Refusal::new(&kinds::GRAPHQL_VALIDATION_FAILED, message));
        }
        sum.nodes = sum.nodes.saturating_add(cost.nodes);
        sum.depth = sum.depth.max(cost.depth);
        sum.aliases = sum.aliases.saturating_add(cost.aliases);
    }
    costs.unused_fragments().map_err(refuse)?;
    let directives = costs.directives as u64;
    let limit = limits.max_directives as u64;
    for (kind, what, found, limit) in [
        (
            &kinds::TOO_DEEP,
            "levels of fields",
            sum.depth,
            limits.max_depth,
        ),
        (
            &kinds::TOO_COMPLEX,
            "fields and spreads, written out,",
            sum.nodes,
            limits.max_nodes,
        ),
        (
            &kinds::TOO_MANY_ALIASES,
            "aliases, written out,",
            sum.aliases,
            limits.max_aliases,
        ),
        (&kinds::TOO_MANY_DIRECTIVES, "directives", directives, limit),
    ] {
        if found > limit {
            return Err(Refusal::above(kind, what, found, limit));
        }
    }
    Ok(costs.work)
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
    fn doubling_fragments_cost_one_step_for_each_selection_that_is_written() {
        for fragments in [5, 22, 49] {
            let text = doubling(fragments);
            let mut generous = limits();
            (generous.max_nodes, generous.max_root_fields) = (u64::MAX, u64::MAX);
            let document = parse_query(&text).unwrap();
            let work = measure(&document, &generous).unwrap();
            assert_eq!(work, 2 + 2 * fragments as u64, "{fragments} fragments");
        }
        assert_eq!(code(&doubling(22)), "too_many_root_fields");
        assert_eq!(code(&doubling(60)), "too_many_fragments");
    }

    #[test]
    fn sums_that_no_number_holds_are_refused_too() {
        let mut wide = limits();
        (wide.max_fragments, wide.max_root_fields) = (200, u64::MAX);
        let error = check(&doubling(150), None, &wide).unwrap_err();
        assert_eq!(error.kind.code, "too_complex", "2^150 saturates");
    }

    #[test]
    fn each_limit_has_a_code_of_its_own() {
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
    fn the_operation_is_found_by_its_name() {
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
