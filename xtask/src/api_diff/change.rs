use std::fmt;

/// One difference between two versions of an interface. Those that break sort first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) breaking: bool,
    /// Where: an operation or a type, and the way down from there.
    pub(crate) pointer: String,
    /// Which rule tells that it breaks, or does not.
    pub(crate) rule: &'static str,
    pub(crate) what: String,
}

impl Change {
    pub(super) fn breaking(
        pointer: impl Into<String>,
        rule: &'static str,
        what: impl Into<String>,
    ) -> Self {
        Self::new(true, pointer, rule, what)
    }

    pub(super) fn compatible(
        pointer: impl Into<String>,
        rule: &'static str,
        what: impl Into<String>,
    ) -> Self {
        Self::new(false, pointer, rule, what)
    }

    pub(super) fn new(
        breaking: bool,
        pointer: impl Into<String>,
        rule: &'static str,
        what: impl Into<String>,
    ) -> Self {
        Self {
            breaking,
            pointer: pointer.into(),
            rule,
            what: what.into(),
        }
    }
}

impl Ord for Change {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let key = |change: &Self| {
            (
                !change.breaking,
                change.pointer.clone(),
                change.rule,
                change.what.clone(),
            )
        };
        key(self).cmp(&key(other))
    }
}

impl PartialOrd for Change {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.breaking {
            "BREAKING  "
        } else {
            "compatible"
        };
        write!(f, "{kind} {} {}: {}", self.pointer, self.rule, self.what)
    }
}
