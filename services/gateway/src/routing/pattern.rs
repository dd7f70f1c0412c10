//! Host and path patterns in the syntax of the configuration.

use std::{fmt, sync::Arc};

/// `example.org` or `*.example.org`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HostPattern {
    Exact(String),
    /// Every subdomain of this name, which starts with a dot.
    Subdomains(String),
}

/// `/exact`, `/prefix/*` or `/one/{segment}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PathPattern {
    pub(crate) text: Arc<str>,
    pub(crate) segments: Vec<Segment>,
    /// Ends with `/*`: matches the path itself and everything below it.
    pub(crate) prefix: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Segment {
    Literal(String),
    Any,
}

impl HostPattern {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (name, subdomains) = match text.strip_prefix("*.") {
            Some(rest) => (rest, true),
            None => (text, false),
        };
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
        if name.is_empty() || !name.bytes().all(is_allowed) {
            return Err("must be a host such as example.org or *.example.org".to_owned());
        }
        let name = name.to_ascii_lowercase();
        Ok(if subdomains {
            Self::Subdomains(format!(".{name}"))
        } else {
            Self::Exact(name)
        })
    }

    /// `host` must be in lower case, without a port.
    pub(crate) fn matches(&self, host: &str) -> bool {
        match self {
            Self::Exact(name) => name == host,
            Self::Subdomains(suffix) => {
                host.len() > suffix.len() && host.ends_with(suffix.as_str())
            }
        }
    }

    /// Specificity: the more specific pattern has the greater one.
    pub(crate) fn specificity(&self) -> usize {
        match self {
            Self::Exact(_) => usize::MAX,
            Self::Subdomains(suffix) => suffix.len(),
        }
    }
}

impl PathPattern {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let invalid = || "must be a path such as /exact, /prefix/* or /one/{segment}".to_owned();
        let rest = text.strip_prefix('/').ok_or_else(invalid)?;
        if text
            .bytes()
            .any(|byte| byte.is_ascii_whitespace() || b"?#\\".contains(&byte))
        {
            return Err(invalid());
        }
        let (body, prefix) = match rest.strip_suffix('*') {
            Some("") => ("", true),
            Some(body) => (body.strip_suffix('/').ok_or_else(invalid)?, true),
            None => (rest, false),
        };
        if prefix && body.is_empty() {
            return Ok(Self {
                text: text.into(),
                segments: Vec::new(),
                prefix,
            });
        }
        let segments = body
            .split('/')
            .map(
                |segment| match segment.strip_prefix('{').map(|name| name.strip_suffix('}')) {
                    Some(Some(name)) if !name.is_empty() && !name.contains(['{', '}', '*']) => {
                        Ok(Segment::Any)
                    }
                    Some(_) => Err(invalid()),
                    None if segment.contains(['{', '}', '*']) => Err(invalid()),
                    None => Ok(Segment::Literal(segment.to_owned())),
                },
            )
            .collect::<Result<_, _>>()?;
        Ok(Self {
            text: text.into(),
            segments,
            prefix,
        })
    }

    /// Number of `{}` segments.
    pub(crate) fn wildcards(&self) -> usize {
        self.segments
            .iter()
            .filter(|segment| **segment == Segment::Any)
            .count()
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Subdomains(suffix) => write!(f, "*{suffix}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_must_be_whole_segments() {
        for good in ["/", "/*", "/a", "/a/", "/a/*", "/a/{b}/c", "/a/{b}/*"] {
            assert!(PathPattern::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "", "a", "/a*", "/*/a", "/a/{b", "/a/x{b}", "/a/{}", "/a?b", "/a b",
        ] {
            assert!(PathPattern::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn host_patterns_match_whole_labels() {
        let subdomains = HostPattern::parse("*.Example.org").unwrap();
        assert!(subdomains.matches("a.example.org") && subdomains.matches("b.a.example.org"));
        assert!(!subdomains.matches("example.org") && !subdomains.matches("badexample.org"));
        assert!(HostPattern::parse("*.").is_err() && HostPattern::parse("a b").is_err());
    }
}
