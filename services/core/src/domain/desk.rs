//! What the operations of this room work with.

use std::net::IpAddr;

use chrono::{DateTime, SubsecRound, Utc};
use quartet_common::clock::Clock;
use sqlx::PgPool;

use crate::{
    config::Config,
    domain::{
        email::Email, hasher::Hasher, keys::SigningKeys, secrets::MasterKey, throttle::Attempt,
    },
    metrics::CoreMetrics,
};

/// Digits of a second that Postgres keeps.
const DIGITS: u16 = 6;

/// Everything an operation needs, borrowed from the state.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Desk<'a> {
    pub(crate) pool: &'a PgPool,
    pub(crate) hasher: &'a Hasher,
    pub(crate) keys: &'a SigningKeys,
    pub(crate) master_key: &'a MasterKey,
    pub(crate) metrics: &'a CoreMetrics,
    pub(crate) clock: &'a Clock,
    pub(crate) config: &'a Config,
}

impl Desk<'_> {
    /// The time in the precision of the database.
    pub(crate) fn now(&self) -> DateTime<Utc> {
        now(self.clock)
    }

    /// An attempt to prove that one knows the password of an account.
    pub(crate) fn attempt(&self, email: &Email, address: IpAddr) -> Attempt {
        Attempt::on_account(self.master_key, email.as_str(), address)
    }
}

/// The time in the precision of the database: what is answered at once and what is read later are
/// the same.
pub(crate) fn now(clock: &Clock) -> DateTime<Utc> {
    clock.now().trunc_subsecs(DIGITS)
}
