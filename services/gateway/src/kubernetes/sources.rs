//! What is known of each watch: whether its objects have been read, and what is wrong with it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use super::objects::{Kind, ObjectName};

/// The objects of a kind, in one namespace or in all (empty).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Source {
    pub(crate) kind: Kind,
    pub(crate) namespace: String,
}

#[derive(Debug, Default)]
pub(super) struct Sources(BTreeMap<Source, SourceState>);

#[derive(Debug, Default)]
pub(super) struct SourceState {
    /// All of its objects have been read once.
    is_read: bool,
    /// Since when it fails, and why. `true`: the API server has answered.
    failure: Option<(Instant, String, bool)>,
    /// What is too large, or too much.
    pub(super) ignored: BTreeSet<ObjectName>,
    /// Those that were read since a list began. `None`: no list is being read.
    pub(super) listed: Option<BTreeSet<ObjectName>>,
}

/// Names in a notice.
const MAX_LISTED: usize = 3;

impl Sources {
    pub(super) fn reset(&mut self, sources: &[Source]) {
        let sources = sources.iter().cloned();
        self.0 = sources.map(|it| (it, SourceState::default())).collect();
    }

    pub(super) fn state(&mut self, source: &Source) -> &mut SourceState {
        self.0.entry(source.clone()).or_default()
    }

    /// Whether every source has been read, or was refused by an API server that is there.
    pub(super) fn are_known(&self) -> bool {
        !self.0.is_empty() && self.0.values().all(SourceState::is_known)
    }

    /// Whether all of a kind are read and do not fail.
    pub(super) fn is_current(&self, kind: Kind) -> bool {
        let mut states = self.0.iter().filter(|(source, _)| source.kind == kind);
        states.all(|(_, state)| state.is_read && state.failure.is_none())
    }

    pub(super) fn notices(&self) -> Vec<String> {
        let notices = self
            .0
            .iter()
            .flat_map(|(source, state)| state.notices(source));
        notices.collect()
    }
}

impl SourceState {
    /// It works. `true`: it did not before.
    pub(super) fn recovered(&mut self) -> bool {
        self.failure.take().is_some()
    }

    pub(super) fn read(&mut self) {
        self.is_read = true;
    }

    /// `true`: for the first time in a row.
    pub(super) fn failed(&mut self, error: String, is_answer: bool) -> bool {
        let since = self.failure.as_ref().map(|(since, ..)| *since);
        let is_first = since.is_none();
        self.failure = Some((since.unwrap_or_else(Instant::now), error, is_answer));
        is_first
    }

    fn is_known(&self) -> bool {
        let is_refused = self.failure.as_ref().is_some_and(|(.., it)| *it);
        self.is_read || is_refused
    }

    fn notices(&self, source: &Source) -> Vec<String> {
        let name = source.kind.name();
        let place = match source.namespace.as_str() {
            "" => String::new(),
            namespace => format!(" of {namespace}"),
        };
        let mut notices = Vec::new();
        if let Some((since, error, _)) = &self.failure {
            let effect = if self.is_read {
                "what was read last stays in force"
            } else {
                "none is known"
            };
            let seconds = since.elapsed().as_secs();
            notices.push(format!(
                "{name} objects{place} cannot be read since {seconds} s, {effect}: {error}"
            ));
        }
        if !self.ignored.is_empty() {
            let names = self.ignored.iter().take(MAX_LISTED);
            let names: Vec<String> = names.map(ToString::to_string).collect();
            let (count, names) = (self.ignored.len(), names.join(", "));
            notices.push(format!(
                "{count} {name} objects{place} are ignored, being too large or too many: {names}"
            ));
        }
        notices
    }
}
