//! Parameters of an operation: where they are, how their values are written, and what they may be.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use http::HeaderName;
use jsonschema::Validator;
use serde_json::{Map, Value};

use super::{
    json,
    paths::Template,
    percent::{decode, decode_form},
    shape::{Shape, TEXT, Types},
    text::{readings, value},
    violation::{self, Violation},
};
use crate::request::Headers;

/// The parameters of a request.
#[derive(Clone, Copy)]
pub(crate) struct SentParameters<'r> {
    /// As the upstream sees it.
    pub(crate) path: &'r str,
    /// Without its question mark.
    pub(crate) query: &'r str,
    pub(crate) headers: &'r dyn Headers,
}

/// The query: names decoded, values as sent. The limit of the request head bounds it.
pub(super) type Query<'q> = Vec<(Cow<'q, str>, &'q str)>;

#[derive(Debug)]
pub(super) struct Parameter {
    pub(super) name: Arc<str>,
    /// For metrics and the log.
    pub(super) field: Arc<str>,
    pub(super) place: Place,
    pub(super) is_required: bool,
    pub(super) allows_empty: bool,
    pub(super) style: Style,
    pub(super) explode: bool,
    pub(super) shape: Shape,
    /// `None`: any value is valid.
    pub(super) validator: Option<Arc<Validator>>,
}

#[derive(Debug)]
pub(super) enum Place {
    /// The segment, among those of the document's path.
    Path(usize, Template),
    Query,
    Header(HeaderName),
    Cookie,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    Simple,
    Label,
    Matrix,
    Form,
    Spaces,
    Pipes,
    DeepObject,
    /// Not a style: the value is JSON.
    Json,
    /// The value is of another media type, and not looked at.
    Opaque,
}

