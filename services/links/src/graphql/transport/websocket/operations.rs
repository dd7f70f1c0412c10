//! The operations of a session, each in a task of its own.
//!
//! The tasks send to one queue, bounded in events and in bytes, per socket and per user: a slow client
//! stops its operations instead of filling memory. The bytes of an event are released when it has
//! been written to the socket. Each operation has a serial number: a client may use an id again right
//! after `complete`, and without the number, queued events of the old operation would be delivered as
//! those of the new one.

use std::{collections::HashMap, sync::Arc};

use futures_util::{Stream, StreamExt};
use prometheus_client::metrics::gauge::Gauge;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::AbortHandle,
};

use super::message;
use crate::{
    config::GraphQl as Settings,
    graphql::{budget::User, transport::response::GraphQlResponse},
};

/// Events that wait for a slow client. Beyond that, its operations wait.
const QUEUE: usize = 16;

pub(super) struct Operations {
    running: HashMap<String, RunningOperation>,
    last_serial: u64,
    sender: mpsc::Sender<QueuedMessage>,
    queue: mpsc::Receiver<QueuedMessage>,
    bytes: QueueBound,
}

/// Bytes that may wait, of the socket and of the user.
#[derive(Clone)]
struct QueueBound {
    of_socket: Arc<Semaphore>,
    of_user: Option<Arc<Semaphore>>,
    /// A larger event waits until nothing else is queued.
    max: u32,
    queued: Gauge,
}

/// Aborts its task when dropped.
struct RunningOperation {
    serial: u64,
    task: AbortHandle,
}

struct QueuedMessage {
    id: String,
    serial: u64,
    text: String,
    is_last: bool,
    permits: Permits,
}

/// The right to keep an event in memory.
struct Permits {
    bytes: i64,
    queued: Gauge,
    _of_socket: Option<OwnedSemaphorePermit>,
    _of_user: Option<OwnedSemaphorePermit>,
}

/// A message to the client. Its bytes are released when it is dropped.
pub(super) struct OutgoingMessage {
    pub(super) text: String,
    _permits: Permits,
}

impl Operations {
    pub(super) fn new(settings: &Settings, queued: Gauge) -> Self {
        let (sender, queue) = mpsc::channel(QUEUE);
        let max = settings.max_queued_bytes_per_socket;
        Self {
            running: HashMap::new(),
            last_serial: 0,
            sender,
            queue,
            bytes: QueueBound {
                of_socket: Arc::new(Semaphore::new(max as usize)),
                of_user: None,
                max: max.min(settings.max_queued_bytes_per_user),
                queued,
            },
        }
    }

    /// Counts the bytes that wait for this user's sockets together.
    pub(super) fn set_user(&mut self, user: &User) {
        self.bytes.of_user = Some(user.queued_bytes());
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
        responses: impl Stream<Item = GraphQlResponse> + Send + Unpin + 'static,
    ) {
        self.last_serial += 1;
        let serial = self.last_serial;
        let output = OperationOutput {
            queue: self.sender.clone(),
            bytes: self.bytes.clone(),
            id: id.clone(),
            serial,
        };
        let task = tokio::spawn(output.forward(responses)).abort_handle();
        self.running.insert(id, RunningOperation { serial, task });
    }

    /// The next message to the client. Pending while there is none. Cancel safe.
    pub(super) async fn next(&mut self) -> OutgoingMessage {
        loop {
            // The session has a sender of its own, so the queue is never closed.
            let Some(event) = self.queue.recv().await else {
                return std::future::pending().await;
            };
            let running = self.running.get(&event.id);
            if running.is_none_or(|running| running.serial != event.serial) {
                continue;
            }
            if event.is_last {
                self.abort(&event.id);
            }
            return OutgoingMessage {
                text: event.text,
                _permits: event.permits,
            };
        }
    }
}

impl Drop for RunningOperation {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Drop for Permits {
    fn drop(&mut self) {
        self.queued.dec_by(self.bytes);
    }
}

impl QueueBound {
    async fn permits(&self, bytes: usize) -> Permits {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).min(self.max);
        // Neither is ever closed.
        let of_socket = Arc::clone(&self.of_socket).acquire_many_owned(bytes).await;
        let of_user = match &self.of_user {
            Some(of_user) => Arc::clone(of_user).acquire_many_owned(bytes).await.ok(),
            None => None,
        };
        let bytes = i64::from(bytes);
        self.queued.inc_by(bytes);
        Permits {
            bytes,
            queued: self.queued.clone(),
            _of_socket: of_socket.ok(),
            _of_user: of_user,
        }
    }
}

/// Where the responses of one operation go.
struct OperationOutput {
    queue: mpsc::Sender<QueuedMessage>,
    bytes: QueueBound,
    id: String,
    serial: u64,
}

impl OperationOutput {
    /// Sends the responses, then `complete` or the errors of the request.
    async fn forward(self, mut responses: impl Stream<Item = GraphQlResponse> + Unpin) {
        while let Some(response) = responses.next().await {
            if response.is_request_error() {
                self.send(message::error(&self.id, &response), true).await;
                return;
            }
            let next = message::next(&self.id, &response);
            drop(response);
            if !self.send(next, false).await {
                return;
            }
        }
        self.send(message::complete(&self.id), true).await;
    }

    /// Returns whether the session still exists.
    async fn send(&self, text: String, is_last: bool) -> bool {
        let permits = self.bytes.permits(text.len()).await;
        let event = QueuedMessage {
            id: self.id.clone(),
            serial: self.serial,
            text,
            is_last,
            permits,
        };
        self.queue.send(event).await.is_ok()
    }
}
