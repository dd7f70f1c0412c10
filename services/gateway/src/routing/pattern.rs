//! Host and path patterns in the syntax of the configuration.

use std::{fmt, sync::Arc};

use crate::request::{Captures, host::Authority, path};

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
    /// Among the patterns of the routing table, which sets it.
    pub(crate) rank: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Segment {
    Literal(String),
    /// Matches any one segment; its name.
    Any(String),
}

impl HostPattern {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (name, subdomains) = match text.strip_prefix("*.") {
            Some(rest) => (rest, true),
            None => (text, false),
        };
        let rule = "must be a host such as example.org or *.example.org, without a port and \
                    without a dot at the end";
        let name = Authority::parse(name)
            .filter(|_| !name.ends_with(['.', ':']))
            .filter(|authority| authority.port.is_empty())
            .ok_or(rule)?
            .host
            .into_owned();
        Ok(if subdomains {
            Self::Subdomains(format!(".{name}"))
        } else {
            Self::Exact(name)
        })
    }

    /// `host` is in its one spelling.
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
                rank: 0,
            });
        }
        let segments = body
            .split('/')
            .map(
                |segment| match segment.strip_prefix('{').map(|name| name.strip_suffix('}')) {
                    Some(Some(name)) if !name.is_empty() && !name.contains(['{', '}', '*']) => {
                        Ok(Segment::Any(name.to_owned()))
                    }
                    Some(_) => Err(invalid()),
                    None if segment.contains(['{', '}', '*']) => Err(invalid()),
                    None => Ok(Segment::Literal(segment.to_owned())),
                },
            )
            .collect::<Result<Vec<_>, _>>()?;
        check_spelling(&segments, prefix)?;
        Ok(Self {
            text: text.into(),
            segments,
            prefix,
            rank: 0,
        })
    }

    /// Number of `{}` segments.
    pub(crate) fn wildcards(&self) -> usize {
        self.segments
            .iter()
            .filter(|segment| matches!(segment, Segment::Any(_)))
            .count()
    }

    /// Whether there is a `{}` segment of this name.
    pub(crate) fn has_capture(&self, name: &str) -> bool {
        let is_named = |segment: &Segment| matches!(segment, Segment::Any(own) if own == name);
        self.segments.iter().any(is_named)
    }
}

impl Captures for PathPattern {
    fn get<'c>(&'c self, path: &'c str, name: &str) -> Option<&'c str> {
        let values = path.split('/').skip(1);
        let mut pairs = self.segments.iter().zip(values);
        pairs.find_map(|(segment, value)| match segment {
            Segment::Any(own) if own == name => Some(value),
            Segment::Any(_) | Segment::Literal(_) => None,
        })
    }

    fn rest<'c>(&self, path: &'c str) -> &'c str {
        if self.prefix {
            &path[end_of_segments(path, self.segments.len())..]
        } else {
            path
        }
    }
}

/// Where the first `count` segments of a path end.
pub(super) fn end_of_segments(path: &str, count: usize) -> usize {
    let mut slashes = path.match_indices('/').map(|(at, _)| at);
    slashes.nth(count).unwrap_or(path.len())
}

/// Paths of requests have one spelling; a pattern in another one would never match. The last segment
/// is empty in `/a/`.
fn check_spelling(segments: &[Segment], prefix: bool) -> Result<(), String> {
    for (at, segment) in segments.iter().enumerate() {
        let Segment::Literal(text) = segment else {
            continue;
        };
        if text.is_empty() && (prefix || at + 1 < segments.len()) {
            return Err("must not have empty segments".to_owned());
        }
        let written = format!("/{text}");
        match path::path(&written) {
            Ok(spelled) if spelled == written => {}
            Ok(spelled) => {
                return Err(format!("must be written as `{}`", &spelled[1..]));
            }
            Err(refused) => return Err(refused.rule().to_owned()),
        }
    }
    Ok(())
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
            "", "a", "/a*", "/*/a", "/a/{b", "/a/x{b}", "/a/{}", "/a?b", "/a b", "//", "/a//b",
            "/a//*", "/%61", "/a%2fb", "/a;b", "/../a", "/é",
        ] {
            assert!(PathPattern::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn host_patterns_match_whole_labels() {
        let subdomains = HostPattern::parse("*.Example.org").unwrap();
        assert!(subdomains.matches("a.example.org") && subdomains.matches("b.a.example.org"));
        assert!(!subdomains.matches("example.org") && !subdomains.matches("badexample.org"));
        for bad in ["*.", "a b", "a:8080", "a.", "*.a.", "*.*.a", ""] {
            assert!(HostPattern::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn captures_have_the_names_of_their_segments() {
        let pattern = PathPattern::parse("/a/{b}/c/{d}/*").unwrap();
        let get = |name| pattern.get("/a/1/c/2/rest/3", name);
        assert_eq!((get("b"), get("d"), get("a")), (Some("1"), Some("2"), None));
        assert!(pattern.has_capture("b") && !pattern.has_capture("c"));
    }
}