/// What is wrong with a value.
type Fault = (&'static str, String);

/// A value, and another reading of it that would do as well.
struct Read(Value, Option<Value>);

impl Parameter {
    /// False: enough has been found.
    pub(super) fn check(
        &self,
        sent: &SentParameters<'_>,
        query: &Query<'_>,
        base: usize,
        found: &mut Vec<Violation>,
    ) -> bool {
        let result = match self.read(sent, query, base) {
            Ok(Some(read)) => self.validate(&read),
            Ok(None) if self.is_required => Err(("missing", "is required".to_owned())),
            Ok(None) => Ok(()),
            Err(fault) => Err(fault),
        };
        if let Err((code, detail)) = result {
            found.push(Violation::parameter(&self.field, &self.name, code, detail));
        }
        found.len() < violation::MAX_VIOLATIONS
    }

    /// Whether a parameter of the query is this one, or a part of it.
    fn takes(&self, name: &str) -> bool {
        if !matches!(self.place, Place::Query) {
            return false;
        }
        match self.style {
            Style::DeepObject => deep_member(name, &self.name).is_some() || name == &*self.name,
            Style::Form if self.explode && self.shape.types.object => {
                self.shape.is_open || name == &*self.name || self.shape.members.contains_key(name)
            }
            _ => name == &*self.name,
        }
    }

    fn validate(&self, read: &Read) -> Result<(), Fault> {
        let Some(validator) = &self.validator else {
            return Ok(());
        };
        let Read(value, other) = read;
        let is_valid = |value: &Value| validator.is_valid(value);
        if is_valid(value) || other.as_ref().is_some_and(is_valid) {
            return Ok(());
        }
        let error = validator.validate(value).err();
        let broken = error.as_ref().and_then(violation::rules);
        Err(broken.map_or(("invalid_value", String::new()), |broken| {
            (broken.code, broken.detail)
        }))
    }

    fn read(
        &self,
        sent: &SentParameters<'_>,
        query: &Query<'_>,
        base: usize,
    ) -> Result<Option<Read>, Fault> {
        match &self.place {
            Place::Path(at, template) => {
                let segment = sent.path.split('/').nth(1 + base + at);
                let raw = segment.and_then(|segment| template.value(segment, &self.name));
                raw.map(|raw| self.read_path(raw)).transpose()
            }
            Place::Header(name) => {
                let Some(text) = joined(sent.headers, name) else {
                    return Ok(None);
                };
                let plain = |text| Cow::Borrowed(str::trim(text));
                self.read_text(&text, &plain).map(Some)
            }
            Place::Cookie => {
                let raw = sent.headers.cookie(&self.name).map(String::from_utf8_lossy);
                let raw = raw.map(|raw| self.read_text(&raw, &decode));
                raw.transpose()
            }
            Place::Query => self.read_query(query),
        }
    }

    fn read_path(&self, raw: &str) -> Result<Read, Fault> {
        let wrong = |start: &str| ("invalid_value", format!("must begin with `{start}`"));
        match self.style {
            Style::Label => {
                let rest = raw.strip_prefix('.').ok_or_else(|| wrong("."))?;
                let separator = if self.explode { '.' } else { ',' };
                Ok(self.separated(rest, separator, &decode))
            }
            Style::Matrix => {
                let start = format!(";{}=", self.name);
                if self.explode && self.shape.types.object {
                    let rest = raw.strip_prefix(';').ok_or_else(|| wrong(";"))?;
                    return Ok(self.separated(rest, ';', &decode));
                }
                let rest = raw.strip_prefix(&*start).ok_or_else(|| wrong(&start))?;
                if self.explode && self.shape.types.array {
                    return Ok(self.list(rest.split(&*start), &decode));
                }
                Ok(self.separated(rest, ',', &decode))
            }
            _ => self.read_text(raw, &decode),
        }
    }

    /// Without separators of its own.
    fn read_text<'t>(
        &self,
        raw: &'t str,
        decode: &dyn Fn(&'t str) -> Cow<'t, str>,
    ) -> Result<Read, Fault> {
        match self.style {
            Style::Json => {
                let parsed = json::parse(decode(raw).as_bytes());
                let parsed = parsed.map_err(|_| ("malformed", "must be JSON".to_owned()))?;
                match parsed.duplicate {
                    Some(_) => Err(("duplicate", "must not have a member twice".to_owned())),
                    None => Ok(Read(parsed.value, None)),
                }
            }
            Style::Opaque => Ok(Read(Value::Null, None)),
            _ => Ok(self.separated(raw, ',', decode)),
        }
    }

    fn separated<'t>(
        &self,
        raw: &'t str,
        separator: char,
        decode: &dyn Fn(&'t str) -> Cow<'t, str>,
    ) -> Read {
        let types = self.shape.types;
        if types.object {
            return Read(self.object_of(raw.split(separator), decode), None);
        }
        if types.array {
            return self.list(raw.split(separator), decode);
        }
        let (value, other) = readings(&decode(raw), types);
        Read(value, other)
    }

    /// `name=value` for each member, or names and values in turn.
    fn object_of<'t>(
        &self,
        mut parts: impl Iterator<Item = &'t str>,
        decode: &dyn Fn(&'t str) -> Cow<'t, str>,
    ) -> Value {
        let mut members = Map::new();
        while let Some(part) = parts.next() {
            let (name, raw) = match part.split_once('=').filter(|_| self.explode) {
                Some(pair) => pair,
                None => (part, parts.next().unwrap_or_default()),
            };
            let name = decode(name).into_owned();
            put(&self.shape, &mut members, name, &decode(raw));
        }
        Value::Object(members)
    }

    fn list<'t>(
        &self,
        items: impl Iterator<Item = &'t str>,
        decode: &dyn Fn(&'t str) -> Cow<'t, str>,
    ) -> Read {
        let texts: Vec<_> = items.map(decode).collect();
        let read = |types: Types| texts.iter().map(|text| value(text, types)).collect();
        let items = self.shape.items;
        let types = self.shape.types;
        // Items that look like numbers may be texts, and one item may be no list at all.
        let other = match texts.as_slice() {
            [one] if types.string || types.integer || types.number || types.boolean => {
                Some(value(one, types))
            }
            _ if items.string => Some(Value::Array(read(TEXT))),
            _ => None,
        };
        Read(Value::Array(read(items)), other)
    }

    fn read_query(&self, query: &Query<'_>) -> Result<Option<Read>, Fault> {
        let types = self.shape.types;
        if self.style == Style::DeepObject {
            return Ok(self.deep_object(query));
        }
        if self.style == Style::Form && self.explode && types.object {
            return Ok(self.exploded_object(query));
        }
        let mut sent = query.iter().filter(|(name, _)| **name == *self.name);
        let Some((_, raw)) = sent.next() else {
            return Ok(None);
        };
        let mut sent = sent.map(|(_, raw)| *raw).peekable();
        if types.array && self.style == Style::Form && self.explode {
            let all = std::iter::once(*raw).chain(sent);
            return Ok(Some(self.list(all, &decode_form)));
        }
        if sent.peek().is_some() {
            // Which one counts differs between servers.
            return Err(("duplicate", "must not be repeated".to_owned()));
        }
        if raw.is_empty() && self.allows_empty {
            return Ok(None);
        }
        let separator = match self.style {
            Style::Spaces => Some(' '),
            Style::Pipes => Some('|'),
            _ => None,
        };
        if let Some(separator) = separator.filter(|_| types.array || types.object) {
            let text = decode_form(raw);
            return Ok(Some(
                self.separated(&text, separator, &|text| Cow::Borrowed(text)),
            ));
        }
        self.read_text(raw, &decode_form).map(Some)
    }

    /// `name[member]=value`; deeper ones, as common parsers read them.
    fn deep_object(&self, query: &Query<'_>) -> Option<Read> {
        let mut members = Map::new();
        let named = query.iter();
        let named = named.filter_map(|(name, raw)| Some((deep_member(name, &self.name)?, raw)));
        for (name, raw) in named {
            let path: Vec<&str> = name.split("][").collect();
            put_within(&self.shape, &mut members, &path, &decode_form(raw));
        }
        (!members.is_empty()).then_some(Read(Value::Object(members), None))
    }

    /// Each member is a parameter of its own.
    fn exploded_object(&self, query: &Query<'_>) -> Option<Read> {
        let mut members = Map::new();
        for (name, raw) in query {
            if self.shape.members.contains_key(&**name) {
                put(
                    &self.shape,
                    &mut members,
                    name.to_string(),
                    &decode_form(raw),
                );
            }
        }
        (!members.is_empty()).then_some(Read(Value::Object(members), None))
    }
}

/// A member that is there already becomes a list, if that is what it may be.
fn put(shape: &Shape, members: &mut Map<String, Value>, name: String, text: &str) {
    let others = shape.others;
    let shape = shape.members.get(&*name);
    if let Some(shape) = shape.filter(|shape| shape.types.array) {
        let list = members
            .entry(name)
            .or_insert_with(|| Value::Array(Vec::new()));
        if let Value::Array(items) = list {
            items.push(value(text, shape.items));
        }
        return;
    }
    let types = shape.map_or(others, |shape| shape.types);
    members.insert(name, value(text, types));
}

/// The same of a member of members. A path with an empty end adds to a list.
fn put_within(shape: &Shape, members: &mut Map<String, Value>, path: &[&str], text: &str) {
    match path {
        [] => {}
        [name] | [name, ""] => put(shape, members, (*name).to_owned(), text),
        [name, rest @ ..] => {
            let inner = members
                .entry((*name).to_owned())
                .or_insert_with(|| Value::Object(Map::new()));
            let known = shape.members.get(*name);
            if let Value::Object(inner) = inner {
                put_within(known.unwrap_or(&UNKNOWN), inner, rest, text);
            }
        }
    }
}

/// An object of which nothing is known.
static UNKNOWN: Shape = Shape {
    types: TEXT,
    items: TEXT,
    members: BTreeMap::new(),
    others: TEXT,
    is_open: true,
};

/// `member` of `name[member]`.
fn deep_member<'n>(sent: &'n str, name: &str) -> Option<&'n str> {
    sent.strip_prefix(name)?
        .strip_prefix('[')?
        .strip_suffix(']')
}

