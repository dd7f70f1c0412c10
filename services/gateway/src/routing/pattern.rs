//! Patterns of hosts and paths as the settings write them.

use std::{fmt, sync::Arc};

/// `example.org` or `*.example.org`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HostPattern {
    Exact(String),
    /// Everything below this name, which starts with a dot.
    Below(String),
}

/// `/exact`, `/below/*` or `/one/{segment}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PathPattern {
    pub(crate) text: Arc<str>,
    pub(crate) segments: Vec<Segment>,
    /// Ends with `/*`: takes the path itself and everything below it.
    pub(crate) prefix: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Segment {
    Literal(String),
    Any,
}

impl HostPattern {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (name, below) = match text.strip_prefix("*.") {
            Some(rest) => (rest, true),
            None => (text, false),
        };
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
        if name.is_empty() || !name.bytes().all(fits) {
            return Err("must be a host such as example.org or *.example.org".to_owned());
        }
        let name = name.to_ascii_lowercase();
        Ok(if below {
            Self::Below(format!(".{name}"))
        } else {
            Self::Exact(name)
        })
    }

    /// `host` is in lower case and has no port.
    pub(crate) fn matches(&self, host: &str) -> bool {
        match self {
            Self::Exact(name) => name == host,
            Self::Below(suffix) => host.len() > suffix.len() && host.ends_with(suffix.as_str()),
        }
    }

    /// The more exact, the greater.
    pub(crate) fn weight(&self) -> usize {
        match self {
            Self::Exact(_) => usize::MAX,
            Self::Below(suffix) => suffix.len(),
        }
    }
}

impl PathPattern {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let wrong = || "must be a path such as /exact, /below/* or /one/{segment}".to_owned();
        let rest = text.strip_prefix('/').ok_or_else(wrong)?;
        if text
            .bytes()
            .any(|byte| byte.is_ascii_whitespace() || b"?#\\".contains(&byte))
        {
            return Err(wrong());
        }
        let (body, prefix) = match rest.strip_suffix('*') {
            Some("") => ("", true),
            Some(body) => (body.strip_suffix('/').ok_or_else(wrong)?, true),
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
                    Some(_) => Err(wrong()),
                    None if segment.contains(['{', '}', '*']) => Err(wrong()),
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

    /// Number of segments that are not literal.
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
            Self::Below(suffix) => write!(f, "*{suffix}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_stand_only_as_whole_segments() {
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
    fn hosts_match_whole_names() {
        let below = HostPattern::parse("*.Example.org").unwrap();
        assert!(below.matches("a.example.org") && below.matches("b.a.example.org"));
        assert!(!below.matches("example.org") && !below.matches("badexample.org"));
        assert!(HostPattern::parse("*.").is_err() && HostPattern::parse("a b").is_err());
    }
}
