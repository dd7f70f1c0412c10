//! What differs from the document: a field, named by the document alone, and a rule, in the words of
//! the services' problems. No value of the client is ever part of it.

use std::{collections::HashSet, sync::Arc};

use jsonschema::{
    ValidationError,
    error::{TypeKind, ValidationErrorKind as Kind},
    paths::LocationSegment,
};
use quartet_common::problem::FieldError;
use serde_json::Value;

use super::validators::token;

/// Of one request or response. More are of no use to anyone.
pub(crate) const MAX_VIOLATIONS: usize = 32;
/// Of a field in metrics and the log.
const MAX_DEPTH: usize = 8;
const MAX_FIELD_BYTES: usize = 120;
/// Of the values of an enumeration, and a pattern, in a rule.
const MAX_RULE_BYTES: usize = 300;
/// What clients choose themselves: members that the document does not name, places in arrays.
const ANY: &str = "*";

/// A field of a request or response that breaks a rule of the document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    /// The field for metrics and the log: `query.limit`, `/items/*/name`. Made of what the document
    /// says, so that there are no more of them than it has fields.
    pub(crate) field: Arc<str>,
    /// Stable name of the rule.
    pub(crate) code: &'static str,
    /// The rule in words.
    pub(crate) detail: String,
    place: Place,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// By name.
    Parameter(Arc<str>),
    /// JSON pointer into the body.
    Body(String),
}

/// A rule that a schema has and a value breaks.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BrokenRule {
    pub(super) code: &'static str,
    pub(super) detail: String,
    /// The member that is missing, or must not be there.
    pub(super) member: Option<String>,
}

impl Violation {
    pub(super) fn parameter(
        field: &Arc<str>,
        name: &Arc<str>,
        code: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            field: Arc::clone(field),
            code,
            detail: detail.into(),
            place: Place::Parameter(Arc::clone(name)),
        }
    }

    pub(super) fn body(
        pointer: impl Into<String>,
        field: impl Into<Arc<str>>,
        code: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            field: field.into(),
            code,
            detail: detail.into(),
            place: Place::Body(pointer.into()),
        }
    }

    /// The document has no such path.
    pub(crate) fn unknown_path() -> Self {
        Self::of_head("path", "unknown", "must be a path of the document")
    }

    /// The path has no such method.
    pub(crate) fn unknown_method() -> Self {
        Self::of_head("method", "unknown", "must be a method of the path")
    }

    pub(super) fn unknown_status() -> Self {
        Self::of_head("status", "unknown", "must be a status of the operation")
    }

    /// There is no body.
    pub(crate) fn missing_body() -> Self {
        Self::body("", "body", "missing", "is required")
    }

    /// The body is not JSON.
    pub(crate) fn malformed_body() -> Self {
        Self::body("", "body", "malformed", "must be JSON")
    }

    /// The body is too large to be looked into.
    pub(crate) fn too_large() -> Self {
        Self::body("", "body", "too_large", "must be smaller")
    }

    /// The body is encoded, and cannot be looked into.
    pub(crate) fn encoded() -> Self {
        let detail = "must not be encoded";
        Self::of_head("content-encoding", "unsupported_coding", detail)
    }

    pub(super) fn media_type(detail: String) -> Self {
        Self::of_head("content-type", "unsupported_media_type", detail)
    }

    pub(super) fn missing_header(name: &str) -> Self {
        Self::of_head(name, "missing", "is required")
    }

    fn of_head(name: &str, code: &'static str, detail: impl Into<String>) -> Self {
        let name: Arc<str> = name.into();
        Self::parameter(&name, &name, code, detail)
    }

    /// For the problem.
    pub(crate) fn to_field_error(&self) -> FieldError {
        match &self.place {
            Place::Parameter(name) => FieldError::parameter(&**name, self.code, &*self.detail),
            Place::Body(pointer) => FieldError::body(pointer, self.code, &*self.detail),
        }
    }
}

