//! Writes the status of objects, if it is another one than they have.
//!
//! Every replica of the gateway does so, and comes to the same status. What is written is bound to the version
//! of the object that was read: of two that write at once, the API server refuses one, and the object that
//! both then read has the status of the other.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use futures_util::{StreamExt as _, stream};
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
const TIMEOUT: Duration = Duration::from_secs(3);
/// Of all in one pass, so that changes of objects do not wait long.
const PASS: Duration = Duration::from_secs(5);
const MAX_WRITES: usize = 200;
const AT_ONCE: usize = 8;
const CONFLICT: u16 = 409;
const NOT_FOUND: u16 = 404;

#[derive(Default)]
pub(crate) struct StatusWriter {
    /// What was written last, and when.
    written: BTreeMap<(Kind, ObjectName), (Value, Instant)>,
}

impl StatusWriter {
    /// `false`: some were not written, and should be later.
    pub(crate) async fn write(&mut self, cluster: &Cluster, connection: &Connection) -> bool {
        let written = tokio::time::timeout(PASS, self.write_stale(cluster, connection));
        written.await.unwrap_or(false)
    }

    async fn write_stale(&mut self, cluster: &Cluster, connection: &Connection) -> bool {
        let stale = cluster.stale_statuses();
        let is_known = |key: &(Kind, ObjectName)| {
            let mut stale = stale.iter();
            stale.any(|it| it.kind == key.0 && it.name == key.1)
        };
        self.written.retain(|key, _| is_known(key));
        let due: Vec<StaleStatus> = stale.into_iter().filter(|it| self.is_due(it)).collect();
        let is_all = due.len() <= MAX_WRITES;
        let writes = due.into_iter().take(MAX_WRITES).map(|status| async {
            let result = write(&status, connection).await;
            (status, result)
        });
        let mut writes = stream::iter(writes).buffer_unordered(AT_ONCE);
        let mut is_refused = false;
        while let Some((status, result)) = writes.next().await {
            let key = (status.kind, status.name);
            match result {
                Ok(outcome) => {
                    cluster.metrics().status_writes(outcome).inc();
                    let text = without_times(&status.status);
                    self.written.insert(key, (text, Instant::now()));
                }
                Err(error) => {
                    cluster.metrics().status_writes("failed").inc();
                    // The others are most likely refused for the same reason.
                    if !std::mem::replace(&mut is_refused, true) {
                        tracing::warn!(target: "quartet", kind = key.0.name(), object = key.1.to_string(),
                            error = quartet_common::causes(&*error),
                            "status of an object could not be written");
                    }
                }
            }
        }
        is_all && !is_refused
    }

    /// Whether it was not written a short time ago.
    fn is_due(&self, status: &StaleStatus) -> bool {
        let before = self.written.get(&(status.kind, status.name.clone()));
        let text = without_times(&status.status);
        before.is_none_or(|(it, at)| *it != text || at.elapsed() >= REPEATED_AFTER)
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
