//! Values by the DNS names of certificates.

use std::collections::HashMap;

/// By exact names, and by wildcards such as `*.example.org`, which stand for one label (RFC 9525, 6.3).
#[derive(Clone, Debug)]
pub(super) struct NameMap<V> {
    exact: HashMap<Box<str>, V>,
    /// By what follows `*.`.
    wildcards: HashMap<Box<str>, V>,
}

impl<V> Default for NameMap<V> {
    fn default() -> Self {
        Self {
            exact: HashMap::new(),
            wildcards: HashMap::new(),
        }
    }
}

impl<V> NameMap<V> {
    /// The value for a name in lower case; that of a wildcard counts if there is no exact one.
    pub(super) fn get(&self, name: &str) -> Option<&V> {
        self.exact.get(name).or_else(|| {
            let (_, parent) = name.split_once('.')?;
            self.wildcards.get(parent)
        })
    }

    /// `pattern` is a name or a wildcard, in lower case.
    pub(super) fn insert(&mut self, pattern: &str, value: V) -> Option<V> {
        let (map, key) = self.place(pattern);
        map.insert(key.into(), value)
    }

    pub(super) fn entry(&mut self, pattern: &str) -> &mut V
    where
        V: Default,
    {
        let (map, key) = self.place(pattern);
        map.entry(key.into()).or_default()
    }

    pub(super) fn remove(&mut self, pattern: &str) -> Option<V> {
        let (map, key) = self.place(pattern);
        map.remove(key)
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &V> {
        self.exact.values().chain(self.wildcards.values())
    }

    fn place<'p>(&mut self, pattern: &'p str) -> (&mut HashMap<Box<str>, V>, &'p str) {
        match pattern.strip_prefix("*.") {
            Some(parent) => (&mut self.wildcards, parent),
            None => (&mut self.exact, pattern),
        }
    }
}

/// Whether a certificate for `pattern` is one for `name`, which may be a wildcard itself.
pub(super) fn covers(pattern: &str, name: &str) -> bool {
    let pattern = pattern.to_ascii_lowercase();
    let is_of_parent = pattern.strip_prefix("*.").is_some_and(|parent| {
        name.split_once('.')
            .is_some_and(|(label, rest)| label != "*" && rest == parent)
    });
    pattern == name || is_of_parent
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_names_come_before_wildcards_of_one_label() {
        let mut map = NameMap::default();
        for (at, pattern) in ["a.example.org", "*.example.org", "*.b.example.org"]
            .iter()
            .enumerate()
        {
            assert_eq!(map.insert(pattern, at), None);
        }
        for (name, expected) in [
            ("a.example.org", Some(0)),
            ("b.example.org", Some(1)),
            ("c.b.example.org", Some(2)),
            ("d.c.b.example.org", None),
            ("example.org", None),
            ("org", None),
            ("*.example.org", Some(1)),
            ("", None),
        ] {
            assert_eq!(map.get(name).copied(), expected, "{name}");
        }
        assert_eq!(map.remove("*.example.org"), Some(1));
        assert_eq!(map.get("b.example.org"), None);
        assert_eq!(map.values().count(), 2);
    }

    #[test]
    fn certificates_cover_what_clients_accept_them_for() {
        for (pattern, name, expected) in [
            ("a.example.org", "a.example.org", true),
            ("A.Example.org", "a.example.org", true),
            ("*.example.org", "a.example.org", true),
            ("*.example.org", "*.example.org", true),
            ("*.example.org", "example.org", false),
            ("*.example.org", "a.b.example.org", false),
            ("*.example.org", "*.a.example.org", false),
            ("*.org", "*.example.org", false),
            ("a.example.org", "*.example.org", false),
        ] {
            assert_eq!(covers(pattern, name), expected, "{pattern} {name}");
        }
    }
}
