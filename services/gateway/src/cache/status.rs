//! What the cache did with a request, for `Cache-Status` (RFC 9211), the log and the metrics.

use std::fmt::Write as _;

/// How a request was answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// From the store, fresh.
    Hit,
    /// From the store, stale.
    Stale,
    /// From the store, after the upstream said that it is still valid.
    Revalidated,
    /// By the upstream, though something stale is stored.
    Expired,
    #[default]
    /// By the upstream: nothing is stored.
    Miss,
    /// By the upstream: the request is none for the cache.
    Bypass,
}

/// With what `Cache-Status` says beside it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CacheStatus {
    pub(crate) outcome: Outcome,
    /// Seconds until the response is stale.
    pub(crate) ttl: Option<i64>,
    /// The response is stored, or will be once it is complete.
    pub(crate) stored: bool,
    /// The response was asked for by another request.
    pub(crate) collapsed: bool,
    /// The client demanded that the upstream is asked.
    pub(crate) demanded: bool,
    pub(crate) upstream_status: Option<u16>,
}

impl Outcome {
    pub(crate) const ALL: [Self; 6] = [
        Self::Hit,
        Self::Stale,
        Self::Revalidated,
        Self::Expired,
        Self::Miss,
        Self::Bypass,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Stale => "stale",
            Self::Revalidated => "revalidated",
            Self::Expired => "expired",
            Self::Miss => "miss",
            Self::Bypass => "bypass",
        }
    }
}

impl CacheStatus {
    /// The member for `Cache-Status`.
    pub(crate) fn text(&self) -> String {
        let mut text = "quartet".to_owned();
        text.push_str(match self.outcome {
            Outcome::Hit | Outcome::Stale => "; hit",
            Outcome::Revalidated | Outcome::Expired if self.demanded => "; fwd=request",
            Outcome::Revalidated | Outcome::Expired => "; fwd=stale",
            Outcome::Miss => "; fwd=uri-miss",
            Outcome::Bypass => "; fwd=bypass",
        });
        if let Some(status) = self.upstream_status {
            // Writing to a string cannot fail.
            let _ = write!(text, "; fwd-status={status}");
        }
        if let Some(ttl) = self.ttl {
            let _ = write!(text, "; ttl={ttl}");
        }
        for (is_so, name) in [(self.stored, "; stored"), (self.collapsed, "; collapsed")] {
            if is_so {
                text.push_str(name);
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_says_what_was_done() {
        let hit = CacheStatus {
            outcome: Outcome::Hit,
            ttl: Some(5),
            ..CacheStatus::default()
        };
        assert_eq!(hit.text(), "quartet; hit; ttl=5");
        let stale = CacheStatus {
            outcome: Outcome::Stale,
            ttl: Some(-5),
            ..CacheStatus::default()
        };
        assert_eq!(stale.text(), "quartet; hit; ttl=-5");
        let miss = CacheStatus {
            stored: true,
            upstream_status: Some(200),
            ..CacheStatus::default()
        };
        assert_eq!(miss.text(), "quartet; fwd=uri-miss; fwd-status=200; stored");
        let asked = CacheStatus {
            outcome: Outcome::Revalidated,
            demanded: true,
            ..CacheStatus::default()
        };
        assert_eq!(asked.text(), "quartet; fwd=request");
    }
}
