//! The hosts that a listener and a route have in common.

/// `None`: any host.
pub(super) type Hosts = Option<Vec<String>>;

/// The hosts of a route at a listener. The outer `None`: they have none in common.
pub(super) fn common(listener: Option<&str>, route: &[String]) -> Option<Hosts> {
    let Some(listener) = listener else {
        return Some((!route.is_empty()).then(|| route.to_vec()));
    };
    if route.is_empty() {
        return Some(Some(vec![listener.to_owned()]));
    }
    let hosts = route.iter().filter_map(|route| narrower(listener, route));
    let mut hosts: Vec<String> = hosts.map(str::to_owned).collect();
    hosts.sort();
    hosts.dedup();
    (!hosts.is_empty()).then_some(Some(hosts))
}

/// All hosts of both.
pub(super) fn union(one: Hosts, other: Hosts) -> Hosts {
    let mut all = one?;
    all.extend(other?);
    all.sort();
    all.dedup();
    Some(all)
}

/// The one of two names or wildcards that the other one includes.
fn narrower<'n>(one: &'n str, other: &'n str) -> Option<&'n str> {
    let includes = |wide: &str, narrow: &str| {
        let suffix = wide.strip_prefix('*');
        // A wildcard stands for one label or more.
        suffix.is_some_and(|suffix| narrow.ends_with(suffix) && narrow.len() > suffix.len())
    };
    if one == other || includes(one, other) {
        Some(other)
    } else {
        includes(other, one).then_some(one)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_includes_all_names_below_it() {
        for (one, other, expected) in [
            ("a.test", "a.test", Some("a.test")),
            ("a.test", "b.test", None),
            ("*.a.test", "x.a.test", Some("x.a.test")),
            ("*.a.test", "x.y.a.test", Some("x.y.a.test")),
            ("*.a.test", "a.test", None),
            ("*.a.test", "xa.test", None),
            ("*.a.test", "*.x.a.test", Some("*.x.a.test")),
            ("*.a.test", "*.a.test", Some("*.a.test")),
            ("*.a.test", "*.b.test", None),
        ] {
            assert_eq!(narrower(one, other), expected, "{one} {other}");
            assert_eq!(narrower(other, one), expected, "{other} {one}");
        }
        let hosts = |names: &[&str]| names.iter().map(|&it| it.to_owned()).collect::<Vec<_>>();
        assert_eq!(common(None, &[]), Some(None));
        assert_eq!(common(None, &hosts(&["a"])), Some(Some(hosts(&["a"]))));
        assert_eq!(common(Some("a"), &[]), Some(Some(hosts(&["a"]))));
        assert_eq!(common(Some("a"), &hosts(&["b"])), None);
        assert_eq!(
            union(Some(hosts(&["b"])), Some(hosts(&["a", "b"]))),
            Some(hosts(&["a", "b"]))
        );
        assert_eq!(union(None, Some(hosts(&["a"]))), None);
    }
}