/// The violations of a body. `known`: names of members that the document has.
pub(super) fn of_body<'i>(
    errors: impl Iterator<Item = ValidationError<'i>>,
    known: &HashSet<Box<str>>,
) -> Vec<Violation> {
    let mut found: Vec<Violation> = Vec::new();
    for error in errors.take(MAX_VIOLATIONS) {
        for (mut path, broken) in leaves(&error) {
            path.extend(broken.member);
            let pointer = pointer(&path);
            let is_new = |it: &Violation| it.place != Place::Body(pointer.clone());
            if found.len() < MAX_VIOLATIONS && found.iter().all(is_new) {
                let field = field(&path, known);
                found.push(Violation::body(pointer, field, broken.code, broken.detail));
            }
        }
    }
    found
}

/// A member that repeats another one. `pointer`: of the member.
pub(super) fn of_duplicate(pointer: String, known: &HashSet<Box<str>>) -> Violation {
    let tokens = pointer.split('/').skip(1);
    let path = tokens.map(|token| token.replace("~1", "/").replace("~0", "~"));
    let field = field(&path.collect::<Vec<_>>(), known);
    Violation::body(pointer, field, "duplicate", "must not be repeated")
}

/// The rules that a value of a parameter breaks.
pub(super) fn rules(error: &ValidationError<'_>) -> Option<BrokenRule> {
    leaves(error).into_iter().next().map(|(_, broken)| broken)
}

type Leaf = (Vec<String>, BrokenRule);

/// Where, and what. Of alternatives, those of the one that the value was meant to be, if only one is
/// of its type; otherwise the choice as a whole.
fn leaves(error: &ValidationError<'_>) -> Vec<Leaf> {
    let path = segments(error);
    match error.kind() {
        Kind::AnyOf { context } | Kind::OneOfNotValid { context } => {
            let meant = |branch: &&Vec<ValidationError<'static>>| {
                let is_other = |inner: &ValidationError<'_>| {
                    let is_shallow = inner.instance_path().as_str().len()
                        <= error.instance_path().as_str().len();
                    let kind = inner.kind();
                    is_shallow
                        && matches!(
                            kind,
                            Kind::Type { .. } | Kind::Constant { .. } | Kind::Enum { .. }
                        )
                };
                !branch.iter().any(is_other)
            };
            let mut branches = context.iter().filter(meant);
            match (branches.next(), branches.next()) {
                (Some(only), None) => only.iter().take(MAX_VIOLATIONS).flat_map(leaves).collect(),
                _ => vec![(
                    path,
                    invalid("must match one of the allowed forms".to_owned()),
                )],
            }
        }
        Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => {
            let members = unexpected.iter().take(MAX_VIOLATIONS);
            let each = members.map(|member| {
                let broken = BrokenRule {
                    code: "unknown",
                    detail: "must not be present".to_owned(),
                    member: Some(member.clone()),
                };
                (path.clone(), broken)
            });
            each.collect()
        }
        kind => vec![(path, of_kind(kind))],
    }
}

