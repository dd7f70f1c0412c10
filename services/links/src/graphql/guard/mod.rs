//! Limits on a document, checked before anything walks it.
//!
//! async-graphql compares its own limits after it has walked the document with every fragment
//! written out. Fragments that use each other twice double that walk: 22 of them, in 800 bytes,
//! take seconds, and no timeout interrupts a computation. So the guard first proves in time
//! proportional to the document's length that its expansion is small:
//!
//! ```text
//! bytes --> tokens and nesting of brackets (lexer: the parser is recursive)
//!       --> string literals (strings: the parser misreads some) --> parse
//!       --> number of fragments
//!       --> fields, depth, aliases, root fields, directives (cost: each fragment counted once)
//!       --> levels of values, those of variables in their places (cost)
//!       --> async-graphql: validation and `graphql.max_cost`
//! ```
//!
//! # The cost model
//!
//! The cost of the chosen operation, fragments written out, is at most `graphql.max_cost`
//! (`TOO_EXPENSIVE`) and charged to its user before anything runs (see `budget`):
//!
//! | what | cost |
//! |---|---|
//! | a field | 1 and the cost of its subfields |
//! | `links` | its page size times the cost of its subfields; 500 per `_like` and `_ilike` |
//! | `totalCount` | 10, times the page size |
//! | `clicks.series` | 10 and its number of points times the cost of its subfields |
//! | `link`, `linkBySlug` | 10 and the cost of its subfields |
//! | a mutation | 50 and the cost of its subfields |
//! | a value in an argument or variable, a list, an object | 1 |
//! | 100 bytes of the document | 1, also if the operation is refused |
//! | a message on a WebSocket, and 100 bytes of it | 1, whatever it is |
//!
//! The size of strings is not charged, but bounded by `graphql.max_response_bytes`. What a
//! subscription sends after it has begun costs nothing; the number of subscriptions is bounded, and
//! so are the fields of each event (`graphql.max_event_nodes`). The levels of variables are bounded
//! before they get here (`MAX_VALUE_LEVELS`): async-graphql reads values recursively.

mod cost;
mod lexer;
mod strings;

use async_graphql::{
    Name, Positioned, Variables,
    parser::{
        parse_query,
        types::{DocumentOperations, ExecutableDocument, OperationDefinition, OperationType},
    },
};

use quartet_common::problem::Kind;

pub(super) use self::cost::MAX_VALUE_LEVELS;
use self::{
    cost::{Cost, CostError, Costs, VariableSizes},
    lexer::LexerError,
    strings::InvalidEscape,
};
use crate::{
    config::GraphQl as Limits, graphql::variables::MissingVariable, problems::graphql as problems,
};

/// A document within the limits.
#[derive(Debug)]
pub(super) struct CheckedDocument {
    pub(super) document: ExecutableDocument,
    /// Of the chosen operation, if it has one.
    pub(super) name: Option<String>,
    /// The chosen operation.
    pub(super) operation: Positioned<OperationDefinition>,
    /// Values of its arguments, those of its variables included.
    pub(super) inputs: u64,
    /// Whether `$`, which begins a variable, is anywhere in the document.
    has_dollar: bool,
}

impl CheckedDocument {
    /// Whether the document has one operation and no variables, not even undefined ones.
    pub(super) fn is_one_operation_without_variables(&self) -> bool {
        !self.has_dollar && self.document.operations.iter().nth(1).is_none()
    }
}

/// Why a document is rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DocumentError {
    pub(super) kind: &'static Kind,
    pub(super) message: String,
    /// The parameter of the request: `query`, `operationName` or a variable.
    pub(super) field: String,
    /// Line and column, from 1.
    pub(super) at: Option<(usize, usize)>,
}

impl DocumentError {
    fn new(kind: &'static Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            field: "query".to_owned(),
            at: None,
        }
    }
}

impl From<MissingVariable> for DocumentError {
    fn from(missing: MissingVariable) -> Self {
        let MissingVariable { name, is_null, at } = missing;
        let rule = if is_null {
            "must not be null"
        } else {
            "is required"
        };
        let message = format!("variables.{name} {rule}");
        Self {
            field: format!("variables.{name}"),
            at: Some(at),
            ..Self::new(&problems::BAD_USER_INPUT, message)
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
            CostError::ValueTooDeep => {
                let message = format!("values must have at most {MAX_VALUE_LEVELS} levels");
                Self::new(&problems::TOO_DEEP, message)
            }
        }
    }
}

