//! Another path for the upstream: `/x/{id}/*`.

use super::pattern::{PathPattern, Segment, end_of_segments};
use crate::request::{
    Captures as _,
    path::{self, PathError},
};

/// The pattern of the paths that the upstream receives.
///
/// It is read as the patterns that requests match: `{id}` and `*` are whole segments, so no value of
/// the client can complete another segment, and its text is in the one spelling of paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rewrite(PathPattern);

/// The path for the upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RewrittenPath {
    pub(crate) path: String,
    /// What was removed from the beginning, if nothing took its place.
    pub(crate) prefix: Option<String>,
}

impl Rewrite {
    /// `paths` are those of the route; `raw`: it accepts raw paths.
    ///
    /// # Errors
    /// When a segment, or the rest that `*` stands for, is not one of every path.
    pub(crate) fn parse(text: &str, paths: &[PathPattern], raw: bool) -> Result<Self, String> {
        let pattern = PathPattern::parse(text)?;
        if pattern.prefix && !paths.iter().all(|path| path.prefix) {
            return Err("must not end with /* unless every path does".to_owned());
        }
        for segment in &pattern.segments {
            if let Segment::Any(name) = segment
                && !paths.iter().all(|path| path.has_capture(name))
            {
                return Err(format!("there is no segment `{{{name}}}` in every path"));
            }
        }
        // Otherwise its readings would be cut in different places.
        let is_cut_once = pattern.prefix && paths.iter().all(|path| path.wildcards() == 0);
        if raw && !(is_cut_once && pattern.wildcards() == 0) {
            return Err("of raw paths must replace one prefix by another, without `{}`".to_owned());
        }
        Ok(Self(pattern))
    }

    /// `path` matched `pattern`, and is in its one spelling or a raw path.
    ///
    /// # Errors
    /// When the result is none that a client may send. The text and the parts are, so this is the
    /// second lock on the same door.
    pub(super) fn apply(
        &self,
        pattern: &PathPattern,
        path: &str,
    ) -> Result<RewrittenPath, PathError> {
        let cut = end_of_segments(path, pattern.segments.len());
        let mut written = String::with_capacity(path.len() + self.0.text.len());
        for segment in &self.0.segments {
            written.push('/');
            written.push_str(match segment {
                Segment::Literal(text) => text,
                Segment::Any(name) => pattern.get(path, name).unwrap_or_default(),
            });
        }
        if self.0.prefix {
            written.push_str(&path[cut..]);
        }
        if written.is_empty() {
            written.push('/');
        }
        let strips = self.0.prefix && self.0.segments.is_empty() && cut > 0;
        Ok(RewrittenPath {
            path: checked(written)?,
            prefix: strips.then(|| path[..cut].to_owned()),
        })
    }
}

/// The rules for paths of clients, with those for raw paths where they apply.
fn checked(written: String) -> Result<String, PathError> {
    match path::path(&written) {
        Ok(spelled) if spelled == written => Ok(written),
        Ok(spelled) => Ok(spelled.into_owned()),
        Err(refused) if refused.may_be_raw() && !written.contains("//") => {
            path::readings(&written).map(|_| written)
        }
        Err(refused) => Err(refused),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::request::path::generous;

    fn pattern(text: &str) -> PathPattern {
        PathPattern::parse(text).unwrap()
    }

    fn rewritten(from: &str, to: &str, path: &str) -> (String, Option<String>) {
        let from = pattern(from);
        let rewrite = Rewrite::parse(to, std::slice::from_ref(&from), false).unwrap();
        let result = rewrite.apply(&from, path).unwrap();
        (result.path, result.prefix)
    }

    #[test]
    fn prefixes_are_stripped_and_replaced() {
        for (from, to, path, expected, prefix) in [
            ("/api/*", "/*", "/api/users/7", "/users/7", Some("/api")),
            ("/api/*", "/*", "/api", "/", Some("/api")),
            ("/api/*", "/*", "/api/", "/", Some("/api")),
            ("/api/*", "/*", "/api/a/", "/a/", Some("/api")),
            ("/a/{id}/*", "/*", "/a/7/b", "/b", Some("/a/7")),
            ("/*", "/*", "/a", "/a", None),
            ("/*", "/v2/*", "/", "/v2/", None),
            ("/v1/*", "/v2/*", "/v1", "/v2", None),
            ("/v1/*", "/v2/*", "/v1/", "/v2/", None),
            ("/v1/*", "/v2/*", "/v1/a%20b/c", "/v2/a%20b/c", None),
            ("/v1/*", "/all", "/v1/a/b", "/all", None),
            ("/u/{id}", "/users/{id}/", "/u/7", "/users/7/", None),
            ("/{a}/{b}/*", "/x/{b}/{a}/*", "/1/2/3/4", "/x/2/1/3/4", None),
            ("/exact", "/", "/exact", "/", None),
        ] {
            let result = rewritten(from, to, path);
            let (result, removed) = (result.0, result.1);
            assert_eq!((&*result, removed.as_deref()), (expected, prefix), "{path}");
        }
    }

    #[test]
    fn what_not_every_path_has_is_refused() {
        let paths = [pattern("/a/{id}/*"), pattern("/b/{id}/{x}/*")];
        let error = |text: &str| Rewrite::parse(text, &paths, false).err();
        assert_eq!(error("/{id}/*"), None);
        assert!(error("/{x}").unwrap().contains("`{x}`"));
        for text in [
            "x", "/../a", "/a/x{id}", "/%61", "/a?b", "/a//b", "/;a", "/*/a",
        ] {
            assert!(error(text).is_some(), "{text}");
        }
        let exact = [pattern("/a"), pattern("/b/*")];
        assert!(Rewrite::parse("/*", &exact, false).is_err());
    }

    #[test]
    fn raw_paths_are_cut_only_where_every_reading_is() {
        let parse = |from: &str, to: &str| Rewrite::parse(to, &[pattern(from)], true);
        assert!(parse("/{a}/*", "/*").is_err() && parse("/a/*", "/b").is_err());
        let rewrite = parse("/files/*", "/bucket/*").unwrap();
        let apply = |path: &str| rewrite.apply(&pattern("/files/*"), path).map(|to| to.path);
        assert_eq!(
            apply("/files/a%2Fb;v=1"),
            Ok("/bucket/a%2Fb;v=1".to_owned())
        );
        assert_eq!(apply("/files/..%2Fb"), Err(PathError::DotSegment));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        /// Whatever a client sends: the upstream reads the segments that the settings name, and
        /// behind them those of the request.
        #[test]
        fn the_client_does_not_choose_the_prefix(
            raw in "/in/([a./;%\\\\]|%2[eEfF]|%5[cC]|%61|\\.\\.|//|/|\\?|#|x){0,12}",
        ) {
            if let Ok(sent) = path::path(&raw) {
                let (from, to) = (pattern("/in/{id}/*"), "/out/{id}/fixed/*");
                let rewrite = Rewrite::parse(to, std::slice::from_ref(&from), false).unwrap();
                let segments: Vec<&str> = sent.split('/').skip(1).collect();
                if segments.len() > 1 && segments[0] == "in" && !segments[1].is_empty() {
                    let result = rewrite.apply(&from, &sent).unwrap().path;
                    let read = generous(&result);
                    let again = path::path(&result).unwrap();
                    prop_assert_eq!(&*again, &*result);
                    prop_assert_eq!(&*read[0], "out");
                    prop_assert_eq!(&*read[2], "fixed");
                    prop_assert_eq!(&read[3..], &generous(&sent)[2..]);
                }
            }
        }
    }
}
