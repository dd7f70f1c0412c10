//! Domains: the hosts under which short links are served. Each has slugs of its own.
//!
//! A request belongs to the domain of its `Host`, and to the default domain if no other one has that
//! host. All domains are in memory, so that a redirect never waits to learn its domain: the schema
//! bounds their number. Replicas read them again when they change.

use std::{borrow::Cow, collections::HashMap, sync::Arc};

use arc_swap::ArcSwap;
use uuid::Uuid;

use crate::store::domains::{DomainId, DomainRow};

/// The domain of the host in `public.short_url`, and of every host that no other domain has.
pub(crate) const DEFAULT: Uuid = Uuid::nil();

/// The domains of this replica. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Domains(Arc<ArcSwap<HashMap<Box<str>, DomainId>>>);

impl Domains {
    /// The domain of a `Host` header.
    pub(crate) fn of(&self, host: Option<&str>) -> DomainId {
        let domains = self.0.load();
        if domains.is_empty() {
            return DEFAULT.into();
        }
        let domain = host.and_then(|host| domains.get(&*name_of(host)));
        domain.copied().unwrap_or(DEFAULT.into())
    }

    /// Whether a host, which has no port, is that of a domain.
    pub(crate) fn contains(&self, host: &str) -> bool {
        self.0.load().contains_key(host)
    }

    pub(crate) fn replace(&self, rows: Vec<DomainRow>) {
        let domains = rows.into_iter().map(|row| (row.host.into(), row.id));
        self.0.store(Arc::new(domains.collect()));
    }
}

/// The name without port and final dot, in lower case. The gateway sends it so; clients that reach
/// the service without one may not.
fn name_of(host: &str) -> Cow<'_, str> {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_one_domain_in_every_spelling_and_others_have_the_default() {
        let domains = Domains::default();
        assert_eq!(domains.of(Some("go.example")), DEFAULT.into());
        let id = DomainId::from(Uuid::from_u128(7));
        let host = "go.example".into();
        domains.replace(vec![DomainRow { id, host }]);
        for host in [
            "go.example",
            "GO.Example",
            "go.example:8443",
            "go.example.:80",
        ] {
            assert_eq!(domains.of(Some(host)), id, "{host}");
        }
        for host in [
            "www.go.example",
            "example",
            "",
            "[::1]:80",
            ":",
            "go.example:x",
        ] {
            assert_eq!(domains.of(Some(host)), DEFAULT.into(), "{host}");
        }
        assert_eq!(domains.of(None), DEFAULT.into());
        assert!(domains.contains("go.example") && !domains.contains("example"));
        domains.replace(Vec::new());
        assert_eq!(domains.of(Some("go.example")), DEFAULT.into());
    }
}
