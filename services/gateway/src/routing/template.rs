//! Header values with segments of the path: `tenant-{tenant}`.

use std::fmt;

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

    /// `None`: the value is not a header value.
    pub(crate) fn render(&self, facts: &RequestFacts<'_>) -> Option<HeaderValue> {
        match self {
            Self::Fixed(value) => Some(value.clone()),
            Self::Parts(parts) => {
                let text: String = parts
                    .iter()
                    .map(|part| match part {
                        TemplatePart::Text(text) => text.as_str(),
                        TemplatePart::Capture(name) => facts.capture(name).unwrap_or_default(),
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
                TemplatePart::Capture(name) => write!(f, "{{{name}}}"),
            }),
        }
    }
}
