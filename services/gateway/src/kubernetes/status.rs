//! Writes the status of objects, if it is another one than they have.
//!
//! Every replica of the gateway does so, and comes to the same status. What is written is bound to the version
//! of the object that was read: of two that write at once, the API server refuses one, and the object that
//! both then read has the status of the other.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::{
    cluster::{Cluster, StaleStatus},
    objects::{Kind, ObjectName},
    watch::Connection,
};

/// A status that the API server keeps in another form must not be written again and again.
const REPEATED_AFTER: Duration = Duration::from_secs(30);
/// Of one status, with its retries.
const TIMEOUT: Duration = Duration::from_secs(10);
const CONFLICT: u16 = 409;
const NOT_FOUND: u16 = 404;

#[derive(Default)]
pub(crate) struct StatusWriter {
    /// What was written last, and when.
    written: BTreeMap<(Kind, ObjectName), (Value, Instant)>,
}

impl StatusWriter {
    /// `false`: some could not be written, and should be later.
    pub(crate) async fn write(&mut self, cluster: &Cluster, connection: &Connection) -> bool {
        let stale = cluster.stale_statuses();
        let is_known = |key: &(Kind, ObjectName)| {
            let mut stale = stale.iter();
            stale.any(|it| it.kind == key.0 && it.name == key.1)
        };
        self.written.retain(|key, _| is_known(key));
        let mut is_done = true;
        for status in stale {
            let key = (status.kind, status.name.clone());
            let text = without_times(&status.status);
            let before = self.written.get(&key);
            if before.is_some_and(|(it, at)| *it == text && at.elapsed() < REPEATED_AFTER) {
                continue;
            }
            match write(&status, connection).await {
                Ok(outcome) => {
                    cluster.metrics().status_writes(outcome).inc();
                    self.written.insert(key, (text, Instant::now()));
                }
                Err(error) => {
                    cluster.metrics().status_writes("failed").inc();
                    tracing::warn!(target: "quartet", kind = status.kind.name(),
                        object = status.name.to_string(), error = quartet_common::causes(&*error),
                        "status of an object could not be written");
                    is_done = false;
                }
            }
        }
        is_done
    }
}

/// How it ended, for the metrics. Of an object that has changed meanwhile, the next event brings the rest.
async fn write(status: &StaleStatus, connection: &Connection) -> anyhow::Result<&'static str> {
    let api = connection.api(status.kind, 0, &status.name.namespace);
    let patch = json!({
        "metadata": { "resourceVersion": status.resource_version },
        "status": status.status,
    });
    let (name, parameters) = (&status.name.name, PatchParams::default());
    let patch = Patch::Merge(&patch);
    let written = api.patch_status(name, &parameters, &patch);
    match tokio::time::timeout(TIMEOUT, written).await? {
        Ok(_) => Ok("written"),
        Err(kube::Error::Api(answer)) if [CONFLICT, NOT_FOUND].contains(&answer.code) => {
            Ok("conflict")
        }
        Err(error) => Err(error.into()),
    }
}

/// Two statuses that differ in the times of their conditions only are equal.
fn without_times(status: &Value) -> Value {
    match status {
        Value::Array(elements) => elements.iter().map(without_times).collect(),
        Value::Object(fields) => {
            let kept = fields
                .iter()
                .filter(|(name, _)| *name != "lastTransitionTime");
            let kept = kept.map(|(name, value)| (name.clone(), without_times(value)));
            Value::Object(kept.collect())
        }
        other => other.clone(),
    }
}
