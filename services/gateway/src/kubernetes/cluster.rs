//! What is known of the cluster: one for the life of the process.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use tokio::sync::Notify;

use super::{
    endpoints::Endpoints,
    objects::{Kind, ObjectName, Objects},
    sources::{Source, Sources},
    translate::{Statuses, translate},
};
use crate::{
    config::{
        model,
        overlay::{Overlay, RefusedEntries},
    },
    metrics::KubernetesMetrics,
    upstream::Upstream,
};

#[derive(Debug)]
pub(crate) struct Cluster {
    known: Mutex<Known>,
    /// Something has changed that is not in force yet.
    changed: Notify,
    metrics: KubernetesMetrics,
}

#[derive(Debug, Default)]
struct Known {
    objects: Objects,
    sources: Sources,
    /// Of the last translation.
    statuses: Statuses,
    /// All objects have been read once since they are watched. What was read then stays in force while they
    /// are read again, as for other settings.
    is_whole: bool,
    /// Other objects than endpoints have changed.
    is_changed: bool,
    /// Why the objects are not in force.
    problem: Option<String>,
    bounds: Bounds,
}

#[derive(Clone, Copy, Debug, Default)]
struct Bounds {
    objects: usize,
    bytes: usize,
}

/// What a watch has brought.
#[derive(Debug)]
pub(crate) enum WatchEvent {
    /// All objects follow, one by one.
    ListBegins,
    Object(Value),
    Gone(ObjectName),
    ListEnds,
}

impl Cluster {
    pub(crate) fn new(metrics: KubernetesMetrics) -> Arc<Self> {
        Arc::new(Self {
            known: Mutex::default(),
            changed: Notify::new(),
            metrics,
        })
    }

    /// These are watched from now on. What is known of others is forgotten.
    pub(crate) fn begin(&self, settings: &model::Kubernetes) -> Vec<Source> {
        let mut sources = Vec::new();
        if settings.enabled {
            for kind in Kind::ALL {
                let all = [String::new()];
                let namespaces = if kind.is_namespaced() && !settings.namespaces.is_empty() {
                    settings.namespaces.as_slice()
                } else {
                    &all
                };
                let of_kind = namespaces.iter().cloned();
                sources.extend(of_kind.map(|namespace| Source { kind, namespace }));
            }
        }
        let mut known = self.lock();
        let known = &mut *known;
        let is_watched = |kind: Kind, name: &ObjectName| {
            let mut sources = sources.iter().filter(|source| source.kind == kind);
            sources.any(|it| it.namespace.is_empty() || it.namespace == name.namespace)
        };
        for kind in Kind::ALL {
            known.objects.retain(kind, &|name| is_watched(kind, name));
            self.export(kind, known);
        }
        known.sources.reset(&sources);
        known.is_whole &= settings.enabled;
        known.problem = None;
        known.bounds = Bounds {
            objects: settings.max_objects,
            bytes: settings.max_object_bytes,
        };
        sources
    }

    pub(super) fn receive(&self, source: &Source, event: WatchEvent) {
        let mut known = self.lock();
        let known = &mut *known;
        if matches!(event, WatchEvent::ListBegins) {
            // The API server has not answered yet, and nothing has changed.
            known.sources.state(source).listed = Some(std::collections::BTreeSet::new());
            return;
        }
        if known.sources.state(source).recovered() {
            tracing::info!(target: "quartet", kind = source.kind.name(), "objects of the cluster are read again");
        }
        let kind = source.kind;
        let is_settled =
            matches!(&event, WatchEvent::Object(object) if known.is_settled(kind, object));
        match event {
            WatchEvent::ListBegins => {}
            WatchEvent::Object(object) => known.insert(source, object),
            WatchEvent::Gone(name) => {
                known.objects.remove(kind, &name);
                known.sources.state(source).ignored.remove(&name);
            }
            WatchEvent::ListEnds => {
                let state = known.sources.state(source);
                state.read();
                let listed = state.listed.take().unwrap_or_default();
                state.ignored.retain(|name| listed.contains(name));
                let is_other = |name: &ObjectName| {
                    !source.namespace.is_empty() && name.namespace != source.namespace
                };
                let is_kept = |name: &ObjectName| is_other(name) || listed.contains(name);
                known.objects.retain(kind, &is_kept);
            }
        }
        known.is_changed |= !kind.is_endpoints() && !is_settled;
        self.export(kind, known);
        self.changed.notify_one();
    }

    /// `is_answer`: the API server is there, and has refused.
    pub(super) fn failed(&self, source: &Source, error: String, is_answer: bool) {
        let mut known = self.lock();
        let known = &mut *known;
        self.metrics.watch_failures(source.kind.name()).inc();
        if known.sources.state(source).failed(error.clone(), is_answer) {
            tracing::warn!(target: "quartet", kind = source.kind.name(), error,
                "objects of the cluster cannot be read; what was read last stays in force");
        }
        self.export(source.kind, known);
        self.changed.notify_one();
    }

    /// Waits until something has changed.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Whether there is something to put in force, other than addresses; once for each change.
    pub(crate) fn take_changes(&self) -> bool {
        let mut known = self.lock();
        known.is_whole |= known.sources.are_known();
        known.sources.are_known() && std::mem::take(&mut known.is_changed)
    }

