//! The operations of a session, each in a task of its own.
//!
//! The tasks send to one bounded queue, so that a slow client stops its operations instead of filling
//! memory. Each operation has a serial number: a client may use an id again right after `complete`,
//! and without the number, queued events of the old operation would be delivered as those of the new
//! one.

use std::collections::HashMap;

use futures_util::{Stream, StreamExt};
use serde_json::Value;
use tokio::{sync::mpsc, task::AbortHandle};

use super::message;
use crate::graphql::transport::response::GraphQlResponse;

/// Events that wait for a slow client. Beyond that, its operations wait.
const QUEUE: usize = 16;

pub(super) struct Operations {
    running: HashMap<String, Running>,
    last_serial: u64,
    sender: mpsc::Sender<Event>,
    queue: mpsc::Receiver<Event>,
}

/// Aborts its task when dropped.
struct Running {
    serial: u64,
    task: AbortHandle,
}

struct Event {
    id: String,
    serial: u64,
    kind: EventKind,
}

enum EventKind {
    Next(Value),
    Error(Value),
    Complete,
}

impl Operations {
    pub(super) fn new() -> Self {
        let (sender, queue) = mpsc::channel(QUEUE);
        Self {
            running: HashMap::new(),
            last_serial: 0,
            sender,
            queue,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.running.len()
    }

    pub(super) fn contains(&self, id: &str) -> bool {
        self.running.contains_key(id)
    }

    pub(super) fn abort(&mut self, id: &str) {
        self.running.remove(id);
    }

    pub(super) fn abort_all(&mut self) {
        self.running.clear();
    }

    pub(super) fn start(
        &mut self,
        id: String,
        responses: impl Stream<Item = GraphQlResponse> + Send + 'static,
    ) {
        self.last_serial += 1;
        let serial = self.last_serial;
        let task = tokio::spawn(forward(
            Box::pin(responses),
            self.sender.clone(),
            id.clone(),
            serial,
        ));
        let task = task.abort_handle();
        self.running.insert(id, Running { serial, task });
    }

    /// The next message to the client. Pending while there is none. Cancel safe.
    pub(super) async fn next(&mut self) -> String {
        loop {
            // The session has a sender of its own, so the queue is never closed.
            let Some(Event { id, serial, kind }) = self.queue.recv().await else {
                return std::future::pending().await;
            };
            let running = self.running.get(&id);
            if running.is_none_or(|running| running.serial != serial) {
                continue;
            }
            return match kind {
                EventKind::Next(payload) => message::next(&id, &payload),
                EventKind::Error(errors) => {
                    self.abort(&id);
                    message::error(&id, &errors)
                }
                EventKind::Complete => {
                    self.abort(&id);
                    message::complete(&id)
                }
            };
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Sends the responses to the queue, then `complete` or the errors of the request.
async fn forward(
    mut responses: impl Stream<Item = GraphQlResponse> + Unpin,
    queue: mpsc::Sender<Event>,
    id: String,
    serial: u64,
) {
    let event = |kind| Event {
        id: id.clone(),
        serial,
        kind,
    };
    let mut last = EventKind::Complete;
    while let Some(response) = responses.next().await {
        if response.is_request_error() {
            last = EventKind::Error(response.into_errors());
            break;
        }
        let next = EventKind::Next(response.into_json());
        if queue.send(event(next)).await.is_err() {
            return;
        }
    }
    // Fails only if the session has ended.
    let _ = queue.send(event(last)).await;
}
