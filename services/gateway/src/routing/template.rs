//! Header values with segments of the path: `tenant-{tenant}`.

use std::{
    borrow::Cow,
    fmt::{self, Write as _},
};

use http::HeaderValue;

use super::pattern::PathPattern;
use crate::request::RequestFacts;

/// A header value, with or without captures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Template {
    Fixed(HeaderValue),
    Parts(Vec<TemplatePart>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TemplatePart {
    Text(String),
    Capture(String),
    /// Of a URL, behind its `?`: a segment of a path may have characters that end a parameter.
    QueryCapture(String),
}

impl Template {
    /// Every capture must be a segment of all paths of the route.
    pub(crate) fn parse(text: &str, paths: &[PathPattern]) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (name, after) = after.split_once('}').ok_or("has a `{` without `}`")?;
            if !paths.iter().all(|path| path.has_capture(name)) {
                return Err(format!("there is no segment `{{{name}}}` in every path"));
            }
            parts.push(TemplatePart::Text(before.to_owned()));
            parts.push(TemplatePart::Capture(name.to_owned()));
            rest = after;
        }
        let is_valid = |text: &str| HeaderValue::try_from(text).is_ok();
        if !is_valid(text) {
            return Err("is not a valid header value".to_owned());
        }
        if parts.is_empty() {
            let value = HeaderValue::try_from(text);
            return value.map(Self::Fixed).map_err(|error| error.to_string());
        }
        parts.push(TemplatePart::Text(rest.to_owned()));
        Ok(Self::Parts(parts))
    }

    /// The same of a URL, in which captures stay within the part that they are written in.
    pub(crate) fn parse_url(text: &str, paths: &[PathPattern]) -> Result<Self, String> {
        let mut template = Self::parse(text, paths)?;
        let mut in_query = false;
        if let Self::Parts(parts) = &mut template {
            for part in parts {
                match part {
                    TemplatePart::Text(text) => in_query |= text.contains(['?', '#']),
                    TemplatePart::Capture(name) if in_query => {
                        *part = TemplatePart::QueryCapture(std::mem::take(name));
                    }
                    TemplatePart::Capture(_) | TemplatePart::QueryCapture(_) => {}
                }
            }
        }
        Ok(template)
    }

    /// `None`: the value is not a header value.
    pub(crate) fn render(&self, facts: &RequestFacts<'_>) -> Option<HeaderValue> {
        match self {
            Self::Fixed(value) => Some(value.clone()),
            Self::Parts(parts) => {
                let capture = |name| facts.capture(name).unwrap_or_default();
                let text: String = parts
                    .iter()
                    .map(|part| match part {
                        TemplatePart::Text(text) => Cow::Borrowed(text.as_str()),
                        TemplatePart::Capture(name) => Cow::Borrowed(capture(name)),
                        TemplatePart::QueryCapture(name) => query_value(capture(name)),
                    })
                    .collect();
                HeaderValue::try_from(text).ok()
            }
        }
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(value) => f.write_str(&String::from_utf8_lossy(value.as_bytes())),
            Self::Parts(parts) => parts.iter().try_for_each(|part| match part {
                TemplatePart::Text(text) => f.write_str(text),
                TemplatePart::Capture(name) | TemplatePart::QueryCapture(name) => {
                    write!(f, "{{{name}}}")
                }
            }),
        }
    }
}

/// A segment of a path as the value of a parameter. What is percent-encoded stays so.
fn query_value(segment: &str) -> Cow<'_, str> {
    let is_kept = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%".contains(&byte);
    if segment.bytes().all(is_kept) {
        return Cow::Borrowed(segment);
    }
    let mut value = String::with_capacity(segment.len() + 16);
    for byte in segment.bytes() {
        if is_kept(byte) {
            value.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(value, "%{byte:02X}");
        }
    }
    Cow::Owned(value)
}