    /// What the objects add to the settings of the files. Until all have been read once, that is nothing.
    pub(crate) fn overlay(
        &self,
        model: &model::Model,
        refused: &RefusedEntries,
        now: &str,
    ) -> Overlay {
        let mut known = self.lock();
        if !model.kubernetes.enabled || !known.is_whole {
            known.statuses = Statuses::new();
            return Overlay::default();
        }
        let translation = translate(&known.objects, model, refused, now);
        known.statuses = translation.statuses;
        translation.overlay
    }

    /// Sets the replicas of upstreams whose addresses are Services.
    pub(crate) fn publish(&self, upstreams: &[Arc<Upstream>]) {
        let known = self.lock();
        if known.is_whole {
            Endpoints::of(&known.objects).publish(upstreams);
        }
    }

    /// How the last attempt to put the objects in force has ended.
    pub(crate) fn applied(&self, result: Result<(), String>) {
        self.metrics.applied(result.is_ok()).inc();
        let mut known = self.lock();
        if result.is_err() {
            known.forget_statuses();
        }
        known.problem = result.err();
    }

    /// The files were read again, with the objects; `false`: what was in force before stays.
    pub(crate) fn reloaded(&self, is_applied: bool) {
        let mut known = self.lock();
        if is_applied {
            known.problem = None;
        } else {
            known.forget_statuses();
        }
    }

    /// Those of objects whose status is another one.
    pub(super) fn stale_statuses(&self) -> Vec<StaleStatus> {
        let known = self.lock();
        let statuses = known.statuses.iter();
        let stale = statuses.filter_map(|((kind, name), wanted)| {
            let (version, status) = known.objects.status(*kind, name)?;
            (status != wanted).then(|| StaleStatus {
                kind: *kind,
                name: name.clone(),
                resource_version: version.to_owned(),
                status: wanted.clone(),
            })
        });
        stale.collect()
    }

    pub(super) fn metrics(&self) -> &KubernetesMetrics {
        &self.metrics
    }

    /// # Errors
    /// While the objects of a cluster that is watched have not been read.
    pub(crate) fn check_ready(&self, settings: &model::Kubernetes) -> Result<(), String> {
        if !settings.enabled || self.lock().is_whole {
            return Ok(());
        }
        Err("the objects of the cluster have not been read yet".to_owned())
    }

    pub(crate) fn notices(&self) -> Vec<String> {
        let known = self.lock();
        let problem = known.problem.iter();
        let problem = problem.map(|problem| format!("the objects are not in force: {problem}"));
        known.sources.notices().into_iter().chain(problem).collect()
    }

    fn export(&self, kind: Kind, known: &Known) {
        let count = known.objects.count(kind);
        let is_current = known.sources.is_current(kind);
        self.metrics.set_objects(kind.name(), count, is_current);
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A status to be written.
#[derive(Clone, Debug)]
pub(super) struct StaleStatus {
    pub(super) kind: Kind,
    pub(super) name: ObjectName,
    /// Of the object that the status is about.
    pub(super) resource_version: String,
    pub(super) status: Value,
}

impl Known {
    /// What they are about is not in force: they would say what is not so.
    fn forget_statuses(&mut self) {
        self.statuses = Statuses::new();
    }

    /// Whether nothing has changed but the status, to what it is to be: the gateway, or another one, has
    /// written it. What it says is in force already.
    fn is_settled(&self, kind: Kind, object: &Value) -> bool {
        let metadata = &object["metadata"];
        let text = |field: &str| metadata[field].as_str().unwrap_or_default();
        let name = ObjectName::new(text("namespace"), text("name"));
        let wanted = self.statuses.get(&(kind, name));
        wanted.is_some_and(|wanted| *wanted == object["status"])
            && self.objects.is_known(kind, object)
    }

    /// Adds an object, unless it is too large, or one too many. One that has become too large is forgotten:
    /// what it said before is not what it says.
    fn insert(&mut self, source: &Source, object: Value) {
        let metadata = &object["metadata"];
        let text = |field: &str| metadata[field].as_str().unwrap_or_default();
        let name = ObjectName::new(text("namespace"), text("name"));
        let state = self.sources.state(source);
        if let Some(listed) = &mut state.listed {
            listed.insert(name.clone());
        }
        let bytes = serde_json::to_vec(&object).map_or(0, |text| text.len());
        let result = if bytes > self.bounds.bytes {
            Err(format!("it has {bytes} bytes"))
        } else {
            self.objects
                .insert(source.kind, object, self.bounds.objects)
        };
        let state = self.sources.state(source);
        match result {
            Ok(()) => drop(state.ignored.remove(&name)),
            Err(error) => {
                self.objects.remove(source.kind, &name);
                // The number of names is bounded too.
                let has_room = state.ignored.len() < self.bounds.objects;
                if has_room && state.ignored.insert(name.clone()) {
                    tracing::warn!(target: "quartet", kind = source.kind.name(), object = name.to_string(), error,
                        "object of the cluster is ignored");
                }
            }
        }
    }
}