/// All values of a header, as one list.
fn joined<'h>(headers: &'h dyn Headers, name: &HeaderName) -> Option<Cow<'h, str>> {
    let first = String::from_utf8_lossy(headers.first(name)?);
    if headers.nth(name, 1).is_none() {
        return Some(first);
    }
    let all: Vec<_> = headers
        .all(name.clone())
        .map(String::from_utf8_lossy)
        .collect();
    Some(Cow::Owned(all.join(", ")))
}

pub(super) fn split_query(query: &str) -> Query<'_> {
    let parts = query.split('&').filter(|part| !part.is_empty());
    let pairs = parts.map(|part| {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        (decode_form(name), value)
    });
    pairs.collect()
}

/// Parameters of the query that the operation does not have.
pub(super) fn unknown(known: &[Parameter], query: &Query<'_>, found: &mut Vec<Violation>) {
    for (name, _) in query {
        if found.len() < violation::MAX_VIOLATIONS
            && !known.iter().any(|parameter| parameter.takes(name))
        {
            let detail = "must not be present";
            let name: Arc<str> = Arc::from(&**name);
            let field: Arc<str> = "query.*".into();
            found.push(Violation::parameter(
                &field,
                &name,
                "unknown_parameter",
                detail,
            ));
        }
    }
}
