//! Finds the path of a document that a path is an instance of: what is written out before what has
//! parameters, segment by segment (OpenAPI 3.1, 4.8.8.2).

use std::{borrow::Cow, collections::HashMap};

use super::percent::decode;

/// The paths of a document, as a tree of segments.
#[derive(Debug, Default)]
pub(super) struct PathIndex(Node);

#[derive(Debug, Default)]
struct Node {
    literals: HashMap<Box<str>, Node>,
    /// With a parameter and text beside it.
    mixed: Vec<(Template, Node)>,
    parameter: Option<Box<Node>>,
    /// The place of the path, and the number of its segments that a server's URL has.
    end: Option<(usize, usize)>,
}

/// A segment such as `{name}.{format}`: texts with a parameter between each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template {
    /// One more than the names.
    texts: Vec<Box<str>>,
    names: Vec<Box<str>>,
}

impl Template {
    /// `None`: the braces do not match, or nothing is between two parameters.
    pub(super) fn parse(segment: &str) -> Option<Self> {
        let (mut texts, mut names) = (Vec::new(), Vec::new());
        let mut rest = segment;
        while let Some((text, after)) = rest.split_once('{') {
            let (name, after) = after.split_once('}')?;
            if text.contains('}') || name.is_empty() || (!names.is_empty() && text.is_empty()) {
                return None;
            }
            texts.push(text.into());
            names.push(name.into());
            rest = after;
        }
        if rest.contains('}') {
            return None;
        }
        texts.push(rest.into());
        Some(Self { texts, names })
    }

    fn is_literal(&self) -> bool {
        self.names.is_empty()
    }

    fn is_parameter(&self) -> bool {
        self.names.len() == 1 && self.texts.iter().all(|text| text.is_empty())
    }

    /// The values of the parameters, which are not empty; the first ones are as long as they can be.
    fn values<'s>(&self, segment: &'s str) -> Option<Vec<&'s str>> {
        let (first, between) = self.texts.split_first()?;
        let (last, between) = between.split_last()?;
        let mut rest = segment.strip_prefix(&**first)?.strip_suffix(&**last)?;
        let mut values = Vec::new();
        for text in between.iter().rev() {
            let (before_last, _) = rest.char_indices().next_back()?;
            let at = rest[..before_last].rfind(&**text).filter(|at| *at > 0)?;
            values.push(&rest[at + text.len()..]);
            rest = &rest[..at];
        }
        values.push(rest);
        values.reverse();
        values
            .iter()
            .all(|value| !value.is_empty())
            .then_some(values)
    }

    /// The value of a parameter in a segment, encoded as it is there.
    pub(super) fn value<'s>(&self, segment: &'s str, name: &str) -> Option<&'s str> {
        let at = self.names.iter().position(|known| **known == *name)?;
        if self.is_parameter() {
            return Some(segment);
        }
        self.values(segment)?.get(at).copied()
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.names.iter().any(|known| **known == *name)
    }
}

impl PathIndex {
    /// `base`: the path of a server, without a slash at its end. A path that is there already stays.
    pub(super) fn insert(&mut self, base: &str, path: &[Template], place: usize) {
        let base: Vec<&str> = base.split('/').skip(1).collect();
        let mut node = &mut self.0;
        for segment in &base {
            node = node.literals.entry((*segment).into()).or_default();
        }
        for segment in path {
            node = if segment.is_literal() {
                let text = decode(&segment.texts[0]).into_owned();
                node.literals.entry(text.into()).or_default()
            } else if segment.is_parameter() {
                node.parameter.get_or_insert_default()
            } else {
                let known = node.mixed.iter().position(|(known, _)| known == segment);
                let at = known.unwrap_or_else(|| {
                    node.mixed.push((segment.clone(), Node::default()));
                    node.mixed.len() - 1
                });
                &mut node.mixed[at].1
            };
        }
        node.end.get_or_insert((place, base.len()));
    }

    /// The place of a path, and the number of segments before it.
    pub(super) fn find(&self, path: &str) -> Option<(usize, usize)> {
        let rest = path.strip_prefix('/')?;
        let exact = self.0.find(Some(rest));
        // `/a/` where only `/a` is described: most servers take one for the other.
        exact.or_else(|| self.0.find(Some(rest.strip_suffix('/')?)))
    }
}

impl Node {
    /// `rest`: the path from here on; `None`: it has ended. Ends after as many steps as the tree has
    /// nodes.
    fn find(&self, rest: Option<&str>) -> Option<(usize, usize)> {
        let Some(rest) = rest else { return self.end };
        let (segment, rest) = match rest.split_once('/') {
            Some((segment, rest)) => (segment, Some(rest)),
            None => (rest, None),
        };
        let text = decode(segment);
        if let Some(found) = self.literals.get(&*text).and_then(|node| node.find(rest)) {
            return Some(found);
        }
        let text: Cow<'_, str> = text;
        for (template, node) in &self.mixed {
            if template.values(&text).is_some()
                && let Some(found) = node.find(rest)
            {
                return Some(found);
            }
        }
        let node = self.parameter.as_ref().filter(|_| !segment.is_empty())?;
        node.find(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(paths: &[(&str, &str)]) -> PathIndex {
        let mut index = PathIndex::default();
        for (place, (base, path)) in paths.iter().enumerate() {
            let segments = path
                .split('/')
                .skip(1)
                .map(|it| Template::parse(it).unwrap());
            index.insert(base, &segments.collect::<Vec<_>>(), place);
        }
        index
    }

    #[test]
    fn what_is_written_out_comes_first() {
        let index = index(&[
            ("", "/a/{id}"),
            ("", "/a/mine"),
            ("", "/a/{name}.json"),
            ("", "/a/{id}/b"),
            ("/v1", "/{x}-{y}/c"),
            ("", "/"),
            ("", "/caf%C3%A9"),
            ("", "/a/mine/{deep}/end"),
        ]);
        for (path, expected) in [
            ("/a/1", Some((0, 0))),
            ("/a/1/", Some((0, 0))),
            ("/a/mine", Some((1, 0))),
            ("/a/m%69ne", Some((1, 0))),
            ("/a/x.json", Some((2, 0))),
            ("/a/.json", Some((0, 0))),
            ("/a/mine/b", Some((3, 0))),
            ("/a/mine/x/end", Some((7, 0))),
            ("/v1/p-q/c", Some((4, 1))),
            ("/v1/p-/c", None),
            ("/v1/-q/c", None),
            ("/", Some((5, 0))),
            ("/caf%C3%A9", Some((6, 0))),
            ("/a", None),
            ("/a//", None),
            ("/a/1/2", None),
            ("*", None),
        ] {
            assert_eq!(index.find(path), expected, "{path}");
        }
    }

    #[test]
    fn a_segment_has_the_values_of_its_parameters() {
        let template = Template::parse("{a}-{b}.x").unwrap();
        for (segment, a, b) in [
            ("1-2.x", Some("1"), Some("2")),
            ("1-2-3.x", Some("1-2"), Some("3")),
            ("--2.x", Some("-"), Some("2")),
            ("-2.x", None, None),
            ("é-ü.x", Some("é"), Some("ü")),
        ] {
            assert_eq!(template.value(segment, "a"), a, "{segment}");
            assert_eq!(template.value(segment, "b"), b, "{segment}");
        }
        for text in ["{", "}", "{}", "{a}{b}", "a}b{c}", "{a}}"] {
            assert_eq!(Template::parse(text), None, "{text}");
        }
    }
}
