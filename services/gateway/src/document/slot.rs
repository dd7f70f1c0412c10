//! The documents of one upstream that are in force: the last one, and the one before for a while.
//!
//! While replicas of two versions run, each answers with its own document, and a request may be for
//! either. So what one of the two allows is allowed, until the older one has not been seen for some
//! time. A document that cannot be used changes nothing.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use arc_swap::{ArcSwapOption, Guard};
use serde_json::Value;

use super::{ApiDocument, CompileSettings};

/// What the documents of a slot come from. Another source has another slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DocumentSource {
    pub(crate) upstream: Arc<str>,
    /// The path that it is fetched from.
    pub(crate) path: Option<String>,
    /// The document itself.
    pub(crate) document: Option<Arc<Value>>,
    pub(crate) settings: CompileSettings,
}

/// The documents of one upstream.
#[derive(Debug)]
pub(crate) struct DocumentSlot {
    pub(crate) source: DocumentSource,
    in_force: ArcSwapOption<InForce>,
    /// Held while documents are compared and compiled.
    known: Mutex<Known>,
}

/// The documents that requests are checked against.
#[derive(Debug)]
pub(crate) struct InForce {
    pub(crate) current: Arc<ApiDocument>,
    pub(crate) previous: Option<Arc<ApiDocument>>,
}

#[derive(Debug, Default)]
struct Known {
    current: Option<Version>,
    /// When it was in force last.
    previous: Option<(Version, Instant)>,
    /// Was refused.
    refused: Option<Arc<Value>>,
}

#[derive(Clone, Debug)]
struct Version {
    value: Arc<Value>,
    compiled: Arc<ApiDocument>,
}

/// What became of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Update {
    /// It was in force already, or was refused already.
    Known,
    /// The number of its operations, and of those among them that cannot be checked.
    InForce(usize, usize),
    Refused(String),
}

impl DocumentSlot {
    /// # Errors
    /// When the source has the document itself, which cannot be used.
    pub(crate) fn new(source: DocumentSource) -> Result<Self, String> {
        let slot = Self {
            source,
            in_force: ArcSwapOption::empty(),
            known: Mutex::default(),
        };
        if let Some(document) = slot.source.document.clone() {
            let update = slot.update(document, Duration::ZERO, Instant::now());
            match update {
                Update::Refused(why) => return Err(why),
                Update::InForce(_, broken) if broken > 0 => {
                    return Err(format!(
                        "{broken} of its operations have schemas that cannot be compiled"
                    ));
                }
                _ => {}
            }
        }
        Ok(slot)
    }

    pub(crate) fn load(&self) -> Guard<Option<Arc<InForce>>> {
        self.in_force.load()
    }

    pub(crate) fn is_known(&self) -> bool {
        self.in_force.load().is_some()
    }

    /// Takes note of the document that the upstream has now. `keep`: how long the one before counts.
    /// Takes time: a new document is compiled.
    pub(crate) fn update(&self, value: Arc<Value>, keep: Duration, now: Instant) -> Update {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let known = &mut *known;
        let is = |version: &Version| Arc::ptr_eq(&version.value, &value) || version.value == value;
        let expired = known
            .previous
            .take_if(|(_, seen)| now.duration_since(*seen) >= keep);
        if known.current.as_ref().is_some_and(is) {
            if expired.is_some() {
                self.publish(known);
            }
            return Update::Known;
        }
        if known.refused.as_ref() == Some(&value) {
            return Update::Known;
        }
        let again = known.previous.take_if(|(version, _)| is(version));
        let (version, update) = match again {
            Some((version, _)) => (version, Update::Known),
            None => match ApiDocument::compile(&value, &self.source.settings) {
                Ok(compiled) => {
                    let (count, broken) = compiled.counts();
                    let compiled = Arc::new(compiled);
                    (Version { value, compiled }, Update::InForce(count, broken))
                }
                Err(why) => {
                    known.refused = Some(value);
                    return Update::Refused(why);
                }
            },
        };
        let before = known.current.replace(version);
        if !keep.is_zero() {
            known.previous = before.map(|before| (before, now)).or(known.previous.take());
        }
        known.refused = None;
        self.publish(known);
        update
    }

