//! What every Quartet service shares, and nothing that only one of them needs.
//!
//! No business noun lives here: no users, no assets, no links. The rooms, in the
//! order in which a request meets them: [`serve`], [`layers`], [`extract`],
//! [`auth`], then the values ([`page`], [`ids`], [`problem`]) that handlers use.

pub mod auth;
pub mod cli;
pub mod clock;
pub mod config;
pub mod db;
mod drain;
pub mod extract;
pub mod health;
pub mod idempotency;
pub mod ids;
pub mod jwt;
pub mod layers;
pub mod metrics;
pub mod net;
pub mod openapi;
pub mod page;
pub mod problem;
pub mod request_id;
pub mod serve;
pub mod telemetry;
#[cfg(feature = "testing")]
pub mod testing;

#[doc(hidden)]
pub mod __private {
    pub use {serde, sqlx, utoipa};
}
