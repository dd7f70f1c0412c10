//! Puts the documents of services in force that routes validate against.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::Documents;
use crate::{
    document::{DocumentSlot, Update},
    snapshot::Snapshot,
};

/// Of documents for which `documents.refresh_seconds` says that they are never fresh.
const MIN_REFRESH: Duration = Duration::from_secs(1);

impl Documents {
    /// Compares the documents in force with those of the services, which are fetched if they are old.
    pub(crate) async fn keep_in_force(&self, snapshot: &Snapshot) {
        let fetched = |slot: &&Arc<DocumentSlot>| slot.source.path.is_some();
        let slots: Vec<_> = snapshot.document_slots().filter(fetched).cloned().collect();
        if slots.is_empty() {
            return;
        }
        let model = &snapshot.config.model;
        let fresh_for = Duration::from_secs(model.documents.refresh_seconds).max(MIN_REFRESH);
        let keep = Duration::from_secs(model.validation.previous_document_seconds);
        let known = self.by_service(snapshot, fresh_for).await;
        for slot in slots {
            let Some(document) = known.get(&slot.source.upstream).cloned() else {
                continue;
            };
            // Compiling takes a while.
            let updated = Arc::clone(&slot);
            let update = move || updated.update(document, keep, Instant::now());
            if let Ok(update) = tokio::task::spawn_blocking(update).await {
                report(&slot.source.upstream, update);
            }
        }
    }
}

fn report(upstream: &str, update: Update) {
    match update {
        Update::Known => {}
        Update::InForce(operations, 0) => {
            tracing::info!(target: "quartet", document = upstream, operations,
                "OpenAPI document in force");
        }
        Update::InForce(operations, broken) => {
            tracing::warn!(target: "quartet", document = upstream, operations, broken,
                "OpenAPI document in force, with operations whose schemas cannot be compiled");
        }
        Update::Refused(error) => {
            tracing::warn!(target: "quartet", document = upstream, error,
                "OpenAPI document refused; the one before stays in force");
        }
    }
}