    fn publish(&self, known: &Known) {
        let in_force = known.current.as_ref().map(|current| {
            let previous = known.previous.as_ref();
            Arc::new(InForce {
                current: Arc::clone(&current.compiled),
                previous: previous.map(|(version, _)| Arc::clone(&version.compiled)),
            })
        });
        self.in_force.store(in_force);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn document(path: &str) -> Arc<Value> {
        Arc::new(json!({"openapi": "3.1.0", "paths": {path: {"get": {}}}}))
    }

    fn slot(text: Option<&str>) -> Result<DocumentSlot, String> {
        DocumentSlot::new(DocumentSource {
            upstream: "u".into(),
            path: None,
            document: text.map(|text| Arc::new(serde_json::from_str(text).unwrap())),
            settings: CompileSettings::default(),
        })
    }

    #[test]
    fn the_document_before_counts_for_a_while() {
        let slot = slot(None).unwrap();
        let (keep, start) = (Duration::from_mins(1), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        let has = |path: &str| {
            let in_force = slot.load();
            let in_force = in_force.as_ref().unwrap();
            let of = |document: &ApiDocument| document.operation(&http::Method::GET, path).is_ok();
            (
                of(&in_force.current),
                in_force.previous.as_ref().is_some_and(|it| of(it)),
            )
        };
        assert!(!slot.is_known());
        assert_eq!(
            slot.update(document("/a"), keep, start),
            Update::InForce(1, 0)
        );
        assert_eq!(
            slot.update(document("/b"), keep, after(10)),
            Update::InForce(1, 0)
        );
        assert_eq!((has("/a"), has("/b")), ((false, true), (true, false)));
        // Replicas of both versions answer in turn.
        assert_eq!(slot.update(document("/a"), keep, after(65)), Update::Known);
        assert_eq!((has("/a"), has("/b")), ((true, false), (false, true)));
        assert_eq!(slot.update(document("/b"), keep, after(75)), Update::Known);
        assert_eq!(slot.update(document("/b"), keep, after(134)), Update::Known);
        assert_eq!(has("/a"), (false, true));
        assert_eq!(slot.update(document("/b"), keep, after(135)), Update::Known);
        assert_eq!((has("/a"), has("/b")), ((false, false), (true, false)));
    }

    #[test]
    fn what_cannot_be_used_changes_nothing() {
        let slot = slot(None).unwrap();
        let now = Instant::now();
        slot.update(document("/a"), Duration::ZERO, now);
        let bad = Arc::new(json!({"swagger": "2.0", "paths": {}}));
        let refused = slot.update(Arc::clone(&bad), Duration::ZERO, now);
        assert!(matches!(refused, Update::Refused(_)), "{refused:?}");
        assert_eq!(slot.update(bad, Duration::ZERO, now), Update::Known);
        assert!(slot.is_known());
    }

    #[test]
    fn a_given_document_must_be_whole() {
        let text = document("/a").to_string();
        assert!(slot(Some(&text)).unwrap().is_known());
        for (text, expected) in [
            ("{}", "must be an OpenAPI document"),
            (r#"{"openapi": "3.1.0"}"#, "must have `paths`"),
            (r#"{"openapi": "3.1.0", "paths": {"/{": {}}}"#, "braces"),
            (
                r#"{"openapi": "3.1.0", "paths": {"/a": {"post": {"requestBody": {"content": {"application/json":
                {"schema": {"$ref": "http://127.0.0.1:9/x"}}}}}}}}"#,
                "1 of its operations",
            ),
            (
                r##"{"openapi": "3.1.0", "paths": {"/a": {"post": {"requestBody": {"content": {"application/json":
                {"schema": {"$ref": "#/none"}}}}}}}}"##,
                "1 of its operations",
            ),
        ] {
            let error = slot(Some(text)).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
