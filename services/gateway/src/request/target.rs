//! The parts of a request target, whichever form it has (RFC 9112, 3.2).

use super::host::Authority;

/// A request target in parts.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RequestTarget<'r> {
    /// Of the absolute form.
    pub(crate) authority: Option<&'r str>,
    /// As sent; the asterisk form is `*`.
    pub(crate) path: &'r str,
    /// With its question mark; may be empty.
    pub(crate) query: &'r str,
}

impl<'r> RequestTarget<'r> {
    pub(crate) fn split(raw: &'r str) -> Self {
        let (authority, rest) = match raw.split_once("://") {
            Some((scheme, rest)) if !scheme.contains(['/', '?']) => {
                let end = rest.find(['/', '?']).unwrap_or(rest.len());
                (Some(&rest[..end]), &rest[end..])
            }
            _ => (None, raw),
        };
        let (path, query) = rest.split_at(rest.find('?').unwrap_or(rest.len()));
        // Only the absolute form may have an empty path (RFC 9112, 3.2.1).
        let path = if path.is_empty() && authority.is_some() {
            "/"
        } else {
            path
        };
        Self {
            authority,
            path,
            query,
        }
    }
}

/// The one authority of a request: that of its target, or of its `Host` header. `None`: one of them
/// is not a host with an optional port, or they differ, so that two servers may read two hosts.
pub(crate) fn reconcile<'r>(
    target: Option<&'r str>,
    header: Option<&'r str>,
) -> Option<Option<Authority<'r>>> {
    let parse = |raw: Option<&'r str>| match raw {
        None | Some("") => Some(None),
        Some(raw) => Authority::parse(raw).map(Some),
    };
    match (parse(target)?, parse(header)?) {
        (Some(target), Some(header)) if target != header => None,
        (target, header) => Some(target.or(header)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_has_its_parts() {
        for (raw, authority, path, query) in [
            ("/a?b=c?d", None, "/a", "?b=c?d"),
            ("/a?u=http://b/c", None, "/a", "?u=http://b/c"),
            ("/http://b/c", None, "/http://b/c", ""),
            ("http://a:1/b?c", Some("a:1"), "/b", "?c"),
            ("http://a", Some("a"), "/", ""),
            ("http://a?b", Some("a"), "/", "?b"),
            ("?x", None, "", "?x"),
            ("*", None, "*", ""),
        ] {
            let expected = RequestTarget {
                authority,
                path,
                query,
            };
            assert_eq!(RequestTarget::split(raw), expected, "{raw}");
        }
    }

    #[test]
    fn target_and_header_must_name_one_host() {
        let host = |target, header| {
            reconcile(target, header).map(|found| found.map(|found| found.to_text()))
        };
        assert_eq!(host(None, None), Some(None));
        assert_eq!(host(None, Some("")), Some(None));
        assert_eq!(host(None, Some("A.b.:80")), Some(Some("a.b:80".to_owned())));
        assert_eq!(host(Some("A"), Some("a.")), Some(Some("a".to_owned())));
        assert_eq!(host(Some("a"), Some("b")), None);
        assert_eq!(host(Some("a"), Some("a:80")), None);
        assert_eq!(host(None, Some("a b")), None);
    }
}