/// Parses a document, chooses its operation and checks all limits but `max_cost`.
pub(super) fn check(
    text: &str,
    operation_name: Option<&str>,
    variables: &Variables,
    limits: &Limits,
) -> Result<CheckedDocument, DocumentError> {
    let document = parse(text, limits)?;
    let (name, operation) = choose(&document.operations, operation_name)?;
    let (name, operation) = (name.map(ToString::to_string), operation.clone());
    let sizes = VariableSizes::new(&operation.node, variables);
    measure(&document, &sizes, limits)?;
    let mut costs = Costs::new(&document, &sizes);
    let inputs = costs.operation(&operation.node)?.inputs;
    Ok(CheckedDocument {
        inputs,
        has_dollar: text.contains('$'),
        document,
        name,
        operation,
    })
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
        LexerError::Unterminated => {
            let message = "syntax error in the document: a block string does not end";
            DocumentError::new(&problems::GRAPHQL_PARSE_FAILED, message)
        }
    })?;
    let text = strings::rewrite(text).map_err(|InvalidEscape { at }| {
        let message =
            "syntax error in the document: a string has an escape that is not a character";
        DocumentError {
            at: Some(at),
            ..DocumentError::new(&problems::GRAPHQL_PARSE_FAILED, message)
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
) -> Result<(Option<&'a Name>, &'a Positioned<OperationDefinition>), DocumentError> {
    let not_found = |message: &str| DocumentError {
        field: "operationName".to_owned(),
        ..DocumentError::new(&problems::OPERATION_NOT_FOUND, message)
    };
    let mut all = operations.iter();
    match name {
        Some(name) => all
            .find(|(found, _)| found.is_some_and(|found| found.as_str() == name))
            .ok_or_else(|| not_found("operationName must name an operation of the document")),
        None => match (all.next(), all.next()) {
            (Some(only), None) => Ok(only),
            (None, _) => Err(not_found("the document has no operation")),
            _ => Err(not_found(
                "operationName is required: the document has several operations",
            )),
        },
    }
}

/// Compares the document with the limits. Returns the number of selections that it visited.
fn measure(
    document: &ExecutableDocument,
    variables: &VariableSizes<'_>,
    limits: &Limits,
) -> Result<u64, DocumentError> {
    let fragments = document.fragments.len() as u64;
    let max_fragments = limits.max_fragments as u64;
    within(
        &problems::TOO_MANY_FRAGMENTS,
        "fragments",
        fragments,
        max_fragments,
    )?;
    let mut costs = Costs::new(document, variables);
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
        if operation.ty == OperationType::Subscription {
            let (nodes, limit) = (cost.nodes, limits.max_event_nodes);
            let what = "fields and spreads in a subscription";
            within(&problems::TOO_COMPLEX, what, nodes, limit)?;
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
        Limits::for_tests()
    }

    fn code(text: &str) -> &'static str {
        check(text, None, &Variables::default(), &limits())
            .unwrap_err()
            .kind
            .code
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
            let visited = measure(&document, &VariableSizes::default(), &generous).unwrap();
            assert_eq!(visited, 2 + 2 * fragments as u64, "{fragments} fragments");
        }
        assert_eq!(code(&doubling(22)), "too_many_root_fields");
        assert_eq!(code(&doubling(60)), "too_many_fragments");
    }

    #[test]
    fn sums_saturate_and_are_rejected() {
        let mut wide = limits();
        (wide.max_fragments, wide.max_root_fields) = (200, u64::MAX);
        let error = check(&doubling(150), None, &Variables::default(), &wide).unwrap_err();
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
            (
                &format!("{{ a(b: {}{}) }}", "[".repeat(25), "]".repeat(25)),
                "too_deep",
            ),
            (
                &format!("subscription {{ a {{ {} }} }}", "b ".repeat(50)),
                "too_complex",
            ),
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
    fn levels_of_values_are_those_of_the_literal_and_its_variables_together() {
        let nested = |levels: usize| {
            let value = (0..levels).fold(serde_json::json!(1), |inside, _| {
                serde_json::json!([inside])
            });
            Variables::from_json(serde_json::json!({ "v": value }))
        };
        let code = |text: &str, levels| {
            let checked = check(text, None, &nested(levels), &limits());
            checked.err().map(|error| error.kind.code)
        };
        let lists = |levels: usize, inside: &str| {
            format!("{}{inside}{}", "[".repeat(levels), "]".repeat(levels))
        };
        let used = |levels| format!("query($v: X) {{ a(b: {}) }}", lists(levels, "$v"));
        assert_eq!(code(&used(10), 10), None);
        assert_eq!(code(&used(11), 10), Some("too_deep"));
        let directive = format!("query($v: X) {{ a @b(c: {}) }}", lists(15, "$v"));
        assert_eq!(code(&directive, 10), Some("too_deep"));
        let default = format!("query($d: X = {}) {{ a }}", lists(25, "1"));
        assert_eq!(code(&default, 1), Some("too_deep"));
        let objects = format!("{{ a(b: {}1{}) }}", "{c: ".repeat(25), "}".repeat(25));
        assert_eq!(code(&objects, 1), Some("too_deep"));
    }

    #[test]
    fn the_operation_is_chosen_by_name() {
        let text = "query A { a } mutation B { b }";
        let kind = |name| {
            check(text, name, &Variables::default(), &limits())
                .map(|checked| checked.operation.node.ty)
        };
        assert_eq!(kind(Some("A")).unwrap(), OperationType::Query);
        assert_eq!(kind(Some("B")).unwrap(), OperationType::Mutation);
        assert_eq!(kind(Some("C")).unwrap_err().field, "operationName");
        assert_eq!(
            check("{ a }", Some("A"), &Variables::default(), &limits())
                .unwrap_err()
                .kind
                .code,
            "operation_not_found"
        );
    }
}
