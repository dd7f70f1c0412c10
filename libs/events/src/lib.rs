//! Events between the services: an outbox in the schema of the service that publishes, an inbox in
//! the schema of each one that consumes.
//!
//! ```text
//! publisher                                              consumer
//! transaction: write + outbox row
//!      | commit, wake
//!      v
//! dispatcher: number -> lease -> batch --- signed POST ---> verify -> per event, one transaction:
//!      ^                                                    inbox row + effect
//!      +--- settle: cursor, retries, dead letters <-------- ids that failed
//! ```
//!
//! Where NATS is configured, a stream takes the place of the POST: see `nats`.
//!
//! Guarantees:
//! - **Nothing is lost**: an event is committed with its write, or neither is. A consumer that is
//!   away finds everything when it is back.
//! - **Effects happen once**: delivery is at least once, and the id of an event is stored in the
//!   transaction of its effect.
//! - **Order per subject**: an event of a subject is not delivered while an earlier one of the same
//!   subject waits for a retry. Subjects do not wait for each other.
//! - **No event is skipped**, however transactions overlap: see [`outbox`].
//!
//! The tables are those of `outbox.sql`, `inbox.sql` and `erasures.sql`, in the schema in the `search_path` of the
//! role.

mod backlog;
pub mod dead_letters;
pub mod erasure;
mod event;
pub mod inbox;
mod nats;
pub mod outbox;
mod settings;

pub use erasure::{Erasures, USER_DELETED};
pub use event::{Event, InvalidEvent, NewEvent};
pub use inbox::{ApplyError, Consumer, Inbox};
pub use nats::Nats;
pub use outbox::{Outbox, PublishedEvent};
pub use quartet_auth::signature::{InvalidSignature, Signer};
pub use settings::{Delivery, Endpoint, nats, signer};
