//! Turns: the events of subscriptions are executed one at a time.
//!
//! A batch of clicks wakes all subscriptions of a link at once, and executing an event awaits nothing,
//! so that nothing interrupts it. Without turns, a hundred tasks run one after the other, each with as
//! many events as its queue takes, before the runtime looks at its sockets again, and redirects wait
//! for that long.
//!
//! ```text
//! event --> waits for its turn, in the order of arrival
//!       --> yields: tasks that are ready and sockets with something to read come first
//!       --> executed: at most `graphql.max_event_nodes` fields
//!       --> the turn ends with the event, before its response waits for a client
//! ```
//!
//! A turn that begins must be taken, or all subscriptions wait: the stream of a subscription has to be polled
//! by a task that waits for its client between two events only, never by the connection itself.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The turns of one replica. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Turns(Arc<Semaphore>);

/// Lasts until it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    _permit: Option<OwnedSemaphorePermit>,
}

impl Default for Turns {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }
}

impl Turns {
    pub(super) async fn next(&self) -> Turn {
        // Never closed.
        let permit = Arc::clone(&self.0).acquire_owned().await.ok();
        // The runtime polls its sockets before it continues a task that yields.
        tokio::task::yield_now().await;
        Turn { _permit: permit }
    }
}
