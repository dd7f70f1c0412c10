//! Bodies of requests and responses: their media types, and JSON by its schema. Other media types are
//! not looked into.

use std::{collections::HashSet, sync::Arc};

use http::HeaderName;
use jsonschema::Validator;

use super::{
    json,
    violation::{self, Violation},
};

/// In larger bodies, the first violation alone is looked for: there may be one for every few bytes.
const MAX_THOROUGH_BYTES: usize = 64 * 1024;

/// Names of members that the document has.
pub(super) type KnownNames = Arc<HashSet<Box<str>>>;

/// What the body of a request must be.
#[derive(Debug)]
pub(crate) struct BodyRule {
    pub(super) is_required: bool,
    pub(super) contents: Contents,
}

/// What a response with one of the statuses must be.
#[derive(Debug)]
pub(crate) struct ResponseRule {
    pub(super) statuses: Statuses,
    /// Headers that must be there, as the document writes them.
    pub(super) headers: Vec<(HeaderName, Box<str>)>,
    pub(super) contents: Contents,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Statuses {
    One(u16),
    /// `2` of `2XX`.
    Class(u16),
    Default,
}

/// By media type.
#[derive(Debug)]
pub(crate) struct Contents {
    pub(super) list: Vec<Content>,
    pub(super) known: KnownNames,
}

#[derive(Debug)]
pub(super) struct Content {
    /// In lower case, without parameters: `text/html`, `text/*` or `*/*`.
    pub(super) range: Box<str>,
    /// `None`: any value.
    pub(super) validator: Option<Arc<Validator>>,
}

/// Why a body is not what it must be.
#[derive(Debug)]
pub(crate) enum BodyFault {
    /// Not JSON: line and column.
    Malformed(usize, usize),
    Invalid(Vec<Violation>),
}

impl BodyRule {
    pub(crate) fn is_required(&self) -> bool {
        self.is_required
    }

    pub(crate) fn contents(&self) -> &Contents {
        &self.contents
    }
}

impl ResponseRule {
    pub(crate) fn contents(&self) -> &Contents {
        &self.contents
    }

    /// The headers that are missing.
    pub(crate) fn missing_headers(&self, has: impl Fn(&HeaderName) -> bool) -> Vec<Violation> {
        let missing = self.headers.iter().filter(|(name, _)| !has(name));
        missing
            .map(|(_, text)| Violation::missing_header(text))
            .collect()
    }
}

impl Contents {
    /// The place of the media type's content; `None`: nothing is said of any.
    ///
    /// # Errors
    /// When others are said.
    pub(crate) fn of_type(&self, content_type: Option<&[u8]>) -> Result<Option<usize>, Violation> {
        if self.list.is_empty() {
            return Ok(None);
        }
        let text = content_type.and_then(|value| std::str::from_utf8(value).ok());
        let essence = essence(text.unwrap_or_default());
        let kind = essence.split('/').next().unwrap_or_default();
        let all = format!("{kind}/*");
        let mut ranges = [&*essence, &*all, "*/*"].into_iter();
        let place = |range: &str| self.list.iter().position(|it| *it.range == *range);
        let found = ranges.find_map(place);
        found.map(Some).ok_or_else(|| {
            let names: Vec<&str> = self.list.iter().map(|it| &*it.range).take(8).collect();
            Violation::media_type(format!("must be {}", names.join(" or ")))
        })
    }

    /// Whether a body of this type has rules. `content`: its place.
    pub(crate) fn has_rules(&self, content: usize, content_type: Option<&[u8]>) -> bool {
        let text = content_type.and_then(|value| std::str::from_utf8(value).ok());
        self.list[content].validator.is_some() && is_json(&essence(text.unwrap_or_default()))
    }

    /// # Errors
    /// When the body is not JSON, or not as the content at this place.
    pub(crate) fn check(&self, content: usize, body: &[u8]) -> Result<(), BodyFault> {
        let Some(validator) = &self.list[content].validator else {
            return Ok(());
        };
        let parsed = json::parse(body)
            .map_err(|error| BodyFault::Malformed(error.line(), error.column()))?;
        if let Some(pointer) = parsed.duplicate {
            let violation = violation::of_duplicate(pointer, &self.known);
            return Err(BodyFault::Invalid(vec![violation]));
        }
        if validator.is_valid(&parsed.value) {
            return Ok(());
        }
        let found = if body.len() <= MAX_THOROUGH_BYTES {
            violation::of_body(validator.iter_errors(&parsed.value), &self.known)
        } else {
            let first = validator.validate(&parsed.value).err();
            violation::of_body(first.into_iter(), &self.known)
        };
        Err(BodyFault::Invalid(found))
    }
}

/// The media type without parameters, in lower case.
pub(super) fn essence(content_type: &str) -> String {
    let essence = content_type.split(';').next().unwrap_or_default();
    essence.trim().to_ascii_lowercase()
}

pub(super) fn is_json(essence: &str) -> bool {
    let subtype = essence.split_once('/').map_or("", |(_, subtype)| subtype);
    subtype == "json" || subtype.ends_with("+json")
}