fn of_kind(kind: &Kind) -> BrokenRule {
    let rule = |code, detail: String| BrokenRule {
        code,
        detail,
        member: None,
    };
    match kind {
        Kind::Required { property } => BrokenRule {
            code: "missing",
            detail: "is required".to_owned(),
            member: Some(property.as_str().unwrap_or_default().to_owned()),
        },
        Kind::Type { kind } => invalid(must_be(kind)),
        Kind::Enum { options } => invalid(format!("must be {}", options_text(options))),
        Kind::Constant { expected_value } => {
            invalid(format!("must be {}", bounded(expected_value.to_string())))
        }
        Kind::Format { format } => invalid(format!("must have the format {format}")),
        Kind::Pattern { pattern } => rule(
            "invalid_characters",
            format!("must match {}", bounded(pattern.clone())),
        ),
        Kind::BacktrackLimitExceeded { .. } | Kind::RegexEngineFailure { .. } => rule(
            "invalid_characters",
            "cannot be compared with its pattern".to_owned(),
        ),
        Kind::Minimum { limit } => rule("too_small", format!("must be at least {limit}")),
        Kind::Maximum { limit } => rule("too_large", format!("must be at most {limit}")),
        Kind::ExclusiveMinimum { limit } => {
            rule("too_small", format!("must be greater than {limit}"))
        }
        Kind::ExclusiveMaximum { limit } => rule("too_large", format!("must be less than {limit}")),
        Kind::MultipleOf { multiple_of } => invalid(format!("must be a multiple of {multiple_of}")),
        Kind::MinLength { limit } => rule(
            "too_short",
            format!("must have at least {limit} characters"),
        ),
        Kind::MaxLength { limit } => {
            rule("too_long", format!("must have at most {limit} characters"))
        }
        Kind::MinItems { limit } => rule("too_short", format!("must have at least {limit} items")),
        Kind::MaxItems { limit } => rule("too_long", format!("must have at most {limit} items")),
        Kind::MinProperties { limit } => {
            rule("too_short", format!("must have at least {limit} members"))
        }
        Kind::MaxProperties { limit } => {
            rule("too_long", format!("must have at most {limit} members"))
        }
        Kind::UniqueItems => rule("duplicate", "must not have equal items".to_owned()),
        Kind::FalseSchema => rule("unknown", "must not be present".to_owned()),
        Kind::AnyOf { .. } | Kind::OneOfNotValid { .. } => {
            invalid("must match one of the allowed forms".to_owned())
        }
        Kind::OneOfMultipleValid { .. } => {
            invalid("must match exactly one of the allowed forms".to_owned())
        }
        other => invalid(format!("must follow the rule `{}`", other.keyword())),
    }
}

fn invalid(detail: String) -> BrokenRule {
    BrokenRule {
        code: "invalid_value",
        detail,
        member: None,
    }
}

fn must_be(kind: &TypeKind) -> String {
    let name = |name: &str| match name {
        "boolean" => "true or false",
        "integer" => "an integer",
        "number" => "a number",
        "string" => "a string",
        "array" => "an array",
        "object" => "an object",
        _ => "null",
    };
    let names: Vec<&str> = match kind {
        TypeKind::Single(kind) => vec![name(kind.as_str())],
        TypeKind::Multiple(kinds) => kinds.iter().map(|kind| name(kind.as_str())).collect(),
    };
    format!("must be {}", listed(&names))
}

fn options_text(options: &Value) -> String {
    let texts = options.as_array().into_iter().flatten();
    let texts: Vec<String> = texts
        .map(|option| {
            option
                .as_str()
                .map_or_else(|| option.to_string(), str::to_owned)
        })
        .collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    bounded(listed(&texts))
}

/// `a, b or c`.
fn listed(names: &[&str]) -> String {
    match names {
        [] => "none of the known values".to_owned(),
        [one] => (*one).to_owned(),
        [most @ .., end] => format!("{} or {end}", most.join(", ")),
    }
}

fn bounded(mut text: String) -> String {
    if text.len() > MAX_RULE_BYTES {
        let mut end = MAX_RULE_BYTES;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push('…');
    }
    text
}

fn segments(error: &ValidationError<'_>) -> Vec<String> {
    let segments = error.instance_path().segments();
    let names = segments.map(|segment| match segment {
        LocationSegment::Property(name) => name.into_owned(),
        LocationSegment::Index(index) => index.to_string(),
    });
    names.collect()
}

/// RFC 6901.
fn pointer(path: &[String]) -> String {
    let mut pointer = String::new();
    for name in path {
        pointer.push('/');
        pointer.push_str(&token(name));
    }
    pointer
}

/// The path in names of the document.
fn field(path: &[String], known: &HashSet<Box<str>>) -> String {
    let mut text = String::new();
    for name in path.iter().take(MAX_DEPTH) {
        text.push('/');
        text.push_str(if known.contains(name.as_str()) {
            name
        } else {
            ANY
        });
    }
    if path.len() > MAX_DEPTH {
        text.push_str("/*");
    }
    if text.is_empty() || text.len() > MAX_FIELD_BYTES {
        return "body".to_owned();
    }
    text
}
